//! Any bytes as a capture file, read to its end: an outcome, never a panic.

#![no_main]

#[allow(dead_code)] // The other target uses the rest.
#[path = "../../tests/common/hostile.rs"]
mod hostile;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| hostile::check_capture(bytes));
