//! Speed of the device engines.
fn main() {}
