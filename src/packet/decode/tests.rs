//! The fast path must say what the general decoder says, of any bytes; and no bytes may make either panic.

use super::*;
use crate::packet::tcp_flags;
use crate::trace::{Capture, TraceError};
use etherparse::{PacketBuilder, TcpOptionElement};
use proptest::prelude::*;
use std::path::{Path, PathBuf};

/// Each kind of protected addresses that decides in a way of its own.
fn insides() -> Vec<Inside> {
    let blocks = |blocks: &[&str]| Inside::new(&blocks.iter().map(|block| block.parse().unwrap()).collect::<Vec<_>>());
    vec![
        blocks(&["0.0.0.0/1", "::/1"]),
        blocks(&["10.0.0.0/8", "192.168.0.0/16", "2001:db8::/32", "fe80::/10"]),
        blocks(&["0.0.0.0/0", "::/0"]).with_pairs(),
        Inside::default(),
        Inside::destinations(),
    ]
}

/// What the fast path says of a packet, if it says something, is what the general decoder says.
fn check(ip: &[u8], wire_len: usize, insides: &[Inside]) -> bool {
    let mut taken = false;
    for inside in insides {
        const UNTOUCHED: Packet = Packet { time_ns: u64::MAX, ..Packet::ZERO };
        let mut packet = UNTOUCHED;
        let fast = plain::decode(ip, 7, inside, &mut packet);
        match fast {
            Some(fast) => assert_eq!(fast.map(|()| packet), decode_any(ip, wire_len, 7, inside), "{ip:02x?}"),
            None => assert_eq!(packet, UNTOUCHED, "{ip:02x?}"),
        }
        taken |= fast.is_some();
    }
    taken
}

/// Bytes that often look like an IP header, and often do not.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let first = prop_oneof![4 => Just(0x45u8), 4 => 0x60u8..0x70, 2 => any::<u8>()];
    let small = prop_oneof![3 => 0u8..3, 1 => any::<u8>()];
    (first, prop::collection::vec(prop_oneof![2 => small, 1 => any::<u8>()], 0..120)).prop_map(|(first, mut rest)| {
        rest.insert(0, first);
        if rest.len() > 9 {
            // Protocols that are known, at the place of either version.
            for at in [6, 9] {
                rest[at] = match rest[at] % 8 {
                    0 => 6,
                    1 => 17,
                    2 => 58,
                    3 => 44,
                    4 => 0,
                    _ => rest[at],
                };
            }
        }
        rest
    })
}

/// Packets as systems send them: both address families, TCP with options and flags, UDP.
fn sound() -> impl Strategy<Value = Vec<u8>> {
    use TcpOptionElement::{
        MaximumSegmentSize, SelectiveAcknowledgement, SelectiveAcknowledgementPermitted, Timestamp,
    };
    let options = prop_oneof![
        Just(vec![]),
        any::<(u32, u32)>().prop_map(|(a, b)| vec![TcpOptionElement::Noop, TcpOptionElement::Noop, Timestamp(a, b)]),
        any::<u8>().prop_map(|shift| vec![
            MaximumSegmentSize(1460),
            TcpOptionElement::WindowScale(shift),
            SelectiveAcknowledgementPermitted,
        ]),
        any::<[(u32, u32); 2]>().prop_map(|[one, two]| vec![SelectiveAcknowledgement(one, [Some(two), None, None])]),
    ];
    let ends = any::<(bool, [u8; 4], [u8; 4], u16, u16)>();
    (ends, any::<(bool, u32, u32, u16, u8)>(), options, 0usize..60).prop_map(|(ends, tcp, options, payload)| {
        let (is_v6, source, destination, from, to) = ends;
        let (is_tcp, seq, ack, window, flags) = tcp;
        let wide = |[a, b, c, d]: [u8; 4]| [a, b, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, c, d];
        let ip = match is_v6 {
            true => PacketBuilder::ipv6(wide(source), wide(destination), 64),
            false => PacketBuilder::ipv4(source, destination, 64),
        };
        let payload = vec![0x5a; payload];
        let mut packet = Vec::new();
        match is_tcp {
            true => {
                let mut tcp = ip.tcp(from, to, seq, window).options(&options).unwrap();
                let flag = |bit: u8| flags & bit != 0;
                for (bit, set) in [
                    (tcp_flags::FIN, Setter::fin as fn(_) -> _),
                    (tcp_flags::SYN, Setter::syn),
                    (tcp_flags::RST, Setter::rst),
                    (tcp_flags::PSH, Setter::psh),
                ] {
                    if flag(bit) {
                        tcp = set(tcp);
                    }
                }
                if flag(tcp_flags::ACK) {
                    tcp = tcp.ack(ack);
                }
                tcp.write(&mut packet, &payload).unwrap();
            }
            false => ip.udp(from, to).write(&mut packet, &payload).unwrap(),
        }
        packet
    })
}

type Setter = etherparse::PacketBuilderStep<etherparse::TcpHeader>;

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, ..ProptestConfig::default() })]

    #[test]
    fn the_fast_path_agrees_on_random_bytes(bytes in bytes(), more in 0usize..100) {
        check(&bytes, bytes.len() + more, &insides());
    }

    #[test]
    fn the_fast_path_agrees_on_damaged_packets(
        packet in sound(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        cut in prop_oneof![3 => Just(usize::MAX), 1 => 0usize..120],
        more in 0usize..100,
    ) {
        let mut packet = packet;
        let wire_len = packet.len() + more;
        for (at, byte) in damage {
            let at = at.index(packet.len());
            packet[at] = byte;
        }
        packet.truncate(cut);
        check(&packet, wire_len, &insides());
    }

    #[test]
    fn no_bytes_panic(
        frame in prop::collection::vec(any::<u8>(), 0..200),
        link in prop::sample::select(vec![0u32, 1, 9, 12, 14, 101, 108, 113, 228, 229, 276, 147]),
        wire in 0usize..70_000,
    ) {
        for inside in insides() {
            let _ = decode(&frame, link, wire, 0, &inside);
        }
    }

    #[test]
    fn no_ip_bytes_panic(bytes in bytes(), wire in 0usize..70_000) {
        for inside in insides() {
            let _ = decode_ip(&bytes, wire, 0, &inside);
        }
    }
}

/// Captures below a folder.
fn captures(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => captures(&path, found),
            false => found.push(path),
        }
    }
}

/// Of the bundled traces, and of what the folder in `CTBENCH_CAPTURES` holds, if it is set.
#[test]
fn the_fast_path_agrees_on_every_frame_of_captures() {
    let mut paths = Vec::new();
    captures(&Path::new(env!("CARGO_MANIFEST_DIR")).join("traces"), &mut paths);
    if let Some(more) = std::env::var_os("CTBENCH_CAPTURES") {
        captures(Path::new(&more), &mut paths);
    }
    let insides = insides();
    let (mut files, mut frames, mut taken) = (0u32, 0u64, 0u64);
    for path in paths {
        let capture = match Capture::open(&path) {
            Err(TraceError::NotACapture { .. } | TraceError::Empty(_) | TraceError::Header { .. }) => continue,
            capture => capture.unwrap(),
        };
        let Ok(list) = capture.frames() else { continue };
        files += 1;
        for frame in list.list() {
            let bytes = list.bytes(frame);
            let Ok(ip) = link::ip_packet(bytes, frame.link_type.into()) else { continue };
            frames += 1;
            let wire_len = (frame.wire as usize).saturating_sub(bytes.len() - ip.len());
            taken += u64::from(check(ip, wire_len, &insides));
        }
    }
    println!("{taken} of {frames} IP packets in {files} captures take the fast path");
    assert!(files >= 6 && taken * 10 > frames * 8, "{taken} of {frames} in {files}");
}
