//! Reading: framing and decoding of 64-byte frames against a bare walk and etherparse's own slices, on one core and on
//! two; and of compressed captures against the decompressor alone.
//!
//! `cargo bench --bench decode`. The file is in the page cache, as tcpdump would have left it: written 4 KiB at a time.
//! Two tables, since a bare walk is two things: what it takes to read a file once, where each page has to be mapped (or
//! copied) first; and what it takes to walk over memory that is mapped already. Interleaved; ns a packet are medians,
//! ratios are medians of the ratios within a round, and only they mean something.

use ctbench::measure::Clock;
use ctbench::measure::statistics::median;
use ctbench::packet::{Inside, Packet, decode_into};
use ctbench::trace::scan::Batch;
use ctbench::trace::{Capture, Frame};
use etherparse::{LaxSlicedPacket, PacketBuilder, SlicedPacket};
use std::fs::File;
use std::hint::black_box;
use std::io::{BufWriter, Read, Write};
use std::path::Path;

const PACKETS: u32 = 5_000_000;
/// Of the compressed captures.
const PACKED_PACKETS: u32 = 1_000_000;
/// What tcpdump's standard library writes at once.
const WRITTEN_AT_ONCE: usize = 4096;
const ROUNDS: usize = 9;

/// A pcap file of 64-byte TCP and UDP frames, one in four IPv6.
fn write_capture(path: &Path) -> std::io::Result<()> {
    let mut file = BufWriter::with_capacity(WRITTEN_AT_ONCE, File::create(path)?);
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

/// Calls `visit` for every frame as `pcap-file` finds it.
fn walk_pcap_file(bytes: &[u8], mut visit: impl FnMut(&[u8])) {
    let Ok((mut rest, parser)) = pcap_file::pcap::PcapParser::new(bytes) else { return };
    while let Ok((after, packet)) = parser.next_raw_packet(rest) {
        visit(&packet.data);
        rest = after;
    }
}

/// Maps the file anew, for one look at it.
fn mapped(path: &Path, look: impl FnOnce(&[u8])) {
    // SAFETY: the file is this benchmark's own, and nothing writes to it any more.
    let map = File::open(path).and_then(|file| unsafe { memmap2::Mmap::map(&file) });
    look(&map.expect("the capture can be mapped"));
}

/// Medians of each case, in ns a packet, and of each case's ratio to the first within a round.
fn measure(clock: &Clock, packets: u32, cases: &[(&str, &dyn Fn())]) {
    let mut samples = vec![Vec::new(); cases.len()];
    for _ in 0..ROUNDS {
        for ((_, case), samples) in cases.iter().zip(&mut samples) {
            let start = clock.raw();
            case();
            samples.push(clock.ns(start, clock.raw()) as f64 / f64::from(packets));
        }
    }
    for ((name, _), of_case) in cases.iter().zip(&samples) {
        let ratios: Vec<f64> = of_case.iter().zip(&samples[0]).map(|(ns, first)| ns / first).collect();
        println!("{name:44} {:>10.1} {:>10.2}", median(of_case), median(&ratios));
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = std::env::temp_dir().join(format!("ctbench-decode-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let path = folder.join("plain.pcap");
    write_capture(&path)?;
    let capture = Capture::open(&path)?;
    let inside = Inside::new(&["10.0.1.0/24".parse()?, "2001:db8:1::/64".parse()?]);
    let clock = Clock::new();
    let bytes = capture.bytes();

    let decode_one = |frame: &[u8], link_type: u32, wire: usize, time_ns: u64| {
        let mut packet = Packet::ZERO;
        let _ = black_box(decode_into(&mut packet, frame, link_type, wire, time_ns, &inside));
        black_box(&packet);
    };
    let decode_frame = |batch: &Batch, frame: &Frame| {
        let view = batch.view(frame);
        decode_one(view.bytes, view.link_type, view.wire_len, frame.time_ns);
    };
    let touch = |frame: &[u8]| {
        black_box(frame.first());
    };
    let strict = |frame: &[u8]| drop(black_box(SlicedPacket::from_ethernet(frame)));
    let lax = |frame: &[u8]| drop(black_box(LaxSlicedPacket::from_ethernet(frame)));
    let decoder = |frame: &[u8]| decode_one(frame, 1, frame.len(), 0);
    let framing = || {
        let capture = Capture::open(&path).expect("a capture");
        drop(black_box(capture.scan(1, || 0, |count, batch| *count += batch.frames.len())));
    };
    let scan = |threads| {
        let capture = Capture::open(&path).expect("a capture");
        let work = |(): &mut (), batch: &Batch| batch.frames.iter().for_each(|frame| decode_frame(batch, frame));
        drop(black_box(capture.scan(threads, || (), work)));
    };
    let (one, two) = (|| scan(1), || scan(2));
    let listing = || {
        let capture = Capture::open(&path).expect("a capture");
        drop(black_box(capture.frames().map(|frames| frames.decode(&inside))));
    };
    println!("{:44} {:>10} {:>10}", "64-byte frames, the file opened each time", "ns/packet", "x bare");
    measure(
        &clock,
        PACKETS,
        &[
            ("bare walk over a fresh mapping", &|| mapped(&path, |bytes| walk(bytes, touch))),
            ("the same by the crate pcap-file", &|| mapped(&path, |bytes| walk_pcap_file(bytes, touch))),
            ("bare walk + etherparse strict slices", &|| mapped(&path, |bytes| walk(bytes, strict))),
            ("bare walk + etherparse lax slices", &|| mapped(&path, |bytes| walk(bytes, lax))),
            ("bare walk + our decoder", &|| mapped(&path, |bytes| walk(bytes, decoder))),
            ("our framing", &framing),
            ("our framing + our decoder (wanted: 1.2)", &one),
            ("the same on two cores", &two),
            ("preloading: every record kept, all cores", &listing),
        ],
    );
    println!("\n{:44} {:>10} {:>10}", "64-byte frames, memory mapped beforehand", "ns/packet", "x bare");
    measure(
        &clock,
        PACKETS,
        &[
            ("bare walk", &|| walk(bytes, touch)),
            ("walk by the crate pcap-file", &|| walk_pcap_file(bytes, touch)),
            ("bare walk + etherparse strict slices", &|| walk(bytes, strict)),
            ("bare walk + etherparse lax slices", &|| walk(bytes, lax)),
            ("bare walk + our decoder", &|| walk(bytes, decoder)),
        ],
    );

    let some = &bytes[..24 + PACKED_PACKETS as usize * 80];
    let packed = [("gzip", pack_gzip(some)?), ("zstd", zstd::encode_all(some, 3)?)];
    for (name, packed) in packed {
        let path = folder.join(name);
        std::fs::write(&path, &packed)?;
        let alone = || drain(name, &packed);
        let scan = |threads| {
            let capture = Capture::open(&path).expect("a capture");
            drop(black_box(capture.scan(threads, || 0, |count, batch| *count += batch.frames.len())));
        };
        let keeping = || drop(black_box(Capture::open(&path).map(|capture| capture.frames().map(|_| ()))));
        println!("\n{name:44} {:>10} {:>10}", "ns/packet", "x alone");
        measure(
            &clock,
            PACKED_PACKETS,
            &[
                ("decompressor alone", &alone),
                ("open + decompress + framing (wanted: 1.15)", &|| scan(1)),
                ("preloading: the same, every byte kept", &keeping),
            ],
        );
    }
    std::fs::remove_dir_all(&folder)?;
    Ok(())
}

fn pack_gzip(bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    packer.write_all(bytes)?;
    packer.finish()
}

/// Decompresses into one buffer, over and over.
fn drain(name: &str, packed: &[u8]) {
    let mut buffer = vec![0; 1 << 20];
    let mut read_all = |reader: &mut dyn Read| while reader.read(&mut buffer).is_ok_and(|count| count > 0) {};
    match name {
        "gzip" => read_all(&mut flate2::bufread::MultiGzDecoder::new(packed)),
        _ => zstd::Decoder::with_buffer(packed).iter_mut().for_each(|reader| read_all(reader)),
    }
}
