//! ClassBench header traces: one packet header a line, in decimal, as the trace generator writes them:
//! `source destination source-port destination-port protocol [flags] rule` (Taylor and Turner, "ClassBench: A Packet
//! Classification Benchmark", INFOCOM 2005).
//!
//! Such a trace is read as a capture of raw IPv4 packets, made in memory: one header a microsecond. Headers are
//! independent of one another, so TCP headers become SYNs; the rule number is not looked at.

use super::TraceError;
use crate::packet::{protocol, tcp_flags};
use memmap2::{Mmap, MmapMut};
use std::path::Path;

/// Link type of raw IPv4 and IPv6, as registered at tcpdump.org.
const RAW: u32 = 101;
const FILE_HEADER: usize = 24;
const RECORD_HEADER: usize = 16;
/// An IPv4 header, and the longest transport header that is made.
const LONGEST: usize = 40;
const US_PER_S: u64 = 1_000_000;

/// True if the first line reads as a header.
pub(super) fn recognise(bytes: &[u8]) -> bool {
    let first = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    first.len() < 200 && header(first).is_ok()
}

/// The capture that a header trace stands for.
pub(super) fn capture(path: &Path, bytes: &[u8]) -> Result<Mmap, TraceError> {
    let io = |source| TraceError::Io { path: path.to_owned(), source };
    let lines = || bytes.split(|byte| *byte == b'\n').zip(1u64..).filter(|(line, _)| !line.trim_ascii().is_empty());
    let wrong = |line, problem| TraceError::HeaderLine { path: path.to_owned(), line, problem };
    // A map cannot be cut to size afterwards.
    let mut size = FILE_HEADER;
    for (line, number) in lines() {
        size += RECORD_HEADER + packet(&header(line).map_err(|problem| wrong(number, problem))?).len();
    }
    let mut map = MmapMut::map_anon(size).map_err(io)?;
    let mut at = 0;
    let mut put = |bytes: &[u8]| {
        map[at..at + bytes.len()].copy_from_slice(bytes);
        at += bytes.len();
    };
    // Microseconds, little endian, version 2.4, no snap length.
    [0xa1b2_c3d4, 4 << 16 | 2, 0, 0, 65_535, RAW].iter().for_each(|word: &u32| put(&word.to_le_bytes()));
    for ((line, number), time_us) in lines().zip(US_PER_S..) {
        let packet = packet(&header(line).map_err(|problem| wrong(number, problem))?);
        let length = packet.len() as u32;
        for word in [(time_us / US_PER_S) as u32, (time_us % US_PER_S) as u32, length, length] {
            put(&word.to_le_bytes());
        }
        put(&packet);
    }
    map.make_read_only().map_err(io)
}

struct Header {
    source: u32,
    destination: u32,
    ports: [u16; 2],
    protocol: u8,
}

fn header(line: &[u8]) -> Result<Header, &'static str> {
    const WRONG: &str = "not `source destination source-port destination-port protocol [flags] rule`, all in decimal";
    let text = std::str::from_utf8(line).map_err(|_| WRONG)?;
    let mut numbers = [0u32; 7];
    let mut count = 0;
    for word in text.split_whitespace() {
        let number = word.parse().map_err(|_| WRONG)?;
        *numbers.get_mut(count).ok_or(WRONG)? = number;
        count += 1;
    }
    if count < 6 {
        return Err(WRONG);
    }
    let port = |number: u32| u16::try_from(number).map_err(|_| "a port is at most 65535");
    Ok(Header {
        source: numbers[0],
        destination: numbers[1],
        ports: [port(numbers[2])?, port(numbers[3])?],
        protocol: u8::try_from(numbers[4]).map_err(|_| "a protocol number is at most 255")?,
    })
}

/// The packet with this header, without payload and checksums.
fn packet(header: &Header) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(LONGEST);
    bytes.extend([0x45, 0, 0, 0, 0, 0, 0, 0, 64, header.protocol, 0, 0]);
    bytes.extend(header.source.to_be_bytes());
    bytes.extend(header.destination.to_be_bytes());
    let ports = header.ports.map(u16::to_be_bytes).concat();
    match header.protocol {
        protocol::TCP => {
            bytes.extend(ports);
            // Sequence 1, nothing acknowledged, no options, a window.
            bytes.extend([0, 0, 0, 1, 0, 0, 0, 0, 5 << 4, tcp_flags::SYN, 0xff, 0xff, 0, 0, 0, 0]);
        }
        protocol::UDP => {
            bytes.extend(ports);
            bytes.extend([0, 8, 0, 0]);
        }
        // An echo request: the trace tells no type.
        protocol::ICMP => bytes.extend([8, 0, 0, 0, 0, 1, 0, 1]),
        _ => {}
    }
    let total = bytes.len() as u16;
    bytes[2..4].copy_from_slice(&total.to_be_bytes());
    bytes
}
