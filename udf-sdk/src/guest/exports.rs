//! The exports of a module: from the node's calls to the entries that the attributes made.

use std::cell::RefCell;
use std::marker::PhantomData;
use std::sync::Once;

use crate::bindings::exports::outcrop::udf::functions::Guest;
use crate::bindings::outcrop::udf::types::{Encoding, Failure, FunctionInfo, FunctionKind, ModuleInfo};
use crate::context::{Level, log};
use crate::error::Error;
use crate::guest::{RunningAggregate, RunningRows};
use crate::module::{Entry, Module, Run};
use crate::record::Record;
use crate::record::source::Source;

/// A crate's module, as `module!` names it.
pub trait Listed {
    /// The module.
    const MODULE: Module;
}

/// The exports of a listed module.
pub struct Of<T>(PhantomData<T>);

enum Running {
    Nothing,
    Aggregate(Box<dyn RunningAggregate>),
    Rows(Box<dyn RunningRows>),
}

thread_local! {
    /// The one query of this instance. An instance has no other place for what must outlive a call.
    static RUNNING: RefCell<Running> = const { RefCell::new(Running::Nothing) };
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure { message: error.message().to_owned(), code: error.code().to_owned() }
    }
}

/// What the node takes for a panic's message when the instance traps: the last log line of this form.
const PANIC: &str = "panicked at ";

/// Lets a panic leave its message and place in the log before the trap.
fn enter() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        std::panic::set_hook(Box::new(|info| {
            let place = info.location().map(|at| format!("{}:{}:{}", at.file(), at.line(), at.column()));
            let message = info.payload_as_str().unwrap_or("a panic without a text");
            log(Level::Error, &format!("{PANIC}{}: {message}", place.as_deref().unwrap_or("an unknown place")));
        }));
    });
}

fn wrong_kind(entry: &Entry, wanted: &str) -> Failure {
    Error::new("wrong-kind", format!("{:?} is no {wanted}", entry.name)).into()
}

fn nothing_runs() -> Failure {
    Error::new("wrong-kind", "no query of this kind was begun in this instance").into()
}

fn with_aggregate<R>(act: impl FnOnce(&mut dyn RunningAggregate) -> Result<R, Error>) -> Result<R, Failure> {
    enter();
    RUNNING.with_borrow_mut(|running| match running {
        Running::Aggregate(aggregate) => Ok(act(&mut **aggregate)?),
        _ => Err(nothing_runs()),
    })
}

impl<T: Listed> Guest for Of<T> {
    fn describe() -> ModuleInfo {
        enter();
        let functions = T::MODULE.functions.iter().map(|entry| FunctionInfo {
            name: entry.name.to_owned(),
            kind: match entry.run {
                Run::Record(_) => FunctionKind::RecordFunction,
                Run::Aggregate(_) => FunctionKind::Aggregate,
                Run::Rows(_) => FunctionKind::Row,
            },
            doc: entry.doc.to_owned(),
            arguments: (entry.arguments)(),
            returns: (entry.returns)(),
            encoding: Encoding::Archived,
            read_only: entry.read_only,
        });
        ModuleInfo { doc: T::MODULE.doc.to_owned(), functions: functions.collect() }
    }

    fn call_record(function: u32, arguments: Vec<u8>) -> Result<Vec<u8>, Failure> {
        enter();
        let entry = T::MODULE.function(function)?;
        let Run::Record(run) = entry.run else { return Err(wrong_kind(entry, "record function")) };
        Ok(run(&mut Record::of(Source), &arguments)?)
    }

    fn aggregate_init(function: u32, arguments: Vec<u8>) -> Result<(), Failure> {
        enter();
        let entry = T::MODULE.function(function)?;
        let Run::Aggregate(start) = entry.run else { return Err(wrong_kind(entry, "aggregate")) };
        let started = Running::Aggregate(start(&arguments)?);
        RUNNING.set(started);
        Ok(())
    }

    fn aggregate_accept(batch: Vec<u8>) -> Result<(), Failure> {
        with_aggregate(|running| running.accept(&batch))
    }

    fn aggregate_state() -> Result<Vec<u8>, Failure> {
        with_aggregate(|running| running.state())
    }

    fn aggregate_merge(state: Vec<u8>) -> Result<(), Failure> {
        with_aggregate(|running| running.merge(&state))
    }

    fn aggregate_finish() -> Result<Vec<u8>, Failure> {
        enter();
        match RUNNING.replace(Running::Nothing) {
            Running::Aggregate(aggregate) => Ok(aggregate.finish()?),
            _ => Err(nothing_runs()),
        }
    }

    fn row_init(function: u32, arguments: Vec<u8>) -> Result<(), Failure> {
        enter();
        let entry = T::MODULE.function(function)?;
        let Run::Rows(start) = entry.run else { return Err(wrong_kind(entry, "row function")) };
        let started = Running::Rows(start(&arguments)?);
        RUNNING.set(started);
        Ok(())
    }

    fn row_batch(batch: Vec<u8>) -> Result<Vec<u8>, Failure> {
        enter();
        RUNNING.with_borrow_mut(|running| match running {
            Running::Rows(rows) => Ok(rows.batch(&batch)?),
            _ => Err(nothing_runs()),
        })
    }
}
