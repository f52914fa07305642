//! Any bytes as a frame of any link type, with and without tunnels: an outcome, never a panic.

#![no_main]

#[allow(dead_code)] // The other target uses the rest.
#[path = "../../tests/common/hostile.rs"]
mod hostile;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| hostile::check_frame(bytes));
