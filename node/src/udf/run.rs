//! One instance from its making to its end: fresh memory, bounds set, calls into it, what it came to.

use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use bytes::Bytes;
use outcrop_wire::Code;
use outcrop_wire::archive::{access_value, archive_value, decode_value_or_null};
use outcrop_wire::json::{parse_value, to_text};
use outcrop_wire::limits::VALUE_DEPTH_MAX;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;
use wasmtime::Store;
use wasmtime::component::{ComponentExportIndex, ComponentNamedList, Instance, Lift, Lower};

use super::bindings::outcrop::udf::types::{Failure, ModuleInfo};
use super::failure::{of_error, of_guest};
use super::limits::{LimitHit, LimitKind, Limits};
use super::outcome::{Failed, Trace};
use super::prepared::{Encoding, Exports, Label, Linked};
use super::state::{Beginning, CallState, Work, interrupted};
use super::view::View;
use crate::store::Namespace;

/// What a guest may hand over in one go beyond its limit of output: room for names and text around it.
const HANDED_OVER_SPARE_BYTES: u64 = 64 << 10;

/// What every instance of a call or query begins with.
#[derive(Clone)]
pub(super) struct Setup {
    pub label: Arc<Label>,
    pub limits: Arc<Limits>,
    pub work: Work,
    pub namespace: Option<Arc<Namespace>>,
    pub now_ms: u64,
    pub seed: u64,
    pub started: Instant,
    pub yields: Arc<AtomicU32>,
}

/// What begins a call or a query: the function's number and its arguments.
type Begin<'a> = (u32, &'a [u8]);

/// What an export gives: a result, or the guest's refusal.
pub(super) type Outcome<T> = (Result<T, Failure>,);

/// An instance.
pub(super) struct Running {
    store: Store<CallState>,
    instance: Instance,
    handed_over_max: u64,
    _slot: OwnedSemaphorePermit,
}

impl Running {
    /// Makes a fresh instance.
    pub async fn start(linked: &Linked, setup: Setup, view: View) -> Result<Running, Failed> {
        let shared = &*linked.shared;
        let slot = shared.slot(linked.places).await?;
        let record_bytes = setup.namespace.as_ref().map_or(0, |namespace| namespace.policy.record_bytes_max as u64);
        let handed_over_max = setup.limits.output_bytes.max(record_bytes) + HANDED_OVER_SPARE_BYTES;
        let fuel = setup.limits.fuel;
        let state = CallState::new(Beginning {
            limits: setup.limits,
            work: setup.work,
            now_ms: setup.now_ms,
            seed: setup.seed,
            namespace: setup.namespace,
            view,
            label: setup.label,
            started: setup.started,
            stack_bytes: shared.options.stack_bytes.into(),
            yields: setup.yields,
            pulse: shared.pulse.join(),
        });
        let mut store = Store::new(&shared.engine, state);
        store.limiter(|state| state);
        store.set_hostcall_fuel(usize::try_from(handed_over_max).unwrap_or(usize::MAX));
        store.epoch_deadline_callback(interrupted);
        store.set_epoch_deadline(1);
        let fueled = store.set_fuel(fuel);
        let made = match fueled {
            Ok(()) => linked.pre.instantiate_async(&mut store).await,
            Err(error) => Err(error),
        };
        match made {
            Ok(instance) => Ok(Running { store, instance, handed_over_max, _slot: slot }),
            Err(error) => Err(end_failed(store, of_error_of(&error, handed_over_max))),
        }
    }

    /// Whether everything that the node will ever call is of the type that the world says; else which isn't.
    pub fn check_exports(&mut self, exports: &Exports) -> Result<(), String> {
        self.check_export::<(), (ModuleInfo,)>("describe", &exports.describe)?;
        self.check_export::<Begin<'_>, Outcome<Vec<u8>>>("call-record", &exports.call_record)?;
        self.check_export::<Begin<'_>, Outcome<()>>("aggregate-init", &exports.aggregate_init)?;
        self.check_export::<(&[u8],), Outcome<()>>("aggregate-accept", &exports.aggregate_accept)?;
        self.check_export::<(), Outcome<Vec<u8>>>("aggregate-state", &exports.aggregate_state)?;
        self.check_export::<(&[u8],), Outcome<()>>("aggregate-merge", &exports.aggregate_merge)?;
        self.check_export::<(), Outcome<Vec<u8>>>("aggregate-finish", &exports.aggregate_finish)?;
        self.check_export::<Begin<'_>, Outcome<()>>("row-init", &exports.row_init)?;
        self.check_export::<(&[u8],), Outcome<Vec<u8>>>("row-batch", &exports.row_batch)
    }

    fn check_export<P, R>(&mut self, name: &str, export: &ComponentExportIndex) -> Result<(), String>
    where
        P: ComponentNamedList + Lower,
        R: ComponentNamedList + Lift,
    {
        match self.instance.get_typed_func::<P, R>(&mut self.store, export) {
            Ok(_) => Ok(()),
            Err(error) => Err(format!("the component's `{name}` isn't what the world says: {error:#}")),
        }
    }

    /// What the host's functions work on.
    pub fn state(&mut self) -> &mut CallState {
        self.store.data_mut()
    }

    /// Calls an export that can't refuse.
    pub async fn call_plain<P, R>(&mut self, export: &ComponentExportIndex, params: P) -> Result<R, Failed>
    where
        P: ComponentNamedList + Lower + Send + Sync,
        R: ComponentNamedList + Lift + Send + Sync + 'static,
    {
        let function = self.instance.get_typed_func::<P, R>(&mut self.store, export);
        let called = match function {
            Ok(function) => function.call_async(&mut self.store, params).await,
            Err(error) => Err(error),
        };
        called.map_err(|error| of_error(&error, self.store.data(), self.handed_over_max))
    }

    /// Calls an export and takes what it returned apart.
    pub async fn call<P, T>(&mut self, export: &ComponentExportIndex, params: P) -> Result<T, Failed>
    where
        P: ComponentNamedList + Lower + Send + Sync,
        T: Lift + Send + Sync + 'static,
        Outcome<T>: ComponentNamedList + Lift + Send + Sync + 'static,
    {
        let (returned,) = self.call_plain::<P, Outcome<T>>(export, params).await?;
        returned.map_err(of_guest)
    }

    /// Checks bytes that the guest gave out against its bound, and counts them.
    pub fn check_output(&mut self, bytes: usize) -> Result<(), Failed> {
        let charged = self.state().charge_output(bytes, bytes);
        charged.map_err(|error| of_error(&error, self.store.data(), self.handed_over_max))
    }

    /// Fails if the call's time is over.
    pub fn check_time(&mut self) -> Result<(), Failed> {
        let checked = self.state().check_time();
        checked.map_err(|error| of_error(&error, self.store.data(), self.handed_over_max))
    }

    /// Ends it; its memory is reset before another instance gets it.
    pub fn end(self) -> Trace {
        end(self.store)
    }

    /// Ends it after a failure, which gets what is known of the call.
    pub fn end_failed(self, mut failed: Failed) -> Failed {
        failed.details.trace = self.end();
        failed
    }
}

fn end(store: Store<CallState>) -> Trace {
    let fuel_left = store.get_fuel().unwrap_or(0);
    store.into_data().into_trace(fuel_left)
}

fn of_error_of(error: &wasmtime::Error, handed_over_max: u64) -> impl FnOnce(&CallState) -> Failed + '_ {
    move |state| of_error(error, state, handed_over_max)
}

fn end_failed(store: Store<CallState>, failed: impl FnOnce(&CallState) -> Failed) -> Failed {
    let mut failed = failed(store.data());
    failed.details.trace = end(store);
    failed
}

/// Arguments in the form that a function takes.
pub(super) fn arguments_for(encoding: Encoding, archived: &Bytes, limits: &Limits) -> Result<Bytes, Failed> {
    if archived.len() as u64 > limits.input_bytes {
        let (allowed, used) = (limits.input_bytes, archived.len() as u64);
        return Err(Failed::limit(LimitHit { kind: LimitKind::Input, allowed, used }));
    }
    let invalid = |error: String| Failed::new(Code::FunctionArgumentsInvalid, format!("the arguments: {error}"));
    match encoding {
        Encoding::Archived if archived.is_empty() => Ok(Bytes::new()),
        Encoding::Archived => {
            access_value(archived).map_err(|error| invalid(error.to_string()))?;
            Ok(archived.clone())
        }
        Encoding::Json => {
            let value = decode_value_or_null(archived).map_err(|error| invalid(error.to_string()))?;
            Ok(to_text(&value).into())
        }
    }
}

/// A result as an archived value: validated, or made of JSON text.
pub(super) fn result_of(encoding: Encoding, result: Vec<u8>) -> Result<Vec<u8>, Failed> {
    let invalid =
        |error: String| Failed::new(Code::FunctionResultInvalid, format!("the function's result isn't valid: {error}"));
    match encoding {
        // A function without a result to speak of gives no bytes: null.
        _ if result.is_empty() => Ok(Vec::new()),
        Encoding::Archived => {
            access_value(&result).map_err(|error| invalid(error.to_string()))?;
            Ok(result)
        }
        Encoding::Json => {
            let value = parse_value(&result, VALUE_DEPTH_MAX).map_err(|error| invalid(error.to_string()))?;
            archive_value(&value).map_err(|error| invalid(error.to_string()))
        }
    }
}
