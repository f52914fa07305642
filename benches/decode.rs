//! Reading: framing and decoding of 64-byte frames against a bare walk and etherparse's own slices.
//!
//! `cargo bench --bench decode`. One core, page-cached file, interleaved; ns a packet are medians, and
//! only the ratios of one run mean something.

use ctbench::measure::Clock;
use ctbench::measure::statistics::median;
use ctbench::packet::{Inside, decode};
use ctbench::trace::Capture;
use etherparse::{LaxSlicedPacket, PacketBuilder, SlicedPacket};
use std::fs::File;
use std::hint::black_box;
use std::io::{BufWriter, Write};
use std::path::Path;

const PACKETS: u32 = 1_000_000;
const ROUNDS: usize = 9;

/// A pcap file of 64-byte TCP and UDP frames, one in four IPv6.
fn write_capture(path: &Path) -> std::io::Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    file.write_all(&[0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 1, 0, 0, 0])?;
    for n in 0..PACKETS {
        let [_, a, b, c] = n.wrapping_mul(0x9e37_79b9).to_be_bytes();
        let mut frame = Vec::with_capacity(80);
        let ethernet = PacketBuilder::ethernet2([2; 6], [4; 6]);
        let written = match n % 4 {
            0 => ethernet
                .ipv6([0x20, 1, 0xd, 0xb8, 0, 2, 0, 0, 0, 0, 0, 0, 0, a, b, c], inside_v6(), 64)
                .udp(u16::from_be_bytes([b, c]), 53)
                .write(&mut frame, b""),
            1 => ethernet
                .ipv4([198, a, b, c], [10, 0, 1, 10], 64)
                .udp(u16::from_be_bytes([b, c]), 53)
                .write(&mut frame, b""),
            _ => ethernet
                .ipv4([198, a, b, c], [10, 0, 1, 10], 64)
                .tcp(u16::from_be_bytes([b, c]), 443, n, 1000)
                .ack(n)
                .write(&mut frame, b""),
        };
        written.map_err(std::io::Error::other)?;
        frame.resize(64, 0);
        file.write_all(&[n.to_le_bytes(), [0; 4], [64, 0, 0, 0], [64, 0, 0, 0]].concat())?;
        file.write_all(&frame)?;
    }
    file.flush()
}

fn inside_v6() -> [u8; 16] {
    [0x20, 1, 0xd, 0xb8, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10]
}

/// Calls `visit` for every frame of a plain little-endian pcap: the least that framing can be.
fn walk(bytes: &[u8], mut visit: impl FnMut(&[u8])) {
    let mut at = 24;
    while at + 16 <= bytes.len() {
        let len = u32::from_le_bytes([bytes[at + 8], bytes[at + 9], bytes[at + 10], bytes[at + 11]]) as usize;
        visit(&bytes[at + 16..at + 16 + len]);
        at += 16 + len;
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::temp_dir().join(format!("ctbench-decode-{}.pcap", std::process::id()));
    write_capture(&path)?;
    let capture = Capture::open(&path)?;
    let inside = Inside::new(&["10.0.1.0/24".parse()?, "2001:db8:1::/64".parse()?]);
    let clock = Clock::new();
    let bytes = capture.bytes();

    let bare = || {
        walk(bytes, |frame| {
            black_box(frame.first());
        });
    };
    let strict = || walk(bytes, |frame| drop(black_box(SlicedPacket::from_ethernet(frame))));
    let lax = || walk(bytes, |frame| drop(black_box(LaxSlicedPacket::from_ethernet(frame))));
    let decoding = || {
        walk(bytes, |frame| {
            let _ = black_box(decode(frame, 1, frame.len(), 0, &inside));
        });
    };
    let framing = || drop(black_box(capture.frames()));
    let framing_and_decoding = || {
        if let Ok(frames) = capture.frames() {
            for frame in frames.list() {
                let _ = black_box(decode(frames.bytes(frame), 1, frame.wire as usize, frame.time_ns, &inside));
            }
        }
    };
    let cases: [(&str, &dyn Fn()); 6] = [
        ("bare walk", &bare),
        ("bare walk + etherparse strict slices", &strict),
        ("bare walk + etherparse lax slices", &lax),
        ("bare walk + our decoder", &decoding),
        ("our framing", &framing),
        ("our framing + our decoder", &framing_and_decoding),
    ];
    let mut samples = vec![Vec::new(); cases.len()];
    for _ in 0..ROUNDS {
        for ((_, case), samples) in cases.iter().zip(&mut samples) {
            let start = clock.raw();
            case();
            samples.push(clock.ns(start, clock.raw()) as f64 / f64::from(PACKETS));
        }
    }
    std::fs::remove_file(&path)?;
    let reference = median(&samples[1]);
    println!("{:40} {:>10} {:>28}", "64-byte frames, one core", "ns/packet", "x (walk + strict slices)");
    for ((name, _), samples) in cases.iter().zip(&samples) {
        let ns = median(samples);
        println!("{name:40} {ns:>10.1} {:>28.2}", ns / reference);
    }
    println!(
        "\nframing + decoding takes {:.2} times a bare walk with etherparse's strict slices (wanted: at most 1.3)",
        median(&samples[5]) / reference
    );
    Ok(())
}
