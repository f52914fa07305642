//! A capture read on several cores, without its list of frames, is the capture.

use ctbench::conntrack::Profile;
use ctbench::packet::{Inside, flags};
use ctbench::trace::{Capture, Frame, Info, Trace};
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

/// All frames with their numbers, and the rest of what a scan gives.
fn scanned(capture: &Capture, threads: usize) -> (Vec<(u64, Frame)>, ctbench::trace::Summary) {
    let (lists, summary) = capture
        .scan(threads, Vec::new, |list: &mut Vec<(u64, Frame)>, batch| {
            list.extend((batch.first..).zip(batch.frames.iter().copied()));
            for frame in batch.frames {
                assert_eq!(batch.view(frame).bytes.len(), frame.captured as usize);
            }
        })
        .unwrap();
    let mut all = lists.concat();
    all.sort_by_key(|(number, _)| *number);
    (all, summary)
}

fn assert_is_the_list(path: &Path) {
    let capture = Capture::open(path).unwrap();
    let frames = capture.frames().unwrap();
    for threads in [1, 3] {
        let (all, mut summary) = scanned(&capture, threads);
        let expected: Vec<_> = (1..).zip(frames.list().iter().copied()).collect();
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
