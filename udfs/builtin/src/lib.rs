//! The modules that come with every node: components, built when this crate is.
//!
//! They use what any user's module can use, and a user's version of the same name takes their place.

/// A module that comes along.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Module {
    /// Its name.
    pub name: &'static str,
    /// Its version: that of the node.
    pub version: &'static str,
    /// The component.
    pub component: &'static [u8],
}

/// All of them.
pub const MODULES: [Module; 3] = [
    Module {
        name: "document",
        version: env!("CARGO_PKG_VERSION"),
        component: include_bytes!(concat!(env!("OUT_DIR"), "/document.wasm")),
    },
    Module {
        name: "scan",
        version: env!("CARGO_PKG_VERSION"),
        component: include_bytes!(concat!(env!("OUT_DIR"), "/scan.wasm")),
    },
    Module {
        name: "timeseries",
        version: env!("CARGO_PKG_VERSION"),
        component: include_bytes!(concat!(env!("OUT_DIR"), "/timeseries.wasm")),
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_components() {
        for module in MODULES {
            assert!(module.component.starts_with(b"\0asm\x0d\0\x01\0"), "{} is no component", module.name);
        }
    }
}
