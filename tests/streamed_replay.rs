//! `--stream` from the command line: the same verdicts as without, in memory that does not grow with the trace.

mod common;

use common::*;
use serde_json::Value;
use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use tempfile::{TempDir, tempdir};

const GENERATED: &str = "10.0.0.0/8,2001:db8:10::/48";
const QUICK: [&str; 2] = ["--time", "0.01"];

fn ctbench(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ctbench"));
    command.current_dir(folder);
    command
}

/// Exit code, stdout and stderr.
fn run(command: &mut Command) -> (i32, String, String) {
    let output = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

fn json(command: &mut Command) -> Value {
    let (code, stdout, stderr) = run(command);
    assert_eq!(code, 0, "{stderr}");
    let json: Value = serde_json::from_str(&stdout).unwrap();
    let schema: Value = serde_json::from_str(
        &fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("results/schema.json")).unwrap(),
    )
    .unwrap();
    let wrong: Vec<String> = jsonschema::validator_for(&schema)
        .unwrap()
        .iter_errors(&json)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    json
}

/// Rules that some of the traffic passes, and a capture of 10 packets.
fn fixture() -> TempDir {
    let folder = tempdir().unwrap();
    let mut frames = connection((CLIENT, 51_334), (SERVER, 80));
    frames.push(udp((CLIENT, 5353), (SERVER, 53), b"?"));
    frames.push(vec![0; 20]);
    write(folder.path(), "trace.pcap", pcap(&frames, PLAIN));
    let everyone = [("tcp", 80, 80, "0.0.0.0/0"), ("tcp", 80, 80, "::/0")];
    write(folder.path(), "sg.json", security_groups(&everyone, &[]));
    let acl = [(false, 100, true, "6", 80, 80), (true, 100, true, "6", 1024, 65_535)];
    write(folder.path(), "acl.json", network_acl(&acl));
    folder
}

const RULES: [&str; 4] = ["--security-groups", "sg.json", "--network-acls", "acl.json"];

/// What must not depend on how a trace is replayed.
fn facts(json: &Value) -> Vec<Value> {
    let runs = json["runs"].as_array().unwrap();
    let fields = ["engine", "cores", "packets", "verdicts", "outcomes", "digest", "tracked_share", "imbalance"];
    runs.iter().map(|run| fields.iter().map(|field| run[field].clone()).collect()).collect()
}

#[test]
fn a_streamed_result_has_the_verdicts_of_a_preloaded_one_and_follows_the_schema() {
    let project = Path::new(env!("CARGO_MANIFEST_DIR"));
    for scenario in ["traces/web", "traces/mobile-ipv6"] {
        let compare = |more: &[&str]| {
            // Tables of one size: the default is another when nobody counts flows.
            let fixed = ["--cores", "1,2", "--json", "-", "--seed", "2", "--capacity", "65536"];
            json(ctbench(project).args(["compare", scenario]).args(fixed).args(QUICK).args(more))
        };
        let (preloaded, streamed) = (compare(&[]), compare(&["--stream"]));
        assert_eq!(facts(&streamed), facts(&preloaded), "{scenario}");
        assert_eq!(streamed["worlds"], preloaded["worlds"]);
        for field in ["packets", "evaluated", "duration_s", "wire_bytes"] {
            assert_eq!(streamed["scenario"][field], preloaded["scenario"][field], "{field}");
        }
        for (run, load) in [(&streamed["runs"][0], "streamed"), (&preloaded["runs"][0], "closed")] {
            assert_eq!(run["load"], load);
            for stage in ["read", "decode", "steer", "evaluate"] {
                assert!(run["stages_ns_per_packet"][stage].as_f64().unwrap() >= 0.0, "{load}: {stage}");
            }
        }
    }
}

#[test]
fn rules_change_in_a_stream_too_and_expectations_hold() {
    let folder = fixture();
    write(folder.path(), "sg2.json", security_groups(&[("tcp", 443, 443, "0.0.0.0/0")], &[]));
    write(folder.path(), "acl2.json", network_acl(&[(false, 100, true, "6", 443, 443)]));
    let scenario = format!(
        "title = \"A visit\"\ntrace = \"trace.pcap\"\ninside = [\"{INSIDE}\"]\nsecurity_groups = \"sg.json\"\n\
         network_acls = \"acl.json\"\n[[change]]\nat = \"3ms\"\nsecurity_groups = \"sg2.json\"\nnetwork_acls = \"acl2.json\"\n"
    );
    write(folder.path(), "scenario.toml", scenario);
    assert_eq!(run(ctbench(folder.path()).args(["verify", "scenario.toml", "--bless"])).0, 0);
    let (code, stdout, stderr) = run(ctbench(folder.path()).args(["verify", "scenario.toml", "--stream"]));
    assert_eq!(code, 0, "{stdout}{stderr}");
    // Others than it expects are wrong.
    let blessed = fs::read_to_string(folder.path().join("scenario.toml")).unwrap();
    write(folder.path(), "scenario.toml", blessed.replace("3ms", "20ms"));
    let (code, stdout, _) = run(ctbench(folder.path()).args(["verify", "scenario.toml", "--stream"]));
    assert_eq!(code, 3, "{stdout}");
    assert!(stdout.contains("not as the scenario expects"), "{stdout}");
}

#[test]
fn what_needs_the_whole_trace_is_refused() {
    let folder = fixture();
    for (option, says) in [
        (&["--elephant"][..], "--elephant"),
        (&["--steering", "spray"], "--steering"),
        (&["--load", "paced"], "--load paced"),
        (&["--shard", "1/2"], "--shard"),
        (&["--loop", "2"], "--loop"),
        (&["--verdicts", "verdicts.csv"], "--verdicts"),
        (&["--flow-log", "flows.log"], "--flow-log"),
        (&["--precision", "5"], "--precision"),
        (&["--recorder", "burst"], "--recorder"),
    ] {
        let mut command = ctbench(folder.path());
        command.args(["replay", "trace.pcap", "--stream", "--engine", "null", "--inside", INSIDE]).args(RULES);
        let (code, _, stderr) = run(command.args(option));
        assert_eq!(code, 1, "{option:?}: {stderr}");
        assert!(stderr.contains(says) && stderr.contains("leave out one of them"), "{stderr}");
    }
    let headers = "167772161\t3221225985\t80\t443\t6\t1\n";
    write(folder.path(), "headers", headers);
    let mut command = ctbench(folder.path());
    command.args(["replay", "headers", "--stream", "--engine", "null", "--inside", INSIDE]).args(RULES);
    let (code, _, stderr) = run(&mut command);
    assert!(code == 1 && stderr.contains("list of packet headers"), "{stderr}");
}

/// Records of length 0 without end: nothing that memory could hold.
#[test]
#[cfg(target_os = "linux")]
fn a_trace_that_does_not_fit_is_streamed_unasked() {
    let folder = fixture();
    let path = write(folder.path(), "huge.pcap", pcap(&connection((CLIENT, 5), (SERVER, 80)), PLAIN));
    let file = fs::File::options().write(true).open(path).unwrap();
    if file.set_len(1 << 40).is_err() {
        println!("SKIPPED: no sparse files of 1 TiB here");
        return;
    }
    let mut command = ctbench(folder.path());
    command.args([
        "replay",
        "huge.pcap",
        "--limit",
        "20000",
        "--engine",
        "stateful-percore-linear",
        "--inside",
        INSIDE,
    ]);
    let (code, stdout, stderr) = run(command.args(RULES).args(QUICK));
    assert_eq!(code, 0, "{stderr}");
    assert!(stderr.contains("it is streamed, as with --stream"), "{stderr}");
    assert!(stdout.contains("20,000 packets (9 evaluated)"), "{stdout}");
    let (code, _, stderr) = run(command.arg("--elephant"));
    assert_eq!(code, 1);
    assert!(stderr.contains("--elephant needs all of it at once"), "{stderr}");
}

#[test]
fn compressed_standard_input_gives_one_checked_pass() {
    let folder = fixture();
    let whole = fs::read(folder.path().join("trace.pcap")).unwrap();
    let packed = zstd::encode_all(&whole[..], 1).unwrap();
    for (bytes, evaluated) in [(packed, 10), (whole[..whole.len() - 100].to_vec(), 8)] {
        write(folder.path(), "input", bytes);
        let mut command = ctbench(folder.path());
        command.stdin(fs::File::open(folder.path().join("input")).unwrap());
        command.args(["compare", "-", "--stream", "--inside", INSIDE, "--cores", "1,2", "--json", "-"]).args(RULES);
        let json = json(&mut command);
        assert_eq!(json["scenario"]["evaluated"], evaluated);
        for run in json["runs"].as_array().unwrap() {
            assert!(run["error"].is_null(), "{run}");
            assert_eq!(run["throughput"]["passes"], 1);
            assert!(run["throughput"]["ci95"][0].is_null(), "one pass has no interval");
        }
        let cut = json["warnings"].as_array().unwrap().iter().any(|w| w.as_str().unwrap().contains("cut off at byte"));
        assert_eq!(cut, evaluated == 8);
    }
}

/// The most memory that a process has had, in bytes. `None` once it has ended.
#[cfg(target_os = "linux")]
fn peak(child: &Child) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{}/status", child.id())).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1024)
}

/// Replays so many bytes of a trace that is made meanwhile, and then closes the pipe. The most memory it took.
#[cfg(target_os = "linux")]
fn replay_bytes(folder: &Path, amount: u64) -> u64 {
    let mut made = ctbench(folder);
    made.args(["gen", "web", "--packets", "10000000000", "--flows-per-second", "20000", "--snaplen", "0", "-o", "-"]);
    let mut made = made.stdout(Stdio::piped()).spawn().unwrap();
    let mut replay = ctbench(folder);
    replay.args(["replay", "-", "--stream", "--inside", GENERATED, "--engine", "stateful-lockfree-linear"]).args(RULES);
    let mut replay = replay.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (mut from, mut to) = (made.stdout.take().unwrap(), replay.stdin.take().unwrap());
    let mut buffer = vec![0; 1 << 16];
    let (mut left, mut most, mut reads) = (amount, 0, 0u64);
    while left > 0 {
        let wanted = buffer.len().min(left as usize);
        let count = from.read(&mut buffer[..wanted]).unwrap();
        to.write_all(&buffer[..count]).unwrap();
        left -= count as u64;
        reads += 1;
        if reads.is_multiple_of(64) {
            most = most.max(peak(&replay).unwrap_or(0));
        }
    }
    drop((from, to));
    while let Some(now) = peak(&replay) {
        most = most.max(now);
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    made.wait().unwrap();
    let output = replay.wait_with_output().unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{stdout}{stderr}");
    assert!(stdout.contains("the reference ran beside"), "{stdout}");
    assert!(stderr.contains("the capture is cut off"), "the pipe was closed within a packet: {stderr}");
    println!("{amount} bytes, at most {} MiB of memory\n{stdout}", most >> 20);
    most
}

/// Bytes of the larger trace, unless `CTBENCH_STREAMED_BYTES` says otherwise. More than memory may grow by.
#[cfg(target_os = "linux")]
const STREAMED_BYTES: u64 = 600_000_001;

#[test]
#[cfg(target_os = "linux")]
fn memory_does_not_grow_with_the_trace() {
    const MOST: u64 = 512 << 20;
    /// Tables and queues fill up meanwhile.
    const GROWTH: u64 = 128 << 20;
    let folder = fixture();
    let amount = std::env::var("CTBENCH_STREAMED_BYTES").map_or(STREAMED_BYTES, |bytes| bytes.parse().unwrap());
    assert!(amount > 2 * GROWTH, "a trace that fits proves nothing");
    let few = replay_bytes(folder.path(), 60_000_001);
    let many = replay_bytes(folder.path(), amount);
    assert!(many < MOST, "{many} bytes");
    assert!(many < few + GROWTH, "{few} bytes of memory for a small trace, {many} for a large one");
}
