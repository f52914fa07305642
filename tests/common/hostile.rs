//! Any bytes as a capture file, and as a frame: an outcome, never a panic. Fuzzed, and replayed by tests.

use ctbench::conntrack::Profile;
use ctbench::packet::{Decap, Inside, View, decode, ends, innermost, piece};
use ctbench::trace::{Capture, Info, Trace};

/// All tunnels.
const ALL: Decap = Decap { vxlan: true, geneve: true, gre: true, ipip: true };

fn inside() -> Inside {
    Inside::new(&["0.0.0.0/1".parse().unwrap(), "::/1".parse().unwrap()])
}

/// Reads a file to its end: framing, decoding, sequencing, description.
pub fn check_capture(bytes: &[u8]) {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    std::io::Write::write_all(&mut file, bytes).unwrap();
    let Ok(capture) = Capture::open(file.path()) else { return };
    for decap in [Decap::default(), ALL] {
        let Ok(capture) = Capture::open(file.path()) else { return };
        let capture = capture.with_decap(decap);
        let Ok(frames) = capture.frames() else { return };
        let summary = frames.summary();
        assert_eq!(summary.packets as usize, frames.list().len());
        let captured: usize = frames.list().iter().map(|frame| frames.bytes(frame).len()).sum();
        assert_eq!(summary.captured_bytes as usize, captured);
        let trace = Trace::sequence(&frames, frames.decode(&inside()), Profile::Aws);
        assert_eq!(trace.packets.len() + trace.ignored.len(), frames.list().len());
        assert!(trace.packets.windows(2).all(|pair| pair[0].time_ns <= pair[1].time_ns));
        let info = Info::of(&capture, "fuzz", &[]).unwrap();
        assert_eq!(info.packets, summary.packets);
        assert_eq!(info.evaluated + info.not_evaluated.values().sum::<u64>(), info.packets);
        assert!(!info.text().is_empty());
    }
    assert_eq!(capture.sha256().len(), 64);
}

/// Decodes a frame: the first two bytes are its link type, the next two what it had more on the wire.
pub fn check_frame(bytes: &[u8]) {
    let Some((head, frame)) = bytes.split_first_chunk::<4>() else { return };
    let link_type = u32::from(u16::from_be_bytes([head[0], head[1]]));
    let wire_len = frame.len() + usize::from(u16::from_be_bytes([head[2], head[3]]));
    for decap in [Decap::default(), ALL] {
        let view = innermost(View { bytes: frame, link_type, wire_len }, decap);
        assert!(view.bytes.len() <= frame.len());
        let packet = decode(view.bytes, view.link_type, view.wire_len, 1, &inside());
        let ends = ends(view.bytes, view.link_type, view.wire_len);
        assert!(packet.is_err() || ends.is_ok());
        if let Some(piece) = piece(view.bytes, view.link_type, view.wire_len) {
            assert!(piece.bytes.len() <= view.bytes.len());
        }
    }
}
