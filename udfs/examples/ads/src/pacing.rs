//! Budget pacing: a campaign's record knows its budget, its flight and what is spent, in millionths of a currency unit.
//!
//! The target is a straight line from nothing at the start to the whole budget at the end. A bid that stays on or below
//! the line is permitted; one above it with a probability that falls to nothing at 1% of the budget above the line; one
//! that the budget doesn't hold never is. All of it is arithmetic of integers.

use outcrop_udf::Rng;
use outcrop_udf::prelude::*;
use serde::{Deserialize, Serialize};

/// Room above the line, as a share of the budget: one hundredth.
const SLACK_DIVISOR: i64 = 100;
const BUDGET: &str = "budget_micros";
const SPENT: &str = "spent_micros";
const START: &str = "start_ms";
const END: &str = "end_ms";
/// Code of a campaign that nobody has planned.
const NO_PLAN: &str = "no-plan";

/// What a campaign may spend, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Shape)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// The whole budget, in millionths.
    pub budget_micros: i64,
    /// When the flight begins, ms since 1970.
    pub start_ms: i64,
    /// When it ends.
    pub end_ms: i64,
}

/// What became of a bid.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Shape)]
pub struct Permit {
    /// Whether it may be made; if so, its price is taken off the budget.
    pub permitted: bool,
    /// Why not: `outside-flight`, `budget-spent`, or `ahead` of the line.
    pub reason: Option<String>,
    /// Spent so far, this bid included if it is permitted.
    pub spent_micros: i64,
    /// What the line says for now.
    pub target_micros: i64,
}

/// How a campaign stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Shape)]
pub struct Status {
    /// Its plan.
    pub budget_micros: i64,
    /// Spent so far.
    pub spent_micros: i64,
    /// What the line says for now.
    pub target_micros: i64,
    /// What is left.
    pub left_micros: i64,
}

impl Plan {
    /// What should be spent by a time: never less than before, and exactly the budget at the end.
    pub fn target_micros(&self, now_ms: i64) -> i64 {
        let passed = i128::from(now_ms.clamp(self.start_ms, self.end_ms)) - i128::from(self.start_ms);
        let flight = i128::from(self.end_ms) - i128::from(self.start_ms);
        i64::try_from(i128::from(self.budget_micros) * passed / flight.max(1)).unwrap_or(self.budget_micros)
    }

    fn slack_micros(&self) -> i64 {
        (self.budget_micros / SLACK_DIVISOR).max(1)
    }
}

fn now() -> i64 {
    i64::try_from(now_ms()).unwrap_or(i64::MAX)
}

fn read(record: &Record) -> Result<(Plan, i64)> {
    if !record.exists() {
        bail!(code: NO_PLAN, "the campaign {} has no plan: call `plan` first", record.key());
    }
    let plan =
        Plan { budget_micros: record.require(BUDGET)?, start_ms: record.require(START)?, end_ms: record.require(END)? };
    Ok((plan, record.get_or(SPENT, 0)?))
}

/// Plans a campaign, or changes its plan; what is spent stays spent.
#[record_fn]
pub fn plan(record: &mut Record, #[arguments] plan: Plan) -> Result<()> {
    ensure!(plan.budget_micros > 0, "a budget is more than nothing, not {}", plan.budget_micros);
    ensure!(plan.start_ms < plan.end_ms, "a flight ends ({}) behind its start ({})", plan.end_ms, plan.start_ms);
    let spent: i64 = record.get_or(SPENT, 0)?;
    ensure!(spent <= plan.budget_micros, "{spent} are spent: a budget of {} comes too late", plan.budget_micros);
    record.set(BUDGET, plan.budget_micros)?;
    record.set(START, plan.start_ms)?;
    record.set(END, plan.end_ms)?;
    record.set(SPENT, spent)
}

/// Asks whether a bid may be made now, and takes its price off the budget if so.
#[record_fn]
pub fn bid(record: &mut Record, price_micros: i64) -> Result<Permit> {
    ensure!(price_micros > 0, "a price is more than nothing, not {price_micros}");
    let (plan, spent) = read(record)?;
    let (now, target) = (now(), plan.target_micros(now()));
    let refuse = |reason: &str| {
        count(reason, 1);
        Ok(Permit { permitted: false, reason: Some(reason.to_owned()), spent_micros: spent, target_micros: target })
    };
    if now < plan.start_ms || now >= plan.end_ms {
        return refuse("outside-flight");
    }
    let Some(after) = spent.checked_add(price_micros).filter(|after| *after <= plan.budget_micros) else {
        return refuse("budget-spent");
    };
    let ahead = after.saturating_sub(target);
    let slack = plan.slack_micros();
    if ahead > 0 {
        // Permitted with the probability 1 - ahead / slack.
        let draw = Rng::of_call().below(slack.unsigned_abs());
        if i64::try_from(draw).unwrap_or(i64::MAX) < ahead {
            return refuse("ahead");
        }
    }
    record.set(SPENT, after)?;
    Ok(Permit { permitted: true, reason: None, spent_micros: after, target_micros: target })
}

/// Gives back what a permitted bid didn't cost: `reserved_micros` were taken, `cost_micros` are due. What is spent then.
#[record_fn]
pub fn settle(record: &mut Record, reserved_micros: i64, cost_micros: i64) -> Result<i64> {
    let fits = cost_micros >= 0 && cost_micros <= reserved_micros;
    ensure!(fits, "a bid costs nothing to what was reserved for it ({reserved_micros}), not {cost_micros}");
    let (_, spent) = read(record)?;
    let left = spent - (reserved_micros - cost_micros);
    ensure!(left >= 0, "{reserved_micros} were not reserved: only {spent} are spent");
    record.set(SPENT, left)?;
    Ok(left)
}

/// How a campaign stands.
#[record_fn]
pub fn status(record: &Record) -> Result<Status> {
    let (plan, spent_micros) = read(record)?;
    let target_micros = plan.target_micros(now());
    let Plan { budget_micros, .. } = plan;
    Ok(Status { budget_micros, spent_micros, target_micros, left_micros: budget_micros - spent_micros })
}

#[cfg(test)]
mod tests {
    use outcrop_udf::fake;
    use proptest::prelude::*;

    use super::*;

    const START_MS: i64 = 1_700_000_000_000;

    fn at(now_ms: i64, seed: u64) -> fake::Entered {
        fake::Context::new().now_ms(now_ms.unsigned_abs()).seed(seed).enter()
    }

    fn campaign(budget_micros: i64, flight_ms: i64) -> (Record, Plan) {
        let mut record = Record::fake().key("summer").absent().build();
        let planned = Plan { budget_micros, start_ms: START_MS, end_ms: START_MS + flight_ms };
        plan(&mut record, planned).expect("planned");
        (record.commit(), planned)
    }

    proptest! {
        #[test]
        fn the_line_rises_from_nothing_to_the_budget(
            budget in 1..i64::MAX, start in 0..i64::MAX / 2, flight in 1..i64::MAX / 2, times in prop::collection::vec(any::<i64>(), 2..20),
        ) {
            let plan = Plan { budget_micros: budget, start_ms: start, end_ms: start + flight };
            prop_assert_eq!((plan.target_micros(start), plan.target_micros(start + flight)), (0, budget));
            let mut times = times;
            times.sort_unstable();
            let targets: Vec<i64> = times.iter().map(|now| plan.target_micros(*now)).collect();
            prop_assert!(targets.is_sorted() && targets.iter().all(|target| (0..=budget).contains(target)));
        }

        #[test]
        fn no_budget_is_overspent_whatever_is_bid(
            budget in 1_i64..100_000_000,
            bids in prop::collection::vec((0_i64..100_000, 1_i64..3_000_000, any::<u64>(), prop::option::of(0_u8..100)), 1..120),
        ) {
            let (mut record, planned) = campaign(budget, 3_600_000);
            let (mut now_ms, mut spent) = (START_MS - 50_000, 0_i64);
            for (gap, price, seed, cost) in bids {
                now_ms += gap;
                let _context = at(now_ms, seed);
                let permit = bid(&mut record, price).expect("a permit");
                spent += if permit.permitted { price } else { 0 };
                prop_assert_eq!(permit.spent_micros, spent);
                prop_assert!(spent <= budget);
                // Never further above the line than the slack.
                if permit.permitted {
                    prop_assert!(spent <= planned.target_micros(now_ms) + planned.slack_micros());
                    prop_assert!((planned.start_ms..planned.end_ms).contains(&now_ms));
                }
                if let (true, Some(percent)) = (permit.permitted, cost) {
                    let cost = price * i64::from(percent) / 100;
                    spent -= price - cost;
                    prop_assert_eq!(settle(&mut record, price, cost), Ok(spent));
                }
                record = record.commit();
                let status = status(&record).expect("a status");
                prop_assert_eq!((status.spent_micros, status.left_micros), (spent, budget - spent));
            }
        }
    }

    #[test]
    fn with_bids_enough_the_budget_is_spent_evenly_and_wholly() {
        let (mut record, planned) = campaign(1_000_000_000, 3_600_000);
        for second in 0..3_600_i64 {
            for n in 0..4 {
                let _context = at(START_MS + second * 1_000 + n * 250, (second * 4 + n).unsigned_abs());
                bid(&mut record, 100_000).expect("a permit");
            }
            record = record.commit();
            let now_ms = START_MS + second * 1_000 + 750;
            let _context = at(now_ms, 0);
            let behind = planned.target_micros(now_ms) - status(&record).expect("a status").spent_micros;
            assert!((-planned.slack_micros()..=400_000).contains(&behind), "{behind} at second {second}");
        }
        let spent = status(&record).expect("a status").spent_micros;
        assert!((999_000_000..=1_000_000_000).contains(&spent), "{spent}");
    }

    #[test]
    fn above_the_line_the_chance_falls_with_the_distance_and_the_seed_decides() {
        let permitted = |ahead_percent: i64| {
            let mut permitted = 0;
            for seed in 0..2_000 {
                let _context = at(START_MS + 500_000, seed);
                let (mut record, _) = campaign(1_000_000_000, 1_000_000);
                // The line is at 500,000,000, the slack 10,000,000.
                record.set(SPENT, 500_000_000 + ahead_percent * 100_000 - 1).expect("set");
                permitted += u32::from(bid(&mut record, 1).expect("a permit").permitted);
            }
            permitted
        };
        assert_eq!((permitted(0), permitted(100)), (2_000, 0));
        assert!((1_400..1_600).contains(&permitted(25)) && (400..600).contains(&permitted(75)));
    }

    #[test]
    fn mistakes_are_refused() {
        let _context = at(START_MS, 1);
        let mut nobody = Record::fake().absent().build();
        assert_eq!(bid(&mut nobody, 1).expect_err("no plan").code(), NO_PLAN);
        let (mut record, planned) = campaign(1_000, 10);
        assert!(bid(&mut record, 0).is_err() && bid(&mut record, -5).is_err());
        assert_eq!(bid(&mut record, i64::MAX).expect("a permit").reason.as_deref(), Some("budget-spent"));
        assert!(
            settle(&mut record, 5, 6).is_err()
                && settle(&mut record, 5, -1).is_err()
                && settle(&mut record, 5, 0).is_err()
        );
        assert!(plan(&mut record, Plan { budget_micros: 0, ..planned }).is_err());
        assert!(plan(&mut record, Plan { end_ms: planned.start_ms, ..planned }).is_err());
    }
}
