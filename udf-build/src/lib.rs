//! Builds Rust crates into components of the world `outcrop:udf/module`, and checks components against it.
//!
//! The command line, build scripts and tests use it. What it does, in order: find the WebAssembly target or install it
//! ([`toolchain`]), run cargo with a target directory of its own ([`cargo`]), drop debug information, make a component
//! of the core module and check it against the world ([`component`]).
//!
//! ```no_run
//! use outcrop_udf_build::{Options, build};
//!
//! let built = build(&Options::new("shop"), &mut |step| eprintln!("{step}"))?;
//! println!("{}: {} bytes", built.path.display(), built.component.len());
//! # Ok::<(), outcrop_udf_build::BuildError>(())
//! ```

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod cargo;
pub mod component;
pub mod core_module;
mod error;
pub mod layout;
pub mod process;
pub mod toolchain;

use std::path::{Path, PathBuf};

pub use component::{Checked, check, encode};
pub use error::BuildError;
pub use toolchain::Install;

/// The WIT that modules are built against.
pub const WIT: &str = include_str!("../../wit/udf.wit");

/// What to build, and how.
#[derive(Debug, Clone)]
pub struct Options {
    /// The directory of the crate's `Cargo.toml`.
    pub project: PathBuf,
    /// Which package of a workspace; needed if the directory has several that could be modules.
    pub package: Option<String>,
    /// Where cargo puts what it builds; without it `udf` in the workspace's own target directory.
    pub target_dir: Option<PathBuf>,
    /// Keeps line tables, so that backtraces show files and lines. The module becomes several times larger.
    pub debug: bool,
    /// Works without a network: cargo uses what it has, nothing is installed.
    pub offline: bool,
    /// What may be installed if the WebAssembly target isn't there.
    pub install: Install,
}

impl Options {
    /// A release build of the crate in a directory; the target is installed if rustup can.
    pub fn new(project: impl Into<PathBuf>) -> Self {
        Options {
            project: project.into(),
            package: None,
            target_dir: None,
            debug: false,
            offline: false,
            install: Install::Target,
        }
    }
}

/// A module that was built.
#[derive(Debug, Clone)]
pub struct Built {
    /// The package's name.
    pub package: String,
    /// The package's version.
    pub version: String,
    /// The component.
    pub component: Vec<u8>,
    /// Where it was written.
    pub path: PathBuf,
    /// What it imports and exports.
    pub checked: Checked,
}

/// Builds a crate and writes its component beside cargo's output; `progress` is told each step.
pub fn build(options: &Options, progress: &mut dyn FnMut(&str)) -> Result<Built, BuildError> {
    let directory = options.project.canonicalize().map_err(|error| BuildError::file(&options.project, error))?;
    let install = if options.offline { Install::Nothing } else { options.install };
    // Before anything else: where there is no cargo at all, the compiler that is installed brings one.
    let toolchain = toolchain::find(&directory, install, progress)?;
    let project = cargo::find_project(&directory, options.package.as_deref(), &toolchain)?;
    progress(&format!("building {} {} for {}", project.package, project.version, toolchain::TARGET));
    let target_dir = options.target_dir.clone().unwrap_or_else(|| project.target_directory.join("udf"));
    let core_path = cargo::build(&project, &toolchain, &target_dir, options)?;
    let core = read(&core_path)?;
    let core = if options.debug { core } else { core_module::strip_debug(&core)? };
    let component = encode(&core)?;
    let checked = check(&component)?;
    let path = target_dir.join(format!("{}.wasm", project.package));
    write(&path, &component)?;
    progress(&format!("made {} of {} bytes", path.display(), component.len()));
    Ok(Built { package: project.package, version: project.version, component, path, checked })
}

/// Makes a module of what another compiler built: a core module that carries its world in a custom section, or a
/// component. It is named after the file, beside which it is written; its version is for whoever
/// deploys it to choose, here it is 0.0.0.
pub fn adopt(file: &Path, debug: bool) -> Result<Built, BuildError> {
    let bytes = read(file)?;
    let component = match wasmparser::Parser::is_core_wasm(&bytes) {
        true if debug => encode(&bytes)?,
        true => encode(&core_module::strip_debug(&bytes)?)?,
        false => bytes,
    };
    let checked = check(&component)?;
    let stem = file.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let package = stem.strip_suffix(ADOPTED).unwrap_or(&stem).to_owned();
    let path = file.with_file_name(format!("{package}{ADOPTED}.wasm"));
    write(&path, &component)?;
    Ok(Built { package, version: "0.0.0".to_owned(), component, path, checked })
}

/// What stands between name and ending of a component that [`adopt`] wrote.
const ADOPTED: &str = ".component";

fn read(path: &Path) -> Result<Vec<u8>, BuildError> {
    std::fs::read(path).map_err(|error| BuildError::file(path, error))
}

/// Whole or not at all: somebody may be reading the file.
fn write(path: &Path, bytes: &[u8]) -> Result<(), BuildError> {
    let beside = path.with_extension(format!("{}.new", std::process::id()));
    let write = || std::fs::write(&beside, bytes).and_then(|()| std::fs::rename(&beside, path));
    write().map_err(|error| BuildError::file(path, error))
}
