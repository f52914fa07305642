//! Frames built by hand, and what becomes of them.

mod common;

use common::{CLIENT, SERVER};
use ctbench::conntrack::Profile;
use ctbench::packet::{
    Decap, Direction, Ignored, Inside, Malformed, Packet, View, decode, flags, innermost, protocol, tcp_flags,
};
use etherparse::{IcmpEchoHeader, Icmpv4Type, Icmpv6Type, PacketBuilder, TcpOptionElement, icmpv4};
use proptest::prelude::*;

const ETHERNET: u32 = 1;

fn inside() -> Inside {
    Inside::new(&["10.0.1.0/24".parse().unwrap(), "2001:db8:1::/64".parse().unwrap()])
}

fn read(frame: &[u8]) -> Result<Packet, Ignored> {
    decode(frame, ETHERNET, frame.len(), 7, &inside())
}

fn syn_with_options() -> Vec<u8> {
    let options = [
        TcpOptionElement::MaximumSegmentSize(1460),
        TcpOptionElement::SelectiveAcknowledgementPermitted,
        TcpOptionElement::Timestamp(1, 0),
        TcpOptionElement::Noop,
        TcpOptionElement::WindowScale(9),
    ];
    let builder =
        PacketBuilder::ethernet2([2; 6], [4; 6]).ipv4(CLIENT, SERVER, 64).tcp(51_334, 443, 1000, 64_240).syn();
    let mut frame = Vec::new();
    builder.options(&options).unwrap().write(&mut frame, b"").unwrap();
    frame
}

/// The IP packet in an Ethernet frame.
fn ip(frame: &[u8]) -> &[u8] {
    &frame[14..]
}

#[test]
fn a_syn_gives_ends_flags_window_and_options() {
    let packet = read(&syn_with_options()).unwrap();
    assert_eq!((packet.local_addr().to_string(), packet.local_port), ("10.0.1.10".into(), 443));
    assert_eq!((packet.remote_addr().to_string(), packet.remote_port), ("198.51.100.7".into(), 51_334));
    assert_eq!((packet.direction(), packet.tcp_flags(), packet.seq()), (Direction::In, tcp_flags::SYN, 1000));
    assert_eq!((packet.window(), packet.payload_len(), packet.time_ns), (64_240, 0, 7));
    assert_eq!((packet.syn_options().window_scale, packet.syn_options().sack_permitted), (Some(9), true));
    assert_eq!(packet.match_port(), Some(443));
}

#[test]
fn both_directions_have_one_flow_key() {
    let there = read(&common::tcp((CLIENT, 51_334), (SERVER, 80), "S", 1, 0, b"")).unwrap();
    let back = read(&common::tcp((SERVER, 80), (CLIENT, 51_334), "SA", 1, 2, b"")).unwrap();
    assert_eq!(there.flow_key(), back.flow_key());
    assert_eq!((there.direction(), back.direction()), (Direction::In, Direction::Out));
    assert_eq!(back.match_port(), Some(51_334));
}

#[test]
fn sack_blocks_move_the_edge() {
    let options = [TcpOptionElement::SelectiveAcknowledgement((2000, 3000), [Some((4000, 5000)), None, None])];
    let builder = PacketBuilder::ethernet2([2; 6], [4; 6]).ipv4(CLIENT, SERVER, 64).tcp(1, 2, 10, 100).ack(1500);
    let mut frame = Vec::new();
    builder.options(&options).unwrap().write(&mut frame, b"abc").unwrap();
    let packet = read(&frame).unwrap();
    assert_eq!((packet.ack(), packet.sack_edge(), packet.payload_len()), (1500, 5000, 3));
}

#[test]
fn link_layers_carry_the_same_packet() {
    let frame = syn_with_options();
    let plain = read(&frame).unwrap();
    let after = |head: &[u8]| [head, ip(&frame)].concat();
    let mut sll2 = [0u8; 20];
    sll2[..2].copy_from_slice(&[8, 0]);
    let mut sll = [0u8; 16];
    sll[14..].copy_from_slice(&[8, 0]);
    let ether = [&[2u8; 6][..], &[4; 6]].concat();
    let cases: [(&str, u32, Vec<u8>); 15] = [
        ("VLAN", 1, after(&[&ether[..], &[0x81, 0, 0, 5, 8, 0]].concat())),
        ("QinQ", 1, after(&[&ether[..], &[0x88, 0xa8, 0, 5, 0x81, 0, 0, 6, 8, 0]].concat())),
        ("MPLS, two labels", 1, after(&[&ether[..], &[0x88, 0x47, 0, 0, 0x10, 64, 0, 0, 0x21, 64]].concat())),
        ("PPPoE", 1, after(&[&ether[..], &[0x88, 0x64, 0x11, 0, 0, 1, 0, 60, 0, 0x21]].concat())),
        ("cooked v1", 113, after(&sll)),
        ("cooked v2", 276, after(&sll2)),
        ("raw", 101, after(&[])),
        ("raw, BSD number", 12, after(&[])),
        ("raw IPv4", 228, after(&[])),
        ("PPPoE without Ethernet", 51, after(&[0x11, 0, 0, 1, 0, 60, 0, 0x21])),
        ("PPP in HDLC", 50, after(&[0xff, 0x03, 0, 0x21])),
        ("BSD null", 0, after(&[2, 0, 0, 0])),
        ("BSD null, other byte order", 0, after(&[0, 0, 0, 2])),
        ("BSD loopback", 108, after(&[0, 0, 0, 2])),
        ("PPP", 9, after(&[0xff, 0x03, 0, 0x21])),
    ];
    for (name, link, bytes) in cases {
        assert_eq!(decode(&bytes, link, bytes.len(), 7, &inside()), Ok(plain), "{name}");
    }
}

/// What decapsulation makes of a frame.
fn open(frame: &[u8], decap: Decap) -> Result<Packet, Ignored> {
    let view = innermost(View { bytes: frame, link_type: ETHERNET, wire_len: frame.len() }, decap);
    decode(view.bytes, view.link_type, view.wire_len, 7, &inside())
}

/// An IPv4 packet of this protocol around another.
fn ipv4_around(protocol: u8, payload: &[u8]) -> Vec<u8> {
    let total = (20 + payload.len()) as u16;
    let head = [0x45, 0, (total >> 8) as u8, total as u8, 0, 0, 0, 0, 64, protocol, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2];
    [&head[..], payload].concat()
}

fn udp_around(port: u16, payload: &[u8]) -> Vec<u8> {
    let len = (8 + payload.len()) as u16;
    ipv4_around(17, &[&[0x80, 1][..], &port.to_be_bytes(), &len.to_be_bytes(), &[0, 0], payload].concat())
}

#[test]
fn tunnels_are_opened_on_request() {
    let frame = syn_with_options();
    let plain = read(&frame).unwrap();
    let on_ethernet = |packet: Vec<u8>| [&[2u8; 6][..], &[4; 6], &[8, 0], &packet].concat();
    let vxlan = |inner: &[u8]| udp_around(4789, &[&[8, 0, 0, 0, 0, 0, 1, 0], inner].concat());
    let none = Decap::default();
    let cases: [(&str, Decap, Vec<u8>); 8] = [
        ("VXLAN", Decap { vxlan: true, ..none }, vxlan(&frame)),
        (
            "Geneve with an option",
            Decap { geneve: true, ..none },
            udp_around(6081, &[&[2, 0, 0x65, 0x58, 0, 0, 1, 0, 1, 1, 1, 1, 0, 0, 0, 0], &frame[..]].concat()),
        ),
        (
            "Geneve with IP",
            Decap { geneve: true, ..none },
            udp_around(6081, &[&[0, 0, 8, 0, 0, 0, 1, 0], ip(&frame)].concat()),
        ),
        ("GRE", Decap { gre: true, ..none }, ipv4_around(47, &[&[0, 0, 8, 0], ip(&frame)].concat())),
        (
            "GRE with key and sequence, Ethernet",
            Decap { gre: true, ..none },
            ipv4_around(47, &[&[0x30, 0, 0x65, 0x58, 0, 0, 0, 9, 0, 0, 0, 1], &frame[..]].concat()),
        ),
        (
            "GRE with MPLS",
            Decap { gre: true, ..none },
            ipv4_around(47, &[&[0, 0, 0x88, 0x47, 0, 0, 0x11, 64], ip(&frame)].concat()),
        ),
        ("IP in IP", Decap { ipip: true, ..none }, ipv4_around(4, ip(&frame))),
        (
            "IP in IP in VXLAN",
            Decap { ipip: true, vxlan: true, ..none },
            vxlan(&on_ethernet(ipv4_around(4, ip(&frame)))),
        ),
    ];
    for (name, decap, packet) in cases {
        let outer = on_ethernet(packet);
        assert_eq!(open(&outer, decap), Ok(plain), "{name}");
        assert_eq!(open(&outer, none), Err(Ignored::NeitherInside), "{name}: not opened");
        // Another tunnel is none of these.
        let all = Decap { vxlan: !decap.vxlan, geneve: !decap.geneve, gre: !decap.gre, ipip: !decap.ipip };
        if !(decap.vxlan && decap.ipip) {
            assert_eq!(open(&outer, all), Err(Ignored::NeitherInside), "{name}: another");
        }
        // Cut off anywhere: an outcome.
        for len in 0..outer.len() {
            let _ = open(&outer[..len], decap);
        }
    }
    // What a tunnel carries and is not IP is not evaluated; a packet without tunnel is.
    let mut arp = frame.clone();
    arp[13] = 6;
    assert_eq!(open(&on_ethernet(vxlan(&arp)), Decap { vxlan: true, ..none }), Err(Ignored::NotIp));
    assert_eq!(open(&frame, Decap { vxlan: true, geneve: true, gre: true, ipip: true }), Ok(plain));
}

#[test]
fn padding_is_not_payload_and_length_zero_is_the_frame() {
    let mut frame = common::tcp((CLIENT, 1), (SERVER, 80), "A", 1, 1, b"");
    frame.resize(60, 0);
    assert_eq!(read(&frame).unwrap().payload_len(), 0);
    // Segmentation offload: the total length was not yet filled in.
    let mut frame = common::tcp((CLIENT, 1), (SERVER, 80), "A", 1, 1, &[7; 3000]);
    frame[16..18].copy_from_slice(&[0, 0]);
    assert_eq!(read(&frame).unwrap().payload_len(), 3000);
}

#[test]
fn cut_packets_count_in_full_or_say_what_is_missing() {
    let frame = common::tcp((CLIENT, 1), (SERVER, 80), "A", 1, 1, &[7; 1000]);
    let cut = |len: usize| decode(&frame[..len], ETHERNET, frame.len(), 7, &inside());
    assert_eq!(cut(14 + 40).unwrap().payload_len(), 1000);
    assert_eq!(cut(14 + 20 + 2), Err(Ignored::Malformed(Malformed::Transport)));
    assert_eq!(cut(14 + 10), Err(Ignored::Malformed(Malformed::IpHeader)));
    assert_eq!(cut(13), Err(Ignored::Malformed(Malformed::LinkHeader)));
    // The flags were not captured: what is missing is taken as zero, and no flags are illegal.
    assert!(cut(14 + 20 + 8).unwrap().has(flags::INVALID));
}

#[test]
fn illegal_tcp_headers_are_invalid_not_malformed() {
    for (bits, legal) in
        [("", false), ("SF", false), ("SR", false), ("F", false), ("FPA", true), ("RA", true), ("S", true)]
    {
        let packet = read(&common::tcp((CLIENT, 1), (SERVER, 80), bits, 1, 1, b"")).unwrap();
        assert_eq!(packet.has(flags::INVALID), !legal, "flags {bits:?}");
    }
    let mut short = common::tcp((CLIENT, 1), (SERVER, 80), "A", 1, 1, b"");
    short[14 + 20 + 12] = 0x40;
    assert!(read(&short).unwrap().has(flags::INVALID));
    short[14 + 20 + 12] = 0xf0;
    assert!(read(&short).unwrap().has(flags::INVALID));
}

#[test]
fn ping_and_its_answer_share_a_key_that_names_who_asks() {
    let ping = |from, to, kind: fn(IcmpEchoHeader) -> Icmpv4Type| {
        let builder = PacketBuilder::ethernet2([2; 6], [4; 6]).ipv4(from, to, 64);
        let mut frame = Vec::new();
        builder.icmpv4(kind(IcmpEchoHeader { id: 77, seq: 1 })).write(&mut frame, b"x").unwrap();
        read(&frame).unwrap()
    };
    let request = ping(CLIENT, SERVER, Icmpv4Type::EchoRequest);
    let answer = ping(SERVER, CLIENT, Icmpv4Type::EchoReply);
    let other_way = ping(SERVER, CLIENT, Icmpv4Type::EchoRequest);
    assert_eq!(request.flow_key(), answer.flow_key());
    assert_ne!(request.flow_key(), other_way.flow_key());
    assert_eq!((request.match_port(), answer.match_port()), (Some(8 << 8), Some(0)));
}

#[test]
fn icmp_errors_carry_the_quoted_flow_and_the_router() {
    let router = [203, 0, 113, 1];
    let flow = read(&common::udp((SERVER, 5000), (CLIENT, 53), b"q")).unwrap();
    let quote = common::udp((SERVER, 5000), (CLIENT, 53), b"q");
    let error_to = |to: [u8; 4], quote: &[u8]| {
        let kind = Icmpv4Type::TimeExceeded(icmpv4::TimeExceededCode::TtlExceededInTransit);
        let mut frame = Vec::new();
        PacketBuilder::ethernet2([2; 6], [4; 6]).ipv4(router, to, 64).icmpv4(kind).write(&mut frame, quote).unwrap();
        read(&frame).unwrap()
    };
    let error = error_to(SERVER, ip(&quote));
    assert!(error.has(flags::ICMP_ERROR) && !error.has(flags::INVALID));
    assert_eq!(error.flow_key(), flow.flow_key());
    assert_eq!((error.outer_protocol(), error.match_port()), (protocol::ICMP, Some(11 << 8)));
    assert_eq!(error.outer_remote()[..4], router);
    assert_eq!(error.direction(), Direction::In);
    // Addressed to a host that did not send the quoted packet, or quoting too little: INVALID.
    assert!(error_to([10, 0, 1, 99], ip(&quote)).has(flags::INVALID));
    assert!(error_to(SERVER, &ip(&quote)[..22]).has(flags::INVALID));
}

#[test]
fn neighbour_discovery_is_never_tracked() {
    let mut frame = Vec::new();
    let local: [u8; 16] = "2001:db8:1::10".parse::<std::net::Ipv6Addr>().unwrap().octets();
    let peer: [u8; 16] = "2001:db8:9::1".parse::<std::net::Ipv6Addr>().unwrap().octets();
    let kind = Icmpv6Type::Unknown { type_u8: 135, code_u8: 0, bytes5to8: [0; 4] };
    PacketBuilder::ethernet2([2; 6], [4; 6]).ipv6(peer, local, 255).icmpv6(kind).write(&mut frame, b"").unwrap();
    assert!(read(&frame).unwrap().has(flags::NEVER_TRACKED));
}

#[test]
fn frames_that_are_not_for_the_inside_are_ignored_by_cause() {
    let with = |from, to| read(&common::udp((from, 1), (to, 2), b""));
    assert_eq!(with(CLIENT, [203, 0, 113, 9]), Err(Ignored::NeitherInside));
    assert_eq!(with([10, 0, 1, 1], SERVER), Err(Ignored::BothInside));
    let mut arp = vec![0u8; 60];
    arp[12..14].copy_from_slice(&[8, 6]);
    assert_eq!(read(&arp), Err(Ignored::NotIp));
    assert_eq!(decode(&arp, 105, 60, 0, &inside()), Err(Ignored::LinkType));
}

/// IPv4 pieces of a UDP datagram: `(offset, payload)`, the last without "more fragments".
fn pieces(cuts: &[usize]) -> Vec<Vec<u8>> {
    pieces_of(&[9; 3000], cuts)
}

fn pieces_of(payload: &[u8], cuts: &[usize]) -> Vec<Vec<u8>> {
    let whole = common::udp((CLIENT, 4000), (SERVER, 53), payload);
    let payload = &ip(&whole)[20..];
    let mut bounds = vec![0];
    bounds.extend(cuts);
    bounds.push(payload.len());
    let piece = |pair: &[usize]| {
        let mut frame = whole[..34].to_vec();
        frame.extend(&payload[pair[0]..pair[1]]);
        let total = (20 + pair[1] - pair[0]) as u16;
        frame[16..18].copy_from_slice(&total.to_be_bytes());
        let more = if pair[1] == payload.len() { 0 } else { 0x2000 };
        frame[20..22].copy_from_slice(&((pair[0] / 8) as u16 | more).to_be_bytes());
        frame[18..20].copy_from_slice(&[0, 42]);
        frame
    };
    bounds.windows(2).map(piece).collect()
}

fn sequence(frames: &[Vec<u8>]) -> ctbench::trace::Trace {
    let folder = tempfile::tempdir().unwrap();
    let path = common::write(folder.path(), "t.pcap", common::pcap(frames, common::PLAIN));
    common::load(&path, common::INSIDE, Profile::Linux)
}

#[test]
fn a_datagram_is_whole_when_its_last_piece_comes_in_any_order() {
    let whole = read(&common::udp((CLIENT, 4000), (SERVER, 53), &[9; 3000])).unwrap();
    let [a, b, c] = <[Vec<u8>; 3]>::try_from(pieces(&[1480, 2000])).unwrap();
    for order in [[&a, &b, &c], [&c, &a, &b], [&b, &c, &a]] {
        let trace = sequence(&order.map(Clone::clone));
        assert_eq!((trace.packets.len(), trace.incomplete.len()), (3, 0));
        let [datagram] = trace.datagrams.as_slice() else { panic!("{:?}", trace.datagrams) };
        assert_eq!((datagram.completing, &datagram.pieces[..]), (2, &[0, 1][..]));
        assert_eq!(datagram.packet.flow_key(), whole.flow_key());
        assert_eq!(trace.packets.iter().filter(|p| p.has(flags::NO_PORTS)).count(), 2);
    }
}

#[test]
fn pieces_that_overlap_or_lack_one_are_never_complete() {
    let [a, b, c] = <[Vec<u8>; 3]>::try_from(pieces(&[1480, 2000])).unwrap();
    let [_, late, _] = <[Vec<u8>; 3]>::try_from(pieces(&[1400, 2000])).unwrap();
    assert_eq!(sequence(&[a.clone(), c.clone()]).incomplete, [0, 1]);
    assert_eq!(sequence(&[a.clone(), late, b.clone(), c.clone()]).incomplete, [0, 1, 2, 3]);
    // A copy of a piece does no harm.
    assert_eq!(sequence(&[a.clone(), a, b, c]).datagrams.len(), 1);
}

const SERVER6: &str = "2001:db8:1::10";
const CLIENT6: &str = "2001:db8:9::1";

/// An Ethernet frame with a chain of IPv6 extension headers, each `(its number, its bytes after "next header")`.
fn ipv6(chain: &[(u8, &[u8])], upper: u8, payload: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    for (at, (_, rest)) in chain.iter().enumerate() {
        body.push(chain.get(at + 1).map_or(upper, |(number, _)| *number));
        body.extend_from_slice(rest);
    }
    body.extend_from_slice(payload);
    let mut frame = [&[2; 6][..], &[4; 6], &[0x86, 0xdd]].concat();
    let first = chain.first().map_or(upper, |(number, _)| *number);
    frame.extend(common::frames::ip(CLIENT6.parse().unwrap(), SERVER6.parse().unwrap(), first, &body));
    frame
}

/// The fragment header (RFC 8200, section 4.5) after its first byte.
fn fragment(offset: usize, more: bool) -> [u8; 7] {
    let [high, low] = ((offset as u16) | u16::from(more)).to_be_bytes();
    [0, high, low, 0, 0, 0, 42]
}

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const DESTINATION: u8 = 60;
/// Eight bytes of padding, after the first.
const PADDING: &[u8] = &[0, 1, 4, 0, 0, 0, 0];

#[test]
fn ipv6_extension_headers_are_passed_over() {
    let udp = common::frames::udp(4000, 53, 20);
    let inside = Inside::new(&[SERVER6.parse::<std::net::IpAddr>().unwrap().into()]);
    let read = |frame: &[u8]| decode(frame, 1, frame.len(), 0, &inside);
    let plain = read(&ipv6(&[], 17, &udp)).unwrap();
    // Routing header of type 0 with no segments left: already at its destination (RFC 8200, section 4.4).
    let routing: &[u8] = &[0, 0, 0, 0, 0, 0, 0];
    // RFC 4302: the length is in words of 4 bytes, less 2.
    let authentication: &[u8] = &[4, 0, 0, 0, 0, 1, 1, 0, 0, 0, 2, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9];
    let chains: [&[(u8, &[u8])]; 5] = [
        &[(HOP_BY_HOP, PADDING)],
        &[(DESTINATION, PADDING)],
        &[(HOP_BY_HOP, PADDING), (DESTINATION, PADDING), (ROUTING, routing), (DESTINATION, PADDING)],
        &[(51, authentication)],
        &[(HOP_BY_HOP, PADDING), (51, authentication), (DESTINATION, PADDING)],
    ];
    for chain in chains {
        let packet = read(&ipv6(chain, 17, &udp)).unwrap();
        assert_eq!((packet.flow_key(), packet.protocol), (plain.flow_key(), 17), "{chain:?}");
        assert_eq!(packet.payload_len(), plain.payload_len(), "{chain:?}");
    }
    // "No next header" (RFC 8200, section 4.7): a packet of protocol 59, whatever follows.
    assert_eq!(read(&ipv6(&[(HOP_BY_HOP, PADDING)], 59, &udp)).unwrap().protocol, 59);
    // A header that says it is longer than the packet.
    assert!(read(&ipv6(&[(HOP_BY_HOP, &[200, 1, 4, 0, 0, 0, 0])], 17, &udp)).is_err());
}

/// Headers before the fragment header are repeated in every piece, those behind it are part of what is cut.
#[test]
fn ipv6_pieces_with_extension_headers_make_a_datagram() {
    let udp = common::frames::udp(4000, 53, 2000);
    let folder = tempfile::tempdir().unwrap();
    let sequence = |frames: &[Vec<u8>]| {
        let path = common::write(folder.path(), "t.pcap", common::pcap(frames, common::PLAIN));
        common::load(&path, "2001:db8:1::/64", Profile::Linux)
    };
    let whole = sequence(&[ipv6(&[], 17, &udp)]).packets[0];
    let options_and_udp = [&[17], PADDING, &udp].concat();
    for (before, upper, payload) in [
        (&[][..], 17, &udp),
        (&[(HOP_BY_HOP, PADDING)], 17, &udp),
        (&[], DESTINATION, &options_and_udp),
        (&[(HOP_BY_HOP, PADDING), (DESTINATION, PADDING)], DESTINATION, &options_and_udp),
    ] {
        let bounds = [0, 1200, 1600, payload.len()];
        let piece = |pair: &[usize]| {
            let header = fragment(pair[0], pair[1] < payload.len());
            ipv6(&[before, &[(FRAGMENT, &header)]].concat(), upper, &payload[pair[0]..pair[1]])
        };
        let [a, b, c] = <[Vec<u8>; 3]>::try_from(bounds.windows(2).map(piece).collect::<Vec<_>>()).unwrap();
        for order in [[&a, &b, &c], [&c, &b, &a], [&b, &c, &a]] {
            let trace = sequence(&order.map(Clone::clone));
            let [datagram] = trace.datagrams.as_slice() else { panic!("{before:?} {upper}: {:?}", trace.datagrams) };
            assert_eq!((datagram.completing, &datagram.pieces[..]), (2, &[0, 1][..]));
            assert_eq!((datagram.packet.flow_key(), datagram.packet.protocol), (whole.flow_key(), 17));
            assert_eq!(datagram.packet.payload_len(), whole.payload_len());
        }
        // RFC 5722: pieces that overlap are never complete.
        let overlapping = piece(&[1192, 1600]);
        assert_eq!(sequence(&[a, overlapping, b, c]).incomplete, [0, 1, 2, 3]);
    }
    // A piece that is all of it (RFC 6946).
    let atomic = sequence(&[ipv6(&[(FRAGMENT, &fragment(0, false))], 17, &udp)]);
    assert_eq!((atomic.incomplete.len(), atomic.packets.len()), (0, 1));
    let verdict_of = atomic.datagrams.first().map_or(atomic.packets[0], |datagram| datagram.packet);
    assert_eq!(verdict_of.flow_key(), whole.flow_key());
}

/// The header counts against the 65,535 bytes that a datagram can have (RFC 791): with its own 20 bytes
/// and UDP's 8, 65,507 bytes of payload fit, but not if the header has 4 bytes of options.
#[test]
fn a_datagram_that_would_be_too_long_is_never_complete() {
    let cuts: Vec<usize> = (1..=4).map(|n| n * 16_000).collect();
    let mut frames = pieces_of(&vec![7; 65_507], &cuts);
    assert_eq!(sequence(&frames).datagrams.len(), 1);
    frames[0].splice(34..34, [1, 1, 1, 1]);
    frames[0][14] = 0x46;
    frames[0][16..18].copy_from_slice(&(24u16 + 16_000).to_be_bytes());
    assert_eq!(sequence(&frames).incomplete.len(), frames.len());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    /// Frames that were damaged anywhere: an outcome, never a panic.
    #[test]
    fn damaged_frames_do_not_panic(
        which in 0usize..3,
        at in prop::collection::vec((0usize..120, any::<u8>()), 1..8),
        len in 0usize..140,
        wire in 0usize..2000,
    ) {
        let mut frame = vec![syn_with_options(), pieces(&[1480]).remove(0)[..120].to_vec(), common::udp((CLIENT, 1), (SERVER, 2), &[0; 60])].swap_remove(which);
        for (at, byte) in at {
            if let Some(place) = frame.get_mut(at) {
                *place = byte;
            }
        }
        frame.truncate(len);
        for link in [1, 113, 276, 101, 0, 9] {
            let _ = decode(&frame, link, wire, 0, &inside());
            let _ = ctbench::packet::piece(&frame, link, wire);
        }
    }
}
