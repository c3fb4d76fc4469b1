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

/// Calls that one instance serves, one after the other: whatever an engine's store might gather, it is little.
const CALLS_MAX: u32 = 10_000;
/// More than wiping can use.
const WIPE_FUEL: u64 = 1 << 40;
/// Wiping isn't interrupted: it takes microseconds.
const WIPE_EPOCHS: u64 = 1 << 40;

/// An instance.
pub(super) struct Running {
    store: Store<CallState>,
    instance: Instance,
    handed_over_max: u64,
    /// Its size when it was made.
    made: (u64, u64),
    /// Calls before this one.
    calls: u32,
    /// It trapped or was given something wrong: what it is like now, nobody knows.
    broken: bool,
    slot: OwnedSemaphorePermit,
}

/// An instance between two calls, as good as a fresh one.
pub(super) struct Wiped {
    store: Store<CallState>,
    instance: Instance,
    made: (u64, u64),
    calls: u32,
    slot: OwnedSemaphorePermit,
}

impl Wiped {
    /// Whether it could have been made within these limits.
    pub fn is_within(&self, limits: &Limits) -> bool {
        self.made.0 <= limits.memory_bytes && self.made.1 <= limits.table_elements
    }
}

impl Running {
    /// Makes a fresh instance, or takes one that is as good.
    pub async fn start(linked: &Linked, setup: Setup, view: View) -> Result<Running, Failed> {
        let shared = &*linked.shared;
        let record_bytes = setup.namespace.as_ref().map_or(0, |namespace| namespace.policy.record_bytes_max as u64);
        let handed_over_max = setup.limits.output_bytes.max(record_bytes) + HANDED_OVER_SPARE_BYTES;
        let (fuel, limits) = (setup.limits.fuel, setup.limits.clone());
        let beginning = Beginning {
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
        };
        if let Some(wiped) = linked.exports.wipe.and_then(|_| shared.kept.take(linked.id, &limits)) {
            let Wiped { mut store, instance, made, calls, slot } = wiped;
            store.data_mut().begin_again(beginning);
            let mut running = Running { store, instance, handed_over_max, made, calls, broken: false, slot };
            return match arm(&mut running.store, fuel, handed_over_max) {
                Ok(()) => Ok(running),
                Err(error) => Err(end_failed(running.store, of_error_of(&error, handed_over_max))),
            };
        }
        let slot = shared.slot(linked.places).await?;
        let mut store = Store::new(&shared.engine, CallState::new(beginning));
        store.limiter(|state| state);
        store.epoch_deadline_callback(interrupted);
        let made = match arm(&mut store, fuel, handed_over_max) {
            Ok(()) => linked.pre.instantiate_async(&mut store).await,
            Err(error) => Err(error),
        };
        // The same call takes the same fuel, whether its instance had to be made or not.
        let made = made.and_then(|instance| match linked.exports.wipe {
            Some(_) => store.set_fuel(fuel).map(|()| instance),
            None => Ok(instance),
        });
        match made {
            Ok(instance) => {
                let made = store.data().size();
                Ok(Running { store, instance, handed_over_max, made, calls: 0, broken: false, slot })
            }
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
        self.broken |= called.is_err();
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

    /// Ends a call. The instance is wiped and kept for the next one, if the module can be wiped and this one is sound.
    pub async fn end_and_keep(mut self, linked: &Linked) -> Trace {
        let fuel_left = self.store.get_fuel().unwrap_or(0);
        let trace = self.store.data_mut().end(fuel_left);
        if let Some(wipe) = &linked.exports.wipe
            && !self.broken
            && self.calls + 1 < CALLS_MAX
            && self.store.data().size() == self.made
            && self.wipe(wipe).await.is_ok()
        {
            let Running { store, instance, made, calls, slot, .. } = self;
            linked.shared.keep(linked.id, Wiped { store, instance, made, calls: calls + 1, slot });
        }
        trace
    }

    async fn wipe(&mut self, wipe: &ComponentExportIndex) -> wasmtime::Result<()> {
        let function = self.instance.get_typed_func::<(), ()>(&mut self.store, wipe)?;
        self.store.set_epoch_deadline(WIPE_EPOCHS);
        self.store.set_fuel(WIPE_FUEL)?;
        function.call_async(&mut self.store, ()).await
    }

    /// Ends it after a failure, which gets what is known of the call.
    pub fn end_failed(self, mut failed: Failed) -> Failed {
        failed.details.trace = self.end();
        failed
    }
}

/// What every call begins with.
fn arm(store: &mut Store<CallState>, fuel: u64, handed_over_max: u64) -> wasmtime::Result<()> {
    store.set_hostcall_fuel(usize::try_from(handed_over_max).unwrap_or(usize::MAX));
    store.set_epoch_deadline(1);
    store.set_fuel(fuel)
}

fn end(mut store: Store<CallState>) -> Trace {
    let fuel_left = store.get_fuel().unwrap_or(0);
    store.data_mut().end(fuel_left)
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
