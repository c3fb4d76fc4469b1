//! The bindings for C in `c/` are exactly what the generator makes of `wit/udf.wit`.

use std::path::Path;

use wit_bindgen_core::wit_parser::Resolve;
use wit_bindgen_core::{Files, WorldGenerator};

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/c");
const WIT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../wit/udf.wit");

fn generate() -> Vec<(String, Vec<u8>)> {
    let wit = std::fs::read_to_string(WIT).expect("the WIT");
    let mut resolve = Resolve::default();
    let package = resolve.push_str("udf.wit", &wit).expect("the WIT is well-formed");
    let world = resolve.select_world(&[package], Some("module")).expect("it has the world");
    let options = wit_bindgen_c::Opts { rename_world: Some("outcrop".to_owned()), ..Default::default() };
    let mut files = Files::default();
    let mut generator: Box<dyn WorldGenerator> = options.build();
    generator.generate(&mut resolve, world, &mut files).expect("bindings");
    files.iter().map(|(name, bytes)| (name.to_owned(), bytes.to_vec())).collect()
}

#[test]
fn the_bindings_are_what_the_generator_makes() {
    let made = generate();
    let names: Vec<&str> = made.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["outcrop.c", "outcrop.h", "outcrop_component_type.o"]);
    for (name, bytes) in &made {
        let path = Path::new(FOLDER).join(name);
        if std::env::var_os("OUTCROP_REGENERATE").is_some() {
            std::fs::write(&path, bytes).expect("written");
        }
        let same = std::fs::read(&path).expect("the bindings") == *bytes;
        assert!(same, "{name}: the WIT changed, or the file was edited: run this with OUTCROP_REGENERATE=1 and commit");
    }
}
