//! A guest that uses every part of the SDK builds to a component of the world, small and with names for backtraces.

use std::path::Path;

use outcrop_udf_build::{Options, build};
use wasmparser::{Parser, Payload};

/// A module of a few functions; what the SDK, archives and formatting take is most of it.
const BYTES_MAX: usize = 400_000;

#[test]
fn a_guest_becomes_a_component_of_the_world() {
    let project = Path::new(env!("CARGO_MANIFEST_DIR")).join("../udfs/examples/shop");
    let built = build(&Options::new(project), &mut |step| eprintln!("{step}")).expect("a module");
    assert_eq!((built.package.as_str(), built.path.is_file()), ("shop", true));
    assert_eq!(built.checked.exports, ["outcrop:udf/functions@1.0.0"]);
    assert!(built.checked.imports.iter().all(|name| name.starts_with("outcrop:udf/")), "{:?}", built.checked);
    for interface in ["context", "record"] {
        assert!(built.checked.imports.contains(&format!("outcrop:udf/{interface}@1.0.0")), "{:?}", built.checked);
    }
    assert!(built.component.len() < BYTES_MAX, "{} bytes", built.component.len());
    let has = |text: &str| built.component.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(has("discount"), "names of functions are there for backtraces");
    assert!(!has(".debug_info"), "debug information isn't");
    assert!(has("Takes `percent` off the price"), "doc comments are what `describe` says");
    let memory_bytes = first_memory_bytes(&built.component);
    assert!(memory_bytes >= (96 << 10) + (64 << 10), "a stack and a heap are there at the start: {memory_bytes}");
    assert!(memory_bytes <= 192 << 10, "the node wipes three pages and uses the instance again: {memory_bytes}");
}

/// Bytes of memory that an instance begins with: with no heap among them, each call would ask for more.
fn first_memory_bytes(component: &[u8]) -> u64 {
    let memories = Parser::new(0).parse_all(component).filter_map(|payload| match payload.expect("a component") {
        Payload::MemorySection(section) => Some(section.into_iter().map(|memory| memory.expect("a memory").initial)),
        _ => None,
    });
    memories.flatten().sum::<u64>() * (64 << 10)
}
