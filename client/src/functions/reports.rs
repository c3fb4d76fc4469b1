//! What a node tells of its modules: lists, descriptions, numbers, log lines. Fields that a node doesn't tell are empty.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A module in a list.
///
/// ```no_run
/// # async fn example(client: outcrop_client::Client) -> Result<(), outcrop_client::ClientError> {
/// for module in client.modules().list().await? {
///     println!("{} {}", module.name, module.active.as_deref().unwrap_or("(none active)"));
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct ModuleSummary {
    /// Its name.
    pub name: String,
    /// The version that calls without a version get.
    pub active: Option<String>,
    /// The version that a roll back would activate.
    pub before: Option<String>,
    /// Whether its calls are refused for now.
    pub paused: bool,
    /// Its versions, in the order in which they came.
    pub versions: Vec<VersionInfo>,
    /// Calls since the node's start.
    pub calls: u64,
    /// Those of them that failed.
    pub failures: u64,
}

/// One version of a module.
///
/// ```no_run
/// # async fn example(client: outcrop_client::Client) -> Result<(), outcrop_client::ClientError> {
/// let described = client.modules().describe("shop", None).await?;
/// println!("{}: {} bytes", described.version.version, described.version.bytes);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct VersionInfo {
    /// The version.
    pub version: String,
    /// BLAKE3 of its component, hexadecimal.
    pub hash: String,
    /// Bytes of its component.
    pub bytes: u64,
    /// When it was uploaded, in milliseconds since 1970 (UTC).
    pub uploaded_ms: u64,
    /// Whether it came with the node.
    pub built_in: bool,
    /// Public keys of those who signed it, hexadecimal.
    pub signers: Vec<String>,
}

/// What a version of a module says of itself.
///
/// ```no_run
/// # async fn example(client: outcrop_client::Client) -> Result<(), outcrop_client::ClientError> {
/// for function in client.modules().describe("shop", Some("1.2.0")).await?.functions {
///     println!("{} ({}): {}", function.name, function.kind, function.doc);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct ModuleDescription {
    /// The module.
    pub name: String,
    /// The version.
    pub version: VersionInfo,
    /// Whether it is the active one.
    pub active: bool,
    /// Whether the module's calls are refused for now.
    pub paused: bool,
    /// What it is for.
    pub doc: String,
    /// Limits of the module that differ from the configuration's, as JSON.
    pub limits_json: String,
    /// Bytes of its compiled form.
    pub artifact_bytes: u64,
    /// Its functions.
    pub functions: Vec<FunctionInfo>,
}

/// One function of a module.
///
/// ```no_run
/// # async fn example(client: outcrop_client::Client) -> Result<(), outcrop_client::ClientError> {
/// let functions = client.modules().describe("shop", None).await?.functions;
/// let aggregates = functions.iter().filter(|function| function.kind == "aggregate").count();
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct FunctionInfo {
    /// Its name.
    pub name: String,
    /// `record`, `aggregate` or `row`.
    pub kind: String,
    /// What it does; the first line is its summary.
    pub doc: String,
    /// Shape of its arguments.
    pub arguments: String,
    /// Shape of its result.
    pub returns: String,
    /// `archived` or `json`.
    pub encoding: String,
    /// Whether it never writes.
    pub read_only: bool,
}

/// Numbers of a module since the node's start.
///
/// ```no_run
/// # async fn example(client: outcrop_client::Client) -> Result<(), outcrop_client::ClientError> {
/// for function in client.modules().stats("shop").await?.functions {
///     println!("{}: {} calls, p99 {} us", function.function, function.calls, function.latency_us_p99);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct ModuleStats {
    /// The module.
    pub name: String,
    /// Its active version.
    pub active: Option<String>,
    /// Numbers of each function that was called.
    pub functions: Vec<FunctionStats>,
    /// Counters that its functions keep themselves.
    pub counters: BTreeMap<String, u64>,
}

/// Numbers of one function since the node's start.
///
/// ```no_run
/// # async fn example(client: outcrop_client::Client) -> Result<(), outcrop_client::ClientError> {
/// let failed: u64 = client.modules().stats("shop").await?.functions.iter().flat_map(|f| f.failures.values()).sum();
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct FunctionStats {
    /// The function.
    pub function: String,
    /// Calls (an aggregate or a row query counts as one).
    pub calls: u64,
    /// Those that failed, by the name of their code.
    pub failures: BTreeMap<String, u64>,
    /// Fuel of all calls.
    pub fuel: u64,
    /// Records that aggregates and row queries saw.
    pub records: u64,
    /// The most memory that one call took.
    pub memory_bytes_max: u64,
    /// Half of the calls took at most so many microseconds.
    pub latency_us_p50: u64,
    /// 99 of 100 calls took at most so many microseconds.
    pub latency_us_p99: u64,
    /// The longest call.
    pub latency_us_max: u64,
}

/// A line that a function of a module logged, as the node keeps it.
///
/// ```no_run
/// # async fn example(client: outcrop_client::Client) -> Result<(), outcrop_client::ClientError> {
/// let mut after = None;
/// loop {
///     for line in client.modules().logs("shop", after, 100).await? {
///         println!("{} {} {}: {}", line.at_ms, line.level, line.function, line.message);
///         after = Some(line.sequence);
///     }
///     # break Ok(());
/// }
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct LogEntry {
    /// Its number; later lines have larger ones.
    pub sequence: u64,
    /// When it was logged, in milliseconds since 1970 (UTC).
    pub at_ms: u64,
    /// The version that logged it.
    pub version: String,
    /// The function.
    pub function: String,
    /// `debug`, `info`, `warn` or `error`.
    pub level: String,
    /// The line.
    pub message: String,
}

/// Limits of a module's calls; those that are `None` stay with the configuration.
///
/// ```no_run
/// use outcrop_client::ModuleLimits;
/// # async fn example(client: outcrop_client::Client) -> Result<(), outcrop_client::ClientError> {
/// let limits = ModuleLimits { wall_ms: Some(50), memory_bytes: Some(32 << 20), ..ModuleLimits::default() };
/// client.modules().set_limits("shop", &limits).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ModuleLimits {
    /// Wall time of a call, in milliseconds.
    pub wall_ms: Option<u64>,
    /// Fuel of a call: instructions, roughly.
    pub fuel: Option<u64>,
    /// Memory of an instance.
    pub memory_bytes: Option<u64>,
    /// Elements of an instance's tables.
    pub table_elements: Option<u64>,
    /// Calls of the host by one call.
    pub host_calls: Option<u64>,
    /// Bytes of arguments and record.
    pub input_bytes: Option<u64>,
    /// Bytes of a result, state or row.
    pub output_bytes: Option<u64>,
    /// Reads of other records by one call.
    pub reads: Option<u64>,
    /// Bytes of those.
    pub read_bytes: Option<u64>,
    /// Calls of the module at once.
    pub concurrent_calls: Option<u64>,
}
