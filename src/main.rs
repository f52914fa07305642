//! The `ctbench` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    match ctbench::cli::run() {
        Ok(code) => code,
        Err(error) if is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ctbench: {error:#}");
            ExitCode::from(ctbench::cli::FAILURE)
        }
    }
}

/// `ctbench ... | head` is no failure.
fn is_closed_pipe(error: &anyhow::Error) -> bool {
    let closed = |cause: &std::io::Error| cause.kind() == std::io::ErrorKind::BrokenPipe;
    error.chain().any(|cause| cause.downcast_ref().is_some_and(closed))
}
