//! Any bytes, as packets, through every stateful engine: all must say what the reference says.

#![no_main]

#[path = "../../tests/common/arbitrary.rs"]
mod arbitrary;
#[allow(dead_code)] // The tests use more of it.
#[path = "../../tests/common/frames.rs"]
mod frames;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| arbitrary::check(bytes));
