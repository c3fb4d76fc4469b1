//! Memory and CPU time of this process, from `/proc`.

use super::stats::ProcessStats;

/// Clock ticks a second in `/proc`, whatever the kernel's own rate.
const TICKS_PER_SEC: f64 = 100.0;

impl ProcessStats {
    /// This process now; zeros where `/proc` isn't there.
    pub fn of_this_process() -> ProcessStats {
        let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
        let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
        // The process's name, in parentheses, may have spaces: fields are counted behind it.
        let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
        let ticks: u64 = fields.split_whitespace().skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
        let pages: u64 = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0);
        ProcessStats {
            cpu_seconds: ticks as f64 / TICKS_PER_SEC,
            resident_bytes: pages * rustix::param::page_size() as u64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_uses_memory() {
        let before = ProcessStats::of_this_process();
        let kept: Vec<u64> = (0..8 << 20).collect();
        let after = ProcessStats::of_this_process();
        assert!(before.resident_bytes > 1 << 20, "{before:?}");
        // Other tests of this process may free some meanwhile.
        assert!(after.resident_bytes > before.resident_bytes + (16 << 20), "{before:?} {after:?}");
        assert!(after.cpu_seconds >= before.cpu_seconds);
        assert_eq!(kept.len(), 8 << 20);
    }
}
