//! Functions as metrics. Names of modules and functions are their authors': only so many series of them are made.

use std::fmt;

use prometheus_client::registry::Unit;

use super::super::stats::{FunctionCallStats, FunctionHostStats};
use super::encode::Families;

/// Functions with series of their own, those that were called most; the others are one more, of module and name `other`.
const FUNCTIONS_MAX: usize = 200;

/// A number of the engine.
type Column = (&'static str, &'static str, fn(&FunctionHostStats) -> u64);
/// A number of each function.
type CallColumn = (&'static str, Option<Unit>, &'static str, fn(&FunctionCallStats) -> u64);

const GAUGES: [Column; 5] = [
    ("function_instances_max", "Instances of functions that may be alive at once", |host| host.instances_max),
    ("function_instances", "Instances of functions that calls and queries use", |host| host.instances_in_use),
    ("function_instances_kept", "Instances that were wiped and wait for another call", |host| host.instances_kept),
    ("function_instances_waiting", "Calls that wait for an instance", |host| host.instances_waiting),
    ("module_compiling", "Modules that are being compiled or wait for it", |host| host.compiling),
];

const COUNTERS: [Column; 5] = [
    ("function_instances_reused", "Calls that a wiped instance served", |host| host.instances_reused),
    ("module_compilations", "Compilations of modules that have ended", |host| host.compilations),
    ("module_compilations_refused", "Compilations that ended with a refusal", |host| host.compilations_refused),
    ("module_cache_hits", "Modules taken from the cache of compiled ones", |host| host.cache_hits),
    ("function_log_lines_left_out", "Log lines of functions that the node's log had no room for", |host| {
        host.log_lines_left_out
    }),
];

const CALL_COUNTERS: [CallColumn; 3] = [
    ("function_fuel", None, "Fuel of calls, by function", |function| function.fuel),
    ("function_records", None, "Records that queries went through, by function", |function| function.records),
    ("function_log_lines_dropped", None, "Log lines of functions over their bounds", |function| function.logs_dropped),
];

/// All of them, if the node runs functions.
pub(super) fn encode(host: Option<&FunctionHostStats>, families: &mut Families<'_>) -> fmt::Result {
    let Some(host) = host else { return Ok(()) };
    for (name, help, value) in GAUGES {
        families.gauge(name, None, help, [(vec![], value(host))])?;
    }
    for (name, help, value) in COUNTERS {
        families.counter(name, None, help, [(vec![], value(host))])?;
    }
    let help = "Time of compilations of modules";
    families.counter("module_compile", Some(Unit::Seconds), help, [(vec![], host.compile_seconds)])?;
    encode_calls(&bounded(&host.functions), families)
}

fn encode_calls(functions: &[FunctionCallStats], families: &mut Families<'_>) -> fmt::Result {
    fn labels(function: &FunctionCallStats) -> Vec<(&'static str, &str)> {
        vec![("module", function.module.as_str()), ("function", function.function.as_str())]
    }
    let calls = functions.iter().flat_map(|function| {
        let with = |code| [labels(function), vec![("code", code)]].concat();
        function.outcomes.iter().map(move |(code, count)| (with(*code), *count))
    });
    families.counter("function_calls", None, "Calls of functions, by outcome code", calls)?;
    let limits = functions.iter().flat_map(|function| {
        let with = |limit| [labels(function), vec![("limit", limit)]].concat();
        function.limits.iter().map(move |(limit, count)| (with(*limit), *count))
    });
    families.counter("function_limits_reached", None, "Calls that a limit ended, by limit", limits)?;
    for (name, unit, help, value) in CALL_COUNTERS {
        families.counter(name, unit, help, functions.iter().map(|function| (labels(function), value(function))))?;
    }
    let memory = functions.iter().map(|function| (labels(function), function.memory_bytes_max));
    families.gauge("function_memory_max", Some(Unit::Bytes), "High water of an instance's memory", memory)?;
    let latency = functions.iter().map(|function| {
        let within = function.latency_us.iter().map(|(bound_us, count)| (*bound_us as f64 / 1e6, *count));
        let buckets = within.chain([(f64::INFINITY, function.latency_slower)]).collect();
        (labels(function), function.latency_us_sum as f64 / 1e6, buckets)
    });
    families.histogram("function_duration", Some(Unit::Seconds), "Time of calls, by function", latency)
}

/// The functions that were called most, and the others as one.
fn bounded(functions: &[FunctionCallStats]) -> Vec<FunctionCallStats> {
    let calls = |function: &FunctionCallStats| function.outcomes.iter().map(|(_, count)| count).sum::<u64>();
    let mut sorted: Vec<FunctionCallStats> = functions.to_vec();
    sorted.sort_by_key(|function| std::cmp::Reverse(calls(function)));
    let rest = sorted.split_off(sorted.len().min(FUNCTIONS_MAX));
    if let Some((first, more)) = rest.split_first() {
        let mut other = FunctionCallStats { module: "other".to_owned(), function: "other".to_owned(), ..first.clone() };
        more.iter().for_each(|function| other.add(function));
        sorted.push(other);
    }
    sorted
}

impl FunctionCallStats {
    fn add(&mut self, more: &FunctionCallStats) {
        add_each(&mut self.outcomes, &more.outcomes);
        add_each(&mut self.limits, &more.limits);
        self.fuel += more.fuel;
        self.memory_bytes_max = self.memory_bytes_max.max(more.memory_bytes_max);
        self.records += more.records;
        self.logs_dropped += more.logs_dropped;
        self.latency_us.iter_mut().zip(&more.latency_us).for_each(|(sum, (_, count))| sum.1 += count);
        self.latency_slower += more.latency_slower;
        self.latency_us_sum += more.latency_us_sum;
    }
}

fn add_each(sums: &mut Vec<(&'static str, u64)>, more: &[(&'static str, u64)]) {
    for (name, count) in more {
        match sums.iter_mut().find(|(known, _)| known == name) {
            Some((_, sum)) => *sum += count,
            None => sums.push((name, *count)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_beyond_the_bound_are_counted_together() {
        let function = |number: u64| FunctionCallStats {
            module: format!("m{number}"),
            function: "f".to_owned(),
            outcomes: vec![("ok", number + 1), ("function_failed", 1)],
            fuel: 10,
            latency_us: vec![(64, 1)],
            ..FunctionCallStats::default()
        };
        let functions: Vec<_> = (0..FUNCTIONS_MAX as u64 + 3).map(function).collect();
        let bounded = bounded(&functions);
        assert_eq!(bounded.len(), FUNCTIONS_MAX + 1);
        let other = bounded.last().expect("there are some");
        assert_eq!((other.module.as_str(), other.fuel), ("other", 30));
        assert_eq!(other.outcomes, [("ok", 6), ("function_failed", 3)], "the three that were called least");
        assert_eq!(other.latency_us, [(64, 3)]);
    }
}
