//! `outcrop udf build`: from a Rust project to a component that fits the world.

use std::path::{Path, PathBuf};

use clap::Args;
use outcrop_client::Value;
use outcrop_udf_build::{BuildError, Built, Install, Options};

use crate::failure::{Exit, Failure};
use crate::output::{Out, OutputFormat, bytes_text, count, object};

const HELP: &str = "\
Examples:
  outcrop udf build                            the project of this directory
  outcrop udf build shop                       the project in ./shop
  outcrop udf build --debug                    backtraces with files and lines; a larger module
  outcrop udf build --core visits.wasm         what a compiler of C or another language made: visits.component.wasm
  outcrop udf build --install-packages         without rustup: Debian's compiler, installed by apt-get

It finds the target wasm32-unknown-unknown or installs it, runs cargo with a target directory of its own, makes a
component and checks it: what it imports and exports.";

/// Which project, and how it is built.
#[derive(Debug, Clone, Args)]
pub struct ProjectArgs {
    /// The project's directory
    #[arg(default_value = ".")]
    pub project: PathBuf,
    /// Which package of a workspace
    #[arg(long, value_name = "NAME")]
    pub package: Option<String>,
    /// A core module that another compiler made, in place of a Rust project
    #[arg(long, value_name = "FILE", conflicts_with = "package")]
    pub core: Option<PathBuf>,
    /// Keep line tables: backtraces with files and lines, in a larger module
    #[arg(long)]
    pub debug: bool,
    /// Use only what is on this machine
    #[arg(long, conflicts_with = "install_packages")]
    pub offline: bool,
    /// Where there is no rustup: install Debian's compiler (takes root)
    #[arg(long)]
    pub install_packages: bool,
}

/// Build a module.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub struct BuildArgs {
    /// The project.
    #[command(flatten)]
    pub project: ProjectArgs,
    /// How to print
    #[arg(short = 'o', long, value_enum, default_value = "table")]
    pub output: OutputFormat,
}

impl ProjectArgs {
    fn options(&self) -> Options {
        Options {
            package: self.package.clone(),
            debug: self.debug,
            offline: self.offline,
            install: if self.install_packages { Install::Packages } else { Install::Target },
            ..Options::new(&self.project)
        }
    }
}

impl From<BuildError> for Failure {
    fn from(error: BuildError) -> Self {
        match error {
            BuildError::Program { .. } | BuildError::Timeout { .. } | BuildError::File { .. } => {
                Failure::local(error.to_string(), error.advice())
            }
            _ => Failure::usage(error.to_string(), error.advice()),
        }
    }
}

/// Builds the project; steps go to standard error, as cargo's own words do.
pub async fn build(project: &ProjectArgs) -> Result<Built, Failure> {
    let (options, core) = (project.options(), project.core.clone());
    let work = move || match core {
        Some(file) => outcrop_udf_build::adopt(&file, options.debug),
        None => outcrop_udf_build::build(&options, &mut |step| eprintln!("{step}")),
    };
    let joined = tokio::task::spawn_blocking(work).await;
    let built = joined.map_err(|error| Failure::local(format!("the build broke off: {error}"), "Run it again."))?;
    Ok(built?)
}

/// Builds and says what came of it.
pub async fn run(args: &BuildArgs) -> Result<Exit, Failure> {
    let built = build(&args.project).await?;
    let mut out = Out::new();
    match args.output {
        OutputFormat::Json => out.json(&to_json(&built))?,
        OutputFormat::Table => {
            let size = bytes_text(built.component.len() as u64);
            out.line(&format!("{} {}  {}  {size}", built.package, built.version, shown(&built.path)))?;
            out.line(&format!("  exports  {}", built.checked.exports.join(", ")))?;
            out.line(&format!("  imports  {}", built.checked.imports.join(", ")))?;
        }
    }
    out.flush()?;
    Ok(Exit::Ok)
}

fn to_json(built: &Built) -> Value {
    let names = |names: &[String]| Value::List(names.iter().map(|name| name.as_str().into()).collect());
    object([
        ("name", built.package.as_str().into()),
        ("version", built.version.as_str().into()),
        ("path", built.path.display().to_string().into()),
        ("bytes", count(built.component.len() as u64)),
        ("exports", names(&built.checked.exports)),
        ("imports", names(&built.checked.imports)),
    ])
}

/// A path as it is shortest from here.
fn shown(path: &Path) -> String {
    let here = std::env::current_dir().ok();
    let inside = here.as_deref().and_then(|here| path.strip_prefix(here).ok());
    inside.unwrap_or(path).display().to_string()
}
