//! Where the workspace is, what its files are, and which cargo to call.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Makes the workspace's root the working directory, so that every path in the tasks is relative to it.
pub fn enter() -> Result<(), String> {
    let root = root();
    std::env::set_current_dir(&root).map_err(|error| format!("{}: {error}", root.display()))
}

/// The workspace's root: this package lies one floor below.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new(".")).to_path_buf()
}

/// The cargo that runs this task.
pub fn cargo() -> OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// Where cargo puts what it builds.
pub fn target_dir() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// Every file of the repository, tracked or new but not ignored, relative to the root and with `/` between its parts.
/// Outside of a git checkout (a source archive), every file below the root but `target` and hidden ones.
pub fn files() -> Result<Vec<String>, String> {
    let listed = Command::new("git").args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]).output();
    let mut files = match listed {
        Ok(output) if output.status.success() => String::from_utf8_lossy(&output.stdout)
            .split('\0')
            .filter(|path| !path.is_empty() && Path::new(path).is_file())
            .map(str::to_owned)
            .collect(),
        _ => {
            let mut found = Vec::new();
            walk(Path::new("."), &mut found).map_err(|error| format!("can't list the files: {error}"))?;
            found
        }
    };
    files.sort();
    files.dedup();
    Ok(files)
}

fn walk(folder: &Path, found: &mut Vec<String>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let path = entry.path();
        let kind = entry.file_type()?;
        if kind.is_dir() {
            let hidden = name.starts_with('.') && name != ".ci" && name != ".cargo";
            if !hidden && !name.starts_with("target") {
                walk(&path, found)?;
            }
        } else if kind.is_file() {
            found.push(path.strip_prefix(".").unwrap_or(&path).to_string_lossy().replace('\\', "/"));
        }
    }
    Ok(())
}

/// One package of the workspace, as cargo describes it.
#[derive(Debug, serde::Deserialize)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// SPDX expression, if it states one.
    pub license: Option<String>,
    /// Where it comes from; none for a path of this workspace.
    pub source: Option<String>,
    /// What it asks for.
    pub dependencies: Vec<Dependency>,
}

/// One entry of a package's dependencies.
#[derive(Debug, serde::Deserialize)]
pub struct Dependency {
    /// The other package's name.
    pub name: String,
    /// `None` for an ordinary one, else `dev` or `build`.
    pub kind: Option<String>,
}

/// What cargo says of the workspace: its own packages only, or those of the whole dependency graph.
pub fn packages(whole_graph: bool) -> Result<Vec<Package>, String> {
    #[derive(serde::Deserialize)]
    struct Metadata {
        packages: Vec<Package>,
    }
    let mut command = Command::new(cargo());
    command.args(["metadata", "--format-version", "1"]);
    command.arg(if whole_graph { "--locked" } else { "--no-deps" });
    let output = command.output().map_err(|error| format!("cargo metadata: {error}"))?;
    if !output.status.success() {
        return Err(format!("cargo metadata: {}", String::from_utf8_lossy(&output.stderr).trim()));
    }
    let metadata: Metadata =
        serde_json::from_slice(&output.stdout).map_err(|error| format!("cargo metadata: {error}"))?;
    Ok(metadata.packages)
}
