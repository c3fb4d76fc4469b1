//! `outcrop udf new`: a project that builds, with a function, its tests and a file of cases.

use std::path::{Path, PathBuf};

use clap::Args;
use outcrop_wire::function::check_module_name;

use crate::failure::{Exit, Failure};

const HELP: &str = "\
Examples:
  outcrop udf new shop                         a project in ./shop
  outcrop udf new shop --in ~/src              a project in ~/src/shop
  outcrop udf new shop --sdk ../outcrop/udf-sdk

It depends on the SDK of the checkout that it is made in or that this program was built in, else on the published one.";

const LIB: &str = include_str!("template/lib.rs.txt");
const CASES: &str = include_str!("template/cases.json.txt");
const SDK_PACKAGE: &str = "outcrop-udf-sdk";

/// Make a project.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub struct NewArgs {
    /// Name of the module
    #[arg(value_parser = parse_name)]
    pub name: String,
    /// Directory to make the project's directory in
    #[arg(long = "in", value_name = "DIR", default_value = ".")]
    pub parent: PathBuf,
    /// Directory of the SDK (udf-sdk of a checkout)
    #[arg(long, value_name = "DIR")]
    pub sdk: Option<PathBuf>,
}

fn parse_name(text: &str) -> Result<String, outcrop_wire::NameError> {
    check_module_name(text).map(|()| text.to_owned())
}

/// Makes the project.
pub fn run(args: &NewArgs) -> Result<Exit, Failure> {
    let directory = args.parent.join(&args.name);
    if directory.exists() {
        let message = format!("{} is there already", directory.display());
        return Err(Failure::usage(message, "Take another name, or another directory with --in."));
    }
    let sdk = sdk_dependency(args)?;
    let files = [
        ("Cargo.toml", manifest(&args.name, &sdk)),
        ("src/lib.rs", LIB.to_owned()),
        ("tests/cases.json", CASES.to_owned()),
        (".gitignore", "/target\n".to_owned()),
    ];
    for (name, text) in files {
        write(&directory.join(name), &text)?;
    }
    let shown = directory.display();
    println!("made {shown}: a module with one function and its tests");
    println!("  cd {shown}");
    println!("  cargo test              the function alone");
    println!("  outcrop udf test        the module in a node of its own, with the cases of tests/cases.json");
    println!("  outcrop udf deploy      to a running node (outcrop dev)");
    println!("  outcrop udf dev         all of that again whenever a file is saved");
    if !sdk.contains("path") {
        println!(
            "There is no checkout of Outcrop around: it takes the SDK from the package registry. --sdk names one."
        );
    }
    Ok(Exit::Ok)
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let write = || -> std::io::Result<()> {
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::write(path, text)
    };
    write().map_err(|error| Failure::of_output(&path.display().to_string(), &error))
}

/// How the project names the SDK in its `Cargo.toml`.
fn sdk_dependency(args: &NewArgs) -> Result<String, Failure> {
    let found = match &args.sdk {
        Some(directory) if is_sdk(directory) => Some(directory.clone()),
        Some(directory) => {
            let message = format!("{} is not the package {SDK_PACKAGE}", directory.display());
            return Err(Failure::usage(message, "Name the directory udf-sdk of a checkout."));
        }
        None => checkout_sdk(&args.parent),
    };
    match found.map(|directory| directory.canonicalize()) {
        Some(Ok(directory)) => Ok(format!("{{ path = {:?} }}", directory.display().to_string())),
        Some(Err(error)) => Err(Failure::local(format!("the SDK's directory: {error}"), "Name it with --sdk.")),
        None => Ok(format!("{:?}", env!("CARGO_PKG_VERSION"))),
    }
}

/// The SDK of the checkout around a directory, or around this program.
fn checkout_sdk(parent: &Path) -> Option<PathBuf> {
    let places = [parent.canonicalize().ok(), std::env::current_exe().ok()];
    places.into_iter().flatten().find_map(|place| {
        place.ancestors().map(|ancestor| ancestor.join("udf-sdk")).find(|directory| is_sdk(directory))
    })
}

fn is_sdk(directory: &Path) -> bool {
    let manifest = std::fs::read_to_string(directory.join("Cargo.toml")).unwrap_or_default();
    manifest.lines().any(|line| line.trim() == format!("name = {SDK_PACKAGE:?}"))
}

fn manifest(name: &str, sdk: &str) -> String {
    format!(
        r#"[package]
name = "{name}"
version = "0.1.0"
edition = "2024"

[lib]
# A module is a cdylib; the rlib is for tests.
crate-type = ["cdylib", "rlib"]

[dependencies]
{SDK_PACKAGE} = {sdk}
serde = {{ version = "1", features = ["derive"] }}

# A workspace of its own, wherever it lies.
[workspace]
"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(parent: &Path, name: &str) -> NewArgs {
        NewArgs { name: name.to_owned(), parent: parent.to_owned(), sdk: None }
    }

    #[test]
    fn a_project_is_made_once_and_its_cases_can_be_read() {
        let directory = tempfile::tempdir().unwrap();
        run(&args(directory.path(), "shop")).unwrap();
        let project = directory.path().join("shop");
        let manifest = std::fs::read_to_string(project.join("Cargo.toml")).unwrap();
        assert!(manifest.contains("name = \"shop\""), "{manifest}");
        let cases = std::fs::read_to_string(project.join("tests/cases.json")).unwrap();
        assert_eq!(crate::udf::cases::parse(&cases).unwrap().len(), 3);
        assert!(run(&args(directory.path(), "shop")).unwrap_err().message.contains("already"));
    }

    #[test]
    fn the_sdk_is_this_checkout_s_or_the_named_one() {
        let sdk = Path::new(env!("CARGO_MANIFEST_DIR")).join("../udf-sdk");
        assert!(is_sdk(&sdk));
        let inside = checkout_sdk(&sdk.join("src")).unwrap();
        assert_eq!(inside.canonicalize().unwrap(), sdk.canonicalize().unwrap());
        let directory = tempfile::tempdir().unwrap();
        let wrong = NewArgs { sdk: Some(directory.path().to_owned()), ..args(directory.path(), "shop") };
        assert!(run(&wrong).unwrap_err().message.contains(SDK_PACKAGE));
    }

    #[test]
    fn names_are_those_of_modules() {
        assert!(parse_name("shop-2").is_ok());
        assert!(parse_name("Shop").is_err());
        assert!(parse_name("../shop").is_err());
    }
}
