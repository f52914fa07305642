//! What the fuzzer has found before, and its seeds, through the same function (see `fuzz/README.md`).

mod common;

use std::fs;
use std::path::Path;

#[path = "common/hostile.rs"]
mod hostile;

fn replay(folder: &str, check: fn(&[u8])) -> usize {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut files: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.retain(|path| !path.ends_with("README.md"));
    for path in &files {
        println!("{}", path.display());
        check(&fs::read(path).unwrap());
    }
    files.len()
}

#[test]
fn the_corpus_passes() {
    assert!(replay("fuzz/corpus/engines", common::arbitrary::check) > 0);
    assert!(replay("fuzz/corpus/captures", hostile::check_capture) > 0);
    assert!(replay("fuzz/corpus/frames", hostile::check_frame) > 0);
}

#[test]
fn past_crashers_pass() {
    replay("fuzz/crashers", common::arbitrary::check);
    replay("fuzz/crashers", hostile::check_capture);
    replay("fuzz/crashers", hostile::check_frame);
}
