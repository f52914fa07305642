//! The `ctbench` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    ctbench::main([])
}
