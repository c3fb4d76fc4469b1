//! Frequency capping: a user's record counts impressions by campaign, in buckets of ten minutes.
//!
//! A window of N hours counts every bucket that it touches, so it looks back up to ten minutes further than asked: a
//! user may be spared an ad a little longer, but never sees one more often than a cap allows in any N hours.

use outcrop_udf::Bytes;
use outcrop_udf::prelude::*;
use serde::{Deserialize, Serialize};

/// Length of a bucket: the resolution of all windows.
pub const BUCKET_MS: u64 = 10 * 60 * 1_000;
/// Hours of the longest window: a week.
pub const HOURS_MAX: u32 = 7 * 24;
/// Campaigns that are counted of one user. Each has at most 1,009 buckets of 8 bytes, so that a record stays below 1 MiB.
pub const CAMPAIGNS_MAX: usize = 64;
/// Caps of one question.
const CAPS_MAX: usize = 8;
const CAMPAIGN_BYTES_MAX: usize = 64;
/// Bin of the counts.
const SEEN: &str = "seen";

/// At most so many impressions in so many hours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Shape)]
#[serde(deny_unknown_fields)]
pub struct Cap {
    /// 1 to 168.
    pub hours: u32,
    /// Impressions.
    pub most: u32,
}

/// What [`impression`] takes.
#[derive(Debug, Clone, Serialize, Deserialize, Shape)]
#[serde(deny_unknown_fields)]
pub struct Asked {
    /// The campaign.
    pub campaign: String,
    /// All of them have to hold.
    pub caps: Vec<Cap>,
}

/// What [`impression`] gives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Shape)]
pub struct Decision {
    /// Whether the ad may be shown; if so, it has been counted.
    pub allowed: bool,
    /// Impressions within each cap's window, this one included if it is allowed.
    pub seen: Vec<u64>,
    /// Why it isn't allowed: `capped`, or `too-many-campaigns` if the user's record has no room for another one.
    pub reason: Option<String>,
}

/// Impressions of one campaign: bucket number and count, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Campaign {
    name: String,
    buckets: Vec<(u32, u32)>,
}

/// A campaign as it is stored: its name, and for each bucket two little-endian numbers.
type Stored = (String, Bytes);

impl Campaign {
    fn of_stored((name, Bytes(bytes)): Stored) -> Self {
        let (pairs, _) = bytes.as_chunks::<8>();
        let half = |pair: &[u8; 8], at: usize| u32::from_le_bytes(std::array::from_fn(|byte| pair[at + byte]));
        Campaign { name, buckets: pairs.iter().map(|pair| (half(pair, 0), half(pair, 4))).collect() }
    }

    fn to_stored(&self) -> Stored {
        let bytes = self.buckets.iter().flat_map(|(bucket, count)| [bucket.to_le_bytes(), count.to_le_bytes()]);
        (self.name.clone(), Bytes(bytes.flatten().collect()))
    }

    fn count_since(&self, first: u32) -> u64 {
        self.buckets.iter().filter(|(bucket, _)| *bucket >= first).map(|(_, count)| u64::from(*count)).sum()
    }
}

/// The bucket of a time; there are enough of them for 80,000 years.
fn bucket_of(at_ms: u64) -> u32 {
    u32::try_from(at_ms / BUCKET_MS).unwrap_or(u32::MAX)
}

/// The first bucket that a window ending now touches.
fn first_bucket(hours: u32) -> u32 {
    bucket_of(now_ms().saturating_sub(u64::from(hours) * 3_600_000))
}

fn check(campaign: &str, hours: impl IntoIterator<Item = u32>) -> Result<()> {
    let bytes = campaign.len();
    ensure!((1..=CAMPAIGN_BYTES_MAX).contains(&bytes), "a campaign has 1 to {CAMPAIGN_BYTES_MAX} bytes, not {bytes}");
    for hours in hours {
        ensure!((1..=HOURS_MAX).contains(&hours), "a window has 1 to {HOURS_MAX} hours, not {hours}");
    }
    Ok(())
}

/// The counts without what no window reaches any more.
fn read(record: &Record) -> Result<Vec<Campaign>> {
    let stored: Vec<Stored> = record.get(SEEN)?.unwrap_or_default();
    let mut campaigns: Vec<Campaign> = stored.into_iter().map(Campaign::of_stored).collect();
    let first = first_bucket(HOURS_MAX);
    campaigns.iter_mut().for_each(|campaign| campaign.buckets.retain(|(bucket, _)| *bucket >= first));
    campaigns.retain(|campaign| !campaign.buckets.is_empty());
    Ok(campaigns)
}

fn write(record: &mut Record, campaigns: &[Campaign]) -> Result<()> {
    record.set(SEEN, campaigns.iter().map(Campaign::to_stored).collect::<Vec<_>>())
}

/// How often the user has seen a campaign in the last hours.
#[record_fn]
pub fn seen(record: &Record, campaign: String, hours: u32) -> Result<u64> {
    check(&campaign, [hours])?;
    let first = first_bucket(hours);
    let campaigns = read(record)?;
    Ok(campaigns.iter().find(|known| known.name == campaign).map_or(0, |known| known.count_since(first)))
}

/// Counts an impression if every cap allows it.
#[record_fn]
pub fn impression(record: &mut Record, #[arguments] asked: Asked) -> Result<Decision> {
    let Asked { campaign, caps } = asked;
    check(&campaign, caps.iter().map(|cap| cap.hours))?;
    ensure!((1..=CAPS_MAX).contains(&caps.len()), "an impression has 1 to {CAPS_MAX} caps, not {}", caps.len());
    let mut campaigns = read(record)?;
    let known = campaigns.iter().position(|known| known.name == campaign);
    let mut seen: Vec<u64> =
        caps.iter().map(|cap| known.map_or(0, |place| campaigns[place].count_since(first_bucket(cap.hours)))).collect();
    let refuse = |seen, reason: &str| Ok(Decision { allowed: false, seen, reason: Some(reason.to_owned()) });
    if caps.iter().zip(&seen).any(|(cap, seen)| *seen >= u64::from(cap.most)) {
        count("capped", 1);
        return refuse(seen, "capped");
    }
    let place = match known {
        Some(place) => place,
        // To forget a campaign that still counts would show its ads too often.
        None if campaigns.len() >= CAMPAIGNS_MAX => return refuse(seen, "too-many-campaigns"),
        None => {
            campaigns.push(Campaign { name: campaign, buckets: Vec::new() });
            campaigns.len() - 1
        }
    };
    let now = bucket_of(now_ms());
    let buckets = &mut campaigns[place].buckets;
    // A clock that was set back finds later buckets: it adds to its own, and the later ones count on.
    match buckets.binary_search_by_key(&now, |(bucket, _)| *bucket) {
        Ok(at) => buckets[at].1 = buckets[at].1.saturating_add(1),
        Err(at) => buckets.insert(at, (now, 1)),
    }
    write(record, &campaigns)?;
    record.set_ttl(Ttl::Secs(HOURS_MAX * 3_600 + 600))?;
    seen.iter_mut().for_each(|seen| *seen += 1);
    Ok(Decision { allowed: true, seen, reason: None })
}

/// Forgets a campaign, or all of them; how many were known.
#[record_fn]
pub fn forget(record: &mut Record, campaign: Option<String>) -> Result<usize> {
    let campaigns = read(record)?;
    let (gone, kept): (Vec<_>, Vec<_>) =
        campaigns.into_iter().partition(|known| campaign.as_ref().is_none_or(|name| *name == known.name));
    if !gone.is_empty() {
        write(record, &kept)?;
    }
    Ok(gone.len())
}

#[cfg(test)]
mod tests {
    use outcrop_udf::fake;
    use proptest::prelude::*;

    use super::*;

    const START_MS: u64 = 1_700_000_000_000;

    fn ask(record: &mut Record, campaign: &str, caps: &[(u32, u32)]) -> Decision {
        let caps = caps.iter().map(|(hours, most)| Cap { hours: *hours, most: *most }).collect();
        impression(record, Asked { campaign: campaign.to_owned(), caps }).expect("a decision")
    }

    proptest! {
        #[test]
        fn no_window_ever_holds_more_than_its_cap(
            gaps_secs in prop::collection::vec(0_u64..5_000, 1..150),
            caps in prop::collection::vec((1_u32..30, 1_u32..12), 1..4),
        ) {
            let context = fake::Context::new().now_ms(START_MS).enter();
            let mut user = Record::fake().absent().build();
            let (mut shown, mut now_ms): (Vec<u64>, u64) = (Vec::new(), START_MS);
            for gap in gaps_secs {
                now_ms += gap * 1_000;
                context.set_now_ms(now_ms);
                let decision = ask(&mut user, "c", &caps);
                user = user.commit();
                if decision.allowed {
                    shown.push(now_ms);
                }
                for ((hours, most), seen) in caps.iter().zip(&decision.seen) {
                    let window_ms = u64::from(*hours) * 3_600_000;
                    let inside = |extra: u64| shown.iter().filter(|at| **at + window_ms + extra > now_ms).count();
                    // Never more than the cap in the window that ends now, and so in any.
                    prop_assert!(inside(0) <= *most as usize);
                    // What it says it counted is between the window and the window with one bucket more.
                    prop_assert!((inside(0) as u64..=inside(BUCKET_MS) as u64).contains(seen));
                    prop_assert_eq!(super::seen(&user, "c".to_owned(), *hours), Ok(*seen));
                }
                // Refused only where the window, with one bucket more, is full.
                if !decision.allowed {
                    let is_full = |(hours, most): &(u32, u32)| {
                        let window_ms = u64::from(*hours) * 3_600_000 + BUCKET_MS;
                        shown.iter().filter(|at| **at + window_ms > now_ms).count() >= *most as usize
                    };
                    prop_assert!(caps.iter().any(is_full), "refused at {} for nothing", now_ms);
                }
            }
        }
    }

    #[test]
    fn campaigns_are_counted_apart_and_a_refusal_changes_nothing() {
        let _context = fake::Context::new().now_ms(START_MS).enter();
        let mut user = Record::fake().absent().build();
        assert!(ask(&mut user, "a", &[(1, 1)]).allowed && ask(&mut user, "b", &[(1, 2)]).allowed);
        let mut user = user.commit();
        let refused = ask(&mut user, "a", &[(24, 5), (1, 1)]);
        assert_eq!(refused, Decision { allowed: false, seen: vec![1, 1], reason: Some("capped".to_owned()) });
        assert_eq!(user.outcome(), fake::Outcome::Nothing);
        assert_eq!(ask(&mut user, "a", &[(1, 0)]).reason.as_deref(), Some("capped"), "a cap of none");
        assert_eq!(forget(&mut user, Some("a".to_owned())), Ok(1));
        assert!(ask(&mut user, "a", &[(1, 1)]).allowed);
        assert_eq!(forget(&mut user, None), Ok(2));
    }

    #[test]
    fn a_users_record_is_bounded_and_old_counts_make_room() {
        let context = fake::Context::new().now_ms(START_MS).enter();
        let mut user = Record::fake().absent().build();
        for n in 0..CAMPAIGNS_MAX {
            assert!(ask(&mut user, &format!("c{n}"), &[(1, 1)]).allowed);
        }
        assert_eq!(ask(&mut user, "one more", &[(1, 1)]).reason.as_deref(), Some("too-many-campaigns"));
        context.advance_ms(u64::from(HOURS_MAX) * 3_600_000 + BUCKET_MS);
        assert!(ask(&mut user, "one more", &[(1, 1)]).allowed);
        assert_eq!(seen(&user, "c0".to_owned(), HOURS_MAX), Ok(0));
        let user = user.commit();
        assert_eq!(user.get::<Vec<Stored>>(SEEN).expect("a bin").expect("counts").len(), 1, "the old ones are gone");
    }

    #[test]
    fn a_clock_that_was_set_back_forgets_nothing() {
        let context = fake::Context::new().now_ms(START_MS).enter();
        let mut user = Record::fake().absent().build();
        assert!(ask(&mut user, "a", &[(1, 1)]).allowed);
        context.set_now_ms(START_MS - 7_200_000);
        assert!(!ask(&mut user, "a", &[(1, 1)]).allowed);
    }

    #[test]
    fn mistakes_are_refused() {
        let mut user = Record::fake().absent().build();
        let mut fails = |campaign: &str, hours, caps| {
            let caps = vec![Cap { hours, most: 1 }; caps];
            impression(&mut user, Asked { campaign: campaign.to_owned(), caps }).is_err()
        };
        assert!(
            fails("", 1, 1) && fails("a", 0, 1) && fails("a", HOURS_MAX + 1, 1) && fails("a", 1, 0) && fails("a", 1, 9)
        );
        assert!(!fails("a", HOURS_MAX, CAPS_MAX));
    }
}
