//! How a module's memory is laid out: its stack, and the heap that it begins with.
//!
//! A crate may say so in its `Cargo.toml`:
//!
//! ```toml
//! [package.metadata.outcrop]
//! stack-kib = 1024
//! heap-kib = 256
//! ```

use serde::Deserialize;

use crate::error::BuildError;

/// With the heap and some data that makes three pages of memory. The node wipes a memory of up to four after a call and
/// uses the instance again; a larger one is made anew for each call.
const STACK_KIB: u32 = 96;
/// So that a small call never asks for memory: see the SDK's allocator.
const HEAP_KIB: u32 = 64;

const STACK_KIB_MIN: u32 = 16;
const STACK_KIB_MAX: u32 = 16 << 10;
const HEAP_KIB_MAX: u32 = 64 << 10;

/// A module's stack and first heap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Layout {
    /// Stack of an instance, in KiB. A function that needs more traps.
    pub stack_kib: u32,
    /// Heap that an instance begins with, in KiB. It grows when a function needs more.
    pub heap_kib: u32,
}

impl Default for Layout {
    fn default() -> Self {
        Layout { stack_kib: STACK_KIB, heap_kib: HEAP_KIB }
    }
}

/// What cargo tells of a package's own tables.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct PackageMetadata {
    outcrop: Option<serde_json::Value>,
}

impl Layout {
    /// What a package asks for.
    pub(crate) fn of(package: &str, metadata: Option<&PackageMetadata>) -> Result<Self, BuildError> {
        let Some(asked) = metadata.and_then(|metadata| metadata.outcrop.as_ref()) else { return Ok(Layout::default()) };
        let wrong = |error: String| BuildError::Project(format!("[package.metadata.outcrop] of {package}: {error}"));
        let layout = Layout::deserialize(asked).map_err(|error| wrong(error.to_string()))?;
        if !(STACK_KIB_MIN..=STACK_KIB_MAX).contains(&layout.stack_kib) {
            let kib = layout.stack_kib;
            return Err(wrong(format!("a stack has {STACK_KIB_MIN} to {STACK_KIB_MAX} KiB, not {kib}")));
        }
        if layout.heap_kib > HEAP_KIB_MAX {
            let kib = layout.heap_kib;
            return Err(wrong(format!("a module begins with at most {HEAP_KIB_MAX} KiB of heap, not {kib}")));
        }
        Ok(layout)
    }

    /// What the linker has to know.
    pub(crate) fn linker_arguments(self) -> [String; 2] {
        let (stack, heap) = (self.stack_kib << 10, self.heap_kib << 10);
        [format!("-zstack-size={stack}"), format!("--initial-heap={heap}")]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(text: &str) -> Result<Layout, String> {
        let metadata: PackageMetadata = serde_json::from_str(text).unwrap();
        Layout::of("shop", Some(&metadata)).map_err(|error| error.to_string())
    }

    #[test]
    fn what_a_crate_asks_for_is_taken_within_bounds() {
        assert_eq!(Layout::of("shop", None).unwrap(), Layout::default());
        assert_eq!(asked(r#"{"docs": {}}"#), Ok(Layout::default()));
        let large = Layout { stack_kib: 1_024, heap_kib: HEAP_KIB };
        assert_eq!(asked(r#"{"outcrop": {"stack-kib": 1024}}"#), Ok(large));
        assert_eq!(large.linker_arguments(), ["-zstack-size=1048576", "--initial-heap=65536"]);
        for (wrong, said) in [
            (r#"{"stack-kib": 8}"#, "16 to 16384 KiB, not 8"),
            (r#"{"stack-kib": 4294967295}"#, "16 to 16384 KiB"),
            (r#"{"stack-kib": "1MiB"}"#, "invalid type"),
            (r#"{"heap-kib": 65537}"#, "at most 65536 KiB"),
            (r#"{"stack-kb": 64}"#, "unknown field `stack-kb`, expected `stack-kib` or `heap-kib`"),
        ] {
            let error = asked(&format!(r#"{{"outcrop": {wrong}}}"#)).expect_err(wrong);
            assert!(error.contains("[package.metadata.outcrop] of shop") && error.contains(said), "{error}");
        }
    }
}
