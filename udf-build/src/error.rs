//! Why a module can't be built, each with what to do about it.

use std::path::{Path, PathBuf};

use thiserror::Error;

/// Why there is no component.
#[derive(Debug, Error)]
pub enum BuildError {
    /// A program isn't there or can't be started.
    #[error("can't run `{program}`: {source}")]
    Program {
        /// Its name.
        program: String,
        /// Why.
        source: std::io::Error,
    },
    /// A program took too long and was stopped.
    #[error("`{program}` was stopped after {secs} s")]
    Timeout {
        /// Its command line.
        program: String,
        /// The bound.
        secs: u64,
    },
    /// A file can't be read or written.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The directory holds no crate that can be a module.
    #[error("{0}")]
    Project(String),
    /// There is no way to compile to WebAssembly.
    #[error("no WebAssembly target for Rust:{}", list(.tried))]
    NoTarget {
        /// What was tried, and what came of it.
        tried: Vec<String>,
    },
    /// The compiler refused; it has said why on standard error.
    #[error("cargo found errors in {package}")]
    Compile {
        /// The package.
        package: String,
    },
    /// A crate of the module wants to call something that a node doesn't offer.
    #[error("the module imports what a node doesn't offer:{}", list(.names))]
    Imports {
        /// The imports.
        names: Vec<String>,
    },
    /// The core module exports nothing of the world.
    #[error("the crate exports no functions: `outcrop_udf::module! {{ … }}` is missing in its lib.rs")]
    NoModule,
    /// The component doesn't have the world's exports, or has them with other types.
    #[error("this is no `outcrop:udf/module@1`: {0}")]
    World(String),
    /// The bytes aren't a component at all.
    #[error("this is no component: {0}")]
    NotComponent(String),
}

fn list(items: &[String]) -> String {
    items.iter().map(|item| format!("\n  - {item}")).collect()
}

impl BuildError {
    pub(crate) fn file(path: &Path, source: std::io::Error) -> Self {
        BuildError::File { path: path.to_owned(), source }
    }

    /// What to do about it.
    pub fn advice(&self) -> &'static str {
        match self {
            BuildError::Program { .. } => "Install Rust: https://rustup.rs",
            BuildError::Timeout { .. } => "Check the network, then run it again.",
            BuildError::File { .. } => "Check the file, its directory and its disk.",
            BuildError::Project(_) => "Run it in a project made by `outcrop udf new NAME`, or name its directory.",
            BuildError::NoTarget { .. } => {
                "Run `rustup target add wasm32-unknown-unknown`, or install rustc-web, cargo-web, rust-web-src and \
                 rust-web-llvm (Debian; `--install-packages` does it)."
            }
            BuildError::Compile { .. } => "Mend what the compiler says above.",
            BuildError::Imports { names } if names.iter().any(|name| name.starts_with("__wbindgen")) => {
                "A dependency believes that it runs in a browser: turn off its feature for that (`wasm-bindgen`, `js`, \
                 `wasmbind`). A module has no clock and no randomness but `now_ms()` and `seed()`."
            }
            BuildError::Imports { .. } => {
                "A module may import `outcrop:udf` only: no WASI, no clock, no environment. Build for \
                 wasm32-unknown-unknown, and do without the dependency that asks for these."
            }
            BuildError::NoModule => "List the functions: outcrop_udf::module! { doc: \"…\", functions: [name] }",
            BuildError::World(_) => "Build it against wit/udf.wit of this version.",
            BuildError::NotComponent(_) => "Build it with `outcrop udf build`.",
        }
    }
}
