//! What a job is to do: read from the options of a request, checked, and kept as long as the job is.

use outcrop_wire::archive::archive_value;
use outcrop_wire::function::FunctionPath;
use outcrop_wire::json::{parse_value, to_text};
use outcrop_wire::key::check_set_name;
use outcrop_wire::limits::{PARTITIONS, VALUE_DEPTH_MAX};
use outcrop_wire::{Code, MapKey, Value};
use serde::{Deserialize, Serialize};

use super::super::error::CommandError;
use super::super::module::{integer, invalid};
use crate::store::scan::ScanFilter;

/// Archived bytes of a job's arguments, at most: each of its records gets a copy.
pub const ARGUMENTS_BYTES_MAX: usize = 64 << 10;
/// Records under way at once, unless the job says otherwise.
const PARALLEL_DEFAULT: u64 = 4;
/// The same at most: a job is one of many that want the pool's threads and the engine's instances.
const PARALLEL_MAX: u64 = 32;
/// Failures that a job bears unless it says otherwise.
const FAILURES_DEFAULT: u64 = 100;
/// What a job may be told.
const OPTIONS: [&str; 8] = [
    "function",
    "set",
    "partition_first",
    "partition_last",
    "arguments",
    "records_per_sec",
    "parallel",
    "failures_max",
];

/// What a job does, the same from its beginning to its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JobSpec {
    /// The namespace, by name: numbers may change from start to start of a node.
    pub namespace: String,
    /// The set; empty: the whole namespace.
    pub set: String,
    /// First partition.
    pub partition_first: u16,
    /// Last partition, included.
    pub partition_last: u16,
    /// The function's module.
    pub module: String,
    /// The version that the job began with.
    pub version: String,
    /// BLAKE3 of that version's component, in hexadecimal.
    pub hash: String,
    /// The function.
    pub function: String,
    /// Its arguments, as JSON in the exact mapping of the command line.
    pub arguments: String,
    /// Records a second, at most; 0: no limit.
    pub records_per_sec: u32,
    /// Records under way at once.
    pub parallel: u32,
    /// One failure more ends the job.
    pub failures_max: u64,
}

impl JobSpec {
    /// Reads the options of `start`. The module's version and hash are still to be filled in; where the path names a
    /// version, it is there.
    pub fn parse(namespace: &str, options: &Value) -> Result<Self, CommandError> {
        check_names(options)?;
        let path = text(options, "function")?.ok_or_else(|| invalid("a job has a `function`".to_owned()))?;
        let path = FunctionPath::parse(path).map_err(|error| invalid(error.to_string()))?;
        let set = text(options, "set")?.unwrap_or("");
        if !set.is_empty() {
            check_set_name(set)?;
        }
        let last = PARTITIONS as u64 - 1;
        let partition_first = integer(options, "partition_first")?.unwrap_or(0);
        let partition_last = integer(options, "partition_last")?.unwrap_or(last);
        if partition_first > partition_last || partition_last > last {
            return Err(invalid(format!("partitions {partition_first} to {partition_last}: they go from 0 to {last}")));
        }
        let parallel = integer(options, "parallel")?.unwrap_or(PARALLEL_DEFAULT);
        if !(1..=PARALLEL_MAX).contains(&parallel) {
            return Err(invalid(format!("`parallel` is 1 to {PARALLEL_MAX}, not {parallel}")));
        }
        let records_per_sec = integer(options, "records_per_sec")?.unwrap_or(0);
        let records_per_sec = u32::try_from(records_per_sec)
            .map_err(|_| invalid(format!("`records_per_sec` is at most {}, not {records_per_sec}", u32::MAX)))?;
        Ok(JobSpec {
            namespace: namespace.to_owned(),
            set: set.to_owned(),
            // Within 0 to 4,095, and 1 to 32, as was checked.
            partition_first: partition_first as u16,
            partition_last: partition_last as u16,
            module: path.module.to_owned(),
            version: path.version.unwrap_or("").to_owned(),
            hash: String::new(),
            function: path.function.to_owned(),
            arguments: arguments(options)?,
            records_per_sec,
            parallel: parallel as u32,
            failures_max: integer(options, "failures_max")?.unwrap_or(FAILURES_DEFAULT),
        })
    }

    /// The function with the version that the job is bound to, or the active one if it isn't bound yet.
    pub fn path(&self) -> FunctionPath<'_> {
        let version = (!self.version.is_empty()).then_some(self.version.as_str());
        FunctionPath { module: &self.module, version, function: &self.function }
    }

    /// The records that it goes over.
    pub fn filter(&self) -> ScanFilter {
        ScanFilter {
            set: (!self.set.is_empty()).then(|| self.set.clone()),
            partition_first: self.partition_first,
            partition_last: self.partition_last,
        }
    }

    /// The arguments as functions take them.
    pub fn archived_arguments(&self) -> Result<Vec<u8>, CommandError> {
        let value = parse_value(self.arguments.as_bytes(), VALUE_DEPTH_MAX)
            .map_err(|error| CommandError::new(Code::FunctionArgumentsInvalid, error.to_string()))?;
        Ok(archive_value(&value)?)
    }
}

fn check_names(options: &Value) -> Result<(), CommandError> {
    let Value::Map(entries) = options else { return Err(invalid("options are a map".to_owned())) };
    for (key, _) in entries {
        match key {
            MapKey::Text(name) if OPTIONS.contains(&name.as_str()) => {}
            MapKey::Text(name) => {
                let known = OPTIONS.join(", ");
                return Err(invalid(format!("a job has no option {name:?}; it has {known}")));
            }
            _ => return Err(invalid("options have names".to_owned())),
        }
    }
    Ok(())
}

fn text<'a>(options: &'a Value, name: &str) -> Result<Option<&'a str>, CommandError> {
    match options.get(&MapKey::Text(name.to_owned())) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Text(text)) => Ok(Some(text)),
        Some(other) => Err(invalid(format!("`{name}` is a text, not {}", other.type_name()))),
    }
}

fn arguments(options: &Value) -> Result<String, CommandError> {
    let value = options.get(&MapKey::Text("arguments".to_owned())).unwrap_or(&Value::Null);
    let bytes = archive_value(value)?.len();
    if bytes > ARGUMENTS_BYTES_MAX {
        let message = format!("the arguments of a job have at most {ARGUMENTS_BYTES_MAX} bytes, these have {bytes}");
        return Err(CommandError::new(Code::FunctionInputLimit, message));
    }
    Ok(to_text(value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::udf::registry::map;

    fn refused(options: &Value) -> (Code, String) {
        let error = JobSpec::parse("test", options).expect_err("it is refused");
        (error.code, error.message)
    }

    #[test]
    fn what_isnt_said_has_a_default() {
        let spec = JobSpec::parse("test", &map([("function", "shop.discount".into())])).expect("it is right");
        assert_eq!((spec.partition_first, spec.partition_last, spec.records_per_sec), (0, 4_095, 0));
        assert_eq!((spec.parallel, spec.failures_max, spec.arguments.as_str()), (4, 100, "null"));
        assert_eq!((spec.path().to_string().as_str(), spec.filter().set), ("shop.discount", None));
    }

    #[test]
    fn arguments_come_back_as_they_were() {
        let value = Value::List(vec![1.into(), Value::Float(f64::NAN), Value::Bytes(vec![0, 255]), "ä".into()]);
        let options = map([("function", "shop@1.discount".into()), ("arguments", value.clone())]);
        let spec = JobSpec::parse("test", &options).expect("it is right");
        let archived = archive_value(&value).expect("a value");
        assert_eq!(spec.archived_arguments().expect("they were read before"), archived);
        assert_eq!(spec.version, "1");
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_what_would() {
        let with = |name: &str, value: Value| refused(&map([("function", "shop.discount".into()), (name, value)]));
        assert!(refused(&map([])).1.contains("`function`"));
        assert!(refused(&map([("function", "discount".into())])).1.contains("discount"));
        assert!(with("rate", 5.into()).1.contains("records_per_sec"), "an unknown name lists the known ones");
        assert!(with("partition_last", 4_096.into()).1.contains("0 to 4095"));
        assert!(with("partition_first", (-1).into()).1.contains("partition_first"));
        assert!(with("parallel", 0.into()).1.contains("1 to 32"));
        assert!(with("records_per_sec", i64::MAX.into()).1.contains("at most"));
        assert!(with("set", 5.into()).1.contains("a text"));
        assert_eq!(with("set", "a/b".into()).0, Code::InvalidKey);
        let large = Value::Bytes(vec![0; ARGUMENTS_BYTES_MAX + 1]);
        assert_eq!(with("arguments", large).0, Code::FunctionInputLimit);
        assert_eq!(refused(&Value::Null).0, Code::InvalidRequest);
    }
}
