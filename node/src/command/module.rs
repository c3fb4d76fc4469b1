//! `module`: uploads, activation, lists, descriptions, numbers, log lines.

use outcrop_wire::archive::{archive_value, decode_value};
use outcrop_wire::request::{ModuleOperation, ModuleRequest};
use outcrop_wire::{Code, MapKey, ReplyHeader, Value, Verb};

use super::answer::Finished;
use super::error::CommandError;
use super::functions::Functions;
use crate::udf::registry::{LimitOverrides, Part, Received, map};

/// Log lines of one reply, unless fewer are asked for.
const LINES_MAX: usize = 200;

/// Carries out something about a module.
pub async fn module(
    request_id: u32,
    functions: &Functions,
    asked: &ModuleRequest<'_>,
) -> Result<Finished, CommandError> {
    let value = carry_out(functions, asked).await?;
    let mut content = Vec::with_capacity(256);
    ReplyHeader::new(request_id, Verb::Module, Code::Ok).encode(&mut content);
    let archived = archive_value(&value)?;
    Ok(Finished { value: Some(archived.into()), ..Finished::small(Code::Ok, content, None) })
}

async fn carry_out(functions: &Functions, asked: &ModuleRequest<'_>) -> Result<Value, CommandError> {
    let registry = &functions.registry;
    let (name, version) = (asked.name, asked.version);
    match asked.operation {
        ModuleOperation::UploadPart { total_bytes, offset, hash, bytes } => {
            let part = Part { module: name, version, hash, total: total_bytes, offset, bytes };
            let received = registry.upload(&part).await?;
            Ok(match received {
                Received::Part(bytes) => map([("done", false.into()), ("received", number(bytes))]),
                Received::Whole { .. } => map([("done", true.into()), ("received", number(total_bytes))]),
            })
        }
        ModuleOperation::Sign { signature, public_key } => {
            registry.sign(name, version, &signature, &public_key).await?;
            Ok(map([]))
        }
        ModuleOperation::Activate => {
            registry.activate(name, version).await?;
            Ok(map([("active", version.into())]))
        }
        ModuleOperation::Rollback => {
            let active = registry.roll_back(name).await?;
            Ok(map([("active", active.into())]))
        }
        ModuleOperation::Deactivate => registry.deactivate(name).await.map(|()| map([])).map_err(Into::into),
        ModuleOperation::Remove => {
            let version = (!version.is_empty()).then_some(version);
            if let Some(job) = functions.jobs.user_of(name, version) {
                let message = format!("job {job} runs on it: wait for its end, or cancel it first");
                return Err(CommandError::new(Code::ModuleActive, message));
            }
            registry.remove(name, version).await?;
            Ok(map([]))
        }
        ModuleOperation::List => Ok(registry.list((!name.is_empty()).then_some(name)).await?),
        ModuleOperation::Describe => Ok(registry.describe(name, (!version.is_empty()).then_some(version)).await?),
        ModuleOperation::Stats if name.is_empty() => Ok(registry.stats_of_all()),
        ModuleOperation::Stats => Ok(registry.stats(name)?),
        ModuleOperation::Logs { options } => {
            let options = options_of(options)?;
            let limit = integer(&options, "limit")?.map_or(LINES_MAX, |limit| limit as usize).min(LINES_MAX);
            let after = integer(&options, "after")?;
            Ok(registry.logs(name, after.map(|after| after.saturating_add(1)), limit)?)
        }
        ModuleOperation::Pause => registry.pause(name, true).await.map(|()| map([])).map_err(Into::into),
        ModuleOperation::Resume => registry.pause(name, false).await.map(|()| map([])).map_err(Into::into),
        ModuleOperation::SetLimits { limits } => {
            registry.set_limits(name, limits_of(limits)?).await?;
            Ok(map([]))
        }
    }
}

fn number(value: u64) -> Value {
    Value::Int(i64::try_from(value).unwrap_or(i64::MAX))
}

/// The options of a request: a map, or nothing.
pub fn options_of(archived: &[u8]) -> Result<Value, CommandError> {
    if archived.is_empty() {
        return Ok(Value::Map(Vec::new()));
    }
    match decode_value(archived)? {
        options @ Value::Map(_) => Ok(options),
        other => Err(invalid(format!("options are a map, not {}", other.type_name()))),
    }
}

/// A number of the options, from 0 on.
pub fn integer(options: &Value, name: &str) -> Result<Option<u64>, CommandError> {
    match options.get(&MapKey::Text(name.to_owned())) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Int(number)) if *number >= 0 => Ok(Some(*number as u64)),
        Some(_) => Err(invalid(format!("`{name}` is a whole number from 0 on"))),
    }
}

pub(super) fn invalid(message: String) -> CommandError {
    CommandError::new(Code::InvalidRequest, message)
}

fn limits_of(archived: &[u8]) -> Result<LimitOverrides, CommandError> {
    let options = options_of(archived)?;
    let Value::Map(entries) = &options else { return Err(invalid("limits are a map".to_owned())) };
    let mut limits = LimitOverrides::default();
    for (key, _) in entries {
        let MapKey::Text(name) = key else { return Err(invalid("limits have names".to_owned())) };
        let value = integer(&options, name)?;
        let narrow = |value: Option<u64>| value.map(|value| u32::try_from(value).unwrap_or(u32::MAX));
        match name.as_str() {
            "wall_ms" => limits.wall_ms = value,
            "fuel" => limits.fuel = value,
            "memory_bytes" => limits.memory_bytes = value,
            "table_elements" => limits.table_elements = value,
            "host_calls" => limits.host_calls = value,
            "input_bytes" => limits.input_bytes = value,
            "output_bytes" => limits.output_bytes = value,
            "reads" => limits.reads = narrow(value),
            "read_bytes" => limits.read_bytes = value,
            "concurrent_calls" => limits.concurrent_calls = narrow(value),
            other => {
                return Err(invalid(format!(
                    "there is no limit {other:?}; there are wall_ms, fuel, memory_bytes, table_elements, host_calls, \
                     input_bytes, output_bytes, reads, read_bytes, concurrent_calls"
                )));
            }
        }
    }
    Ok(limits)
}
