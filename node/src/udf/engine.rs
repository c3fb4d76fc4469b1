//! The engine's settings: what a guest's code may contain, how it is compiled, and the pools that it runs in.
//!
//! Node and compiler process use the same settings for code; only the node makes pools. An artifact that was compiled
//! under other settings is recognised and made anew.

use wasmtime::{
    Config, Enabled, Engine, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig, Strategy,
    WasmBacktraceDetails, WasmFeatures,
};

use super::options::FunctionOptions;

/// Address space of one linear memory: with all that 32 bits can address reserved, code needs no bounds checks.
const MEMORY_RESERVATION_BYTES: u64 = 4 << 30;

/// Unmapped pages behind it, for the offsets of loads and stores.
const MEMORY_GUARD_BYTES: u64 = 32 << 20;

/// Stack of the host's functions, on top of the guest's.
const HOST_STACK_BYTES: usize = 512 << 10;

/// Core modules, memories and tables of one component: guests of interpreted languages bring a handful.
pub const CORE_INSTANCES_MAX: u32 = 64;
/// Likewise.
pub const MEMORIES_MAX: u32 = 4;
/// Likewise.
pub const TABLES_MAX: u32 = 32;

/// Memories and tables that one place of the pool comes with.
const MEMORIES_A_PLACE: u32 = 1;
/// Likewise.
const TABLES_A_PLACE: u32 = 2;

/// Places of the pool that an instance takes: one, unless it needs more memories or tables than come with one.
pub fn places(memories: u32, tables: u32) -> u32 {
    memories.div_ceil(MEMORIES_A_PLACE).max(tables.div_ceil(TABLES_A_PLACE)).max(1)
}

/// Bytes that the engine keeps about one instance.
const INSTANCE_BYTES_MAX: usize = 1 << 20;

/// Frames of a backtrace.
pub const BACKTRACE_FRAMES_MAX: usize = 32;

/// What code may contain and how it is compiled.
fn code_config(stack_bytes: u32) -> Config {
    let mut config = Config::new();
    config
        .strategy(Strategy::Cranelift)
        .cranelift_opt_level(OptLevel::Speed)
        // The same bits on every machine.
        .cranelift_nan_canonicalization(true)
        .relaxed_simd_deterministic(true)
        .consume_fuel(true)
        .epoch_interruption(true)
        .wasm_component_model(true)
        .concurrency_support(false)
        .wasm_bulk_memory(true)
        .wasm_multi_value(true)
        .wasm_simd(true)
        .wasm_extended_const(true)
        .wasm_relaxed_simd(false)
        .wasm_tail_call(false)
        .wasm_multi_memory(false)
        .wasm_memory64(false)
        .wasm_custom_page_sizes(false)
        .wasm_features(WasmFeatures::FUNCTION_REFERENCES, false)
        .wasm_wide_arithmetic(false)
        .wasm_component_model_memory64(false)
        .memory_reservation(MEMORY_RESERVATION_BYTES)
        .memory_guard_size(MEMORY_GUARD_BYTES)
        .memory_may_move(false)
        .memory_init_cow(true)
        .wasm_backtrace_details(WasmBacktraceDetails::Enable)
        .wasm_backtrace_max_frames(std::num::NonZeroUsize::new(BACKTRACE_FRAMES_MAX))
        .max_wasm_stack(stack_bytes as usize)
        .async_stack_size(stack_bytes as usize + HOST_STACK_BYTES);
    config
}

/// The engine of the compiler: no pools.
pub fn compiler_engine(stack_bytes: u32) -> wasmtime::Result<Engine> {
    Engine::new(&code_config(stack_bytes))
}

/// The engine that runs functions.
pub fn running_engine(options: &FunctionOptions) -> wasmtime::Result<Engine> {
    let scan = PoolingAllocationConfig::is_pagemap_scan_available();
    // Without the kernel's help a reset copies the whole kept part, touched or not: then less is kept.
    let keep_resident = options.keep_resident_bytes as usize / if scan { 1 } else { 4 };
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(options.instances_max)
        // No more than a number. Memories and tables are address space: whoever needs many takes several places.
        .total_core_instances(options.instances_max.saturating_mul(CORE_INSTANCES_MAX))
        .total_memories(options.instances_max.saturating_mul(MEMORIES_A_PLACE))
        .total_tables(options.instances_max.saturating_mul(TABLES_A_PLACE))
        .total_stacks(options.instances_max)
        .max_component_instance_size(INSTANCE_BYTES_MAX)
        .max_core_instance_size(INSTANCE_BYTES_MAX)
        .max_core_instances_per_component(CORE_INSTANCES_MAX)
        .max_memories_per_component(MEMORIES_MAX)
        .max_tables_per_component(TABLES_MAX)
        .max_tables_per_module(TABLES_MAX)
        .max_memories_per_module(1)
        .max_memory_size(usize::try_from(options.memory_bytes_ceiling).unwrap_or(usize::MAX))
        .table_elements(options.table_elements_ceiling as usize)
        .linear_memory_keep_resident(keep_resident)
        .table_keep_resident(64 << 10)
        .async_stack_keep_resident(64 << 10)
        .max_unused_warm_slots((options.instances_max / 4).max(1))
        .pagemap_scan(if scan { Enabled::Yes } else { Enabled::No });
    let mut config = code_config(options.stack_bytes);
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    Engine::new(&config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_node_takes_what_the_compiler_makes() {
        let options = FunctionOptions { instances_max: 4, ..FunctionOptions::default() };
        let running = running_engine(&options).expect("the pools fit");
        let compiler = compiler_engine(options.stack_bytes).expect("the settings fit");
        let hash = |engine: &Engine| {
            let mut hasher = std::hash::DefaultHasher::new();
            std::hash::Hash::hash(&engine.precompile_compatibility_hash(), &mut hasher);
            std::hash::Hasher::finish(&hasher)
        };
        assert_eq!(hash(&running), hash(&compiler));
    }

    #[test]
    fn what_nobody_needs_is_refused() {
        let engine = compiler_engine(512 << 10).expect("the settings fit");
        for text in [
            "(component (core module (memory i64 1)))",
            "(component (core module (memory 1 1 shared)))",
            "(component (core module (memory 1) (memory 1)))",
            "(component (core module (func return_call 0)))",
            "(component (core module (tag)))",
            "(component (core module (type (struct))))",
            "(component (core module (func (param v128 v128) (result v128) (i8x16.relaxed_swizzle (local.get 0) (local.get 1)))))",
        ] {
            let bytes = wat::parse_str(text).expect("the text is well formed");
            assert!(engine.precompile_component(&bytes).is_err(), "{text}");
        }
    }
}
