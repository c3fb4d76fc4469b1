//! `outcrop udf deploy`: build (or take a component as it is), check, upload, activate.

use std::path::PathBuf;

use clap::Args;
use outcrop_client::{Client, ClientError, Code};
use outcrop_udf_build::{Built, check};
use outcrop_wire::function::check_module_name;

use super::build::{ProjectArgs, build};
use super::key::sign;
use super::test::{print, read_cases, run_cases, verdict};
use crate::failure::{Exit, Failure};
use crate::output::{Out, OutputFormat, bytes_text, count, object};
use crate::target::Target;

const HELP: &str = "\
Examples:
  outcrop udf deploy                           the project of this directory, under its own name and version
  outcrop udf deploy --version 0.2.0           another version than in Cargo.toml
  outcrop udf deploy --no-activate             upload it; calls go on with the version that is active
  outcrop udf deploy --test                    only if its cases are right
  outcrop udf deploy --component shop.wasm --name shop --version 1
  outcrop udf deploy --core visits.wasm --version 0.1.0
  outcrop udf deploy --sign release.key

A version is what it is for good: other content needs another version.";

/// Deploy a module.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub struct DeployArgs {
    /// The project.
    #[command(flatten)]
    pub project: ProjectArgs,
    /// A component to upload as it is, in place of a project
    #[arg(long, value_name = "FILE", requires = "name", requires = "version", conflicts_with_all = ["package", "core"])]
    pub component: Option<PathBuf>,
    /// Name of the module [default: the package's]
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Version [default: the package's]
    #[arg(long, value_name = "VERSION")]
    pub version: Option<String>,
    /// Upload it only
    #[arg(long)]
    pub no_activate: bool,
    /// Run its cases first, and stop if one is wrong
    #[arg(long, conflicts_with = "component")]
    pub test: bool,
    /// Sign it with this key (`outcrop udf keygen`)
    #[arg(long, value_name = "FILE")]
    pub sign: Option<PathBuf>,
    /// The node.
    #[command(flatten)]
    pub target: Target,
}

/// A module that is ready to be uploaded.
pub struct Module {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The component.
    pub component: Vec<u8>,
}

/// Builds, uploads, activates.
pub async fn run(args: &DeployArgs) -> Result<Exit, Failure> {
    let module = prepare(args).await?;
    if args.test {
        let cases = read_cases(&args.project.project, &[], None)?;
        let outcomes = run_cases(&module.name, &module.version, &module.component, &cases).await?;
        print(&outcomes, args.target.output)?;
        verdict(&outcomes)?;
    }
    let signature = args.sign.as_deref().map(|file| sign(file, &module.component)).transpose()?;
    let client = args.target.connect().await?;
    let uploaded = client.modules().upload(&module.name, &module.version, &module.component, signature.as_ref()).await;
    uploaded.map_err(|error| refused(error, &module))?;
    if !args.no_activate {
        client.modules().activate(&module.name, &module.version).await?;
    }
    say(args.target.output, &module, !args.no_activate)?;
    client.close().await;
    Ok(Exit::Ok)
}

async fn prepare(args: &DeployArgs) -> Result<Module, Failure> {
    let (name, version, component) = match &args.component {
        Some(file) => {
            let unreadable =
                |error| Failure::local(format!("{}: {error}", file.display()), "Name a component that can be read.");
            let component = std::fs::read(file).map_err(unreadable)?;
            check(&component)?;
            (String::new(), String::new(), component)
        }
        None if args.project.core.is_some() && args.version.is_none() => {
            return Err(Failure::usage("a core module has no version of its own", "Give one with --version."));
        }
        None => {
            let Built { package, version, component, .. } = build(&args.project).await?;
            (package, version, component)
        }
    };
    let name = args.name.clone().unwrap_or(name);
    check_module_name(&name).map_err(|error| Failure::usage(error.to_string(), "Name it with --name."))?;
    Ok(Module { name, version: args.version.clone().unwrap_or(version), component })
}

/// An upload's refusal, with what to do where the node can't know it.
fn refused(error: ClientError, module: &Module) -> Failure {
    let mut failure = Failure::from(error);
    if failure.code == Some(Code::ModuleExists) {
        failure.advice = format!(
            "{}@{} is there with other content. Raise the version in Cargo.toml, or give one with --version.",
            module.name, module.version
        );
    }
    failure
}

/// Uploads and activates; what `dev` does again and again.
pub async fn upload_and_activate(client: &Client, module: &Module) -> Result<(), Failure> {
    let uploaded = client.modules().upload(&module.name, &module.version, &module.component, None).await;
    uploaded.map_err(|error| refused(error, module))?;
    Ok(client.modules().activate(&module.name, &module.version).await?)
}

fn say(output: OutputFormat, module: &Module, active: bool) -> Result<(), Failure> {
    let hash = blake3::hash(&module.component).to_hex();
    let mut out = Out::new();
    match output {
        OutputFormat::Json => out.json(&object([
            ("module", module.name.as_str().into()),
            ("version", module.version.as_str().into()),
            ("bytes", count(module.component.len() as u64)),
            ("hash", hash.as_str().into()),
            ("active", active.into()),
        ]))?,
        OutputFormat::Table => {
            let (name, version, size) = (&module.name, &module.version, bytes_text(module.component.len() as u64));
            let state = if active { "active" } else { "uploaded, not active" };
            out.line(&format!("{name}@{version}: {state}  {size}, hash {}", &hash.as_str()[..12]))?;
            out.line(&format!("  outcrop udf describe {name} {version}"))?;
        }
    }
    out.flush()
}
