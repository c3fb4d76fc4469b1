//! The bindings in `src/bindings/generated.rs` are exactly what the generator makes of `wit/udf.wit`.

use std::path::Path;

use wit_bindgen_core::wit_parser::Resolve;
use wit_bindgen_core::{Files, WorldGenerator};
use wit_bindgen_rust::{Opts, Ownership};

const GENERATED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/bindings/generated.rs");
const WIT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../wit/udf.wit");
const FIRST_LINE: &str =
    "//! Generated from `wit/udf.wit` by the test `bindings`; `OUTCROP_REGENERATE=1` makes it anew. Don't edit.\n";

fn generate() -> String {
    let wit = std::fs::read_to_string(WIT).expect("the WIT");
    let mut resolve = Resolve::default();
    let package = resolve.push_str("udf.wit", &wit).expect("the WIT is well-formed");
    let world = resolve.select_world(&[package], Some("module")).expect("it has the world");
    let options = Opts {
        format: true,
        pub_export_macro: true,
        ownership: Ownership::Borrowing { duplicate_if_necessary: false },
        runtime_path: Some("::outcrop_udf::guest::rt".to_owned()),
        default_bindings_module: Some("$crate::bindings".to_owned()),
        ..Opts::default()
    };
    let mut files = Files::default();
    options.build().generate(&mut resolve, world, &mut files).expect("bindings");
    let (_, bytes) = files.iter().next().expect("one file");
    format!("{FIRST_LINE}{}", String::from_utf8(bytes.to_vec()).expect("text"))
}

#[test]
fn the_bindings_are_what_the_generator_makes() {
    let made = generate();
    if std::env::var_os("OUTCROP_REGENERATE").is_some() {
        std::fs::write(GENERATED, &made).expect("written");
    }
    let there = std::fs::read_to_string(Path::new(GENERATED)).expect("the bindings");
    let same = there == made;
    assert!(same, "the WIT changed, or the file was edited: run this test with OUTCROP_REGENERATE=1 and commit");
}
