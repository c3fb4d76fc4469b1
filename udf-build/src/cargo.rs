//! Cargo: which package is meant, where it puts things, and its build.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use crate::Options;
use crate::error::BuildError;
use crate::layout::{Layout, PackageMetadata};
use crate::process::run;
use crate::toolchain::{TARGET, Toolchain};

const METADATA_BOUND: Duration = Duration::from_secs(300);
const BUILD_BOUND: Duration = Duration::from_secs(3_600);

/// A crate that can be a module.
#[derive(Debug, Clone)]
pub struct Project {
    /// Its package's name.
    pub package: String,
    /// Its package's version.
    pub version: String,
    /// The directory of its `Cargo.toml`.
    pub directory: PathBuf,
    /// The target directory of its workspace.
    pub target_directory: PathBuf,
    /// How its memory is laid out.
    pub layout: Layout,
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    target_directory: PathBuf,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    version: String,
    manifest_path: PathBuf,
    targets: Vec<Target>,
    metadata: Option<PackageMetadata>,
}

#[derive(Deserialize)]
struct Target {
    crate_types: Vec<String>,
}

/// Finds the package that is meant: the named one, the one of the directory, or the only one that is a `cdylib`.
pub fn find_project(directory: &Path, package: Option<&str>, toolchain: &Toolchain) -> Result<Project, BuildError> {
    let mut command = toolchain.cargo();
    command.args(["metadata", "--no-deps", "--format-version", "1"]).current_dir(directory);
    let ended = run(&mut command, METADATA_BOUND)?;
    if !ended.success {
        return Err(BuildError::Project(format!("{} is no Rust crate", directory.display())));
    }
    let metadata: Metadata = serde_json::from_str(&ended.output)
        .map_err(|error| BuildError::Project(format!("cargo's metadata can't be read: {error}")))?;
    let found = choose(&metadata.packages, directory, package)?;
    if !found.is_cdylib() {
        let message = format!("the package {} is no `cdylib`: its Cargo.toml needs", found.name);
        return Err(BuildError::Project(format!("{message} [lib] crate-type = [\"cdylib\", \"rlib\"]")));
    }
    Ok(Project {
        package: found.name.clone(),
        version: found.version.clone(),
        directory: found.manifest_path.parent().unwrap_or(directory).to_owned(),
        layout: Layout::of(&found.name, found.metadata.as_ref())?,
        target_directory: metadata.target_directory,
    })
}

impl Package {
    fn is_cdylib(&self) -> bool {
        self.targets.iter().any(|target| target.crate_types.iter().any(|kind| kind == "cdylib"))
    }
}

fn choose<'a>(packages: &'a [Package], directory: &Path, wanted: Option<&str>) -> Result<&'a Package, BuildError> {
    if let Some(wanted) = wanted {
        let missing = || BuildError::Project(format!("the workspace has no package {wanted:?}"));
        return packages.iter().find(|package| package.name == wanted).ok_or_else(missing);
    }
    let here = directory.join("Cargo.toml");
    if let Some(package) = packages.iter().find(|package| package.manifest_path == here) {
        return Ok(package);
    }
    let modules: Vec<&Package> = packages.iter().filter(|package| package.is_cdylib()).collect();
    match modules.as_slice() {
        [one] => Ok(one),
        [] => Err(BuildError::Project(format!("{} has no crate of type cdylib", directory.display()))),
        several => {
            let names: Vec<&str> = several.iter().map(|package| package.name.as_str()).collect();
            Err(BuildError::Project(format!("several crates can be a module, name one: {}", names.join(", "))))
        }
    }
}

/// Builds the package's core module and gives its path. The compiler's words go to standard error.
pub fn build(
    project: &Project,
    toolchain: &Toolchain,
    target_dir: &Path,
    options: &Options,
) -> Result<PathBuf, BuildError> {
    let mut command = toolchain.cargo();
    command.current_dir(&project.directory).args(["rustc", "--release", "--lib", "--target", TARGET]);
    command.args(["--package", &project.package, "--message-format", "json-render-diagnostics"]);
    command.arg("--target-dir").arg(target_dir).args(toolchain.arguments());
    if options.offline {
        command.arg("--offline");
    }
    command.arg("--");
    for argument in project.layout.linker_arguments() {
        command.arg("-C").arg(format!("link-arg={argument}"));
    }
    // Small, fast and with names for backtraces, whatever the workspace says of its own release builds.
    command.env("CARGO_PROFILE_RELEASE_LTO", "fat").env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "1");
    command.env("CARGO_PROFILE_RELEASE_PANIC", "abort").env("CARGO_PROFILE_RELEASE_STRIP", "none");
    let debug = if options.debug { "line-tables-only" } else { "false" };
    command.env("CARGO_PROFILE_RELEASE_DEBUG", debug);
    // Flags of the machine's own builds (sanitizers, target-cpu) mean nothing here.
    for name in ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "CARGO_BUILD_TARGET", "CARGO_TARGET_DIR"] {
        command.env_remove(name);
    }
    let ended = run(&mut command, BUILD_BOUND)?;
    if !ended.success {
        return Err(BuildError::Compile { package: project.package.clone() });
    }
    let found = ended.output.lines().filter_map(|line| artifact(line, &project.directory)).next_back();
    found.ok_or_else(|| BuildError::Project(format!("cargo built no WebAssembly of {}", project.package)))
}

#[derive(Deserialize)]
struct Message {
    reason: String,
    #[serde(default)]
    manifest_path: PathBuf,
    #[serde(default)]
    filenames: Vec<PathBuf>,
}

/// The core module that a line of cargo's messages tells of, if it is this crate's.
fn artifact(line: &str, directory: &Path) -> Option<PathBuf> {
    let message: Message = serde_json::from_str(line).ok()?;
    let ours = message.reason == "compiler-artifact" && message.manifest_path.parent() == Some(directory);
    let is_wasm = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "wasm");
    message.filenames.into_iter().filter(|_| ours).find(is_wasm)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, kind: &str) -> Package {
        Package {
            name: name.to_owned(),
            version: "1.0.0".to_owned(),
            manifest_path: PathBuf::from(format!("/w/{name}/Cargo.toml")),
            targets: vec![Target { crate_types: vec![kind.to_owned()] }],
            metadata: None,
        }
    }

    #[test]
    fn the_package_is_the_named_one_the_one_of_the_directory_or_the_only_one() {
        let packages = [package("a", "cdylib"), package("b", "cdylib"), package("c", "lib")];
        let choose = |directory: &str, wanted| choose(&packages, Path::new(directory), wanted).map(|p| p.name.clone());
        assert_eq!(choose("/w", Some("b")).unwrap(), "b");
        assert_eq!(choose("/w/a", None).unwrap(), "a");
        assert!(choose("/w", None).unwrap_err().to_string().contains("a, b"));
        assert!(choose("/w", Some("d")).is_err());
    }

    #[test]
    fn messages_of_other_crates_are_passed_over() {
        let line = |manifest: &str, file: &str| {
            format!(r#"{{"reason":"compiler-artifact","manifest_path":"{manifest}","filenames":["{file}"],"x":1}}"#)
        };
        let found = |text: &str| artifact(text, Path::new("/w/a"));
        assert_eq!(found(&line("/w/a/Cargo.toml", "/t/a.wasm")), Some(PathBuf::from("/t/a.wasm")));
        assert_eq!(found(&line("/w/b/Cargo.toml", "/t/b.wasm")), None);
        assert_eq!(found(&line("/w/a/Cargo.toml", "/t/a.rlib")), None);
        assert_eq!(found("warning: unused"), None);
    }
}
