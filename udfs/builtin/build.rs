//! Builds the modules that come with the node, in a target directory of their own, so that they are compiled once.

use std::path::{Path, PathBuf};

use outcrop_udf_build::{Options, build};

const MODULES: [&str; 3] = ["document", "scan", "timeseries"];

fn main() {
    if let Err(error) = run() {
        eprintln!("{error}");
        std::process::exit(1);
    }
}

fn run() -> Result<(), Box<dyn std::error::Error>> {
    let here = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR")?);
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    let root = here.join("../..").canonicalize()?;
    // OUT_DIR is TARGET/PROFILE/build/NAME/out: components of every profile are the same, and built in one place.
    let target = out.ancestors().nth(4).unwrap_or(&out).join("udf");
    for module in MODULES {
        let project = root.join("udfs").join(module);
        let options = Options { target_dir: Some(target.clone()), ..Options::new(&project) };
        let built = build(&options, &mut |step| println!("{step}"))
            .map_err(|error| format!("the module {module} can't be built: {error}\n{}", error.advice()))?;
        std::fs::write(out.join(format!("{module}.wasm")), &built.component)?;
        watch(&project);
    }
    for shared in ["wire/src", "udf-sdk/src", "udf-sdk/macros/src", "wit"] {
        println!("cargo::rerun-if-changed={}", root.join(shared).display());
    }
    println!("cargo::rerun-if-changed=build.rs");
    Ok(())
}

fn watch(project: &Path) {
    for part in ["src", "Cargo.toml"] {
        println!("cargo::rerun-if-changed={}", project.join(part).display());
    }
}
