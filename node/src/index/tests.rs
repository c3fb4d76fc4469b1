//! Tests of the index against an ordered map, with growth, shrinking and digests made to collide.

use std::collections::BTreeMap;

use outcrop_flash::{Location, SegmentId};
use outcrop_wire::{Digest, PartitionId};
use proptest::prelude::*;

use super::*;

fn entry(number: u32) -> Entry {
    Entry {
        set: SetId::new((number % 4_096) as u16).expect("twelve bits"),
        location: Location::new(SegmentId(number % 16_000_000), 4_096, 64).expect("within the limits"),
        tombstone: number.is_multiple_of(3),
        expiry_secs: number,
        generation: !number,
    }
}

/// SplitMix64, for digests that spread.
fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

const PARTITION: u16 = 0xabc;

/// How the digests of one partition lie: spread, in few clusters, with the top or bottom 64 free bits all alike.
#[derive(Debug, Clone, Copy)]
enum Spread {
    Even,
    Clusters,
    AllFirst,
    AllLast,
}

fn digest(spread: Spread, number: u64) -> Digest {
    let (high, low) = (mix(number), mix(!number) >> 12);
    let (high, low) = match spread {
        Spread::Even => (high, low),
        Spread::Clusters => ((mix(number % 5) & !0xff) | (high & 0xff), low),
        Spread::AllFirst => (0, number),
        Spread::AllLast => (u64::MAX, number),
    };
    Digest::from_u128(u128::from(PARTITION) << 116 | u128::from(high) << 52 | u128::from(low))
}

fn partition() -> Partition {
    Partition::new(PartitionId::new(PARTITION).expect("a partition"))
}

#[derive(Debug, Clone)]
enum Step {
    Insert(u64, u32),
    Remove(u64),
    Update(u64, u32),
    Get(u64),
    After(u64),
    Retain(u32),
    InsertMany(u64, u64),
    InsertRoomy(u64, u64),
    RemoveMany(u64, u64),
    Fit,
    Restore,
}

fn step() -> impl Strategy<Value = Step> {
    let number = 0..600_u64;
    prop_oneof![
        6 => (number.clone(), any::<u32>()).prop_map(|(number, value)| Step::Insert(number, value)),
        4 => number.clone().prop_map(Step::Remove),
        2 => (number.clone(), any::<u32>()).prop_map(|(number, value)| Step::Update(number, value)),
        2 => number.clone().prop_map(Step::Get),
        1 => number.clone().prop_map(Step::After),
        1 => (1..5_u32).prop_map(Step::Retain),
        1 => (number.clone(), 1..400_u64).prop_map(|(from, count)| Step::InsertMany(from, count)),
        1 => (number.clone(), 1..400_u64).prop_map(|(from, count)| Step::InsertRoomy(from, count)),
        1 => (number, 1..400_u64).prop_map(|(from, count)| Step::RemoveMany(from, count)),
        1 => Just(Step::Fit),
        1 => Just(Step::Restore),
    ]
}

/// Applies a step to both, compares what it gave.
fn apply(step: &Step, spread: Spread, partition: &mut Partition, model: &mut BTreeMap<Digest, Entry>) {
    let digest = |number: u64| digest(spread, number);
    match *step {
        Step::Insert(number, value) => {
            let previous = partition.insert(&digest(number), entry(value));
            assert_eq!(previous, model.insert(digest(number), entry(value)));
        }
        Step::Remove(number) => assert_eq!(partition.remove(&digest(number)), model.remove(&digest(number))),
        Step::Update(number, value) => {
            let found = partition.update(&digest(number), |old| *old = entry(value));
            assert_eq!(found, model.get_mut(&digest(number)).map(|old| *old = entry(value)).is_some());
        }
        Step::Get(number) => assert_eq!(partition.get(&digest(number)), model.get(&digest(number)).copied()),
        Step::After(number) => {
            let after: Vec<_> = partition.iter_after(Some(digest(number))).collect();
            let expected = model.iter().filter(|(key, _)| **key > digest(number));
            assert_eq!(after, expected.map(|(key, entry)| (*key, *entry)).collect::<Vec<_>>());
        }
        Step::Retain(divisor) => {
            let dropped = partition.retain(|_, entry| entry.expiry_secs.is_multiple_of(divisor));
            let before = model.len();
            model.retain(|_, entry| entry.expiry_secs.is_multiple_of(divisor));
            assert_eq!(dropped, before - model.len());
        }
        Step::InsertMany(from, count) => {
            for number in from..from + count {
                assert_eq!(partition.insert(&digest(number), entry(7)), model.insert(digest(number), entry(7)));
            }
        }
        Step::InsertRoomy(from, count) => {
            for number in from..from + count {
                assert_eq!(partition.insert_roomy(&digest(number), entry(9)), model.insert(digest(number), entry(9)));
            }
        }
        Step::Fit => partition.fit(),
        Step::RemoveMany(from, count) => {
            for number in from..from + count {
                assert_eq!(partition.remove(&digest(number)), model.remove(&digest(number)));
            }
        }
        Step::Restore => {
            let mut bytes = Vec::new();
            partition.snapshot(&mut bytes);
            let mut restored = Partition::new(partition.id());
            restored.restore(&bytes).expect("a snapshot of the same partition");
            assert_eq!(restored.sequence, partition.sequence);
            *partition = restored;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn behaves_as_an_ordered_map(
        steps in proptest::collection::vec(step(), 1..60),
        spread in prop_oneof![
            Just(Spread::Even), Just(Spread::Clusters), Just(Spread::AllFirst), Just(Spread::AllLast)
        ],
    ) {
        let (mut partition, mut model) = (partition(), BTreeMap::new());
        for step in &steps {
            apply(step, spread, &mut partition, &mut model);
            partition.table.check();
            prop_assert_eq!(partition.len(), model.len());
        }
        prop_assert!(partition.iter().eq(model.iter().map(|(digest, entry)| (*digest, *entry))));
    }
}

#[test]
fn stays_sorted_and_full_through_growth_and_shrinking() {
    const COUNT: u64 = 20_000;
    let mut partition = partition();
    for number in 0..COUNT {
        partition.insert(&digest(Spread::Even, number), entry(number as u32));
        if number.is_multiple_of(977) {
            partition.table.check();
        }
        let (len, capacity) = (partition.len(), partition.table.capacity());
        assert!(len < 512 || len * 100 >= capacity * 86, "{len} of {capacity}");
    }
    for number in 0..COUNT {
        assert!(partition.remove(&digest(Spread::Even, number)).is_some());
        if number.is_multiple_of(977) {
            partition.table.check();
        }
        let (len, capacity) = (partition.len(), partition.table.capacity());
        assert!(len < 512 || len * 100 >= capacity * 82, "{len} of {capacity}");
    }
    assert!(partition.is_empty());
    assert_eq!(partition.table.capacity(), 0);
}

#[test]
fn growth_in_large_steps_is_given_back() {
    for count in [1, 300, 5_000, 20_000] {
        let (mut roomy, mut plain) = (partition(), partition());
        let is_full = |partition: &Partition, percent: usize| {
            partition.len() < 512 || partition.len() * 100 >= partition.table.capacity() * percent
        };
        for number in 0..count {
            roomy.insert_roomy(&digest(Spread::Even, number), entry(number as u32));
            plain.insert(&digest(Spread::Even, number), entry(number as u32));
            assert!(is_full(&roomy, 77), "{} of {}", roomy.len(), roomy.table.capacity());
        }
        roomy.table.check();
        roomy.fit();
        roomy.table.check();
        assert!(is_full(&roomy, 82), "{} of {}", roomy.len(), roomy.table.capacity());
        assert!(roomy.iter().eq(plain.iter()));
    }
}

#[test]
fn keys_that_share_125_bits_stay_apart() {
    let mut partition = partition();
    let base = digest(Spread::Even, 1).as_u128() & !7;
    for number in 0..8 {
        partition.insert(&Digest::from_u128(base | number), entry(number as u32));
    }
    for number in 0..8 {
        assert_eq!(partition.get(&Digest::from_u128(base | number)), Some(entry(number as u32)));
    }
    assert_eq!(partition.len(), 8);
}

#[test]
fn every_field_keeps_its_bits() {
    let extreme = |bit: bool| Entry {
        set: SetId::new(if bit { 4_095 } else { 0 }).expect("twelve bits"),
        location: Location::from_bits(if bit { (1 << Location::BITS) - 1 } else { 1 }).expect("62 bits"),
        tombstone: bit,
        expiry_secs: if bit { u32::MAX } else { 0 },
        generation: if bit { u32::MAX } else { 0 },
    };
    let last = Digest::from_u128(u128::from(PARTITION) << 116 | ((1 << 116) - 1));
    for bit in [false, true] {
        let mut partition = partition();
        partition.insert(&last, extreme(bit));
        assert_eq!(partition.get(&last), Some(extreme(bit)));
        assert_eq!(partition.iter().collect::<Vec<_>>(), vec![(last, extreme(bit))]);
    }
    assert_eq!(SetId::new(4_096), None);
}

#[test]
fn a_cursor_of_another_partition_gives_all_or_nothing() {
    let mut partition = partition();
    partition.insert(&digest(Spread::Even, 1), entry(1));
    assert_eq!(partition.iter_after(None).count(), 1);
    assert_eq!(partition.iter_after(Some(Digest::from_u128(0))).count(), 1);
    assert_eq!(partition.iter_after(Some(Digest::from_u128(u128::MAX))).count(), 0);
    assert_eq!(partition.iter_after(Some(digest(Spread::Even, 1))).count(), 0);
}

#[test]
fn a_damaged_snapshot_is_refused_and_leaves_what_is_there() {
    let mut source = partition();
    for number in 0..100 {
        source.insert(&digest(Spread::Even, number), entry(number as u32));
    }
    source.sequence = 77;
    let mut good = Vec::new();
    source.snapshot(&mut good);
    assert_eq!(Partition::snapshot_id(&good), Ok(source.id()));

    let mut target = partition();
    target.insert(&digest(Spread::Even, 5_000), entry(1));
    let damaged = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = good.clone();
        change(&mut bytes);
        bytes
    };
    let cases = [
        (damaged(&|bytes| bytes[0] = 9), RestoreError::Version(9)),
        (damaged(&|bytes| bytes.truncate(7)), RestoreError::Length { bytes: 7, entries: 0 }),
        (damaged(&|bytes| bytes.truncate(48)), RestoreError::Length { bytes: 48, entries: 100 }),
        (damaged(&|bytes| bytes.push(0)), RestoreError::Length { bytes: 16 + 3_200 + 1, entries: 100 }),
        (damaged(&|bytes| bytes[2] = 0), RestoreError::Partition { found: 0xa00, expected: PARTITION }),
        (damaged(&|bytes| bytes[4..8].fill(0xff)), RestoreError::Length { bytes: 3_216, entries: u32::MAX as usize }),
        (damaged(&|bytes| bytes.copy_within(16..48, 48)), RestoreError::Entry(1)),
        (damaged(&|bytes| bytes[32..40].fill(0)), RestoreError::Entry(0)),
        (damaged(&|bytes| bytes[32..40].fill(0xff)), RestoreError::Entry(0)),
    ];
    for (bytes, error) in cases {
        assert_eq!(target.restore(&bytes), Err(error));
        assert_eq!(target.get(&digest(Spread::Even, 5_000)), Some(entry(1)));
    }
    target.restore(&good).expect("undamaged");
    target.table.check();
    assert_eq!((target.len(), target.sequence), (100, 77));
    assert_eq!(target.next_sequence(), 78);
}

#[test]
fn partitions_are_counted_together() {
    let index = Index::new();
    assert!(index.is_empty());
    let empty_bytes = index.memory_bytes();
    for number in 0..10_000_u64 {
        let digest = Digest::from_u128(u128::from(mix(number)) << 64 | u128::from(number));
        index.write(digest.partition()).insert(&digest, entry(number as u32));
        assert_eq!(index.read(digest.partition()).get(&digest), Some(entry(number as u32)));
    }
    assert_eq!(index.len(), 10_000);
    assert!(index.memory_bytes() > empty_bytes + 10_000 * 32);
}
