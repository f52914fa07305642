//! The `ctbench` program.

fn main() {}
