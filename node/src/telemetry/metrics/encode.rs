//! Metrics as text: OpenMetrics for scrapers that ask for it, the Prometheus format for everyone else.
//!
//! prometheus-client writes OpenMetrics, where a counter's family is named without `_total`. The Prometheus format wants
//! the family named as its samples are, and has neither units nor an end mark, so that its lines are rewritten.

use std::fmt::{self, Write};
use std::sync::Arc;

use outcrop_wire::{Code, Verb};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};
use thiserror::Error;

use super::super::stats::NodeStats;
use super::collect::StatsCollector;
use super::jobs::JobCollector;
use super::{COUNTERS, GAUGES, Metrics};

/// In which format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exposition {
    /// Prometheus text, version 0.0.4.
    Prometheus,
    /// OpenMetrics text, version 1.0.0.
    OpenMetrics,
}

impl Exposition {
    /// What an `Accept` header asks for.
    pub fn of_accept(accept: &str) -> Exposition {
        match accept.contains("application/openmetrics-text") {
            true => Exposition::OpenMetrics,
            false => Exposition::Prometheus,
        }
    }

    /// The `Content-Type` of it.
    pub fn content_type(self) -> &'static str {
        match self {
            Exposition::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Exposition::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// Text could not be made; only running out of memory does that.
#[derive(Debug, Error)]
#[error("metrics could not be written: {0}")]
pub struct RenderError(#[from] fmt::Error);

impl Metrics {
    /// All metrics of the node, `stats` among them.
    ///
    /// # Errors
    /// None that can happen with a `String` behind it.
    pub fn render(self: &Arc<Self>, stats: NodeStats, exposition: Exposition) -> Result<String, RenderError> {
        let mut registry = Registry::with_prefix("outcrop");
        registry.register_collector(Box::new(RequestCollector(self.clone())));
        registry.register_collector(Box::new(JobCollector(stats.jobs.clone())));
        registry.register_collector(Box::new(StatsCollector(stats)));
        let mut openmetrics = String::with_capacity(64 << 10);
        text::encode(&mut openmetrics, &registry)?;
        Ok(match exposition {
            Exposition::OpenMetrics => openmetrics,
            Exposition::Prometheus => to_prometheus(&openmetrics),
        })
    }
}

/// Rewrites OpenMetrics text to the Prometheus format.
fn to_prometheus(openmetrics: &str) -> String {
    let mut out = String::with_capacity(openmetrics.len() + 4_096);
    let mut help = None;
    for line in openmetrics.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            // It goes out with its type, which decides the name.
            help = rest.split_once(' ');
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
            let suffix = if kind == "counter" { "_total" } else { "" };
            if let Some((_, text)) = help.take() {
                _ = writeln!(out, "# HELP {name}{suffix} {text}");
            }
            _ = writeln!(out, "# TYPE {name}{suffix} {kind}");
        } else if !line.starts_with("# ") {
            out.push_str(line);
            out.push('\n');
        }
    }
    out
}

/// Labels of one sample.
pub(super) type Labels<'a> = Vec<(&'static str, &'a str)>;

/// Writes one family with all its samples.
pub(super) struct Families<'a>(pub(super) DescriptorEncoder<'a>);

impl Families<'_> {
    pub(super) fn counter<'a, V: EncodeCounterValue>(
        &mut self,
        name: &str,
        unit: Option<Unit>,
        help: &str,
        samples: impl IntoIterator<Item = (Labels<'a>, V)>,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, unit.as_ref(), MetricType::Counter)?;
        for (labels, value) in samples {
            let labels = labels.as_slice();
            match labels.is_empty() {
                true => family.encode_counter::<NoLabelSet, _, u64>(&value, None)?,
                false => family.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&value, None)?,
            }
        }
        Ok(())
    }

    /// Histograms: labels, sum, upper bounds with what is between each and the one before.
    pub(super) fn histogram<'a>(
        &mut self,
        name: &str,
        unit: Option<Unit>,
        help: &str,
        samples: impl IntoIterator<Item = (Labels<'a>, f64, Vec<(f64, u64)>)>,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, unit.as_ref(), MetricType::Histogram)?;
        for (labels, sum, buckets) in samples {
            let count = buckets.iter().map(|(_, count)| count).sum();
            let labels = labels.as_slice();
            family.encode_family(&labels)?.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)?;
        }
        Ok(())
    }

    pub(super) fn gauge<'a, V: EncodeGaugeValue>(
        &mut self,
        name: &str,
        unit: Option<Unit>,
        help: &str,
        samples: impl IntoIterator<Item = (Labels<'a>, V)>,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, unit.as_ref(), MetricType::Gauge)?;
        for (labels, value) in samples {
            let labels = labels.as_slice();
            match labels.is_empty() {
                true => family.encode_gauge(&value)?,
                false => family.encode_family(&labels)?.encode_gauge(&value)?,
            }
        }
        Ok(())
    }
}

/// Requests and connections.
#[derive(Debug)]
struct RequestCollector(Arc<Metrics>);

impl Collector for RequestCollector {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let metrics = &self.0;
        let mut families = Families(encoder);
        let pairs = || Verb::ALL.into_iter().flat_map(|verb| Code::ALL.iter().map(move |code| (verb, *code)));
        let labels = |verb: Verb, code: Code| vec![("verb", verb.name()), ("code", code.name())];
        // The successes are there from the start, so that rates begin at zero; the rest once they happen.
        let requests = pairs().map(|(verb, code)| (verb, code, metrics.requests(verb, code)));
        let requests = requests.filter(|(_, code, count)| *count > 0 || *code == Code::Ok);
        let requests = requests.map(|(verb, code, count)| (labels(verb, code), count));
        families.counter("requests", None, "Requests answered, by verb and outcome code", requests)?;
        let items = pairs().map(|(verb, code)| (labels(verb, code), metrics.batch_items(verb, code)));
        let items = items.filter(|(_, count)| *count > 0);
        families.counter("batch_items", None, "Requests inside batches, by verb and outcome code", items)?;
        let verbs = || Verb::ALL.into_iter().map(|verb| (vec![("verb", verb.name())], verb as usize - 1));
        let received = verbs().map(|(labels, place)| (labels, metrics.sum(|stripe| &stripe.received_bytes[place])));
        families.counter("received", Some(Unit::Bytes), "Bytes of requests, by verb", received)?;
        let sent = verbs().map(|(labels, place)| (labels, metrics.sum(|stripe| &stripe.sent_bytes[place])));
        families.counter("sent", Some(Unit::Bytes), "Bytes of replies, by verb", sent)?;
        encode_latency(metrics, &mut families)?;
        for (gauge, name, help) in GAUGES {
            families.gauge(name, None, help, [(vec![], metrics.gauge(gauge))])?;
        }
        for (counter, name, help) in COUNTERS {
            families.counter(name, None, help, [(vec![], metrics.counter(counter))])?;
        }
        Ok(())
    }
}

fn encode_latency(metrics: &Metrics, families: &mut Families<'_>) -> fmt::Result {
    let help = "Time from a request's arrival to its reply, by verb";
    let histograms = Verb::ALL.into_iter().map(|verb| {
        let latency = metrics.latency(verb);
        (vec![("verb", verb.name())], latency.sum_us() as f64 / 1e6, latency.coarse())
    });
    families.histogram("request_duration", Some(Unit::Seconds), help, histograms)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::telemetry::stats::{NamespaceStats, SetStats};

    #[test]
    fn a_family_is_named_as_its_samples_are() {
        let openmetrics = "# HELP a_bytes Help text here\n# TYPE a_bytes counter\n# UNIT a_bytes bytes\na_bytes_total 5\n\
                           # HELP b More\n# TYPE b gauge\nb 1\n# EOF\n";
        let prometheus = "# HELP a_bytes_total Help text here\n# TYPE a_bytes_total counter\na_bytes_total 5\n\
                          # HELP b More\n# TYPE b gauge\nb 1\n";
        assert_eq!(to_prometheus(openmetrics), prometheus);
    }

    #[test]
    fn samples_carry_their_labels_escaped() {
        let metrics = Metrics::new(1);
        metrics.worker(0).record(Verb::Get, Code::NotFound, Duration::from_micros(5), 10, 20);
        let set = SetStats { name: "a \"quoted\\\" set".to_owned(), records: 7, bytes: 9 };
        let namespace = NamespaceStats { name: "shop".to_owned(), sets: vec![set], ..NamespaceStats::default() };
        let stats = NodeStats { namespaces: vec![namespace], ..NodeStats::default() };
        let text = metrics.render(stats.clone(), Exposition::Prometheus).expect("a string takes everything");
        for line in [
            "outcrop_requests_total{verb=\"get\",code=\"not_found\"} 1",
            "outcrop_requests_total{verb=\"put\",code=\"ok\"} 0",
            "outcrop_request_duration_seconds_count{verb=\"get\"} 1",
            "outcrop_request_duration_seconds_bucket{le=\"+Inf\",verb=\"get\"} 1",
            "outcrop_received_bytes_total{verb=\"get\"} 10",
            "outcrop_set_records{namespace=\"shop\",set=\"a \\\"quoted\\\\\\\" set\"} 7",
        ] {
            assert!(text.lines().any(|other| other == line), "{line} is missing in\n{text}");
        }
        assert!(!text.contains("# EOF"));
        let openmetrics = metrics.render(stats, Exposition::OpenMetrics).expect("a string takes everything");
        assert!(openmetrics.ends_with("# EOF\n"));
    }
}
