//! An export that the compiler adds to a module, by which the node puts an instance back to how it was made.
//!
//! A fresh instance for each call costs more than most calls: mapping tables, tying imports to memory, asking the kernel
//! which pages were touched. Where a module keeps all that it could remember in one small memory and in its globals, the
//! node adds a function to it that fills the memory with zeros, copies the data segments in again and sets the globals:
//! then an instance is wiped after a call and serves the next one. What the guest did doesn't matter, nothing is tracked.
//!
//! Whatever could carry something over in another way makes a module ineligible (see `look`): its calls get a fresh
//! instance each, as before. What code can't show is watched at run time: an instance whose memory grew, that trapped or was
//! dropped in mid-call is thrown away.
//!
//! The guest can't reach the function: the component is validated before it is added, so nothing in it names it.

mod look;
mod write;

/// The export's name. The node refuses components that have one of that name themselves.
pub const WIPE: &str = "outcrop-wipe";

/// The same component with the export [`WIPE`]; `None` if it isn't eligible (or isn't valid, which the compiler tells).
pub fn with_wipe(component: &[u8]) -> Option<Vec<u8>> {
    write::write(component, &look::look(component)?)
}

#[cfg(test)]
mod tests {
    use wasmparser::{Validator, WasmFeatures};

    use super::*;

    /// A component around the sections of a core module.
    fn component(core: &str) -> Vec<u8> {
        let text = format!(
            r#"(component (core module $m {core}) (core instance $i (instantiate $m))
                (func (export "run") (canon lift (core func $i "run"))))"#
        );
        wat::parse_str(&text).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    const ELIGIBLE: &str = r#"
        (import "" "" (func)) (memory 2)
        (global $a (mut i32) (i32.const 7)) (global i64 (i64.const 1)) (global (mut f64) (f64.const 2.5))
        (global (mut v128) (v128.const i64x2 1 2)) (global (mut f32) (f32.const -1)) (global (mut i64) (i64.const -1))
        (table 2 funcref) (elem (i32.const 0) func 1)
        (func (export "run") (i32.store8 (i32.const 5) (i32.const 1)) (global.set $a (i32.const 1)))
        (data (i32.const 65530) "abcdefgh") (data "passive") (data (i32.const 0) "")"#;

    #[test]
    fn what_is_added_is_valid_and_exported() {
        let core = ELIGIBLE.replace(r#"(import "" "" (func))"#, "(func)");
        for core in [
            core.as_str(),
            r#"(memory 1) (func (export "run"))"#,
            r#"(global (mut i32) (i32.const 1)) (func (export "run"))"#,
        ] {
            let before = component(core);
            let after = with_wipe(&before).unwrap_or_else(|| panic!("{core}"));
            Validator::new_with_features(WasmFeatures::default()).validate_all(&after).expect("valid");
            let exports = |bytes: &[u8]| {
                let parsed = wasmparser::Parser::new(0).parse_all(bytes).map(|payload| payload.expect("valid"));
                let sections = parsed.filter_map(|payload| match payload {
                    wasmparser::Payload::ComponentExportSection(section) => Some(section),
                    _ => None,
                });
                sections
                    .flat_map(|section| section.into_iter().map(|export| export.expect("valid").name.name.to_owned()))
                    .collect::<Vec<_>>()
            };
            assert_eq!(exports(&before), ["run"]);
            assert_eq!(exports(&after), ["run", WIPE]);
        }
    }

    #[test]
    fn what_could_remember_in_another_way_is_left_alone() {
        for core in [
            // Nothing to wipe.
            r#"(func (export "run"))"#,
            // A memory that takes long to fill.
            r#"(memory 100) (func (export "run"))"#,
            // Tables that code changes.
            r#"(memory 1) (table 2 funcref) (func (export "run") (table.set (i32.const 0) (ref.null func)))"#,
            r#"(memory 1) (table 2 funcref) (func (export "run") (drop (table.grow (ref.null func) (i32.const 1))))"#,
            r#"(memory 1) (table 2 funcref) (func (export "run") (table.fill (i32.const 0) (ref.null func) (i32.const 1)))"#,
            r#"(memory 1) (table 2 funcref) (func (export "run") (table.copy (i32.const 0) (i32.const 0) (i32.const 1)))"#,
            r#"(memory 1) (table 2 funcref) (elem $e func 0) (func (export "run") (table.init $e (i32.const 0) (i32.const 0) (i32.const 1)))"#,
            // Segments that code gives up: a second time they would be gone.
            r#"(memory 1) (elem $e func 0) (func (export "run") (elem.drop $e))"#,
            r#"(memory 1) (data $d "x") (func (export "run") (data.drop $d))"#,
            // A global that holds a reference.
            r#"(memory 1) (global (mut funcref) (ref.null func)) (func (export "run"))"#,
            // A start function, which may have done anything.
            r#"(memory 1) (func $s) (start $s) (func (export "run"))"#,
            // A name of ours.
            r#"(memory 1) (func (export "run")) (func (export "outcrop-wipe"))"#,
        ] {
            assert!(with_wipe(&component(core)).is_none(), "{core}");
        }
        // What would take long to put back, again and again.
        let segment = format!(r#"(data (i32.const 0) "{}")"#, "x".repeat(60_000));
        for many in [
            segment.repeat(5),
            r#"(data (i32.const 0) "")"#.repeat(600),
            "(global (mut i32) (i32.const 1))".repeat(600),
        ] {
            assert!(with_wipe(&component(&format!(r#"(memory 1) (func (export "run")) {many}"#))).is_none());
        }
        assert!(with_wipe(&component(&format!(r#"(memory 1) (func (export "run")) {}"#, segment.repeat(4)))).is_some());
        for text in [
            // Two with a memory; one that is made twice; one that is never made.
            r#"(component (core module $m (memory 1) (func (export "f"))) (core instance (instantiate $m)) (core module $n (memory 1) (func (export "f"))) (core instance (instantiate $n)))"#,
            r#"(component (core module $m (memory 1) (func (export "f"))) (core instance (instantiate $m)) (core instance (instantiate $m)))"#,
            r#"(component (core module $m (memory 1) (func (export "f"))))"#,
            // State in a component within it.
            r#"(component (core module $m (memory 1) (func (export "f"))) (core instance (instantiate $m)) (component $c (core module $n (memory 1)) (core instance (instantiate $n))) (instance (instantiate $c)))"#,
            // Resources, whose handles outlive a call.
            r#"(component (core module $m (memory 1) (func (export "f"))) (core instance (instantiate $m)) (type $r (resource (rep i32))) (core func (canon resource.drop $r)))"#,
            // A segment that another module's memory gets.
            r#"(component (core module $m (memory (export "m") 1) (func (export "f"))) (core instance $i (instantiate $m)) (core module $n (import "i" "m" (memory 1)) (data (i32.const 0) "x")) (core instance (instantiate $n (with "i" (instance $i)))))"#,
            // A place that isn't known before it runs.
            r#"(component (core module $g (global (export "g") i32 (i32.const 8))) (core instance $g (instantiate $g)) (core module $m (import "g" "g" (global i32)) (memory 1) (func (export "f")) (data (global.get 0) "x")) (core instance (instantiate $m (with "g" (instance $g)))))"#,
            "(component)",
        ] {
            let bytes = wat::parse_str(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert!(with_wipe(&bytes).is_none(), "{text}");
        }
        assert!(with_wipe(b"").is_none() && with_wipe(b"\0asm\x0d\0\x01\0").is_none());
    }

    /// Whatever the bytes: no panic, and what comes out is valid.
    #[test]
    fn damaged_components_are_left_alone_or_stay_valid() {
        let bytes = component(&ELIGIBLE.replace(r#"(import "" "" (func))"#, "(func)"));
        assert!(with_wipe(&bytes).is_some());
        let check = |bytes: &[u8], what: &str| {
            if let Some(after) = with_wipe(bytes) {
                let validated = Validator::new_with_features(WasmFeatures::default()).validate_all(&after).map(drop);
                assert!(validated.is_ok(), "{what}: {validated:?}");
            }
        };
        for cut in 0..bytes.len() {
            check(&bytes[..cut], &format!("cut at {cut}"));
        }
        for place in 0..bytes.len() {
            for bit in 0..8 {
                let mut damaged = bytes.clone();
                damaged[place] ^= 1 << bit;
                check(&damaged, &format!("bit {bit} of byte {place}"));
            }
        }
    }
}
