//! The world of `wit/udf.wit` as Rust types and traits, made by the engine's own generator.

// The generator's implementations of the engine's marker traits are the engine's code, not ours.
#![allow(unsafe_code, missing_docs)]

wasmtime::component::bindgen!({
    path: "../wit",
    world: "module",
    imports: {
        "outcrop:udf/other": async | trappable,
        default: trappable,
    },
    exports: { default: async },
});
