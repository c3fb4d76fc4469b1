//! Background jobs as metrics.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;

use super::super::stats::JobStats;
use super::encode::Families;

/// One scrape's numbers of jobs.
#[derive(Debug)]
pub(super) struct JobCollector(pub(super) JobStats);

impl Collector for JobCollector {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let JobStats { running, paused, done, failed, cancelled, records, changed, failures } = self.0;
        let mut families = Families(encoder);
        let states =
            [("running", running), ("paused", paused), ("done", done), ("failed", failed), ("cancelled", cancelled)];
        let jobs = states.map(|(state, count)| (vec![("state", state)], count));
        families.gauge("jobs", None, "Background jobs that the node knows, by state", jobs)?;
        let one = |count: u64| [(vec![], count)];
        families.counter("job_records", None, "Records that jobs visited", one(records))?;
        families.counter("job_changed_records", None, "Records that jobs changed", one(changed))?;
        families.counter("job_failed_records", None, "Records on which jobs' functions failed", one(failures))
    }
}
