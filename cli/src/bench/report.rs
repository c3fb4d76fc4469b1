//! The summary: as tables for people, as JSON for programs.

use std::collections::BTreeMap;
use std::fmt::Write;

use comfy_table::{CellAlignment, Table, presets};
use hdrhistogram::Histogram;
use serde::Serialize;

use super::live::grouped;
use super::node_stats::NodeFigures;
use super::plan::{Pacing, Plan};
use super::tally::Tally;

/// A generator that was later than this in 1% of its requests isn't one to believe.
const LAG_US_P99_MAX: f64 = 1_000.0;

/// Latencies in microseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Percentiles {
    /// Smallest.
    pub min_us: f64,
    /// Mean.
    pub mean_us: f64,
    /// Median.
    pub p50_us: f64,
    /// 95th percentile.
    pub p95_us: f64,
    /// 99th percentile.
    pub p99_us: f64,
    /// 99.9th percentile.
    pub p999_us: f64,
    /// 99.99th percentile.
    pub p9999_us: f64,
    /// Largest.
    pub max_us: f64,
}

impl Percentiles {
    /// Of a histogram of nanoseconds.
    pub fn of(histogram_ns: &Histogram<u64>) -> Self {
        let us = |quantile| histogram_ns.value_at_quantile(quantile) as f64 / 1e3;
        if histogram_ns.is_empty() {
            return Percentiles::default();
        }
        Percentiles {
            min_us: histogram_ns.min() as f64 / 1e3,
            mean_us: histogram_ns.mean() / 1e3,
            p50_us: us(0.5),
            p95_us: us(0.95),
            p99_us: us(0.99),
            p999_us: us(0.999),
            p9999_us: us(0.9999),
            max_us: histogram_ns.max() as f64 / 1e3,
        }
    }
}

/// Operations of one kind, or of all.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct OperationReport {
    /// Its name.
    pub operation: &'static str,
    /// Successes.
    pub ops: u64,
    /// Failures.
    pub failures: u64,
    /// Failures by the name of their code.
    pub errors: BTreeMap<&'static str, u64>,
    /// Records read or written.
    pub records: u64,
    /// Bytes of these records.
    pub bytes: u64,
    /// Successes a second.
    pub ops_per_sec: f64,
    /// Records a second.
    pub records_per_sec: f64,
    /// Bytes a second.
    pub bytes_per_sec: f64,
    /// From intended start to reply.
    pub latency: Percentiles,
}

/// What the generator itself used.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct GeneratorFigures {
    /// CPU seconds, all threads.
    pub cpu_secs: f64,
    /// The same for each operation, in us.
    pub cpu_us_per_op: f64,
    /// The same for each record, in us.
    pub cpu_us_per_record: f64,
    /// Open loop: how much later than it could have been a request was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lag: Option<Percentiles>,
    /// Requests that the schedule had and that were never sent.
    pub unsent: u64,
    /// Requests of the load that were sent again.
    pub retries: u64,
    /// Connections made anew.
    pub reconnects: u64,
}

/// One phase.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct PhaseReport {
    /// `load`, `run` or `scan`.
    pub phase: &'static str,
    /// Measured seconds.
    pub elapsed_secs: f64,
    /// Each kind of operation, then all together if there are several.
    pub operations: Vec<OperationReport>,
    /// The generator.
    pub generator: GeneratorFigures,
    /// The node.
    pub node: NodeFigures,
    /// What the node said when a load was given up because its device is full.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub full: Option<String>,
    /// What makes these figures doubtful.
    pub warnings: Vec<String>,
}

/// Everything.
#[derive(Debug, Serialize)]
pub struct BenchReport<'a> {
    /// Version of this tool.
    pub version: &'static str,
    /// When it ended, in ms since 1970.
    pub ended_unix_ms: u64,
    /// The command line.
    pub command: Vec<String>,
    /// The settled options.
    pub plan: &'a Plan,
    /// The node, `embedded` if it was this command's own.
    pub node_url: &'a str,
    /// Whether the node was this command's own.
    pub embedded: bool,
    /// What the start time of a request may be off by, in us, beside the clock's own precision.
    pub latency_error_us: f64,
    /// The phases.
    pub phases: &'a [PhaseReport],
}

fn operation(
    operation: &'static str,
    tally: &Tally,
    secs: f64,
    only: Option<&super::tally::KindTally>,
) -> OperationReport {
    let (ops, records, bytes) = match only {
        Some(kind) => (kind.done, kind.records, kind.bytes),
        None => (tally.done(), tally.records(), tally.bytes()),
    };
    let mut errors: BTreeMap<&'static str, u64> = BTreeMap::new();
    let kinds: Vec<_> =
        tally.kinds().map(|(_, kind)| kind).filter(|kind| only.is_none_or(|only| std::ptr::eq(only, *kind))).collect();
    kinds.iter().flat_map(|kind| &kind.errors).for_each(|(code, count)| *errors.entry(code).or_default() += count);
    let latency = match only {
        Some(kind) => kind.latencies_ns().map(Percentiles::of).unwrap_or_default(),
        None => Percentiles::of(&tally.all_latencies_ns()),
    };
    let per_sec = |count: u64| if secs > 0.0 { count as f64 / secs } else { 0.0 };
    OperationReport {
        operation,
        ops,
        failures: errors.values().sum(),
        errors,
        records,
        bytes,
        ops_per_sec: per_sec(ops),
        records_per_sec: per_sec(records),
        bytes_per_sec: per_sec(bytes),
        latency,
    }
}

impl PhaseReport {
    /// Puts a phase's counts, and the CPU times taken around it, together.
    pub fn new(
        phase: &'static str,
        plan: &Plan,
        tally: &Tally,
        elapsed_secs: f64,
        generator_cpu_secs: f64,
        node: NodeFigures,
        last_loss: Option<&str>,
    ) -> Self {
        let mut operations: Vec<OperationReport> =
            tally.kinds().map(|(kind, counts)| operation(kind.name(), tally, elapsed_secs, Some(counts))).collect();
        if operations.len() > 1 {
            operations.push(operation("all", tally, elapsed_secs, None));
        }
        let per = |count: u64| if count == 0 { 0.0 } else { generator_cpu_secs * 1e6 / count as f64 };
        let generator = GeneratorFigures {
            cpu_secs: generator_cpu_secs,
            cpu_us_per_op: per(tally.done()),
            cpu_us_per_record: per(tally.records()),
            lag: tally.lags_ns().map(Percentiles::of),
            unsent: tally.unsent,
            retries: tally.retries,
            reconnects: tally.reconnects,
        };
        let mut report = PhaseReport { phase, elapsed_secs, operations, generator, node, ..PhaseReport::default() };
        report.warnings = report.doubts(plan, last_loss);
        report
    }

    fn doubts(&self, plan: &Plan, last_loss: Option<&str>) -> Vec<String> {
        let mut doubts = Vec::new();
        if let Some(lag) = self.generator.lag.filter(|lag| lag.p99_us > LAG_US_P99_MAX) {
            doubts.push(format!(
                "generator lagged by {:.0} us (p99), {:.0} us (max): it could not keep this rate; latencies include its own lateness. Give it more --threads or a lower --rate.",
                lag.p99_us, lag.max_us
            ));
        }
        if self.generator.unsent > 0 {
            let count = grouped(self.generator.unsent);
            doubts.push(match self.phase {
                "load" => format!("{count} records were never sent: the load was given up"),
                _ => format!("{count} requests were due and never sent: the node could not keep this rate"),
            });
        }
        if let (Pacing::Open { rate_per_sec, .. }, Some(all)) = (plan.pacing, self.operations.last())
            && self.phase == "run"
            && all.ops_per_sec < rate_per_sec * 0.98
        {
            doubts.push(format!(
                "{} operations a second were done, {} were wanted",
                grouped(all.ops_per_sec as u64),
                grouped(rate_per_sec as u64)
            ));
        }
        if self.generator.reconnects > 0 || last_loss.is_some() {
            let why = last_loss.unwrap_or("no reason given");
            doubts.push(format!("connections were lost and made anew {} times: {why}", self.generator.reconnects));
        }
        if self.failures() > 0 {
            doubts.push(format!("{} operations failed", grouped(self.failures())));
        }
        doubts
    }

    /// Whether there was something to measure besides a load, and nothing of it went well.
    pub fn is_all_failures(&self) -> bool {
        self.phase != "load" && self.failures() > 0 && self.operations.iter().all(|row| row.ops == 0)
    }

    /// Failures of all operations.
    pub fn failures(&self) -> u64 {
        self.operations.iter().filter(|row| row.operation != "all").map(|row| row.failures).sum()
    }

    /// Failures of this name, of all operations.
    pub fn failures_of(&self, name: &str) -> u64 {
        let kinds = self.operations.iter().filter(|row| row.operation != "all");
        kinds.filter_map(|row| row.errors.get(name)).sum()
    }

    /// For people.
    pub fn to_text(&self) -> String {
        let mut table = Table::new();
        table.load_style(presets::UTF8_BORDERS_ONLY);
        let mut header = vec!["operation", "ops", "errors", "ops/s"];
        let many = self.operations.iter().any(|row| row.records != row.ops);
        if many {
            header.push("records/s");
        }
        header.extend(["MB/s", "mean us", "p50", "p95", "p99", "p99.9", "max"]);
        let columns = header.len();
        table.set_header(header);
        for row in &self.operations {
            let mut cells =
                vec![row.operation.to_owned(), grouped(row.ops), grouped(row.failures), rate(row.ops_per_sec)];
            if many {
                cells.push(rate(row.records_per_sec));
            }
            cells.push(format!("{:.1}", row.bytes_per_sec / 1e6));
            let latency = row.latency;
            let shown =
                [latency.mean_us, latency.p50_us, latency.p95_us, latency.p99_us, latency.p999_us, latency.max_us];
            cells.extend(shown.map(|us| format!("{us:.0}")));
            table.add_row(cells);
        }
        for place in 1..columns {
            if let Some(column) = table.column_mut(place) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        let mut out = format!("{} ({:.2} s)\n{table}\n", self.phase, self.elapsed_secs);
        self.write_errors(&mut out);
        self.write_figures(&mut out);
        for warning in &self.warnings {
            let _ = writeln!(out, "warning: {warning}");
        }
        out
    }

    fn write_errors(&self, out: &mut String) {
        for row in self.operations.iter().filter(|row| row.operation != "all") {
            for (code, count) in &row.errors {
                let _ = writeln!(out, "  {} {code}: {}", row.operation, grouped(*count));
            }
        }
    }

    fn write_figures(&self, out: &mut String) {
        let (generator, node) = (&self.generator, &self.node);
        let _ = write!(
            out,
            "  generator: {:.2} CPU s, {:.2} us/op, {:.3} us/record",
            generator.cpu_secs, generator.cpu_us_per_op, generator.cpu_us_per_record
        );
        if let Some(lag) = generator.lag {
            let _ = write!(out, "; lag p50 {:.0} us, p99 {:.0} us, max {:.0} us", lag.p50_us, lag.p99_us, lag.max_us);
        }
        if generator.retries > 0 {
            let _ = write!(out, "; {} sent again", grouped(generator.retries));
        }
        let _ = writeln!(
            out,
            "\n  node:      {:.2} CPU s, {:.2} us/op, {:.3} us/record; {} workers, values {}, {}",
            node.cpu_secs, node.cpu_us_per_op, node.cpu_us_per_record, node.workers, node.values, node.engine
        );
        let _ = writeln!(
            out,
            "             {} records; a record has {:.1} bytes of index, {:.0} of live log, {:.0} of used log, {:.0} of process memory",
            grouped(node.records),
            node.index_bytes_per_record,
            node.live_bytes_per_record,
            node.used_bytes_per_record,
            node.resident_bytes_per_record
        );
        let _ = writeln!(
            out,
            "             device: {} reads ({:.1} MB), {:.1} MB written, {} syncs, {:.1} MB moved by defrag; {:.1}% of reads from memory",
            grouped(node.device_reads),
            node.device_read_bytes as f64 / 1e6,
            node.flushed_bytes as f64 / 1e6,
            grouped(node.syncs),
            node.defrag_bytes as f64 / 1e6,
            node.cache_hit_ratio * 100.0
        );
    }
}

/// A rate as tables show it: whole, but for slow ones.
fn rate(per_sec: f64) -> String {
    if per_sec < 100.0 { format!("{per_sec:.2}") } else { grouped(per_sec as u64) }
}

#[cfg(test)]
mod tests {
    use super::super::mix::Kind;
    use super::*;

    fn plan(line: &str) -> Plan {
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            args: super::super::args::BenchArgs,
        }
        let words = std::iter::once("bench").chain(line.split_whitespace());
        <Line as clap::Parser>::try_parse_from(words).expect("options").args.settle().expect("a plan")
    }

    fn tally() -> Tally {
        let mut tally = Tally::default();
        for step in 1..=1_000_u64 {
            tally.kind(Kind::Read).done(step * 1_000, 1, 1_000);
            tally.kind(Kind::Update).done(step * 2_000, 1, 500);
        }
        tally.kind(Kind::Update).failed("overloaded", 7);
        tally
    }

    #[test]
    fn a_phase_has_each_kind_and_all_together() {
        let report = PhaseReport::new("run", &plan(""), &tally(), 2.0, 0.004, NodeFigures::default(), None);
        let names: Vec<&str> = report.operations.iter().map(|row| row.operation).collect();
        assert_eq!(names, ["read", "update", "all"]);
        let all = &report.operations[2];
        assert_eq!((all.ops, all.failures, all.ops_per_sec, all.bytes), (2_000, 7, 1_000.0, 1_500_000));
        assert_eq!(report.failures_of("overloaded"), 7);
        assert!((report.generator.cpu_us_per_op - 2.0).abs() < 1e-9);
        assert!((report.operations[0].latency.p99_us - 990.0).abs() < 2.0);
        assert_eq!(report.warnings, ["7 operations failed"]);
        let text = report.to_text();
        assert!(text.contains("update overloaded: 7") && text.contains("p99.9"), "{text}");
    }

    #[test]
    fn a_generator_that_lags_and_a_node_that_is_too_slow_are_told_apart() {
        let mut tally = tally();
        (0..100).for_each(|_| tally.lagged(30_000_000));
        let report =
            PhaseReport::new("run", &plan("--rate 5k"), &tally, 1.0, 0.1, NodeFigures::default(), Some("gone"));
        let all = report.warnings.join("\n");
        assert!(all.contains("generator lagged by 30") && all.contains("2,000 operations a second"), "{all}");
        assert!(all.contains("gone") && !all.contains("never sent"), "{all}");
        tally.unsent = 5;
        let report = PhaseReport::new("run", &plan("--rate 5k"), &tally, 1.0, 0.1, NodeFigures::default(), None);
        assert!(report.warnings.iter().any(|warning| warning.starts_with("5 requests were due and never sent")));
    }

    #[test]
    fn json_has_the_plan_and_every_figure() {
        let plan = plan("--rate 5k --value-bytes 100..200");
        let phase = PhaseReport::new("run", &plan, &tally(), 2.0, 0.004, NodeFigures::default(), None);
        let report = BenchReport {
            version: "1",
            ended_unix_ms: 1,
            command: vec!["bench".into()],
            plan: &plan,
            node_url: "outcrop://a",
            embedded: true,
            latency_error_us: 1.0,
            phases: &[phase],
        };
        let json = serde_json::to_value(&report).expect("json");
        assert_eq!(json["plan"]["value_bytes"], "100..200");
        assert_eq!(json["plan"]["pacing"]["loop"], "open");
        assert_eq!(json["phases"][0]["operations"][0]["operation"], "read");
        assert!(json["phases"][0]["operations"][0]["latency"]["p999_us"].is_number());
        assert_eq!(json["phases"][0]["operations"][1]["errors"]["overloaded"], 7);
    }
}
