//! An example: what an ad exchange asks of each bid, decided where the data is.
//!
//! `capping` answers how often a user has seen a campaign, and counts one more if the caps allow it; `pacing` spends a
//! campaign's budget evenly over its flight. Each is one call on one record, so that two bids at once never both take
//! the last impression or the last cent.

mod capping;
mod pacing;

pub use capping::{Asked, Cap, Decision, forget, impression, seen};
pub use pacing::{Permit, Plan, Status, bid, plan, settle, status};

outcrop_udf::module! {
    doc: "Frequency capping (records of users) and budget pacing (records of campaigns).",
    functions: [seen, impression, forget, plan, bid, settle, status],
}
