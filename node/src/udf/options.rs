//! Settings of the function host: how large the engine's pools are, and what a module and its compiler may use.

use std::time::Duration;

/// The engine's pools. They bound what all functions of a node use together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FunctionOptions {
    /// Instances alive at once; calls beyond it wait for `instance_wait`, then are refused.
    pub instances_max: u32,
    /// How long a call waits for an instance.
    pub instance_wait: Duration,
    /// The largest memory that any limit can grant.
    pub memory_bytes_ceiling: u64,
    /// The largest table that any limit can grant.
    pub table_elements_ceiling: u32,
    /// Stack of a guest.
    pub stack_bytes: u32,
    /// Memory of a finished instance that stays mapped for the next one.
    pub keep_resident_bytes: u32,
    /// What a module and its compiler may use.
    pub compile: CompileOptions,
    /// Compiled modules kept on disk; the oldest go first.
    pub cache_bytes_max: u64,
}

impl Default for FunctionOptions {
    fn default() -> Self {
        FunctionOptions {
            instances_max: 256,
            instance_wait: Duration::from_millis(100),
            memory_bytes_ceiling: 1 << 30,
            table_elements_ceiling: 100_000,
            stack_bytes: 512 << 10,
            keep_resident_bytes: 256 << 10,
            compile: CompileOptions::default(),
            cache_bytes_max: 1 << 30,
        }
    }
}

/// What a module and its compiler may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompileOptions {
    /// Bytes of a module.
    pub module_bytes_max: u64,
    /// Functions of a module, those of all its parts together.
    pub functions_max: u32,
    /// Bytes of one function's body.
    pub function_body_bytes_max: u32,
    /// Bytes of data segments.
    pub data_bytes_max: u64,
    /// Core modules within a component, and components within it.
    pub core_modules_max: u32,
    /// Address space of the compiler's process.
    pub memory_bytes_max: u64,
    /// Processor time of the compiler.
    pub cpu: Duration,
    /// From beginning to end of one compilation.
    pub wall: Duration,
    /// Uploads that may wait for the compiler.
    pub queue_max: usize,
}

impl Default for CompileOptions {
    fn default() -> Self {
        CompileOptions {
            module_bytes_max: 32 << 20,
            functions_max: 50_000,
            function_body_bytes_max: 512 << 10,
            data_bytes_max: 32 << 20,
            core_modules_max: 32,
            memory_bytes_max: 4 << 30,
            cpu: Duration::from_secs(120),
            wall: Duration::from_secs(180),
            queue_max: 16,
        }
    }
}
