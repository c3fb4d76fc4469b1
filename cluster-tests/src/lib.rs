//! What the tests of real processes share: nodes as child processes, an oracle of what was promised, strangers.
//!
//! Nothing here is timed: waits have bounds, beyond which a test fails for having seen nothing, never for slowness.

pub mod binary;
pub mod certificate;
pub mod ledger;
pub mod load;
pub mod mount;
pub mod process;
pub mod real_data;
pub mod settings;
pub mod size;
pub mod stranger;

pub use process::NodeProcess;
pub use settings::Settings;
