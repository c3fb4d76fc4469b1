//! `outcrop dev`: a node to try things on, on this machine only unless told otherwise.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::Args;
use outcrop_client::{Value, dev_certificate_path};
use outcrop_node::Node;
use outcrop_node::config::Config;

use super::{Signals, not_started, serve, start_log};
use crate::failure::{Exit, Failure};
use crate::output::{Out, OutputFormat, object};

const HELP: &str = "\
Examples:
  outcrop dev                                   in memory: nothing stays
  outcrop dev --data ./data                     on a file: kept and synced
  outcrop dev --listen 127.0.0.1:0 -o json      any free port; the first line says which

It makes its own certificate and leaves it where the commands of the same user find it. With --output json the first
line of standard output is one JSON object: ready, url, data, admin, namespace, certificate, pid.
Without --admin, metrics and health are on the port after the one of --listen (any free one if that is 0).
SIGTERM or ctrl-c drains: requests under way finish, the log syncs.";

/// Run a node to try things on.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub struct DevArgs {
    /// Keep records in this directory [default: in memory]
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Address of data (UDP); port 0 takes any free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7420")]
    pub listen: SocketAddr,
    /// Address of metrics and health (TCP), or off
    #[arg(long, value_name = "ADDR|off", value_parser = parse_admin)]
    pub admin: Option<AdminAddr>,
    /// Name of the namespace
    #[arg(long, value_name = "NAME", default_value = "test", value_parser = parse_namespace)]
    pub namespace: String,
    /// Worker threads (0: one for each core)
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub workers: usize,
    /// Send traces to this OTLP endpoint: http://HOST:4317 (gRPC) or http://HOST:4318/v1/traces (HTTP)
    #[arg(long, value_name = "URL")]
    pub otlp: Option<String>,
    /// Of requests whose caller didn't decide, how many percent are traced
    #[arg(long, value_name = "PERCENT", default_value_t = 1.0, value_parser = parse_percent)]
    pub sample_percent: f64,
    /// What is logged to standard error: off, error, warn, info, debug, or by part
    #[arg(long, value_name = "FILTER", default_value = "warn")]
    pub log: String,
    /// How to print
    #[arg(short = 'o', long, value_enum, default_value = "table")]
    pub output: OutputFormat,
}

/// Where metrics and health are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AdminAddr {
    /// Nowhere.
    Off,
    /// Here.
    At(SocketAddr),
}

fn parse_admin(text: &str) -> Result<AdminAddr, String> {
    match text {
        "" | "off" => Ok(AdminAddr::Off),
        text => text.parse().map(AdminAddr::At).map_err(|_| "an address such as 127.0.0.1:7421, or off".to_owned()),
    }
}

fn parse_namespace(text: &str) -> Result<String, outcrop_wire::KeyError> {
    outcrop_wire::key::check_namespace_name(text).map(|()| text.to_owned())
}

fn parse_percent(text: &str) -> Result<f64, String> {
    let percent = text.parse::<f64>().ok().filter(|percent| (0.0..=100.0).contains(percent));
    percent.ok_or_else(|| "0 to 100".to_owned())
}

impl DevArgs {
    fn config(&self) -> Config {
        let mut config = Config::dev(self.data.as_deref(), &self.namespace);
        config.listen.data = self.listen;
        config.listen.admin = match self.admin {
            Some(AdminAddr::Off) => None,
            Some(AdminAddr::At(addr)) => Some(addr),
            None => {
                let port = if self.listen.port() == 0 { 0 } else { self.listen.port().wrapping_add(1) };
                Some(SocketAddr::new(self.listen.ip(), port))
            }
        };
        config.node.workers = self.workers;
        config.telemetry.otlp.clone_from(&self.otlp);
        config.telemetry.sample_percent = self.sample_percent;
        config.telemetry.log.clone_from(&self.log);
        config
    }
}

/// Runs the node until it is told to stop.
pub async fn run(args: &DevArgs) -> Result<Exit, Failure> {
    let config = args.config();
    start_log(&config.telemetry)?;
    let signals = Signals::new()?;
    if let Some(dir) = &args.data {
        std::fs::create_dir_all(dir).map_err(|error| {
            Failure::local(format!("{}: {error}", dir.display()), "Name a directory that can be made and written.")
        })?;
    }
    let node = Node::start_in(config, super::world()).await.map_err(|error| not_started(&error))?;
    let certificate = leave_certificate(&node)?;
    announce(args, &node, &certificate)?;
    serve(node, signals).await
}

/// Leaves the certificate where the client looks for it.
fn leave_certificate(node: &Node) -> Result<PathBuf, Failure> {
    let Some(path) = dev_certificate_path(node.data_addr().port()) else {
        return Err(Failure::local(
            "there is no place for the certificate: neither XDG_STATE_HOME nor HOME is set",
            "Set one of them.",
        ));
    };
    let advice = "Make the directory writable, or set XDG_STATE_HOME to one that is.";
    write_whole(&path, node.certificate_pem())
        .map_err(|error| Failure::local(format!("certificate {}: {error}", path.display()), advice))?;
    Ok(path)
}

/// Writes a file so that whoever reads it finds it whole.
fn write_whole(path: &Path, text: &str) -> std::io::Result<()> {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)?;
    }
    let beside = path.with_extension(format!("{}.new", std::process::id()));
    std::fs::write(&beside, text)?;
    std::fs::rename(&beside, path)
}

/// Says how to connect.
fn announce(args: &DevArgs, node: &Node, certificate: &Path) -> Result<(), Failure> {
    let data = node.data_addr();
    // One that listens everywhere is reached from here by the loopback address, which its certificate names.
    let host = match data.ip() {
        ip if ip.is_unspecified() => "127.0.0.1".to_owned(),
        std::net::IpAddr::V6(ip) => format!("[{ip}]"),
        ip => ip.to_string(),
    };
    let url = format!("outcrop://{host}:{}", data.port());
    let admin = node.admin_addr().map(|addr| addr.to_string());
    let mut out = Out::new();
    if args.output == OutputFormat::Json {
        out.json(&object([
            ("ready", true.into()),
            ("url", url.into()),
            ("data", data.to_string().into()),
            ("admin", admin.map_or(Value::Null, Into::into)),
            ("namespace", args.namespace.as_str().into()),
            ("certificate", certificate.display().to_string().into()),
            ("pid", i64::from(std::process::id()).into()),
        ]))?;
        return out.flush();
    }
    let place = args.data.as_ref().map_or("in memory: nothing stays".to_owned(), |dir| dir.display().to_string());
    let ns = &args.namespace;
    out.line(&format!("Outcrop serves {url} (namespace {ns}, {place})"))?;
    out.line(&format!("  certificate  {}", certificate.display()))?;
    if let Some(admin) = admin {
        out.line(&format!("  metrics      curl http://{admin}/metrics"))?;
    }
    out.line("")?;
    if data.port() != 7420 {
        out.line(&format!("  export OUTCROP_URL={url}"))?;
    }
    out.line(&format!("  outcrop put {ns}/users/42 --json '{{\"name\":\"Ada\",\"born\":1815}}'"))?;
    out.line(&format!("  outcrop get {ns}/users/42"))?;
    out.line(&format!("  outcrop scan {ns}/users"))?;
    out.line("  outcrop stat")?;
    out.line("")?;
    out.line("Ctrl-C drains and stops it.")?;
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_are_replaced_whole() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("deep/er/dev-1.pem");
        write_whole(&path, "one").expect("first");
        write_whole(&path, "two").expect("second");
        assert_eq!(std::fs::read_to_string(&path).expect("there"), "two");
        let left = std::fs::read_dir(path.parent().expect("has one")).expect("listed").count();
        assert_eq!(left, 1, "nothing is left beside it");
    }

    #[test]
    fn admin_addresses() {
        assert_eq!(parse_admin("off"), Ok(AdminAddr::Off));
        assert!(parse_admin("127.0.0.1:7421").is_ok());
        assert!(parse_admin("7421").is_err());
    }
}
