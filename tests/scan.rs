//! A capture read on several cores, without its list of frames, is the capture.

use ctbench::conntrack::Profile;
use ctbench::packet::{Inside, flags};
use ctbench::trace::{Capture, Frame, Info, Trace};
use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hasher};
use std::path::{Path, PathBuf};

/// What a frame is, wherever its bytes lie: a digest of those.
type Content = (u64, u32, u32, u16, u64);

fn content(frame: &Frame, bytes: &[u8]) -> Content {
    let mut hash = DefaultHasher::new();
    hash.write(bytes);
    (frame.time_ns, frame.captured, frame.wire, frame.link_type, hash.finish())
}

/// All frames in the order of their numbers, and the rest of what a scan gives.
fn scanned(capture: &Capture, threads: usize) -> (Vec<Content>, ctbench::trace::Summary) {
    let (lists, summary) = capture
        .scan(threads, Vec::new, |list: &mut Vec<(u64, Content)>, batch| {
            let contents = batch.frames.iter().map(|frame| content(frame, batch.view(frame).bytes));
            list.extend((batch.first..).zip(contents));
        })
        .unwrap();
    let mut all = lists.concat();
    all.sort_by_key(|(number, _)| *number);
    assert!(all.windows(2).all(|two| two[0].0 < two[1].0), "a number twice");
    (all.into_iter().map(|(_, content)| content).collect(), summary)
}

fn assert_is_the_list(path: &Path) {
    assert_is_the_list_of(&Capture::open(path).unwrap(), path);
}

#[track_caller]
fn assert_is_the_list_of(capture: &Capture, path: &Path) {
    let frames = capture.frames().unwrap();
    for threads in [1, 3] {
        let (all, mut summary) = scanned(capture, threads);
        let contents = frames.list().iter().map(|frame| content(frame, frames.bytes(frame)));
        let expected: Vec<_> = contents.collect();
        assert!(all == expected, "{}: {} and {} frames", path.display(), all.len(), expected.len());
        let mut of_list = frames.summary().clone();
        of_list.link_types.sort_unstable();
        summary.link_types.sort_unstable();
        assert_eq!(summary, of_list, "{}", path.display());
    }
}

/// The bundled traces, and what `CTBENCH_CAPTURES` holds, if it is set.
fn captures() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("traces")];
    folders.extend(std::env::var_os("CTBENCH_CAPTURES").map(PathBuf::from));
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false if Capture::open(&path).is_ok_and(|capture| capture.frames().is_ok()) => found.push(path),
                false => {}
            }
        }
    }
    assert!(found.len() >= 6);
    found
}

#[test]
fn every_frame_is_met_once() {
    captures().iter().for_each(|path| assert_is_the_list(path));
}

fn pcap(records: impl Iterator<Item = Vec<u8>>) -> Vec<u8> {
    let mut file = vec![0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 1, 0, 0, 0];
    for (second, frame) in (1u32..).zip(records) {
        let len = (frame.len() as u32).to_le_bytes();
        file.extend([second.to_le_bytes(), [0; 4], len, len].concat());
        file.extend(frame);
    }
    file
}

fn written(bytes: &[u8]) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    std::io::Write::write_all(&mut file, bytes).unwrap();
    file
}

/// Captures in captures: each payload looks like records, so that guesses are wrong.
#[test]
fn payloads_that_look_like_records_mislead_nobody() {
    let decoy = || pcap((0..3000).map(|n| vec![0; 60 + n % 7]));
    let nested = pcap((0..40).map(|n| [vec![0; n], decoy()].concat()));
    assert!(nested.len() > 2 << 20);
    assert_is_the_list(written(&nested).path());
}

/// Records larger than what is framed at once, and empty ones.
#[test]
fn records_of_any_size() {
    let sizes = [0, 1, 100, 3 << 20, 0, 0, 300_000, 262_144, 5];
    let file = pcap((0..60).map(|n| vec![n as u8; sizes[n % sizes.len()]]));
    assert_is_the_list(written(&file).path());
    for cut in [24, 25, 39, 40, 41, 500_000, file.len() - 1] {
        assert_is_the_list(written(&file[..cut]).path());
    }
}

/// Compressed ones, of several chunks, and several files, whose times overlap.
#[test]
fn what_is_no_plain_file_is_framed_as_it_comes() {
    let folder = tempfile::tempdir().unwrap();
    let of = |from: u32| pcap((0..30_000).map(|n| vec![n as u8; (from + n) as usize % 200]));
    let (one, other) = (of(0), of(77));
    let write = |name: &str, bytes: Vec<u8>| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut gzip, &one).unwrap();
    let mut lz4 = lz4_flex::frame::FrameEncoder::new(Vec::new());
    std::io::Write::write_all(&mut lz4, &one).unwrap();
    for path in [
        write("zstd", zstd::encode_all(&one[..], 1).unwrap()),
        write("gzip", gzip.finish().unwrap()),
        write("lz4", lz4.finish().unwrap()),
    ] {
        assert_is_the_list(&path);
    }
    // The last record is cut off.
    write("plain", other[..other.len() - 1].to_vec());
    assert_is_the_list(folder.path());
}

/// Times that go back are counted among what a filter selects, wherever the windows' borders lie.
#[test]
#[cfg(feature = "filter")]
fn times_between_frames_that_a_filter_leaves_out_do_not_count() {
    // 1,400 bytes each: some two hundred a window. What is not selected is of a later time.
    let mut file =
        pcap((0..4000).map(|n| [&[0; 12][..], if n % 2 == 0 { &[8, 6] } else { &[8, 0] }, &[0; 1386]].concat()));
    for n in (1..4000).step_by(2) {
        let at = 24 + n * 1416;
        file[at..at + 4].copy_from_slice(&1_000_000u32.to_le_bytes());
    }
    let file = written(&file);
    let filter = Some("arp".parse().unwrap());
    let capture = Capture::open(file.path()).unwrap().with_filter(filter);
    for threads in [1, 3] {
        let (frames, summary) = scanned(&capture, threads);
        assert_eq!((frames.len(), summary.packets, summary.backwards), (2000, 2000, 0));
    }
    assert_eq!(scanned(&Capture::open(file.path()).unwrap(), 3).1.backwards, 1999);
}

/// What `info` says of flows, packet by packet and in order.
#[test]
fn info_counts_what_the_engines_would_see() {
    for path in captures() {
        let capture = Capture::open(&path).unwrap();
        let info = Info::of(&capture, "it", &[]).unwrap();
        let inside = Inside::new(&info.inside.iter().map(|block| block.parse().unwrap()).collect::<Vec<_>>());
        let frames = capture.frames().unwrap();
        let trace = Trace::sequence(&frames, frames.decode(&inside), Profile::Linux);
        let mut flows: HashMap<_, (u64, u8)> = HashMap::new();
        for packet in &trace.packets {
            let flow = flows.entry(packet.flow_key()).or_default();
            *flow = (flow.0 + 1, flow.1 | 1 << packet.direction().index());
        }
        let mut ignored: BTreeMap<String, u64> = BTreeMap::new();
        trace.ignored.iter().for_each(|(_, why)| *ignored.entry(why.reason().to_owned()).or_default() += 1);
        let name = path.display();
        assert_eq!(info.packets as usize, frames.list().len(), "{name}");
        assert_eq!((info.evaluated as usize, &info.not_evaluated), (trace.packets.len(), &ignored), "{name}");
        assert_eq!(info.flows, flows.len(), "{name}");
        assert_eq!(info.one_sided_flows, flows.values().filter(|(_, directions)| *directions != 3).count(), "{name}");
        let largest = flows.values().map(|(packets, _)| *packets).max().unwrap_or(0);
        assert_eq!(info.largest_flow_share, largest as f64 / trace.packets.len().max(1) as f64, "{name}");
        assert_eq!(info.ipv6, trace.packets.iter().filter(|packet| packet.is_ipv6()).count() as u64, "{name}");
        let pieces = trace.packets.iter().filter(|packet| packet.has(flags::FRAGMENT)).count() as u64;
        assert_eq!((info.fragments, info.datagrams), (pieces, trace.datagrams.len()), "{name}");
        assert_eq!(info.protocols.values().sum::<u64>(), info.evaluated, "{name}");
        assert_eq!(info.sizes.iter().map(|(_, count)| count).sum::<u64>(), info.packets, "{name}");
    }
}
