//! Capture formats, and captures that are damaged.

mod common;

use common::*;
use ctbench::conntrack::Profile;
use ctbench::trace::{Capture, Frames};
use proptest::prelude::*;
use std::path::PathBuf;
use tempfile::{TempDir, tempdir};

fn file(bytes: &[u8]) -> (TempDir, PathBuf) {
    let folder = tempdir().unwrap();
    let path = write(folder.path(), "capture", bytes);
    (folder, path)
}

fn with_frames<T>(bytes: &[u8], look: impl FnOnce(&Frames) -> T) -> T {
    let (_folder, path) = file(bytes);
    let capture = Capture::open(&path).unwrap();
    look(&capture.frames().unwrap())
}

#[test]
fn pcap_of_either_byte_order_and_resolution_is_the_same_trace() {
    let frames = connection((CLIENT, 51_334), (SERVER, 80));
    for big_endian in [false, true] {
        for nanoseconds in [false, true] {
            let bytes = pcap(&frames, PcapStyle { big_endian, nanoseconds, link_type: 1 });
            with_frames(&bytes, |found| {
                let times: Vec<u64> = found.list().iter().map(|f| f.time_ns).collect();
                let expected: Vec<u64> = (0..9).map(|i| 1_000_000_000_000 + i * 1_000_000).collect();
                assert_eq!(times, expected);
                assert_eq!(found.summary().packets, 9);
                assert!(found.list().iter().zip(&frames).all(|(f, bytes)| found.bytes(f) == bytes));
            });
        }
    }
}

/// A pcapng block.
fn block(kind: u32, body: &[u8], big: bool) -> Vec<u8> {
    let word = |n: u32| if big { n.to_be_bytes() } else { n.to_le_bytes() };
    let mut body = body.to_vec();
    body.resize(body.len().next_multiple_of(4), 0);
    let len = word(body.len() as u32 + 12);
    [&word(kind)[..], &len, &body, &len].concat()
}

fn section(big: bool) -> Vec<u8> {
    let word = |n: u32| if big { n.to_be_bytes() } else { n.to_le_bytes() };
    let half = |n: u16| if big { n.to_be_bytes() } else { n.to_le_bytes() };
    block(0x0a0d_0d0a, &[&word(0x1a2b_3c4d)[..], &half(1), &half(0), &[0xff; 8]].concat(), big)
}

/// An interface with a timestamp resolution (`if_tsresol`).
fn interface(link: u16, resolution: u8, big: bool) -> Vec<u8> {
    let word = |n: u32| if big { n.to_be_bytes() } else { n.to_le_bytes() };
    let half = |n: u16| if big { n.to_be_bytes() } else { n.to_le_bytes() };
    let options = [&half(9)[..], &half(1), &[resolution, 0, 0, 0], &half(0), &half(0)].concat();
    block(1, &[&half(link)[..], &half(0), &word(0), &options].concat(), big)
}

fn enhanced(interface: u32, time: u64, frame: &[u8], big: bool) -> Vec<u8> {
    let word = |n: u32| if big { n.to_be_bytes() } else { n.to_le_bytes() };
    let len = frame.len() as u32;
    let head = [word(interface), word((time >> 32) as u32), word(time as u32), word(len), word(len)].concat();
    block(6, &[&head[..], frame].concat(), big)
}

#[test]
fn pcapng_sections_interfaces_resolutions_and_simple_packets() {
    let frame = common::udp((CLIENT, 1), (SERVER, 53), b"?");
    let mut bytes = Vec::new();
    for big in [false, true] {
        bytes.extend(section(big));
        bytes.extend(interface(1, 6, big));
        bytes.extend(interface(101, 9, big));
        bytes.extend(enhanced(0, 5_000_001, &frame, big));
        bytes.extend(enhanced(1, 5_000_000_007, &frame[14..], big));
        bytes.extend(block(0x0bad, b"unknown blocks are skipped", big));
        let word = |n: u32| if big { n.to_be_bytes() } else { n.to_le_bytes() };
        bytes.extend(block(3, &[&word(frame.len() as u32)[..], &frame].concat(), big));
    }
    with_frames(&bytes, |found| {
        let times: Vec<u64> = found.list().iter().map(|f| f.time_ns).collect();
        let section = [5_000_001_000, 5_000_000_007, 0];
        assert_eq!(times, [section, section].concat());
        let links: Vec<u16> = found.list().iter().map(|f| f.link_type).collect();
        assert_eq!(links, [1, 101, 1, 1, 101, 1]);
        assert_eq!(found.summary().cut, None);
    });
    let (_folder, path) = file(&bytes);
    let trace = load(&path, INSIDE, Profile::Linux);
    assert_eq!(trace.packets.len(), 6);
    assert!(trace.packets.windows(2).all(|pair| pair[0].time_ns <= pair[1].time_ns), "packet time never goes back");
    assert_eq!(trace.timestamps_ns[2], 0);
}

#[test]
fn a_length_beyond_the_file_is_a_cut_not_a_reservation() {
    let mut bytes = pcap(&vec![vec![0; 60]; 2], PLAIN);
    let second = 24 + 16 + 60 + 8;
    bytes[second..second + 4].copy_from_slice(&u32::MAX.to_le_bytes());
    with_frames(&bytes, |found| {
        assert_eq!(found.summary().packets, 1);
        assert_eq!(found.summary().cut.as_ref().map(|cut| cut.offset), Some(100));
    });
    // A pcapng block of length zero ends the reading, too.
    let mut bytes = [section(false), interface(1, 6, false), enhanced(0, 1, &[0; 60], false)].concat();
    let at = bytes.len() + 4;
    bytes.extend(block(6, &[0; 20], false));
    bytes[at..at + 4].copy_from_slice(&[0; 4]);
    with_frames(&bytes, |found| {
        assert_eq!(found.summary().packets, 1);
        assert!(found.summary().cut.is_some());
    });
}

#[test]
fn timestamps_may_go_back_and_jump() {
    let mut bytes = pcap(&[vec![0; 60], vec![0; 60], vec![0; 60]], PLAIN);
    bytes[24 + 76..24 + 80].copy_from_slice(&4_000_000_000u32.to_le_bytes());
    with_frames(&bytes, |found| {
        assert_eq!(found.summary().backwards, 1);
        assert_eq!(found.summary().duration_s().round(), 3_999_999_000.0);
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    /// Captures damaged anywhere: frames or an error, within the file, without a panic.
    #[test]
    fn damaged_captures_end(
        ng in any::<bool>(),
        big in any::<bool>(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        keep in any::<prop::sample::Index>(),
    ) {
        let frames = connection((CLIENT, 51_334), (SERVER, 80));
        let mut bytes = match ng {
            false => pcap(&frames, PcapStyle { big_endian: big, ..PLAIN }),
            true => {
                let mut bytes = [section(big), interface(1, 6, big)].concat();
                frames.iter().for_each(|frame| bytes.extend(enhanced(0, 1, frame, big)));
                bytes
            }
        };
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes.truncate(keep.index(bytes.len()) + 1);
        let (_folder, path) = file(&bytes);
        if let Ok(capture) = Capture::open(&path)
            && let Ok(found) = capture.frames()
        {
            for frame in found.list() {
                prop_assert!(found.bytes(frame).len() <= bytes.len());
            }
            let info = ctbench::trace::Info::of(&found, "x", &[]);
            prop_assert_eq!(info.packets, found.summary().packets);
        }
    }
}
