//! The `outcrop` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    outcrop::main(std::env::args_os())
}
