//! The steps of the model test: what is asked of the node and what happens to it meanwhile, at random.

use outcrop_wire::{Bins, MapKey, Operation, PutMode, Ttl, Value};
use proptest::prelude::*;

use super::request::payload;

pub const SETS: [&str; 3] = ["first", "second", "third set"];

/// A key: set and number.
pub type Which = (usize, i64);

#[derive(Debug, Clone, Copy)]
pub enum Generation {
    Any,
    Right,
    Wrong,
    Zero,
}

#[derive(Debug, Clone)]
pub enum Ask {
    Put(Which, PutMode, Generation, Ttl, Bins),
    Delete(Which, Generation),
    Touch(Which, Generation, Ttl),
    Operate(Which, Generation, Ttl, Vec<Operation>),
    Get(Which, Option<Vec<&'static str>>),
    Exists(Which),
}

#[derive(Debug, Clone)]
pub enum Step {
    One(Ask),
    Batch(Vec<Ask>),
    Truncate(usize),
    GiveUpTruncate(usize),
    Scan(Option<usize>, usize),
    Clock(u64),
    Sweep,
    Churn,
    Checkpoint,
    Restart,
    Crash(u64),
    CrashWithoutCheckpoint(u64),
    EvacuateOldest,
}

fn which() -> impl Strategy<Value = Which> {
    (0..SETS.len(), 0..8_i64)
}

fn generation() -> impl Strategy<Value = Generation> {
    prop_oneof![
        6 => Just(Generation::Any),
        2 => Just(Generation::Right),
        1 => Just(Generation::Wrong),
        1 => Just(Generation::Zero),
    ]
}

fn ttl() -> impl Strategy<Value = Ttl> {
    prop_oneof![Just(Ttl::Default), Just(Ttl::Never), Just(Ttl::Keep), (1..200_u32).prop_map(Ttl::Secs)]
}

fn bin_name() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["", "a", "b", "count", "list", "map"])
}

fn bins() -> impl Strategy<Value = Bins> {
    let value = prop_oneof![
        3 => any::<i64>().prop_map(Value::Int),
        2 => "[a-z]{0,12}".prop_map(Value::Text),
        2 => (any::<u64>(), 0..6_000_usize).prop_map(|(tag, len)| Value::Bytes(payload(tag, len))),
        1 => prop::collection::vec(any::<i64>().prop_map(Value::Int), 0..4).prop_map(Value::List),
        1 => any::<f64>().prop_map(Value::Float),
    ];
    prop::collection::vec((bin_name(), value), 0..4)
        .prop_map(|named| named.into_iter().fold(Bins::new(), |bins, (name, value)| bins.with(name, value)))
}

fn operation() -> impl Strategy<Value = Operation> {
    let bin = |name: &str| name.to_owned();
    prop_oneof![
        bin_name().prop_map(move |name| Operation::Read { bin: bin(name) }),
        (bin_name(), any::<i32>()).prop_map(|(name, n)| Operation::Put { bin: name.to_owned(), value: Value::from(n) }),
        bin_name().prop_map(move |name| Operation::Remove { bin: bin(name) }),
        any::<i32>().prop_map(|n| Operation::Add { bin: "count".to_owned(), amount: Value::from(n) }),
        "[a-z]{1,9}".prop_map(|text| Operation::Append { bin: "a".to_owned(), value: Value::Text(text) }),
        any::<i64>().prop_map(|n| Operation::ListAppend { bin: "list".to_owned(), value: Value::Int(n) }),
        (-3..3_i64).prop_map(|index| Operation::ListPop { bin: "list".to_owned(), index }),
        (0..4_i64, any::<i64>()).prop_map(|(name, n)| Operation::MapPut {
            bin: "map".to_owned(),
            key: MapKey::Int(name),
            value: Value::Int(n)
        }),
        Just(Operation::Touch),
        Just(Operation::Delete),
    ]
}

fn ask() -> impl Strategy<Value = Ask> {
    let put_mode = prop::sample::select(vec![
        PutMode::Upsert,
        PutMode::CreateOnly,
        PutMode::UpdateOnly,
        PutMode::Replace,
        PutMode::ReplaceOnly,
    ]);
    let names = prop::option::of(prop::collection::vec(bin_name(), 0..3));
    prop_oneof![
        6 => (which(), put_mode, generation(), ttl(), bins()).prop_map(|(w, m, g, t, b)| Ask::Put(w, m, g, t, b)),
        2 => (which(), generation()).prop_map(|(w, g)| Ask::Delete(w, g)),
        1 => (which(), generation(), ttl()).prop_map(|(w, g, t)| Ask::Touch(w, g, t)),
        4 => (which(), generation(), ttl(), prop::collection::vec(operation(), 1..5))
            .prop_map(|(w, g, t, o)| Ask::Operate(w, g, t, o)),
        3 => (which(), names).prop_map(|(w, n)| Ask::Get(w, n)),
        1 => which().prop_map(Ask::Exists),
    ]
}

pub fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        60 => ask().prop_map(Step::One),
        6 => prop::collection::vec(ask(), 1..12).prop_map(Step::Batch),
        2 => (0..SETS.len()).prop_map(Step::Truncate),
        1 => (0..SETS.len()).prop_map(Step::GiveUpTruncate),
        4 => (prop::option::of(0..SETS.len()), 1..9_usize).prop_map(|(set, piece)| Step::Scan(set, piece)),
        4 => (1..120_u64).prop_map(Step::Clock),
        3 => Just(Step::Sweep),
        6 => Just(Step::Churn),
        3 => Just(Step::Checkpoint),
        2 => Just(Step::Restart),
        3 => any::<u64>().prop_map(Step::Crash),
        2 => any::<u64>().prop_map(Step::CrashWithoutCheckpoint),
        3 => Just(Step::EvacuateOldest),
    ]
}

impl Ask {
    pub fn which(&self) -> Which {
        match self {
            Ask::Put(which, ..) | Ask::Delete(which, _) | Ask::Touch(which, ..) => *which,
            Ask::Operate(which, ..) | Ask::Get(which, _) | Ask::Exists(which) => *which,
        }
    }

    pub fn generation(&self) -> Generation {
        match self {
            Ask::Put(_, _, generation, ..) | Ask::Delete(_, generation) => *generation,
            Ask::Touch(_, generation, _) | Ask::Operate(_, generation, ..) => *generation,
            Ask::Get(..) | Ask::Exists(_) => Generation::Any,
        }
    }
}
