//! What operations a run is made of: the YCSB workloads A to F, or shares of one's own.

use rand::RngExt;
use rand::rngs::Xoshiro256PlusPlus as Prng;
use thiserror::Error;

use super::keys::Distribution;

/// A kind of operation; each has its own histogram.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Kind {
    /// A get of the whole record.
    Read = 0,
    /// A put over a record that is there.
    Update = 1,
    /// A put of a record that isn't there (and each put of the load phase).
    Insert = 2,
    /// A short scan.
    Scan = 3,
    /// A get, and when it has answered a put; the time is that of both.
    ReadModifyWrite = 4,
    /// A batch of gets.
    Batch = 5,
    /// A call of a function on a record that is there.
    Call = 6,
    /// An operate that adds 1 to a bin of a record that is there.
    Add = 7,
}

impl Kind {
    /// Every kind, by number.
    pub const ALL: [Kind; 8] =
        [Kind::Read, Kind::Update, Kind::Insert, Kind::Scan, Kind::ReadModifyWrite, Kind::Batch, Kind::Call, Kind::Add];

    /// As tables and JSON print it.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Read => "read",
            Kind::Update => "update",
            Kind::Insert => "insert",
            Kind::Scan => "scan",
            Kind::ReadModifyWrite => "rmw",
            Kind::Batch => "batch",
            Kind::Call => "call",
            Kind::Add => "add",
        }
    }
}

/// The core workloads of the Yahoo! Cloud Serving Benchmark.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Workload {
    /// Update heavy: 50% read, 50% update, zipfian.
    A,
    /// Read mostly: 95% read, 5% update, zipfian.
    B,
    /// Read only, zipfian.
    C,
    /// Read latest: 95% read, 5% insert, latest.
    D,
    /// Short scans: 95% scan, 5% insert, zipfian.
    E,
    /// Read-modify-write: 50% read, 50% read-modify-write, zipfian.
    F,
}

/// Shares of each kind, in any unit: 50 and 50 are the same as 1 and 1.
#[derive(Debug, Clone, Copy, PartialEq, Default, serde::Serialize)]
pub struct Shares {
    /// Of gets (of batches of gets with `--batch`).
    pub read: f64,
    /// Of puts over loaded records.
    pub update: f64,
    /// Of puts of new records.
    pub insert: f64,
    /// Of short scans.
    pub scan: f64,
    /// Of read-modify-writes.
    pub rmw: f64,
    /// Of calls of a function.
    pub call: f64,
    /// Of operates that add 1 to a bin.
    pub add: f64,
}

/// Shares that can't be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum MixError {
    /// One is negative or not a number.
    #[error("a share of the mix is 0 or more")]
    Share,
    /// All are zero.
    #[error("the mix is empty: give at least one of --read, --update, --insert, --scan, --rmw, --call, --add")]
    Empty,
}

impl Workload {
    /// Its shares and the distribution that goes with them.
    pub fn shares(self) -> (Shares, Distribution) {
        let none = Shares::default();
        match self {
            Workload::A => (Shares { read: 50.0, update: 50.0, ..none }, Distribution::Zipfian),
            Workload::B => (Shares { read: 95.0, update: 5.0, ..none }, Distribution::Zipfian),
            Workload::C => (Shares { read: 100.0, ..none }, Distribution::Zipfian),
            Workload::D => (Shares { read: 95.0, insert: 5.0, ..none }, Distribution::Latest),
            Workload::E => (Shares { scan: 95.0, insert: 5.0, ..none }, Distribution::Zipfian),
            Workload::F => (Shares { read: 50.0, rmw: 50.0, ..none }, Distribution::Zipfian),
        }
    }
}

/// A settled mix: draws kinds by their shares.
#[derive(Debug, Clone, PartialEq)]
pub struct Mix {
    /// The kinds that occur, each with the sum of the shares up to and with it, 0 to 1.
    upto: Vec<(f64, Kind)>,
}

impl Mix {
    /// Normalises the shares; with `batched`, reads become batches.
    pub fn new(shares: Shares, batched: bool) -> Result<Mix, MixError> {
        let read = if batched { Kind::Batch } else { Kind::Read };
        let parts = [
            (shares.read, read),
            (shares.update, Kind::Update),
            (shares.insert, Kind::Insert),
            (shares.scan, Kind::Scan),
            (shares.rmw, Kind::ReadModifyWrite),
            (shares.call, Kind::Call),
            (shares.add, Kind::Add),
        ];
        if parts.iter().any(|(share, _)| !share.is_finite() || *share < 0.0) {
            return Err(MixError::Share);
        }
        let total: f64 = parts.iter().map(|(share, _)| share).sum();
        if total <= 0.0 {
            return Err(MixError::Empty);
        }
        let mut sum = 0.0;
        let upto = parts.into_iter().filter(|(share, _)| *share > 0.0);
        let upto = upto.map(|(share, kind)| {
            sum += share / total;
            (sum, kind)
        });
        Ok(Mix { upto: upto.collect() })
    }

    /// Whether `kind` occurs.
    pub fn has(&self, kind: Kind) -> bool {
        self.upto.iter().any(|(_, occurs)| *occurs == kind)
    }

    /// The next operation's kind.
    pub fn draw(&self, rng: &mut Prng) -> Kind {
        if let [(_, only)] = self.upto[..] {
            return only;
        }
        let at = rng.random::<f64>();
        let drawn = self.upto.iter().find(|(upto, _)| at < *upto).or(self.upto.last());
        drawn.map_or(Kind::Read, |(_, kind)| *kind)
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    fn drawn(mix: &Mix) -> [f64; 8] {
        let mut rng = Prng::seed_from_u64(11);
        let mut seen = [0.0; 8];
        (0..100_000).for_each(|_| seen[mix.draw(&mut rng) as usize] += 1e-5);
        seen
    }

    #[test]
    fn the_workloads_are_those_of_ycsb() {
        let expected = [
            (Workload::A, [0.5, 0.5, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]),
            (Workload::B, [0.95, 0.05, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]),
            (Workload::C, [1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]),
            (Workload::D, [0.95, 0.0, 0.05, 0.0, 0.0, 0.0, 0.0, 0.0]),
            (Workload::E, [0.0, 0.0, 0.05, 0.95, 0.0, 0.0, 0.0, 0.0]),
            (Workload::F, [0.5, 0.0, 0.0, 0.0, 0.5, 0.0, 0.0, 0.0]),
        ];
        for (workload, expected) in expected {
            let (shares, _) = workload.shares();
            let seen = drawn(&Mix::new(shares, false).expect("a mix"));
            for (seen, expected) in seen.iter().zip(expected) {
                assert!((seen - expected).abs() < 0.01, "{workload:?}: {seen} for {expected}");
            }
        }
    }

    #[test]
    fn shares_need_no_common_unit_and_batches_stand_for_reads() {
        let mix = Mix::new(Shares { read: 3.0, update: 1.0, ..Shares::default() }, true).expect("a mix");
        let seen = drawn(&mix);
        assert!((seen[Kind::Batch as usize] - 0.75).abs() < 0.01 && (seen[Kind::Update as usize] - 0.25).abs() < 0.01);
        assert!(mix.has(Kind::Batch) && !mix.has(Kind::Read));
    }

    #[test]
    fn calls_and_adds_have_a_share_like_everything_else() {
        let mix = Mix::new(Shares { read: 1.0, call: 2.0, add: 1.0, ..Shares::default() }, false).expect("a mix");
        let seen = drawn(&mix);
        for (kind, share) in [(Kind::Call, 0.5), (Kind::Read, 0.25), (Kind::Add, 0.25)] {
            assert!((seen[kind as usize] - share).abs() < 0.01, "{kind:?}");
        }
    }

    #[test]
    fn impossible_shares_are_refused() {
        assert_eq!(Mix::new(Shares::default(), false), Err(MixError::Empty));
        assert_eq!(Mix::new(Shares { read: -1.0, update: 2.0, ..Shares::default() }, false), Err(MixError::Share));
        assert_eq!(Mix::new(Shares { scan: f64::NAN, ..Shares::default() }, false), Err(MixError::Share));
    }
}
