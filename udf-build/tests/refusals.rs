//! What is no module is refused by name, before anybody uploads it.

use outcrop_udf_build::core_module::strip_debug;
use outcrop_udf_build::{BuildError, adopt, check, encode};

fn wat(text: &str) -> Vec<u8> {
    wat::parse_str(text).expect("well-formed text")
}

#[test]
fn a_core_module_that_wants_wasi_or_a_browser_is_told_which_of_it() {
    let core = wat(r#"(module
        (import "wasi_snapshot_preview1" "clock_time_get" (func (param i32 i64 i32) (result i32)))
        (import "__wbindgen_placeholder__" "__wbindgen_throw" (func (param i32 i32)))
        (func (export "outcrop:udf/functions@1.0.0#describe") (result i32) i32.const 0))"#);
    let error = encode(&core).expect_err("refused");
    let BuildError::Imports { names } = &error else { panic!("{error}") };
    assert_eq!(names, &["wasi_snapshot_preview1 clock_time_get", "__wbindgen_placeholder__ __wbindgen_throw"]);
    assert!(error.to_string().contains("wasi_snapshot_preview1 clock_time_get"), "{error}");
    assert!(!error.advice().is_empty());
}

#[test]
fn a_core_module_without_functions_is_no_module() {
    assert!(matches!(encode(&wat("(module)")), Err(BuildError::NoModule)));
    assert!(matches!(encode(b"\0asm"), Err(BuildError::NotComponent(_))));
    assert!(matches!(encode(b"no wasm at all"), Err(BuildError::NotComponent(_))));
}

#[test]
fn exports_without_the_world_s_types_are_not_enough() {
    let core = wat(r#"(module
        (memory (export "memory") 1)
        (func (export "outcrop:udf/functions@1.0.0#describe") (result i32) i32.const 0))"#);
    let checked = encode(&core).and_then(|component| check(&component));
    assert!(matches!(checked, Err(BuildError::NoModule)), "{checked:?}");
}

#[test]
fn components_are_checked_against_the_world() {
    assert!(matches!(check(&wat("(module)")), Err(BuildError::NotComponent(_))));
    assert!(matches!(check(b"\0"), Err(BuildError::NotComponent(_))));
    assert!(matches!(check(&wat("(component)")), Err(BuildError::NoModule)));
    let wasi = wat(r#"(component (import "wasi:cli/environment@0.2.0" (instance)))"#);
    let error = check(&wasi).expect_err("WASI");
    assert!(matches!(&error, BuildError::Imports { names } if names == &["wasi:cli/environment@0.2.0"]), "{error}");
    let wrong = wat(r#"(component
        (instance $empty)
        (export "outcrop:udf/functions@1.0.0" (instance $empty)))"#);
    assert!(matches!(check(&wrong), Err(BuildError::World(_))));
}

#[test]
fn debug_information_goes_and_names_stay() {
    let core = wat(r#"(module
        (@custom ".debug_info" "many bytes")
        (@custom "name of ours" "kept")
        (@custom ".debug_line" (after last) "more bytes")
        (func $named (export "f")))"#);
    let stripped = strip_debug(&core).expect("well-formed");
    let has = |bytes: &[u8], name: &str| bytes.windows(name.len()).any(|window| window == name.as_bytes());
    assert!(has(&core, ".debug_info") && has(&core, ".debug_line"));
    assert!(!has(&stripped, ".debug") && !has(&stripped, "bytes"));
    assert!(has(&stripped, "kept") && has(&stripped, "named"));
    assert_eq!(strip_debug(&stripped).expect("well-formed"), stripped);
    for cut in 0..core.len() {
        // Whatever it says: it comes back.
        let _ = strip_debug(&core[..cut]);
    }
}

#[test]
fn what_another_compiler_made_is_checked_before_it_is_written() {
    let directory = std::env::temp_dir().join(format!("outcrop-adopt-{}", std::process::id()));
    std::fs::create_dir_all(&directory).expect("a temporary directory");
    let core = directory.join("visits.wasm");
    assert!(matches!(adopt(&core, false), Err(BuildError::File { .. })), "there is no such file");
    std::fs::write(&core, wat("(module)")).expect("written");
    assert!(matches!(adopt(&core, false), Err(BuildError::NoModule)));
    std::fs::write(&core, wat("(component)")).expect("written");
    assert!(matches!(adopt(&core, true), Err(BuildError::NoModule)));
    assert!(!directory.join("visits.component.wasm").exists());
    std::fs::remove_dir_all(&directory).expect("removed");
}
