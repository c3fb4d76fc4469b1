//! The compiler for WebAssembly: rustup's target, installed if it isn't there; else Debian's second compiler.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::error::BuildError;
use crate::process::run;

/// The target that modules are built for: nothing is assumed to be around the module.
pub const TARGET: &str = "wasm32-unknown-unknown";

const ASK_BOUND: Duration = Duration::from_secs(60);
const RUSTUP_BOUND: Duration = Duration::from_secs(90);
const RUSTUP_TRIES: usize = 3;
const APT_BOUND: Duration = Duration::from_secs(600);
/// Debian's compiler that comes with the library's source.
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const DEBIAN_CARGO: &str = "/usr/bin/cargo";
const DEBIAN_LINKER: &str = "/usr/bin/rust-lld";
/// The last one names the linker, which a machine with rustup has already.
const DEBIAN_PACKAGES: [&str; 4] = ["rustc-web", "cargo-web", "rust-web-src", "rust-web-llvm"];

/// What may be installed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Install {
    /// Nothing.
    Nothing,
    /// The target, by rustup, into the user's own toolchain.
    Target,
    /// Debian's packages as well, which takes root.
    Packages,
}

/// A way to compile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Toolchain {
    /// The compiler on the path has the target.
    Ready,
    /// Debian's compiler, which builds the standard library of the target along.
    Debian {
        /// The linker of WebAssembly.
        linker: PathBuf,
    },
}

impl Toolchain {
    /// The command that runs cargo, without arguments.
    pub fn cargo(&self) -> Command {
        match self {
            Toolchain::Ready => Command::new("cargo"),
            Toolchain::Debian { linker } => {
                let mut command = Command::new(DEBIAN_CARGO);
                let path = std::env::var_os("PATH").unwrap_or_default();
                let paths = std::iter::once(PathBuf::from("/usr/bin")).chain(std::env::split_paths(&path));
                if let Ok(joined) = std::env::join_paths(paths) {
                    command.env("PATH", joined);
                }
                command.env("RUSTC", DEBIAN_RUSTC).env("RUSTC_BOOTSTRAP", "1");
                command.env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", linker);
                command.env_remove("RUSTUP_TOOLCHAIN");
                command
            }
        }
    }

    /// Arguments that a build needs beside its own.
    pub fn arguments(&self) -> &'static [&'static str] {
        match self {
            Toolchain::Ready => &[],
            Toolchain::Debian { .. } => &["-Z", "build-std=std,panic_abort"],
        }
    }
}

/// Finds a way to compile in `directory` (which may name a toolchain of its own), installing what it may.
pub fn find(directory: &Path, install: Install, progress: &mut dyn FnMut(&str)) -> Result<Toolchain, BuildError> {
    if has_target(directory) {
        return Ok(Toolchain::Ready);
    }
    let mut tried = vec![format!("the compiler on the path has no target {TARGET}")];
    if install == Install::Nothing {
        tried.push("nothing may be installed".to_owned());
    } else {
        tried.push(add_target(directory, progress));
        if has_target(directory) {
            return Ok(Toolchain::Ready);
        }
    }
    if let Some(found) = find_debian(directory) {
        progress("using Debian's compiler, which builds the standard library along");
        return Ok(found);
    }
    if install == Install::Packages {
        tried.push(add_packages(progress));
        if let Some(found) = find_debian(directory) {
            return Ok(found);
        }
    }
    tried.push(format!("Debian's {} with its library's source and a linker isn't installed", DEBIAN_PACKAGES[0]));
    Err(BuildError::NoTarget { tried })
}

fn ask(directory: &Path, program: &str, arguments: &[&str]) -> Option<String> {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(directory).stderr(Stdio::null());
    let ended = run(&mut command, ASK_BOUND).ok()?;
    ended.success.then(|| ended.output.trim().to_owned())
}

fn has_target(directory: &Path) -> bool {
    let library = ask(directory, "rustc", &["--print", "target-libdir", "--target", TARGET]);
    library.is_some_and(|path| Path::new(&path).is_dir())
}

/// Runs rustup a few times: it is known to hang now and then.
fn add_target(directory: &Path, progress: &mut dyn FnMut(&str)) -> String {
    let mut last = String::new();
    for attempt in 1..=RUSTUP_TRIES {
        progress(&format!("adding the target {TARGET} (rustup, attempt {attempt} of {RUSTUP_TRIES})"));
        let mut command = Command::new("rustup");
        command.args(["target", "add", TARGET]).current_dir(directory);
        match run(&mut command, RUSTUP_BOUND) {
            Ok(ended) if ended.success => return "rustup added it".to_owned(),
            Ok(_) => last = "rustup refused".to_owned(),
            Err(error @ BuildError::Program { .. }) => return error.to_string(),
            Err(error) => last = error.to_string(),
        }
    }
    format!("{last}, {RUSTUP_TRIES} times")
}

fn add_packages(progress: &mut dyn FnMut(&str)) -> String {
    let installed = apt_get(&["update"], progress).and_then(|()| {
        let install = ["install", "-y", "--no-install-recommends"];
        apt_get(&[&install[..], &DEBIAN_PACKAGES].concat(), progress)?;
        match debian_linker_package() {
            Some(linker) => apt_get(&[&install[..], &[&linker]].concat(), progress),
            None => Ok(()),
        }
    });
    installed.map_or_else(|error| error, |()| "apt-get installed Debian's compiler".to_owned())
}

/// The package of the linker that Debian's compiler has the name of, as a link that leads nowhere until it is installed:
/// `lld-22` of that release of LLVM.
fn debian_linker_package() -> Option<String> {
    let target = std::fs::read_link(DEBIAN_LINKER).ok()?;
    let package = target.file_name()?.to_str()?;
    let release = package.strip_prefix("lld-")?;
    let plain = !release.is_empty() && release.bytes().all(|byte| byte.is_ascii_digit());
    (plain && !Path::new(DEBIAN_LINKER).is_file()).then(|| package.to_owned())
}

fn apt_get(arguments: &[&str], progress: &mut dyn FnMut(&str)) -> Result<(), String> {
    progress(&format!("apt-get {}", arguments.join(" ")));
    let mut command = Command::new("apt-get");
    command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive");
    match run(&mut command, APT_BOUND) {
        Ok(ended) if ended.success => Ok(()),
        Ok(_) => Err(format!("apt-get {} failed", arguments[0])),
        Err(error) => Err(error.to_string()),
    }
}

/// Debian's compiler, if it has the source of its own library, with a linker: its own or rustup's.
fn find_debian(directory: &Path) -> Option<Toolchain> {
    let sysroot = ask(directory, DEBIAN_RUSTC, &["--print", "sysroot"])?;
    let source = Path::new(&sysroot).join("lib/rustlib/src/rust/library/std");
    if !source.is_dir() || !Path::new(DEBIAN_CARGO).is_file() {
        return None;
    }
    let others = ask(directory, "rustc", &["--print", "sysroot"]);
    let roots = [Some(sysroot), others].into_iter().flatten();
    let linker = roots.filter_map(|root| find_linker(Path::new(&root))).next()?;
    Some(Toolchain::Debian { linker })
}

fn find_linker(sysroot: &Path) -> Option<PathBuf> {
    // Debian's is a program like others, rustup's lies with the libraries.
    let debian = sysroot.join("bin/rust-lld");
    if debian.is_file() {
        return Some(debian);
    }
    let hosts = std::fs::read_dir(sysroot.join("lib/rustlib")).ok()?;
    hosts.filter_map(Result::ok).map(|host| host.path().join("bin/rust-lld")).find(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_compiler_of_this_project_has_the_target_or_says_what_was_tried() {
        let mut steps = Vec::new();
        let found = find(Path::new("."), Install::Nothing, &mut |step| steps.push(step.to_owned()));
        match found {
            Ok(_) => assert!(steps.len() <= 1, "{steps:?}"),
            Err(error) => assert!(error.to_string().contains(TARGET), "{error}"),
        }
    }

    #[test]
    fn debian_s_compiler_builds_the_library_along() {
        let debian = Toolchain::Debian { linker: PathBuf::from("/lld") };
        assert_eq!(debian.cargo().get_program(), DEBIAN_CARGO);
        assert_eq!(debian.arguments()[0], "-Z");
    }
}
