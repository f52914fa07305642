//! A streamed replay against a preloaded one: the same verdicts, outcomes and table counters, whatever the trace.

mod common;

use common::*;
use ctbench::conntrack::{Config, Profile};
use ctbench::engine::registry::Kind;
use ctbench::measure::{Busy, Clock, Stop};
use ctbench::packet::{Decap, Inside};
use ctbench::policy::{RuleSet, World, load_network_acl, load_security_groups, synthetic};
use ctbench::replay::streamed::{Consumer, Pipeline, Referee, Stages, StreamPass, stream_pass};
use ctbench::replay::{Mode, Pool, Workload};
use ctbench::scenario::Scenario;
use ctbench::table::{FlowHash, HashKey};
use ctbench::trace::stream::{Decoder, Reader};
use ctbench::trace::synthesis::{self, PROFILES, Recipe};
use ctbench::trace::{Capture, Selection, Trace, TraceError};
use ctbench::verify::{Judge, Tally};
use proptest::prelude::*;
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tempfile::tempdir;

const GENERATED: [&str; 2] = ["10.0.0.0/8", "2001:db8:10::/48"];

/// What is replayed, and how it is decoded.
struct Case {
    paths: Vec<PathBuf>,
    decoder: Arc<Decoder>,
    selection: Selection,
    groups: Option<RuleSet>,
    acl: Option<RuleSet>,
    config: Config,
    entries: u64,
}

impl Case {
    fn new(paths: &[PathBuf], inside: &[&str], profile: Profile) -> Self {
        let blocks: Vec<_> = inside.iter().map(|block| block.parse().unwrap()).collect();
        let inside = Inside::new(&blocks);
        let decoder = Decoder { inside, decap: Decap::default(), profile, exempt: HashMap::new(), filter: None };
        Case {
            paths: paths.to_vec(),
            decoder: Arc::new(decoder),
            selection: Selection::default(),
            groups: Some(everything_passes()),
            acl: None,
            config: Config::new(profile),
            entries: 4096,
        }
    }

    fn workload(&self, trace: Trace) -> Workload {
        workload(trace, self.groups.clone(), self.acl.clone(), self.config.clone(), self.entries)
    }

    fn preloaded(&self) -> Workload {
        let capture = Capture::open_all(&self.paths).unwrap();
        let frames = capture.frames().unwrap();
        let decoded = frames.decode(&self.decoder.inside);
        let mut trace = Trace::sequence(&frames, decoded, self.config.profile);
        let filtered = self.decoder.filter.as_ref().map(|filter| frames.selected_by(filter));
        if self.selection != Selection::default() || filtered.is_some() {
            trace.select(&self.selection, filtered.as_deref(), None);
        }
        self.workload(trace)
    }

    fn streamed(&self, workload: &Workload, engines: &[(Kind, usize)]) -> StreamPass {
        let stages = Stages::default();
        let reader = Reader::open(&self.paths, stages.read.clone()).unwrap();
        let hash = FlowHash::new(HashKey::from_seed(workload.scenario_key));
        let pipeline = Pipeline::start(reader, &self.decoder, hash, workload.geometry.shards, 2, &stages).unwrap();
        let consumer = |(kind, cores): &(Kind, usize)| {
            let engine = workload.served(*kind, *cores)?;
            Some(Consumer { kind: *kind, cores: *cores, engine })
        };
        let mut consumers: Vec<_> = engines.iter().filter_map(consumer).collect();
        let referee = Some(Referee::new(workload));
        stream_pass(workload, pipeline, self.selection, &stages, &mut consumers, referee, &Stop::default()).unwrap()
    }

    /// Both ways must be the same in all that they count.
    #[track_caller]
    fn check(&self, what: &str) -> StreamPass {
        const ENGINES: [Kind; 5] = [
            Kind::StatelessLinear,
            Kind::StatelessCompiled,
            Kind::StatefulPerCoreLinear,
            Kind::StatefulLockFreeCompiled,
            Kind::Null,
        ];
        let preloaded = self.preloaded();
        let empty = self.workload(Trace::default());
        let engines: Vec<_> = ENGINES
            .iter()
            .filter(|kind| preloaded.can_run(**kind))
            .flat_map(|kind| [(*kind, 1), (*kind, 2)])
            .chain(self.groups.is_some().then_some((Kind::Reference, 1)))
            .collect();
        let pass = self.streamed(&empty, &engines);
        assert_eq!(pass.evaluated, preloaded.trace.packets.len() as u64, "{what}");
        let judge = Judge::new(&preloaded);
        let ignored = || pass.ignored.iter().map(|(why, count)| (*why, *count));
        let clock = Clock::new();
        for (((kind, cores), served), lanes) in engines.iter().zip(&pass.served).zip(&pass.lanes) {
            let what = format!("{what}: {} on {cores}", kind.name());
            let pool = Pool::new(*cores).unwrap();
            let steered = preloaded.steered(*kind, *cores);
            let mut variant = preloaded.variant(*kind, &steered, &pool, &clock, preloaded.burst).unwrap();
            let right = variant.pass(Mode::Throughput, Vec::new());
            let tally = Tally::of(&preloaded.trace, &variant.gather(&right.decisions));
            assert_eq!(served.counts.tally(ignored()), tally, "{what}");
            assert_eq!(tally.accept + tally.drop, pass.evaluated, "{what}: every packet has an outcome");
            // A shared table's counters are counted where the cores happened to find things.
            if *cores == 1 || *kind == Kind::StatefulPerCoreLinear {
                assert_eq!(served.counters, right.counters, "{what}");
            }
            let in_lanes: Vec<u64> = steered.lanes.iter().map(|lane| lane.packets.len() as u64).collect();
            assert_eq!(*lanes, in_lanes, "{what}");
        }
        let refereed = pass.refereed.as_ref().unwrap();
        for (ours, right) in [(&refereed.stateful, &judge.stateful), (&refereed.stateless, &judge.stateless)] {
            let right = right.as_ref().map(|decisions| Tally::of(&preloaded.trace, decisions));
            assert_eq!(ours.as_ref().map(|counts| counts.tally(ignored())), right, "{what}: the reference");
        }
        let differences = judge.differences().map(|(a, b)| (a as u64, b as u64));
        assert_eq!(refereed.differences, differences, "{what}: where the worlds differ");
        pass
    }
}

#[test]
fn bundled_scenarios() {
    let mut checked = 0;
    for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("traces")).unwrap() {
        let folder = entry.unwrap().path();
        let Ok((scenario, file)) = Scenario::read(&folder) else { continue };
        let trace = folder.join(&scenario.trace);
        if !trace.exists() || !scenario.inventory.is_empty() || !scenario.changes.is_empty() {
            continue;
        }
        let inside: Vec<String> = scenario.inside.iter().map(ToString::to_string).collect();
        let inside: Vec<&str> = inside.iter().map(String::as_str).collect();
        let mut case = Case::new(&[trace], &inside, scenario.profile);
        case.config = scenario.config(&file).unwrap();
        case.entries = 65_536;
        let path = |name: &Option<PathBuf>| name.as_ref().map(|name| folder.join(name));
        case.groups =
            path(&scenario.security_groups).map(|path| load_security_groups(&path, &Default::default()).unwrap().rules);
        case.acl = path(&scenario.network_acls).map(|path| load_network_acl(&path, &Default::default()).unwrap().rules);
        let pass = case.check(&scenario.title);
        assert_eq!(pass.summary.packets, scenario.expect.unwrap().packets);
        checked += 1;
    }
    assert!(checked >= 6, "{checked}");
}

/// Rules as the generator's traffic meets them, some of it.
fn rules(folder: &Path) -> [RuleSet; 2] {
    let groups = write(folder, "sg.json", synthetic::security_groups(40, 3).to_string());
    let acl = write(folder, "acl.json", synthetic::network_acl(40, 3).unwrap().to_string());
    [
        load_security_groups(&groups, &Default::default()).unwrap().rules,
        load_network_acl(&acl, &Default::default()).unwrap().rules,
    ]
}

fn generated(folder: &Path, profile: &str, packets: u64, seed: u64) -> PathBuf {
    let mut recipe = Recipe::profile(profile).unwrap();
    (recipe.packets, recipe.seed, recipe.malformed) = (Some(packets), seed, "0.01".parse().unwrap());
    let path = folder.join(format!("{profile}-{seed}.pcap"));
    synthesis::write(&recipe, fs::File::create(&path).unwrap()).unwrap();
    path
}

#[test]
fn generated_traces_also_with_full_tables() {
    let folder = tempdir().unwrap();
    let [groups, acl] = rules(folder.path());
    for (profile, ..) in PROFILES {
        let path = generated(folder.path(), profile, 30_000, 7);
        for (entries, profile) in [(65_536, Profile::Linux), (64, Profile::Aws)] {
            let mut case = Case::new(std::slice::from_ref(&path), &GENERATED, profile);
            (case.groups, case.acl, case.entries) = (Some(groups.clone()), Some(acl.clone()), entries);
            case.check(&format!("{} with {entries} entries", path.display()));
        }
    }
}

/// The same frames in pcapng, of a little-endian pcap with nanoseconds; each second one in a section of its own.
fn pcapng(pcap: &[u8]) -> Vec<u8> {
    let block = |kind: u32, body: &[u8]| {
        let len = (body.len().next_multiple_of(4) as u32 + 12).to_le_bytes();
        let padding = vec![0; body.len().next_multiple_of(4) - body.len()];
        [&kind.to_le_bytes()[..], &len, body, &padding, &len].concat()
    };
    let section = block(0x0a0d_0d0a, &[&[0x4d, 0x3c, 0x2b, 0x1a, 1, 0, 0, 0][..], &[0xff; 8]].concat());
    let interface = block(1, &[1, 0, 0, 0, 0, 0, 0, 0, 9, 0, 1, 0, 9, 0, 0, 0]);
    let begin = [section, interface].concat();
    let mut bytes = begin.clone();
    let mut rest = &pcap[24..];
    for n in 1.. {
        let Some((head, after)) = rest.split_first_chunk::<16>() else { return bytes };
        let word = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let time_ns = u64::from(word(0)) * 1_000_000_000 + u64::from(word(4));
        let (frame, after) = after.split_at(word(8) as usize);
        let fields = [0, (time_ns >> 32) as u32, time_ns as u32, word(8), word(12)].map(u32::to_le_bytes).concat();
        bytes.extend(block(6, &[&fields[..], frame].concat()));
        if n % 2 == 0 {
            bytes.extend(&begin);
        }
        rest = after;
    }
    bytes
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(bytes).unwrap();
    packed.finish().unwrap()
}

#[test]
fn several_files_compressed_ones_and_folders() {
    let folder = tempdir().unwrap();
    let paths: Vec<PathBuf> =
        ["web", "dns", "cps"].iter().map(|name| generated(folder.path(), name, 20_000, 9)).collect();
    // The same times in all three: merged all along. One after the other would be their order of names.
    let packed = write(folder.path(), "packed", gzip(&fs::read(&paths[1]).unwrap()));
    let zstd = write(folder.path(), "zstd", zstd::encode_all(&fs::read(&paths[2]).unwrap()[..], 1).unwrap());
    let mut lz4 = lz4_flex::frame::FrameEncoder::new(Vec::new());
    std::io::Write::write_all(&mut lz4, &pcapng(&fs::read(&paths[1]).unwrap())).unwrap();
    let lz4 = write(folder.path(), "lz4", lz4.finish().unwrap());
    let pcapng = write(folder.path(), "pcapng", pcapng(&fs::read(&paths[2]).unwrap()));
    for paths in [vec![pcapng.clone()], vec![lz4.clone()], vec![pcapng, paths[0].clone(), lz4]] {
        Case::new(&paths, &GENERATED, Profile::Linux).check(&format!("{paths:?}"));
    }
    for files in
        [&[packed.clone()][..], &[paths[0].clone(), packed.clone(), zstd], &[paths[2].clone(), paths[0].clone()]]
    {
        Case::new(files, &GENERATED, Profile::Linux).check(&format!("{files:?}"));
    }
    write(folder.path(), "no-capture.txt", "a note");
    let all = Case::new(&[folder.path().to_owned()], &GENERATED, Profile::Linux).check("a folder");
    assert_eq!((all.summary.skipped.len(), all.summary.packets), (1, 7 * 20_000));
}

#[test]
#[cfg(feature = "filter")]
fn what_a_filter_selects() {
    let folder = tempdir().unwrap();
    let path = generated(folder.path(), "web", 20_000, 5);
    for (filter, limit) in [("udp or icmp", None), ("tcp port 443 and ip6", Some(1_000)), ("port 1", None)] {
        let mut case = Case::new(std::slice::from_ref(&path), &GENERATED, Profile::Linux);
        Arc::get_mut(&mut case.decoder).unwrap().filter = Some(filter.parse().unwrap());
        case.selection.limit = limit;
        case.check(filter);
    }
}

#[test]
fn a_part_of_a_trace() {
    let folder = tempdir().unwrap();
    let path = generated(folder.path(), "web", 30_000, 5);
    let start = Capture::open(&path).unwrap().frames().unwrap().summary().first_ns;
    for (from, until, limit) in
        [(None, None, Some(1)), (None, None, Some(12_345)), (Some(1), Some(3), None), (Some(1), None, Some(0))]
    {
        let ns = |seconds: Option<u64>| seconds.map(|seconds| start + seconds * 10_000_000);
        let mut case = Case::new(std::slice::from_ref(&path), &GENERATED, Profile::Linux);
        case.selection = Selection { from_ns: ns(from), until_ns: ns(until), limit };
        case.check(&format!("{:?}", case.selection));
    }
}

#[test]
fn what_is_no_capture_says_so() {
    let folder = tempdir().unwrap();
    let open = |name: &str, bytes: &[u8]| Reader::open(&[write(folder.path(), name, bytes)], Busy::default()).err();
    assert!(matches!(open("empty", b""), Some(TraceError::Empty(_))));
    assert!(matches!(open("text", b"no capture at all"), Some(TraceError::NotACapture { .. })));
    assert!(matches!(open("gz", &gzip(b"no capture at all")), Some(TraceError::NotACapture { .. })));
    assert!(matches!(open("header", &pcap(&[], PLAIN)[..20]), Some(TraceError::Header { .. })));
    let headers = b"167772161\t3221225985\t80\t443\t6\t1\n";
    assert!(matches!(open("headers", headers), Some(TraceError::HeadersStreamed(_))));
    assert!(open("none", &pcap(&[], PLAIN)).is_none());
}

/// Cut anywhere, a file gives what a preloaded one gives, and the same warning.
#[test]
fn a_cut_file_gives_what_was_whole() {
    let folder = tempdir().unwrap();
    let whole = fs::read(generated(folder.path(), "web", 3_000, 3)).unwrap();
    for len in [24, 25, 40, 41, whole.len() - 1, whole.len() / 2] {
        let path = write(folder.path(), "cut", &whole[..len]);
        let pass = Case::new(std::slice::from_ref(&path), &GENERATED, Profile::Linux).check("cut");
        let preloaded = Capture::open(&path).unwrap();
        assert_eq!(&pass.summary, preloaded.frames().unwrap().summary());
    }
    let packed = gzip(&whole);
    let path = write(folder.path(), "cut", &packed[..packed.len() / 2]);
    let pass = Case::new(std::slice::from_ref(&path), &GENERATED, Profile::Linux).check("cut");
    assert_eq!(&pass.summary, Capture::open(&path).unwrap().frames().unwrap().summary());
    assert_eq!(pass.summary.cuts.len(), 1);
}

/// One frame: a fragment of one of few datagrams, or a packet.
fn frame() -> impl Strategy<Value = Vec<u8>> {
    let fragment =
        (0u16..3, 0u16..6, any::<bool>(), 1u16..4, any::<bool>()).prop_map(|(id, offset, more, len, out)| {
            let (from, to) = if out { (SERVER, CLIENT) } else { (CLIENT, SERVER) };
            let mut bytes = frames::ip(from.into(), to.into(), 17, &[7; 24][..usize::from(len) * 8]);
            bytes[4..6].copy_from_slice(&id.to_be_bytes());
            bytes[6..8].copy_from_slice(&(offset | u16::from(more) << 13).to_be_bytes());
            bytes
        });
    let whole = (0u16..4, any::<bool>()).prop_map(|(port, out)| {
        let (from, to) = if out { (SERVER, CLIENT) } else { (CLIENT, SERVER) };
        frames::ip(from.into(), to.into(), 17, &frames::udp(port, port, 4))
    });
    prop_oneof![3 => fragment, 1 => whole, 1 => Just(vec![0; 4])]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Fragments in any order, copies and overlaps, some too late, some left out.
    #[test]
    fn fragments_fare_as_when_preloaded(
        list in prop::collection::vec((frame(), 0u64..20), 1..60),
        from in prop::option::of(0u64..30),
        limit in prop::option::of(0u64..50),
    ) {
        let folder = tempdir().unwrap();
        let mut now = 1_000_000_000_000;
        let timed: Vec<(u64, Vec<u8>)> = list.into_iter().map(|(frame, seconds)| {
            now += seconds * 1_000_000_000;
            (now, frame)
        }).collect();
        let raw = PcapStyle { link_type: 101, ..PLAIN };
        let path = write(folder.path(), "fragments", pcap_at(timed.iter().map(|(time, frame)| (*time, frame)), raw));
        let mut case = Case::new(&[path], &[INSIDE], Profile::Linux);
        case.acl = Some(RuleSet::new(World::NetworkAcl));
        case.selection = Selection { from_ns: from.map(|s| 1_000_000_000_000 + s * 1_000_000_000), until_ns: None, limit };
        case.check("fragments");
    }
}
