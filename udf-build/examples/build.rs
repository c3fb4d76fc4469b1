//! Builds the module in a directory: `cargo run -p outcrop-udf-build --example build -- DIRECTORY`.

use outcrop_udf_build::{Options, build};

fn main() {
    let directory = std::env::args().nth(1).unwrap_or_else(|| ".".to_owned());
    match build(&Options::new(directory), &mut |step| eprintln!("{step}")) {
        Ok(built) => println!("{}\n{:?}", built.path.display(), built.checked),
        Err(error) => {
            eprintln!("error: {error}\n  {}", error.advice());
            std::process::exit(2);
        }
    }
}
