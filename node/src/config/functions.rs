//! Functions: what the node gives all of them together, and what each namespace allows those that run on its records.
//!
//! A namespace's limit may not be over what the node can grant: that is an error that names both. Where nothing is
//! written, the default is lowered to what the node grants.

use std::time::Duration;

use outcrop_wire::function::check_module_name;

use super::error::ConfigError;
use super::raw::{RawCallLimits, RawFunctions, RawRules};
use super::render::{Lines, quote};
use super::units::format_bytes;
use crate::platform::PlatformOptions;
use crate::udf::registry::{NamespaceRules, hex, unhex};
use crate::udf::{CompileOptions, FunctionOptions, Limits};

/// Public keys and modules that a namespace names, at most.
const WORDS_MAX: usize = 64;

/// Functions of the node; the namespaces' rules are still to come.
pub(super) fn settle(raw: &RawFunctions) -> Result<PlatformOptions, ConfigError> {
    let base = PlatformOptions::default();
    let (host, compile) = (&base.host, &base.host.compile);
    let wall = raw.compile_wall_secs.map_or(compile.wall, |secs| Duration::from_secs(secs.0));
    let settled = CompileOptions {
        module_bytes_max: raw.module_bytes_max.map_or(compile.module_bytes_max, |n| n.0),
        functions_max: raw.module_functions_max.map_or(compile.functions_max, |n| n.0 as u32),
        function_body_bytes_max: raw.function_body_bytes_max.map_or(compile.function_body_bytes_max, |n| n.0 as u32),
        data_bytes_max: raw.data_bytes_max.map_or(compile.data_bytes_max, |n| n.0),
        core_modules_max: raw.core_modules_max.map_or(compile.core_modules_max, |n| n.0 as u32),
        memory_bytes_max: raw.compile_memory_max.map_or(compile.memory_bytes_max, |n| n.0),
        cpu: raw.compile_cpu_secs.map_or(compile.cpu.min(wall), |secs| Duration::from_secs(secs.0)),
        wall,
        queue_max: raw.compile_queue_max.map_or(compile.queue_max, |n| n.0 as usize),
    };
    let host = FunctionOptions {
        instances_max: raw.instances_max.map_or(host.instances_max, |n| n.0 as u32),
        instance_wait: raw.instance_wait_ms.map_or(host.instance_wait, |ms| Duration::from_millis(ms.0)),
        memory_bytes_ceiling: raw.memory_bytes_ceiling.map_or(host.memory_bytes_ceiling, |n| n.0),
        table_elements_ceiling: raw.table_elements_ceiling.map_or(host.table_elements_ceiling, |n| n.0 as u32),
        stack_bytes: raw.stack_bytes.map_or(host.stack_bytes, |n| n.0 as u32),
        keep_resident_bytes: host.keep_resident_bytes,
        cache_bytes_max: raw.cache.map_or(host.cache_bytes_max, |n| n.0),
        compile: settled,
    };
    if host.compile.cpu > host.compile.wall {
        let (cpu, wall) = (host.compile.cpu.as_secs(), host.compile.wall.as_secs());
        let message = format!("{cpu} is over compile_wall_secs, {wall}; raise that too");
        return Err(ConfigError::relation("functions.compile_cpu_secs", message));
    }
    let enabled = raw.enabled.unwrap_or(base.enabled);
    let threads = raw.threads.map_or(base.threads, |n| n.0 as usize);
    Ok(PlatformOptions { enabled, threads, host, rules: Vec::new() })
}

/// What a namespace asks and allows.
pub(super) fn settle_rules(
    namespace: &str,
    raw: &RawRules,
    host: &FunctionOptions,
) -> Result<NamespaceRules, ConfigError> {
    let base = NamespaceRules::default();
    let wrong = |key: &str, message: String| {
        ConfigError::relation(format!("namespace {namespace:?}: functions.{key}"), message)
    };
    let module_bytes_ceiling = host.compile.module_bytes_max;
    let module_bytes_max = raw.module_bytes_max.map_or(base.module_bytes_max.min(module_bytes_ceiling), |n| n.0);
    if module_bytes_max > module_bytes_ceiling {
        let (asked, ceiling) = (format_bytes(module_bytes_max), format_bytes(module_bytes_ceiling));
        return Err(wrong("module_bytes_max", format!("{asked} is over functions.module_bytes_max, {ceiling}")));
    }
    let words = |words: &Option<super::raw::Words>| words.as_ref().map(|words| words.0.clone()).unwrap_or_default();
    let (keys, modules) = (words(&raw.trusted_keys), words(&raw.modules));
    if keys.len() > WORDS_MAX || modules.len() > WORDS_MAX {
        let key = if keys.len() > WORDS_MAX { "trusted_keys" } else { "modules" };
        return Err(wrong(key, format!("at most {WORDS_MAX} of them")));
    }
    let mut trusted_keys = Vec::new();
    for key in &keys {
        let message = || format!("{key:?} isn't an ed25519 public key of 64 hexadecimal digits (`outcrop udf keygen`)");
        trusted_keys.push(unhex::<32>(key).ok_or_else(|| wrong("trusted_keys", message()))?);
    }
    for module in &modules {
        check_module_name(module).map_err(|error| wrong("modules", error.to_string()))?;
    }
    let limits = |raw: &RawCallLimits, base: &Limits, table: &str| {
        settle_limits(raw, base, host).map_err(|(key, message)| wrong(&format!("{table}.{key}"), message))
    };
    Ok(NamespaceRules {
        record: limits(&raw.call, &base.record, "call")?,
        query: limits(&raw.query, &base.query, "query")?,
        module_bytes_max,
        trusted_keys,
        modules,
    })
}

/// Bounds of a call; an error names the key and says what it is over.
fn settle_limits(raw: &RawCallLimits, base: &Limits, host: &FunctionOptions) -> Result<Limits, (&'static str, String)> {
    let (memory, tables) = (host.memory_bytes_ceiling, u64::from(host.table_elements_ceiling));
    let limits = Limits {
        wall: raw.wall_ms.map_or(base.wall, |ms| Duration::from_millis(ms.0)),
        fuel: raw.fuel.map_or(base.fuel, |n| n.0),
        memory_bytes: raw.memory_bytes.map_or(base.memory_bytes.min(memory), |n| n.0),
        table_elements: raw.table_elements.map_or(base.table_elements.min(tables), |n| n.0),
        host_calls: raw.host_calls.map_or(base.host_calls, |n| n.0),
        input_bytes: raw.input_bytes.map_or(base.input_bytes, |n| n.0),
        output_bytes: raw.output_bytes.map_or(base.output_bytes, |n| n.0),
        log_lines: raw.log_lines.map_or(base.log_lines, |n| n.0 as u32),
        log_bytes: raw.log_bytes.map_or(base.log_bytes, |n| n.0),
        reads: raw.reads.map_or(base.reads, |n| n.0 as u32),
        read_bytes: raw.read_bytes.map_or(base.read_bytes, |n| n.0),
        concurrent_calls: raw
            .concurrent_calls
            .map_or(base.concurrent_calls.min(host.instances_max), |calls| calls.0 as u32),
    };
    if limits.memory_bytes > memory {
        let (asked, ceiling) = (format_bytes(limits.memory_bytes), format_bytes(memory));
        return Err(("memory_bytes", format!("{asked} is over functions.memory_bytes_ceiling, {ceiling}")));
    }
    if limits.table_elements > tables {
        let message = format!("{} is over functions.table_elements_ceiling, {tables}", limits.table_elements);
        return Err(("table_elements", message));
    }
    if limits.concurrent_calls > host.instances_max {
        let message = format!("{} is over functions.instances_max, {}", limits.concurrent_calls, host.instances_max);
        return Err(("concurrent_calls", message));
    }
    Ok(limits)
}

pub(super) fn render(functions: &PlatformOptions, out: &mut Lines) {
    let (host, compile) = (&functions.host, &functions.host.compile);
    out.section("[functions]");
    out.set("enabled", functions.enabled);
    out.set("threads", functions.threads);
    out.set("instances_max", host.instances_max);
    out.set("instance_wait_ms", host.instance_wait.as_millis());
    out.size("memory_bytes_ceiling", host.memory_bytes_ceiling);
    out.set("table_elements_ceiling", host.table_elements_ceiling);
    out.size("stack_bytes", host.stack_bytes.into());
    out.size("cache", host.cache_bytes_max);
    out.size("module_bytes_max", compile.module_bytes_max);
    out.set("module_functions_max", compile.functions_max);
    out.size("function_body_bytes_max", compile.function_body_bytes_max.into());
    out.size("data_bytes_max", compile.data_bytes_max);
    out.set("core_modules_max", compile.core_modules_max);
    out.size("compile_memory_max", compile.memory_bytes_max);
    out.set("compile_cpu_secs", compile.cpu.as_secs());
    out.set("compile_wall_secs", compile.wall.as_secs());
    out.set("compile_queue_max", compile.queue_max);
}

pub(super) fn render_rules(rules: &NamespaceRules, out: &mut Lines) {
    let list = |words: Vec<String>| format!("[{}]", words.join(", "));
    out.section("[namespace.functions]");
    out.size("module_bytes_max", rules.module_bytes_max);
    out.set("trusted_keys", list(rules.trusted_keys.iter().map(|key| quote(&hex(key))).collect()));
    out.set("modules", list(rules.modules.iter().map(|name| quote(name)).collect()));
    for (name, limits) in [("call", &rules.record), ("query", &rules.query)] {
        out.section(&format!("[namespace.functions.{name}]"));
        out.set("wall_ms", limits.wall.as_millis());
        out.set("fuel", limits.fuel);
        out.size("memory_bytes", limits.memory_bytes);
        out.set("table_elements", limits.table_elements);
        out.set("host_calls", limits.host_calls);
        out.size("input_bytes", limits.input_bytes);
        out.size("output_bytes", limits.output_bytes);
        out.set("log_lines", limits.log_lines);
        out.size("log_bytes", limits.log_bytes);
        out.set("reads", limits.reads);
        out.size("read_bytes", limits.read_bytes);
        out.set("concurrent_calls", limits.concurrent_calls);
    }
}

#[cfg(test)]
mod tests {
    use super::super::Config;

    const HEAD: &str = "[tls]\nself_signed = true\n";
    const SHOP: &str = "[[namespace]]\nname = \"shop\"\nsize = \"1GiB\"\n";

    fn wrong(text: &str, words: &[&str]) {
        let told = Config::parse(&format!("{HEAD}{text}")).expect_err(text).to_string();
        for word in words {
            assert!(told.contains(word), "{told:?} doesn't say {word:?}");
        }
    }

    fn right(text: &str) -> Config {
        Config::parse(&format!("{HEAD}{text}")).unwrap_or_else(|error| panic!("{error}\n{text}"))
    }

    #[test]
    fn what_isnt_written_is_as_ever() {
        assert_eq!(right(SHOP).functions, super::PlatformOptions::default());
        assert_eq!(right(&format!("{SHOP}[namespace.functions.call]\nfuel = 200000000\n")).functions.rules, []);
    }

    #[test]
    fn what_is_written_holds_and_reads_back() {
        let key = "ab".repeat(32);
        let config = right(&format!(
            "[functions]\nthreads = 2\nmemory_bytes_ceiling = \"128MiB\"\ncompile_wall_secs = 60\n{SHOP}\
             [namespace.functions]\ntrusted_keys = [\"{key}\"]\nmodules = [\"ads\", \"shop\"]\n\
             [namespace.functions.call]\nwall_ms = 5\nmemory_bytes = \"8MiB\"\n\
             [namespace.functions.query]\nconcurrent_calls = 3\n{}",
            SHOP.replace("shop", "other")
        ));
        let functions = &config.functions;
        assert_eq!((functions.threads, functions.host.memory_bytes_ceiling), (2, 128 << 20));
        assert_eq!(functions.host.compile.cpu.as_secs(), 60, "a default is lowered to what goes with the rest");
        let shop = functions.rules_of(0);
        assert_eq!((shop.trusted_keys.as_slice(), shop.modules.len()), (&[[0xab; 32]][..], 2));
        assert_eq!((shop.record.wall.as_millis(), shop.record.memory_bytes), (5, 8 << 20));
        assert_eq!((shop.query.concurrent_calls, shop.query.memory_bytes), (3, 128 << 20));
        let other = functions.rules_of(1);
        assert_eq!((other.query.memory_bytes, other.trusted_keys.len()), (128 << 20, 0), "lowered to the ceiling");
        assert_eq!(Config::parse(&config.to_toml()).expect("it reads back"), config);
    }

    #[test]
    fn what_doesnt_go_together_names_both() {
        let call = |more: &str| format!("{SHOP}[namespace.functions.call]\n{more}\n");
        let named = "namespace \"shop\": functions.call.";
        wrong(
            &call("memory_bytes = \"2GiB\""),
            &[named, "memory_bytes: 2GiB is over functions.memory_bytes_ceiling, 1GiB"],
        );
        wrong(&call("table_elements = 200000"), &[named, "over functions.table_elements_ceiling, 100000"]);
        wrong(
            &format!("[functions]\ninstances_max = 8\n{}", call("concurrent_calls = 9")),
            &[named, "9 is over functions.instances_max, 8"],
        );
        wrong(
            &format!("{SHOP}[namespace.functions]\nmodule_bytes_max = \"64MiB\"\n"),
            &["functions.module_bytes_max: 64MiB is over functions.module_bytes_max, 32MiB"],
        );
        wrong(&format!("[functions]\ncompile_cpu_secs = 200\n{SHOP}"), &["functions.compile_cpu_secs", "180"]);
        wrong(&format!("{SHOP}[namespace.functions]\ntrusted_keys = [\"ab\"]\n"), &["\"ab\"", "keygen"]);
        wrong(&format!("{SHOP}[namespace.functions]\nmodules = [\"No Name\"]\n"), &["functions.modules", "No Name"]);
        wrong(&call("fule = 5"), &["unknown key `fule`", "`fuel`", "line 7"]);
        wrong(&format!("[functions]\nfuel = 5\n{SHOP}"), &["unknown key `fuel`", "[namespace.functions.call]"]);
        wrong(&call("wall_ms = 0"), &["line 7", "from 1 to 86400000"]);
        wrong(&call("memory_bytes = \"1KiB\""), &["a size from 64KiB to 4GiB"]);
    }

    #[test]
    fn variables_reach_the_tables_of_a_namespace() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("outcrop.toml");
        std::fs::write(&path, format!("{HEAD}{SHOP}")).expect("a temporary directory");
        let load = |variables: &[(&str, &str)]| {
            let variables = variables.iter().map(|(name, value)| (format!("OUTCROP_{name}"), (*value).to_owned()));
            Config::load(&path, variables.collect::<Vec<_>>().into_iter())
        };
        let config = load(&[
            ("FUNCTIONS__ENABLED", "false"),
            ("NAMESPACE__SHOP__FUNCTIONS__MODULES", "ads, shop"),
            ("NAMESPACE__SHOP__FUNCTIONS__CALL__FUEL", "7"),
            ("NAMESPACE__SHOP__FUNCTIONS__QUERY__MEMORY_BYTES", "1MiB"),
        ])
        .expect("they are right");
        let rules = config.functions.rules_of(0);
        assert_eq!((config.functions.enabled, rules.modules.len()), (false, 2));
        assert_eq!((rules.record.fuel, rules.query.memory_bytes), (7, 1 << 20));
        for (variable, says) in [
            ("FUNCTIONS__TREADS", "OUTCROP_FUNCTIONS__THREADS"),
            ("NAMESPACE__SHOP__FUNCTIONS__CALL__FULE", "OUTCROP_NAMESPACE__SHOP__FUNCTIONS__CALL__FUEL"),
            ("NAMESPACE__SHOP__FUNCTIONS__MODULE", "OUTCROP_NAMESPACE__SHOP__FUNCTIONS__MODULES"),
        ] {
            let told = load(&[(variable, "1")]).expect_err(variable).to_string();
            assert!(told.contains(says), "{told}");
        }
    }
}
