//! Capture formats, and captures that are damaged.

mod common;

use common::*;
use ctbench::conntrack::Profile;
use ctbench::measure::Busy;
use ctbench::trace::stream::Reader;
use ctbench::trace::{Capture, Frames};
use proptest::prelude::*;
use std::io::Write;
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
        // A simple packet is of its predecessor's time.
        let section = [5_000_001_000, 5_000_000_007, 5_000_000_007];
        assert_eq!(times, [section, section].concat());
        let links: Vec<u16> = found.list().iter().map(|f| f.link_type).collect();
        assert_eq!(links, [1, 101, 1, 1, 101, 1]);
        assert!(found.summary().cuts.is_empty());
    });
    let (_folder, path) = file(&bytes);
    let trace = load(&path, INSIDE, Profile::Linux);
    assert_eq!(trace.packets.len(), 6);
    assert!(trace.packets.windows(2).all(|pair| pair[0].time_ns <= pair[1].time_ns), "packet time never goes back");
    assert_eq!(trace.timestamps_ns[2], trace.timestamps_ns[1]);
}

#[test]
fn a_length_beyond_the_file_is_a_cut_not_a_reservation() {
    let mut bytes = pcap(&vec![vec![0; 60]; 2], PLAIN);
    let second = 24 + 16 + 60 + 8;
    bytes[second..second + 4].copy_from_slice(&u32::MAX.to_le_bytes());
    with_frames(&bytes, |found| {
        assert_eq!(found.summary().packets, 1);
        assert_eq!(found.summary().cuts.iter().map(|cut| cut.offset).collect::<Vec<_>>(), [100]);
    });
    // A pcapng block of length zero ends the reading, too.
    let mut bytes = [section(false), interface(1, 6, false), enhanced(0, 1, &[0; 60], false)].concat();
    let at = bytes.len() + 4;
    bytes.extend(block(6, &[0; 20], false));
    bytes[at..at + 4].copy_from_slice(&[0; 4]);
    with_frames(&bytes, |found| {
        assert_eq!(found.summary().packets, 1);
        assert!(!found.summary().cuts.is_empty());
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

/// A pcap in which every record is a frame of its own length.
fn small_capture(packets: usize) -> Vec<u8> {
    let frame = |n: usize| common::udp((CLIENT, 1000 + n as u16 % 50_000), (SERVER, 53), &vec![n as u8; n % 1400]);
    pcap(&(0..packets).map(frame).collect::<Vec<_>>(), PLAIN)
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).unwrap()
}

fn lz4(bytes: &[u8]) -> Vec<u8> {
    // Blocks that are small enough for a cut file to hold some.
    let info = lz4_flex::frame::FrameInfo::new().block_size(lz4_flex::frame::BlockSize::Max64KB);
    let mut encoder = lz4_flex::frame::FrameEncoder::with_frame_info(info, Vec::new());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

type Pack = fn(&[u8]) -> Vec<u8>;
const PACKINGS: [(&str, Pack); 3] = [("gzip", gzip), ("zstd", zstd), ("lz4", lz4)];

/// Times, lengths and bytes of all frames.
fn contents(found: &Frames) -> Vec<(u64, u32, Vec<u8>)> {
    found.list().iter().map(|frame| (frame.time_ns, frame.wire, found.bytes(frame).to_vec())).collect()
}

#[test]
fn compressed_captures_hold_the_same_frames_in_any_number_of_members() {
    // Several chunks of decompressed bytes, with records across their bounds.
    let plain = small_capture(6000);
    let expected = with_frames(&plain, contents);
    assert_eq!(expected.len(), 6000);
    for (name, pack) in PACKINGS {
        let (one, other) = plain.split_at(plain.len() / 3);
        for packed in [pack(&plain), [pack(one), pack(other)].concat()] {
            with_frames(&packed, |found| {
                assert_eq!(contents(found), expected, "{name}");
                assert!(found.summary().cuts.is_empty() && found.summary().format.ends_with(name));
            });
        }
    }
}

#[test]
fn compressed_captures_that_are_cut_off_or_damaged_give_what_was_whole() {
    let plain = small_capture(6000);
    for (name, pack) in PACKINGS {
        let packed = pack(&plain);
        with_frames(&packed[..packed.len() * 9 / 10], |found| {
            let packets = found.summary().packets;
            assert!((1000..6000).contains(&packets), "{name}: {packets}");
            assert_eq!(found.summary().cuts.len(), 1, "{name}");
        });
        // Whole members, of half a capture.
        with_frames(&pack(&plain[..plain.len() / 2]), |found| {
            assert!((1000..6000).contains(&found.summary().packets), "{name}");
            assert!(found.summary().cuts[0].reason.starts_with("a record needs"), "{name}");
        });
        // What is compressed is no capture.
        let (_folder, path) = file(&pack(b"no capture at all, but text"));
        let error = Capture::open(&path).unwrap().frames().err().unwrap().to_string();
        assert!(error.contains(name) && error.contains("6e 6f 20 63"), "{error}");
    }
}

#[test]
fn a_huge_record_in_a_compressed_file_ends_the_reading() {
    let mut plain = small_capture(10);
    let record = plain.len();
    plain.extend(small_capture(3000)[24..].iter());
    plain[record + 8..record + 12].copy_from_slice(&u32::MAX.to_le_bytes());
    with_frames(&gzip(&plain), |found| {
        assert_eq!((found.summary().packets, found.summary().cuts[0].offset), (10, record as u64));
    });
}

/// A pcap with frames at these seconds, numbered from `first` in their first byte.
fn at_times(first: u8, seconds: &[u32]) -> Vec<u8> {
    let mut bytes = pcap(&[], PcapStyle { nanoseconds: false, ..PLAIN });
    for (number, second) in (first..).zip(seconds) {
        bytes.extend([second.to_le_bytes(), [0; 4], [60, 0, 0, 0], [60, 0, 0, 0]].concat());
        bytes.extend([number; 60]);
    }
    bytes
}

fn numbers(capture: &Capture) -> Vec<u8> {
    let found = capture.frames().unwrap();
    found.list().iter().map(|frame| found.bytes(frame)[0]).collect()
}

#[test]
fn several_files_are_one_trace_in_order_of_time() {
    let folder = tempdir().unwrap();
    let late = write(folder.path(), "a-late", at_times(0, &[100, 101, 102]));
    let early = write(folder.path(), "b-early.gz", gzip(&at_times(10, &[1, 2, 100])));
    // Its second frame goes back, and stays behind its first.
    let between = write(folder.path(), "c-between", at_times(20, &[50, 2, 101, 200]));
    let capture = Capture::open_all(&[&late, &early, &between]).unwrap();
    let expected = [10, 11, 20, 21, 0, 12, 1, 22, 2, 23];
    assert_eq!(numbers(&capture), expected);
    let summary = capture.frames().unwrap().summary().clone();
    assert_eq!((summary.packets, summary.backwards, summary.duration_s()), (10, 1, 199.0));
    // A folder: everything in it that is a capture.
    write(folder.path(), "README", b"not a capture");
    write(folder.path(), "empty", b"");
    let capture = Capture::open(folder.path()).unwrap();
    assert_eq!(numbers(&capture), expected);
    assert_eq!(capture.frames().unwrap().summary().warnings().len(), 2);
    assert!(Capture::open(tempdir().unwrap().path()).is_err());
}

#[test]
fn older_and_modified_pcap() {
    let frame = common::udp((CLIENT, 1), (SERVER, 53), b"?");
    let len = frame.len() as u32;
    let header = |magic: u32, minor: u16| {
        [&magic.to_le_bytes()[..], &[2, 0], &minor.to_le_bytes(), &[0; 8], &[0xff, 0xff, 0, 0], &[1, 0, 0, 0]].concat()
    };
    let record = |first: u32, second: u32, more: &[u8]| {
        [&[1, 0, 0, 0, 2, 0, 0, 0], &first.to_le_bytes()[..], &second.to_le_bytes(), more, &frame].concat()
    };
    let cases = [
        ("modified", [header(0xa1b2_cd34, 4), record(len, len + 9, &[0; 8])].concat()),
        ("2.2: wire length first", [header(0xa1b2_c3d4, 2), record(len + 9, len, &[])].concat()),
        ("2.3, as before", [header(0xa1b2_c3d4, 3), record(len + 9, len, &[])].concat()),
        ("2.3, as after", [header(0xa1b2_c3d4, 3), record(len, len + 9, &[])].concat()),
    ];
    for (name, bytes) in cases {
        with_frames(&bytes, |found| {
            assert_eq!(contents(found), [(1_000_002_000, len + 9, frame.clone())], "{name}");
        });
    }
}

#[test]
fn pcapng_times_of_any_resolution_and_offset() {
    let options = |resolution: u8, offset: i64| {
        let offset = offset.to_le_bytes();
        [&[9, 0, 1, 0, resolution, 0, 0, 0, 14, 0, 8, 0][..], &offset, &[0; 4]].concat()
    };
    let cases: [(u8, i64, u64, u64); 9] = [
        (0, 0, 7, 7_000_000_000),
        (3, 1, 7, 1_007_000_000),
        (9, -1, 3_000_000_001, 2_000_000_001),
        (12, 0, 5_000_000_007_999, 5_000_000_007),
        (0x80 | 10, 0, 512, 500_000_000),
        (0x80 | 32, 2, 1 << 31, 2_500_000_000),
        // Before 1970, after 2554, and finer than anything.
        (6, -10, 1, 0),
        (0, 0, u64::MAX, u64::MAX),
        (127, 0, u64::MAX, 0),
    ];
    for (resolution, offset, ticks, expected) in cases {
        let interface = block(1, &[&[1, 0, 0, 0, 0, 0, 0, 0][..], &options(resolution, offset)].concat(), false);
        let bytes = [section(false), interface, enhanced(0, ticks, &[0; 60], false)].concat();
        with_frames(&bytes, |found| {
            assert_eq!(found.list()[0].time_ns, expected, "{resolution:#x} {offset} {ticks}");
        });
    }
}

/// What `pcap-file` reads.
fn second_opinion(bytes: &[u8]) -> Option<Vec<(u64, u32, Vec<u8>)>> {
    let mut found = Vec::new();
    if bytes.starts_with(&[0x0a, 0x0d]) {
        let (mut rest, mut parser) = pcap_file::pcapng::PcapNgParser::new(bytes).ok()?;
        while !rest.is_empty() {
            let Ok((after, block)) = parser.next_block(rest) else { return Some(found) };
            rest = after;
            if let pcap_file::pcapng::Block::EnhancedPacket(p) = block {
                found.push((p.timestamp.as_nanos() as u64, p.original_len, p.data.to_vec()));
            }
        }
    } else {
        let (mut rest, parser) = pcap_file::pcap::PcapParser::new(bytes).ok()?;
        let unit = match parser.header().ts_resolution {
            pcap_file::pcap::PcapTsResolution::MicroSecond => 1000,
            pcap_file::pcap::PcapTsResolution::NanoSecond => 1,
        };
        while let Ok((after, p)) = parser.next_raw_packet(rest) {
            rest = after;
            let time_ns = u64::from(p.ts_sec) * 1_000_000_000 + u64::from(p.ts_frac) * unit;
            found.push((time_ns, p.orig_len, p.data.to_vec()));
        }
    }
    Some(found)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// Frames of any lengths and times, cut anywhere: as another reader finds them, compressed or not.
    #[test]
    fn frames_are_those_that_another_reader_finds(
        ng in any::<bool>(),
        big in any::<bool>(),
        nanoseconds in any::<bool>(),
        packets in prop::collection::vec((0u32..4_000_000_000, 0usize..200), 0..30),
        keep in prop::option::of(any::<prop::sample::Index>()),
        packing in prop::option::of(0..PACKINGS.len()),
    ) {
        let word = |n: u32| if big { n.to_be_bytes() } else { n.to_le_bytes() };
        let mut bytes = match ng {
            false => pcap(&[], PcapStyle { big_endian: big, nanoseconds, link_type: 1 }),
            true => [section(big), interface(1, if nanoseconds { 9 } else { 6 }, big)].concat(),
        };
        for (time, len) in packets {
            let frame = vec![len as u8; len];
            match ng {
                false => bytes.extend([&word(time)[..], &word(time % 1000), &word(len as u32), &word(len as u32), &frame].concat()),
                true => bytes.extend(enhanced(0, u64::from(time) << 8, &frame, big)),
            }
        }
        if let Some(keep) = keep {
            bytes.truncate(keep.index(bytes.len()) + 1);
        }
        let packed = packing.map_or(bytes.clone(), |packing| PACKINGS[packing].1(&bytes));
        let (_folder, path) = file(&packed);
        let capture = Capture::open(&path);
        let found = capture.as_ref().ok().and_then(|capture| capture.frames().ok());
        prop_assert_eq!(found.as_ref().map(contents), second_opinion(&bytes));
    }
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
            let info = ctbench::trace::Info::of(&capture, "x", &[]);
            prop_assert_eq!(info.unwrap().packets, found.summary().packets);
        }
    }
}

/// A file that is cut after it was opened, before and after its frames are found.
#[test]
fn a_file_that_shrinks_gives_what_is_left() {
    let connections: Vec<Vec<u8>> = (0..20_000).flat_map(|n| connection((CLIENT, n), (SERVER, 80))).collect();
    let bytes = pcap(&connections, PLAIN);
    let (_folder, path) = file(&bytes);
    let cut = |len: usize| std::fs::File::options().write(true).open(&path).unwrap().set_len(len as u64).unwrap();
    let inside = ctbench::packet::Inside::new(&[INSIDE.parse().unwrap()]);

    let capture = Capture::open(&path).unwrap();
    cut(bytes.len() / 2);
    let frames = capture.frames().unwrap();
    let summary = frames.summary();
    assert!((80_000..100_000).contains(&summary.packets), "{}", summary.packets);
    assert!(summary.changes[0].contains("shrank"), "{:?}", summary.changes);
    assert_eq!(summary.cuts.len(), 1);
    assert!(frames.list().iter().zip(&connections).all(|(frame, bytes)| frames.bytes(frame) == bytes));

    // Within the last page, of which the rest reads as zeros without a signal, and then all of it.
    for len in [bytes.len() / 2 - 70, 24, 0] {
        assert!(!capture.frames().is_ok_and(|frames| frames.are_cut()));
        let before = capture.frames().unwrap();
        cut(len);
        let decoded = before.decode(&inside);
        let trace = ctbench::trace::Trace::sequence(&before, decoded, Profile::Linux);
        assert_eq!(trace.packets.len() + trace.ignored.len(), before.list().len());
        assert!(before.are_cut());
        match len {
            0 => assert!(capture.frames().is_err()),
            _ => assert!(capture.frames().unwrap().list().len() < before.list().len()),
        }
    }
}

/// A file to which more is written after it was opened: what it held at first is used.
#[test]
fn a_file_that_grows_gives_what_it_held_at_first() {
    let frames: Vec<Vec<u8>> = (0..20_000).map(|n| common::udp((CLIENT, n), (SERVER, 53), b"?")).collect();
    let bytes = pcap(&frames, PLAIN);
    for (held, packets, cuts) in [(bytes.len(), 20_000, 0), (bytes.len() - 1, 19_999, 1)] {
        let (_folder, path) = file(&bytes[..held]);
        let capture = Capture::open(&path).unwrap();
        let mut reader = Reader::open(&[&path], Busy::default()).unwrap();
        let rest = [&bytes[held..], &bytes[24..]].concat();
        std::fs::File::options().append(true).open(&path).unwrap().write_all(&rest).unwrap();
        let mut streamed = 0;
        while let Some(batch) = reader.next().unwrap() {
            streamed += batch.len() as u64;
        }
        let listed = capture.frames().unwrap().summary().clone();
        let (_, scanned) = capture.scan(2, || (), |(), _| ()).unwrap();
        assert_eq!(streamed, packets);
        for summary in [listed, scanned, reader.summary().unwrap()] {
            assert_eq!((summary.packets, summary.cuts.len()), (packets, cuts));
            assert!(summary.changes[0].contains("grew"), "{:?}", summary.changes);
        }
        // Opened anew, it is read to its new end.
        assert_eq!(Capture::open(&path).unwrap().frames().unwrap().summary().packets, 40_000);
    }
}
