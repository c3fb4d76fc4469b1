//! Randomness: identities and sampling decisions, seeded in a simulation.

use parking_lot::Mutex;
use rand::rngs::{StdRng, SysRng};
use rand::{Rng, SeedableRng, TryRng};

/// Gives random numbers.
pub trait Entropy: Send + Sync + 'static {
    /// The next number.
    fn next_u64(&self) -> u64;

    /// Sixteen random bytes.
    fn next_id(&self) -> [u8; 16] {
        (u128::from(self.next_u64()) << 64 | u128::from(self.next_u64())).to_le_bytes()
    }
}

/// The machine's generator.
#[derive(Debug, Default, Clone, Copy)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn next_u64(&self) -> u64 {
        SysRng.try_next_u64().expect("the kernel's random numbers are there once the machine has started")
    }
}

/// Numbers that follow from a seed.
#[derive(Debug)]
pub struct SeededEntropy(Mutex<StdRng>);

impl SeededEntropy {
    /// The numbers of this seed.
    pub fn new(seed: u64) -> Self {
        SeededEntropy(Mutex::new(StdRng::seed_from_u64(seed)))
    }
}

impl Entropy for SeededEntropy {
    fn next_u64(&self) -> u64 {
        self.0.lock().next_u64()
    }
}
