//! What a configuration means, what is wrong with it, and that no text can make the parser fall over.

use std::path::PathBuf;
use std::time::Duration;

use proptest::prelude::*;

use super::*;

const SHOP: &str = "[tls]\nself_signed = true\n[[namespace]]\nname = \"shop\"\nsize = \"1GiB\"\n";

fn parse(text: &str) -> Config {
    Config::parse(text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn says(error: &ConfigError, words: &[&str]) {
    let told = error.to_string();
    for word in words {
        assert!(told.contains(word), "{told:?} doesn't say {word:?}");
    }
}

fn wrong(text: &str, words: &[&str]) {
    says(&Config::parse(text).expect_err(text), words);
}

fn load(text: &str, env: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("outcrop.toml");
    std::fs::write(&path, text).expect("a temporary directory");
    Config::load(&path, env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
}

#[test]
fn everything_has_a_default() {
    let config = parse("[[namespace]]\nname = \"shop\"\nsize = \"8GiB\"");
    let home = PathBuf::from("/var/lib/outcrop");
    assert_eq!(config.node, NodeOptions::default());
    assert_eq!(config.limits, LimitOptions::default());
    assert_eq!(config.listen.data.to_string(), "0.0.0.0:7420");
    assert_eq!(config.tls, TlsOptions::Files { certificate: home.join("cert.pem"), private_key: home.join("key.pem") });
    assert_eq!(config.namespaces, [NamespaceOptions::new("shop", 8 << 30)]);
}

#[test]
fn the_drafted_file_is_read() {
    let config = parse(include_str!("../../../deploy/outcrop.toml"));
    assert!(config.namespaces.len() >= 2, "the example shows more than one kind of namespace");
    assert_eq!(config, parse(&config.to_toml()));
}

#[test]
fn every_key_is_described_and_in_the_example() {
    let described = include_str!("../../../docs/configuration.md");
    let example = include_str!("../../../deploy/outcrop.toml");
    for (section, keys) in raw::SECTIONS {
        let heading =
            described.find(&format!("## [{section}]")).or_else(|| described.find(&format!("## [[{section}]]")));
        let described = &described[heading.unwrap_or_else(|| panic!("[{section}] isn't described"))..];
        for key in keys {
            assert!(described.contains(&format!("| `{key}` |")), "{section}.{key} isn't described");
            let written = example.lines().any(|line| line.trim_start_matches("# ").starts_with(&format!("{key} = ")));
            assert!(written, "{section}.{key} isn't in the example");
        }
    }
}

#[test]
fn what_the_example_shows_as_defaults_are_the_defaults() {
    let example = include_str!("../../../deploy/outcrop.toml");
    // `# key = value` is a default; other comments don't look like that.
    let written: String = example
        .lines()
        .map(|line| match line.strip_prefix("# ") {
            Some(rest) if rest.split(' ').nth(1) == Some("=") && !rest.starts_with("self_signed") => rest,
            _ => line,
        })
        .map(|line| format!("{line}\n"))
        .collect();
    assert_eq!(parse(&written), parse(example));
}

#[test]
fn values_mean_what_they_say() {
    let config = parse(
        "[node]\ndata_dir = \"d\"\nworkers = 3\ndrain_ms = 5\n[listen]\ndata = \"[::1]:0\"\nadmin = \"\"\n\
         [limits]\nconnections_max = 7\nstream_window = 65536\n[telemetry]\notlp = \"http://c:4317\"\n\
         sample_percent = 5\nlog_format = \"json\"\n\
         [[namespace]]\nname = \"a\"\nsize = \"64MiB\"\ndefault_ttl = \"30d\"\nvalues = \"flash-cached\"\n\
         [[namespace]]\nname = \"b\"\nsize = \"1GiB\"\nvalues = \"ram\"\n\
         [[namespace]]\nname = \"c\"\nsize = \"1GiB\"\ndevice = \"/dev/nvme1n1\"\ncommit = \"memory\"\ncache = 0",
    );
    assert_eq!((config.node.workers, config.node.drain), (3, Duration::from_millis(5)));
    assert_eq!((config.listen.data.to_string().as_str(), config.listen.admin), ("[::1]:0", None));
    assert_eq!((config.limits.connections_max, config.limits.stream_window_bytes), (7, 65_536));
    assert_eq!((config.telemetry.sample_percent, config.telemetry.log_format), (5.0, LogFormat::Json));
    let [a, b, c] = config.namespaces.as_slice() else { panic!("three namespaces") };
    assert_eq!((a.default_ttl_secs, a.cache_bytes), (Some(30 * 86_400), u64::MAX));
    assert_eq!(a.device, Some(PathBuf::from("d/a.log")));
    assert_eq!(a.write_buffer_bytes, 32 << 20, "the default is cut to half of the size");
    assert_eq!((b.device.as_ref(), b.commit, b.cache_bytes), (None, Commit::Memory, u64::MAX));
    assert_eq!((c.device.clone(), c.commit, c.cache_bytes), (Some("/dev/nvme1n1".into()), Commit::Memory, 0));
}

#[test]
fn unknown_keys_are_named_with_their_place_and_the_right_one() {
    wrong("[node]\n  data_dri = \"x\"\n", &["line 2, column 3", "`data_dri`", "did you mean `data_dir`?"]);
    wrong("[lisen]\ndata = \"\"\n", &["line 1, column 2", "did you mean `listen`?"]);
    wrong("[[namespace]]\nname = \"a\"\nsyze = \"1GiB\"\n", &["line 3, column 1", "did you mean `size`?"]);
    wrong("[node]\nsample_percent = 1\n", &["line 2", "belongs to [telemetry]"]);
    wrong("data_dir = \"x\"\n", &["line 1, column 1", "belongs to [node]"]);
    wrong("[node]\nzzz = 1\n", &["`zzz`", "data_dir, workers, drain_ms"]);
    wrong("[node]\n\"ä\\\"`, expected\" = 1\n", &["line 2", "unknown key"]);
}

#[test]
fn wrong_types_and_ranges_say_what_was_expected_and_where() {
    wrong("[node]\nworkers = \"two\"\n", &["line 2, column 11", "a whole number from 0 to 1024"]);
    wrong("[node]\nworkers = -1\n", &["line 2", "from 0 to 1024, not -1"]);
    wrong("[node]\nworkers = 1.5\n", &["line 2", "a whole number"]);
    wrong("[listen]\ndata = \"here\"\n", &["line 2", "0.0.0.0:7420", "\"here\""]);
    wrong("[listen]\ndata = 7420\n", &["line 2", "string"]);
    wrong("[telemetry]\nsample_percent = 101\n", &["line 2", "0 to 100"]);
    wrong("[telemetry]\nsample_percent = nan\n", &["line 2", "0 to 100"]);
    wrong("[[namespace]]\nname = \"a\"\nsize = \"7MiB\"\n", &["line 3, column 8", "64MiB"]);
    wrong("[[namespace]]\nname = \"a\"\nsize = \"9 potatoes\"\n", &["line 3", "a whole number and a unit"]);
    wrong("[[namespace]]\nvalues = \"disk\"\n", &["line 2", "\"flash\", \"flash-cached\", \"ram\""]);
    wrong("[[namespace]]\nrecord_bytes_max = \"8MiB\"\n", &["line 2", "7MiB"]);
    wrong("[[namespace]]\nflush_ms = 0\n", &["line 2", "1 to 10000"]);
    for ttl in ["-1", "0s", "\"0s\"", "\"-1s\"", "\"5\"", "\"1500ms\"", "\"11000d\"", "\"9223372036854775808s\""] {
        wrong(&format!("[[namespace]]\ndefault_ttl = {ttl}\n"), &["line 2"]);
    }
    wrong("[namespace]\nname = \"a\"\n", &["line 1", "[[namespace]]"]);
    wrong("[node]\nworkers = = 1\n", &["line 2, column 11"]);
    wrong("[node]\nworkers = 1\nworkers = 2\n", &["line 3"]);
    wrong("ä = \"ö\" x", &["line 1"]);
}

#[test]
fn values_have_to_go_together() {
    let namespace = |more: &str| format!("[[namespace]]\nname = \"a\"\nsize = \"1GiB\"\n{more}\n");
    wrong("", &["namespace", "[[namespace]]"]);
    wrong("[[namespace]]\nsize = \"1GiB\"\n", &["no `name`"]);
    wrong("[[namespace]]\nname = \"a b\"\nsize = \"1GiB\"\n", &["a b"]);
    wrong("[[namespace]]\nname = \"a\"\n", &["\"a\": size", "8GiB"]);
    wrong(&namespace("values = \"ram\"\ndevice = \"x\""), &["\"a\": device", "ram"]);
    wrong(&namespace("values = \"ram\"\ncommit = \"flash\""), &["\"a\": commit"]);
    wrong(&namespace("values = \"ram\"\ncache = 1"), &["\"a\": cache"]);
    wrong(&namespace("values = \"flash-cached\"\ncache = \"1MiB\""), &["\"a\": cache"]);
    wrong(&namespace("cache = \"2GiB\""), &["\"a\": cache", "flash-cached"]);
    wrong(&namespace("write_buffer = \"600MiB\""), &["\"a\": write_buffer", "512MiB"]);
    wrong(&format!("{}{}", namespace(""), namespace("")), &["\"a\": name", "twice"]);
    let other = namespace("device = \"/x\"").replace("\"a\"", "\"b\"");
    wrong(&format!("{}{other}", namespace("device = \"/x\"")), &["\"b\": device", "\"a\"'s already"]);
    wrong(&format!("{SHOP}[limits]\nconnection_window_min = \"16MiB\"\n"), &["limits.connection_window_min"]);
    wrong(&format!("{SHOP}[limits]\nhandshakes_max = 5\n"), &["limits.handshakes_retry_above", "5"]);
    wrong(&format!("{SHOP}[listen]\ndata = \"\"\n"), &["listen.data"]);
    wrong(&format!("{SHOP}[telemetry]\notlp = \"https://c\"\n"), &["telemetry.otlp", "collector"]);
    wrong(&format!("{SHOP}[telemetry]\nlog = \"lots\"\n"), &["telemetry.log", "lots"]);
    wrong(&format!("[node]\ndata_dir = \"\"\n{SHOP}"), &["\"shop\": device"]);
    wrong(&SHOP.replace("[tls]", "[tls]\ncertificate = \"x\""), &["tls.self_signed"]);
    let many: String = (0..33).map(|n| format!("[[namespace]]\nname = \"n{n}\"\nsize = \"1GiB\"\n")).collect();
    wrong(&many, &["at most 32", "33"]);
}

#[test]
fn variables_lie_over_the_file() {
    let config = load(
        SHOP,
        &[
            ("OUTCROP_NODE__DATA_DIR", "/d"),
            ("OUTCROP_NODE__WORKERS", " 4 "),
            ("OUTCROP_LISTEN__ADMIN", ""),
            ("OUTCROP_NAMESPACE__SHOP__SIZE", "2GiB"),
            ("OUTCROP_NAMESPACE__SHOP__CACHE", "4096"),
            ("OUTCROP_TELEMETRY__SAMPLE_PERCENT", "0.5"),
            ("OUTCROP_TELEMETRY__LOG", "debug"),
            ("OUTCROP_NAMESPACE__SHOP__DEVICE", "007"),
            // Not ours.
            ("OUTCROP_URL", "x"),
            ("OUTCROP_DEV_X", "x"),
            ("OUTCROP_CRASH__X", "x"),
            ("OUTCROP_PORT_7421_TCP_ADDR", "10.0.0.1"),
            ("OUTCROP_SERVICE_HOST", "10.0.0.1"),
            ("PATH", "x"),
        ],
    );
    let config = config.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!((config.node.data_dir, config.node.workers), (Some("/d".into()), 4));
    assert_eq!(config.listen.admin, None);
    let shop = &config.namespaces[0];
    assert_eq!((shop.size_bytes, shop.cache_bytes), (2 << 30, 4_096));
    assert_eq!(shop.device, Some("/d/007".into()), "text of digits is text where text is wanted");
    assert_eq!((config.telemetry.sample_percent, config.telemetry.log.as_str()), (0.5, "debug"));
}

#[test]
fn wrong_variables_are_named_with_the_right_one() {
    for (variable, value, words) in [
        ("OUTCROP_NODE__DATADIR", "x", &["OUTCROP_NODE__DATADIR", "did you mean OUTCROP_NODE__DATA_DIR?"][..]),
        ("OUTCROP_NODES__WORKERS", "1", &["did you mean OUTCROP_NODE__"]),
        ("OUTCROP_NODE_WORKERS", "1", &["write OUTCROP_NODE__WORKERS"]),
        ("OUTCROP_NAMESPACE_SHOP_SIZE", "1", &["two underscores"]),
        ("OUTCROP_NODE__WORKERS", "many", &["OUTCROP_NODE__WORKERS", "a whole number from 0 to 1024"]),
        ("OUTCROP_NODE__WORKERS", "5000", &["from 0 to 1024, not 5000"]),
        ("OUTCROP_NODE__WORKERS", "1\nx = 2", &["a whole number"]),
        ("OUTCROP_NAMESPACE__STORE__SIZE", "1GiB", &["no namespace", "SHOP"]),
        ("OUTCROP_NAMESPACE__SHOP__NAME", "x", &["unknown key `name`"]),
        ("OUTCROP_NAMESPACE__SHOP__SYZE", "1", &["did you mean OUTCROP_NAMESPACE__SHOP__SIZE?"]),
    ] {
        says(&load(SHOP, &[(variable, value)]).expect_err(variable), words);
    }
    let two = format!(
        "{SHOP}[[namespace]]\nname = \"a-b\"\nsize = \"1GiB\"\n[[namespace]]\nname = \"a_b\"\nsize = \"1GiB\"\n"
    );
    says(&load(&two, &[("OUTCROP_NAMESPACE__A_B__SIZE", "1GiB")]).expect_err("two are meant"), &["more than one"]);
}

#[test]
fn files_that_are_none() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let none = || std::iter::empty();
    says(&Config::load(dir.path(), none()).expect_err("a directory"), &["is a directory", "outcrop.toml"]);
    let path = dir.path().join("x.toml");
    says(&Config::load(&path, none()).expect_err("missing"), &["x.toml"]);
    std::fs::write(&path, b"[node]\n\xFF").expect("a temporary directory");
    says(&Config::load(&path, none()).expect_err("not text"), &["UTF-8", "byte 7"]);
    std::fs::write(&path, vec![b'#'; 2 << 20]).expect("a temporary directory");
    says(&Config::load(&path, none()).expect_err("too large"), &["1048576"]);
}

#[test]
fn dev_runs_with_and_without_a_directory() {
    let ram = Config::dev(None, "test");
    assert_eq!(ram.namespaces, [NamespaceOptions::ram("test", 1 << 30)]);
    assert!(ram.listen.data.ip().is_loopback());
    let kept = Config::dev(Some(Path::new("/d")), "test");
    assert_eq!(kept.namespaces[0].device, Some("/d/test.log".into()));
    assert_eq!((kept.namespaces[0].commit, kept.tls.clone()), (Commit::Flash, TlsOptions::SelfSigned));
    for config in [ram, kept] {
        assert_eq!(parse(&config.to_toml()), config);
    }
}

#[test]
fn nesting_of_ten_thousand_is_an_error() {
    wrong(&format!("x = {}", "[".repeat(10_000)), &["line 1"]);
    wrong(&format!("x = {}1{}", "{a=".repeat(10_000), "}".repeat(10_000)), &["line 1"]);
    wrong(&format!("{}a = 1", "a.".repeat(10_000)), &["line 1"]);
}

/// Text made of pieces that configurations are made of.
fn pieces() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        proptest::sample::select(vec![
            "[node]\n",
            "[listen]\n",
            "[tls]\n",
            "[limits]\n",
            "[telemetry]\n",
            "[[namespace]]\n",
            "name = ",
            "size = ",
            "values = ",
            "\"ram\"",
            "\"1GiB\"",
            "\"a\"",
            "true",
            "1",
            "-1",
            "1e9",
            "nan",
            "[",
            "]",
            "{",
            "}",
            ",",
            "\n",
            "=",
            "self_signed = true\n",
            "default_ttl = \"30d\"\n",
            "\"",
            "'''",
            "\\u",
            "#",
            ".",
            "1979-05-27",
        ])
        .prop_map(str::to_owned),
        "\\PC{0,6}",
    ];
    proptest::collection::vec(piece, 0..30).prop_map(|pieces| pieces.concat())
}

fn namespace() -> impl Strategy<Value = NamespaceOptions> {
    let place = prop_oneof![Just(Values::Flash), Just(Values::FlashCached), Just(Values::Ram)];
    let engine = prop_oneof![Just(Engine::Auto), Just(Engine::IoUring), Just(Engine::Pread)];
    let shape = ("[a-z][a-zA-Z0-9_-]{0,30}", (64_u64 << 20)..1 << 46, place, engine, any::<bool>(), 0_u64..=100);
    let numbers = (1_u64..=10_000, proptest::option::of(1_u32..=315_360_000), 1_u32..=7 << 20, 0_u8..=99, 0_u8..=95);
    (shape, numbers, "[ -~äß\\\\\"\n]{1,20}").prop_map(
        |((name, size, values, engine, memory, share), numbers, path)| {
            let (flush_ms, default_ttl_secs, record_bytes_max, high_water_percent, defrag_live_percent) = numbers;
            let ram = values == Values::Ram;
            NamespaceOptions {
                device: (!ram).then(|| format!("/{path}").into()),
                size_bytes: size,
                values,
                commit: if ram || memory { Commit::Memory } else { Commit::Flash },
                flush: Duration::from_millis(flush_ms),
                default_ttl_secs,
                record_bytes_max,
                cache_bytes: if values == Values::Flash { size * share / 100 } else { u64::MAX },
                write_buffer_bytes: (16 << 20) + share * (((size / 2) - (16 << 20)) / 100),
                high_water_percent,
                defrag_live_percent,
                engine,
                ..NamespaceOptions::new(&name, size)
            }
        },
    )
}

proptest! {
    #[test]
    fn no_text_panics(text in pieces()) {
        if let Ok(config) = Config::parse(&text) {
            prop_assert_eq!(Config::parse(&config.to_toml()).ok(), Some(config));
        }
    }

    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Config::parse(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn no_variable_panics(name in "OUTCROP_(NODE|NAMESPACE|LIMITS|X)_{1,2}[A-Z_]{0,12}", value in ".*") {
        let _ = load(SHOP, &[(&name, &value)]);
    }

    #[test]
    fn what_is_settled_reads_back_the_same(namespace in namespace(), percent in 0.0..=100.0_f64) {
        let mut config = Config::dev(None, "test");
        config.telemetry.sample_percent = percent;
        config.namespaces = vec![namespace];
        let text = config.to_toml();
        prop_assert_eq!(Config::parse(&text).map_err(|error| TestCaseError::fail(format!("{error}\n{text}")))?, config);
    }
}
