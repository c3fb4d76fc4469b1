//! Windows: what the points of a stretch of time come to, in parts that are made beside the blocks and merged.
//!
//! A query runs over a series' blocks at once. Each block gives one part for each window that it touches; parts of one
//! window meet at the end, in the order of time, so that rates see the steps from block to block and nothing depends on
//! who was merged first.

use std::collections::BTreeMap;

use outcrop_udf::Error;
use serde::{Deserialize, Serialize};
use tdigests::{Centroid, TDigest};

use crate::block::{chunks, tail_points};
use crate::point::{Point, Summary};

/// Windows of a query, at most.
pub const WINDOWS_MAX: u64 = 100_000;
/// Values of a part that are kept as they are; beyond it a digest of so many centroids stands for them.
const EXACT_MAX: usize = 1_024;
const CENTROIDS_MAX: usize = 200;
/// Code of arguments that ask for what can't be.
pub const INVALID_WINDOW: &str = "invalid-window";

/// What is asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Windows {
    /// First time, ms, included.
    pub from_ms: i64,
    /// Last time, ms, excluded.
    pub to_ms: i64,
    /// Length of a window, ms; none: one window for all.
    pub step_ms: Option<i64>,
    /// A time at which a window begins; none: `from_ms`.
    pub align_ms: Option<i64>,
    /// Whether percentiles are wanted, which takes the values themselves.
    pub values: bool,
    /// Whether rates are wanted, which takes every step from point to point.
    pub rates: bool,
}

impl Windows {
    /// Checks that it can be answered.
    pub fn check(&self) -> Result<(), Error> {
        let wrong = |message: String| Err(Error::new(INVALID_WINDOW, message));
        let Some(span) = self.to_ms.checked_sub(self.from_ms).filter(|span| *span > 0) else {
            return wrong(format!("`from` ({}) has to lie before `to` ({})", self.from_ms, self.to_ms));
        };
        match self.step_ms {
            Some(step) if step <= 0 => wrong(format!("a window is at least 1 ms long, not {step}")),
            Some(step) if self.align_ms.is_some() && self.from_ms.checked_sub(step).is_none() => {
                wrong(format!("`from` ({}) is too early", self.from_ms))
            }
            Some(step) if span as u64 / step as u64 >= WINDOWS_MAX - 1 => {
                wrong(format!("more than {WINDOWS_MAX} windows: ask for a shorter time or longer windows"))
            }
            _ => Ok(()),
        }
    }

    /// Number of the window that a time within the query falls into.
    pub fn number(&self, at_ms: i64) -> u64 {
        match self.step_ms {
            Some(step) => at_ms.abs_diff(self.base_ms()) / step.unsigned_abs(),
            None => 0,
        }
    }

    /// Where the first window begins, at or before `from_ms`.
    fn base_ms(&self) -> i64 {
        match (self.step_ms, self.align_ms) {
            (Some(step), Some(align)) => {
                let (from, align, step) = (i128::from(self.from_ms), i128::from(align), i128::from(step));
                // Less than a step before `from_ms`, which `check` has seen to fit.
                self.from_ms.saturating_sub((from - align).rem_euclid(step) as i64)
            }
            _ => self.from_ms,
        }
    }

    /// Where a window begins.
    pub fn start_ms(&self, number: u64) -> i64 {
        let step = self.step_ms.unwrap_or(0).unsigned_abs();
        self.base_ms().saturating_add_unsigned(step.saturating_mul(number))
    }

    fn holds(&self, at_ms: i64) -> bool {
        at_ms >= self.from_ms && at_ms < self.to_ms
    }
}

/// The values of a part, for percentiles.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Spread {
    Exact(Vec<f64>),
    /// Mean and weight of each centroid of a t-digest.
    Digest(Vec<(f64, f64)>),
}

/// What one block gives to one window.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Part {
    /// All but percentiles and rates.
    pub summary: Summary,
    /// Sum of the rises from point to point; a fall counts as a counter that began anew.
    pub increase: f64,
    spread: Option<Spread>,
}

impl Part {
    fn new(summary: Summary) -> Self {
        Part { summary, increase: 0.0, spread: None }
    }

    fn add(&mut self, point: Point) {
        self.increase += rise(self.summary.last.value, point.value);
        self.summary.add(point);
    }

    fn keep(&mut self, values: &[f64]) {
        let spread = self.spread.get_or_insert_with(|| Spread::Exact(Vec::new()));
        match spread {
            Spread::Exact(kept) if kept.len() + values.len() <= EXACT_MAX => kept.extend_from_slice(values),
            Spread::Exact(kept) => {
                kept.extend_from_slice(values);
                *spread = digest_of(std::mem::take(kept)).map_or(Spread::Exact(Vec::new()), |digest| pressed(&digest));
            }
            Spread::Digest(_) => {
                if let (Some(old), Some(new)) = (spread.digest(), digest_of(values.to_vec())) {
                    *spread = pressed(&old.merge(&new));
                }
            }
        }
    }
}

/// How much a counter grew between two readings: a reading below the one before means that it began anew.
fn rise(before: f64, after: f64) -> f64 {
    if after >= before { after - before } else { after }
}

fn digest_of(mut values: Vec<f64>) -> Option<TDigest> {
    values.retain(|value| !value.is_nan());
    (!values.is_empty()).then(|| TDigest::from_values(values))
}

fn pressed(digest: &TDigest) -> Spread {
    let mut digest = digest.clone();
    digest.compress(CENTROIDS_MAX);
    Spread::Digest(digest.centroids().iter().map(|centroid| (centroid.mean, centroid.weight)).collect())
}

impl Spread {
    fn exact(&self) -> Option<&[f64]> {
        match self {
            Spread::Exact(values) => Some(values),
            Spread::Digest(_) => None,
        }
    }

    fn digest(&self) -> Option<TDigest> {
        match self {
            Spread::Exact(values) => digest_of(values.clone()),
            Spread::Digest(centroids) if centroids.is_empty() => None,
            Spread::Digest(centroids) => Some(TDigest::from_centroids(
                centroids.iter().map(|(mean, weight)| Centroid::new(*mean, *weight)).collect(),
            )),
        }
    }
}

/// The parts so far: by window, then by the first time of each.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Parts {
    parts: BTreeMap<(u64, i64), Part>,
    /// Chunks that had to be unpacked, and chunks whose summary was enough.
    pub unpacked: u64,
    /// See `unpacked`.
    pub summarised: u64,
}

/// A window's result.
#[derive(Debug, Clone, PartialEq)]
pub struct Window {
    /// What its points come to.
    pub summary: Summary,
    /// Growth of a counter within it, and over how many milliseconds.
    pub increase: f64,
    spread: Vec<Spread>,
}

impl Parts {
    /// Takes a block in.
    pub fn accept(&mut self, windows: &Windows, packed: &[u8], tail: &[u8]) -> Result<(), Error> {
        let mut open: Option<(u64, Part)> = None;
        let mut points = Vec::new();
        let mut values = Vec::new();
        for chunk in chunks(packed) {
            let chunk = chunk?;
            let (first, last) = (chunk.summary.first.at_ms, chunk.summary.last.at_ms);
            if last < windows.from_ms || first >= windows.to_ms {
                continue;
            }
            let whole = windows.holds(first) && windows.holds(last) && windows.number(first) == windows.number(last);
            if whole && !windows.rates {
                self.summarised += u64::from(!windows.values);
                self.enter(&mut open, windows.number(first), chunk.summary);
                if windows.values {
                    self.unpacked += 1;
                    values.resize(chunk.summary.count as usize, 0.0);
                    chunk.unpack_values(&mut values)?;
                    if let Some((_, part)) = &mut open {
                        part.keep(&values);
                    }
                }
                continue;
            }
            self.unpacked += 1;
            points.clear();
            chunk.unpack(&mut points)?;
            self.accept_points(windows, &points, &mut open);
        }
        self.accept_points(windows, &tail_points(tail)?, &mut open);
        self.close(open);
        Ok(())
    }

    /// Takes a whole chunk's summary into the open part of its window, or opens one.
    fn enter(&mut self, open: &mut Option<(u64, Part)>, number: u64, summary: Summary) {
        match open {
            Some((at, part)) if *at == number => part.summary.merge(&summary),
            _ => self.close(open.replace((number, Part::new(summary)))),
        }
    }

    fn accept_points(&mut self, windows: &Windows, points: &[Point], open: &mut Option<(u64, Part)>) {
        let start = points.partition_point(|point| point.at_ms < windows.from_ms);
        let end = points.partition_point(|point| point.at_ms < windows.to_ms);
        let mut rest = &points[start..end.max(start)];
        while let Some(first) = rest.first() {
            let number = windows.number(first.at_ms);
            let len = rest.partition_point(|point| windows.number(point.at_ms) == number);
            let (run, behind) = rest.split_at(len);
            rest = behind;
            let mut run_points = run.iter();
            if open.as_ref().is_none_or(|(at, _)| *at != number) {
                let part = Part::new(Summary::one(*first));
                run_points.next();
                self.close(open.replace((number, part)));
            }
            if let Some((_, part)) = open {
                run_points.for_each(|point| part.add(*point));
                if windows.values {
                    part.keep(&run.iter().map(|point| point.value).collect::<Vec<_>>());
                }
            }
        }
    }

    fn close(&mut self, open: Option<(u64, Part)>) {
        if let Some((number, part)) = open {
            self.parts.insert((number, part.summary.first.at_ms), part);
        }
    }

    /// Takes the parts of other blocks in.
    pub fn merge(&mut self, other: Parts) {
        self.parts.extend(other.parts);
        self.unpacked += other.unpacked;
        self.summarised += other.summarised;
    }

    /// The windows that have points, in order.
    pub fn windows(&self) -> Vec<(u64, Window)> {
        let mut done: Vec<(u64, Window)> = Vec::new();
        for ((number, _), part) in &self.parts {
            match done.last_mut().filter(|(at, _)| at == number) {
                Some((_, window)) => {
                    // Parts of one window lie one behind the other: their blocks do not overlap.
                    window.increase += rise(window.summary.last.value, part.summary.first.value) + part.increase;
                    window.summary.merge(&part.summary);
                    window.spread.extend(part.spread.clone());
                }
                None => {
                    let spread = part.spread.clone().into_iter().collect();
                    done.push((*number, Window { summary: part.summary, increase: part.increase, spread }));
                }
            }
        }
        done
    }
}

impl Window {
    /// A percentile, 0 to 100; exact for windows of up to 1,024 points in each block, else by t-digest.
    pub fn percentile(&self, percent: f64) -> Option<f64> {
        let exact: Option<Vec<&[f64]>> = self.spread.iter().map(Spread::exact).collect();
        if let Some(parts) = exact {
            let mut sorted: Vec<f64> = parts.into_iter().flatten().copied().filter(|value| !value.is_nan()).collect();
            sorted.sort_by(f64::total_cmp);
            return interpolate(&sorted, percent);
        }
        let digests = self.spread.iter().filter_map(Spread::digest);
        digests.reduce(|a, b| a.merge(&b)).map(|digest| digest.estimate_quantile(percent / 100.0))
    }

    /// Growth a second between the first and the last point; none with fewer than two.
    pub fn rate_per_sec(&self) -> Option<f64> {
        let span_ms = self.summary.last.at_ms - self.summary.first.at_ms;
        (span_ms > 0).then(|| self.increase * 1_000.0 / span_ms as f64)
    }
}

/// Linear interpolation between the two nearest of sorted values, as NumPy's `percentile` does it.
fn interpolate(sorted: &[f64], percent: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    let place = (percent / 100.0).clamp(0.0, 1.0) * last as f64;
    let (below, above) = (sorted[place as usize], sorted[(place as usize + 1).min(last)]);
    Some(below + (above - below) * place.fract())
}
