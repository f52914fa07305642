//! TCP window tracking: is a segment inside what its receiver can expect?
//!
//! The four bounds are those of G. van Rooij, "Real Stateful TCP Packet Filtering in IP Filter"
//! (10th USENIX Security Symposium, 2001), with the tolerances that Linux adds. All sequence
//! arithmetic is modulo 2^32.

use super::status::LastSegment;
use super::tcp::{Segment, TcpState};
use super::{Detail, Side, Status};
use crate::packet::{Packet, tcp_flags};

/// An acknowledgement may lag this far behind, in bytes, even if the window is smaller
/// (the kernel's MAXACKWINCONST: a window of 64 KiB and some).
const ACK_LAG: u32 = 66_000;

/// `a` comes before `b`.
#[inline(always)]
fn before(a: u32, b: u32) -> bool {
    (a.wrapping_sub(b) as i32) < 0
}

/// `a` comes after `b`.
#[inline(always)]
fn after(a: u32, b: u32) -> bool {
    before(b, a)
}

/// What is known of the data that one end sends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
struct Sender {
    /// One past the last sequence number sent.
    end: u32,
    /// One past the last sequence number that the receiver's window allows.
    max_end: u32,
    /// The largest window that this end has offered, in bytes; 0: nothing known of it yet.
    max_window: u32,
    /// The highest acknowledgement that this end has sent.
    max_ack: u32,
}

/// Sequence numbers of both ends, and what else window tracking remembers.
///
/// Every field is a whole 32-bit word. Tables copy it word by word; a word that was written in
/// parts and is then read whole would make the CPU wait for the parts (a failed store-to-load
/// forward: they took a quarter of all time while flags and scales were bytes).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Track {
    senders: [Sender; 2],
    /// Sequence number of the last ACK segment.
    last_seq: u32,
    /// Acknowledgement of the last ACK segment.
    pub(super) last_ack: u32,
    /// End of the last ACK segment, or of the last ignored one.
    pub(super) last_end: u32,
    /// Window of the same, as sent: 16 bits.
    pub(super) last_window: u32,
    ends: Ends,
    notes: Notes,
}

const _: () = assert!(size_of::<Track>() == size_of::<Detail>() && align_of::<Track>() == align_of::<Detail>());

/// For each end, in 16 bits: the bits of `flag`, and above them its window scale, 0 to 14.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
struct Ends(u32);

impl Ends {
    #[inline(always)]
    fn has(self, side: Side, flag: u32) -> bool {
        self.0 >> (16 * side as u32) & flag != 0
    }

    #[inline(always)]
    fn set(&mut self, side: Side, flag: u32) {
        self.0 |= flag << (16 * side as u32);
    }

    #[inline(always)]
    fn clear(&mut self, side: Side, flag: u32) {
        self.0 &= !(flag << (16 * side as u32));
    }

    #[inline(always)]
    fn any(self, flag: u32) -> bool {
        self.0 & (flag | flag << 16) != 0
    }

    #[inline(always)]
    fn scale(self, side: Side) -> u32 {
        self.0 >> (16 * side as u32 + 8) & 15
    }

    fn replace(&mut self, side: Side, options: OptionBits) {
        let shift = 16 * side as u32;
        self.0 = self.0 & !(0xffff << shift) | options.0 << shift;
    }

    fn flags(self, side: Side) -> u32 {
        self.0 >> (16 * side as u32) & 0xff
    }

    fn forget_scales(&mut self) {
        self.0 &= 0x00ff_00ff;
    }
}

/// What the options of a SYN say, as in one half of [`Ends`].
#[derive(Clone, Copy)]
struct OptionBits(u32);

impl OptionBits {
    fn of(packet: &Packet) -> Self {
        let options = packet.syn_options();
        let scales = if options.window_scale.is_some() { flag::SCALES } else { 0 };
        let sack = if options.sack_permitted { flag::SACK } else { 0 };
        OptionBits(u32::from(options.window_scale.unwrap_or(0)) << 8 | scales | sack)
    }
}

/// The last segment that was taken note of (4 bits), how often the last ACK segment was repeated
/// (8 bits, from bit 8), and the options of the last ignored SYN (16 bits, from bit 16).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
struct Notes(u32);

mod flag {
    /// Offered window scaling.
    pub const SCALES: u32 = 1;
    /// Offered SACK, or may have.
    pub const SACK: u32 = 2;
    /// Not held to its window: its scale is unknown.
    pub const LIBERAL: u32 = 4;
    /// `max_ack` counts.
    pub const ACKED: u32 = 8;
    /// Has sent data that was not acknowledged yet.
    pub const UNACKNOWLEDGED: u32 = 16;
}

/// Result of the window check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fit {
    /// Inside.
    Accept,
    /// An old duplicate: let through, nothing learnt.
    Ignore,
    /// Outside.
    Invalid,
}

/// What an RST does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reset {
    /// Goes on to the window check and closes.
    InWindow,
    /// Closes without a window check.
    Skip,
    /// Goes on to the window check; the state is kept, so that a challenge ACK can follow.
    KeepState,
    /// Keeps the state, without a window check.
    KeepStateAndSkip,
    /// Is INVALID.
    Invalid,
}

/// One past the last sequence number that a segment takes: SYN and FIN take one each.
#[inline(always)]
fn end_of(packet: &Packet) -> u32 {
    let flags = packet.tcp_flags();
    let control = u32::from(flags & tcp_flags::SYN != 0) + u32::from(flags & tcp_flags::FIN != 0);
    packet.seq().wrapping_add(u32::from(packet.payload_len())).wrapping_add(control)
}

impl Track {
    /// So many repetitions of one ACK shorten the timer (`nf_conntrack_tcp_max_retrans`).
    pub(super) const MAX_RETRANSMITS: u32 = 3;

    /// The window data in a connection's detail.
    #[inline(always)]
    pub(super) fn of(detail: &mut Detail) -> &mut Track {
        // SAFETY: both are `repr(C)` or `repr(transparent)` over 14 words of 32 bits (sizes and
        // alignments are asserted above), and any bits are a valid word.
        unsafe { &mut *std::ptr::from_mut(detail).cast::<Track>() }
    }

    /// For connections whose windows are not checked: only the last segment is known.
    #[inline(always)]
    pub(super) fn of_flags_only(last: LastSegment) -> Self {
        let mut track = Track::default();
        track.set_last(last);
        track
    }

    /// The last segment that was taken note of.
    #[inline(always)]
    pub(super) fn last(&self) -> LastSegment {
        LastSegment::from_bits(self.notes.0 & 0xf)
    }

    #[inline(always)]
    pub(super) fn set_last(&mut self, last: LastSegment) {
        self.notes.0 = self.notes.0 & !0xf | last.bits();
    }

    /// How often the last ACK segment was repeated. The count wraps at 256, as the kernel's does.
    #[inline(always)]
    pub(super) fn retransmits(&self) -> u32 {
        self.notes.0 >> 8 & 0xff
    }

    #[inline(always)]
    fn set_retransmits(&mut self, count: u32) {
        self.notes.0 = self.notes.0 & !0xff00 | (count & 0xff) << 8;
    }

    /// A connection opened by this SYN.
    pub(super) fn from_syn(packet: &Packet) -> Self {
        let mut track = Track::default();
        let end = end_of(packet);
        track.senders[0] = Sender { end, max_end: end, max_window: u32::from(packet.window()).max(1), max_ack: 0 };
        track.read_syn_options(Side::Original, packet);
        track
    }

    /// A connection picked up at this segment. Scales are unknown, so windows are not enforced.
    pub(super) fn from_mid_stream(packet: &Packet) -> Self {
        let mut track = Track::default();
        let end = end_of(packet);
        let max_window = u32::from(packet.window()).max(1);
        track.senders[0] = Sender { end, max_end: end.wrapping_add(max_window), max_window, max_ack: 0 };
        for side in [Side::Original, Side::Reply] {
            track.ends.set(side, flag::SACK | flag::LIBERAL);
        }
        track
    }

    /// Some end has sent data that was not acknowledged yet.
    #[inline(always)]
    pub(super) fn unacknowledged(&self) -> bool {
        self.ends.any(flag::UNACKNOWLEDGED)
    }

    /// A SYN's options replace what was known of its sender. One without any options says nothing new
    /// (the kernel stops reading before it forgets what an earlier SYN has said).
    fn read_syn_options(&mut self, side: Side, packet: &Packet) {
        if !packet.syn_options().any {
            return;
        }
        let kept = self.ends.flags(side) & flag::LIBERAL;
        self.ends.replace(side, OptionBits(OptionBits::of(packet).0 | kept));
    }

    /// The first SYN or SYN/ACK of an end, or a new one that replaces it.
    fn init_sender(&mut self, side: Side, packet: &Packet, end: u32) {
        let sender = &mut self.senders[side as usize];
        sender.end = end;
        sender.max_end = end;
        sender.max_window = u32::from(packet.window()).max(1);
        self.read_syn_options(side, packet);
        let both_scale = self.ends.has(side, flag::SCALES) && self.ends.has(side.other(), flag::SCALES);
        if side == Side::Reply && !both_scale {
            // RFC 7323, section 2.2: scaling is on only if both SYNs offer it.
            self.ends.forget_scales();
        }
    }

    /// Counts how often the same ACK came in a row.
    fn count_repetition(&mut self, this: Ack, same_side: bool) {
        let last = (self.last_seq, self.last_ack, self.last_end, self.last_window);
        if same_side && last == (this.seq, this.ack, this.end, this.window) {
            self.set_retransmits(self.retransmits() + 1);
        } else {
            (self.last_seq, self.last_ack, self.last_end, self.last_window) =
                (this.seq, this.ack, this.end, this.window);
            self.set_retransmits(0);
        }
    }

    /// Remembers an ignored segment, to recognise its answer.
    pub(super) fn note_ignored(&mut self, packet: &Packet) {
        self.last_seq = packet.seq();
        self.last_end = end_of(packet);
        self.last_window = u32::from(packet.window());
    }

    /// Remembers the options of an ignored SYN.
    pub(super) fn note_ignored_syn_options(&mut self, packet: &Packet) {
        self.notes.0 = self.notes.0 & 0xffff | OptionBits::of(packet).0 << 16;
    }

    /// The ignored SYN from `side` was answered: it is the connection now.
    pub(super) fn restart_from_ignored_syn(&mut self, side: Side) {
        let (this, other) = (side as usize, side.other() as usize);
        self.senders[this].end = self.last_end;
        self.senders[this].max_end = self.last_end;
        self.senders[this].max_window = self.last_window.max(1);
        self.senders[other] = Sender::default();
        // The SYN's end starts afresh; the other one, if it was not held to its window, still is not.
        let kept = self.ends.flags(side.other()) & flag::LIBERAL;
        self.ends.replace(side, OptionBits(self.notes.0 >> 16));
        self.ends.replace(side.other(), OptionBits(kept));
    }
}

/// The fields by which one ACK segment repeats another.
struct Ack {
    seq: u32,
    ack: u32,
    end: u32,
    window: u32,
}

/// Checks a segment against the four bounds, and learns from it if it is inside.
///
/// `status` is the connection's before the segment. `liberal` accepts what is outside
/// (`nf_conntrack_tcp_be_liberal`).
#[inline]
pub(super) fn fit(
    track: &mut Track,
    status: Status,
    side: Side,
    segment: Segment,
    packet: &Packet,
    liberal: bool,
) -> Fit {
    let state = status.tcp_state();
    let (s, r) = (side as usize, side.other() as usize);
    let flags = packet.tcp_flags();
    let (syn, has_ack) = (flags & tcp_flags::SYN != 0, flags & tcp_flags::ACK != 0);
    let mut seq = packet.seq();
    let mut end = end_of(packet);
    let mut ack = packet.ack();
    let mut sack = if track.ends.has(side.other(), flag::SACK) && !syn { packet.sack_edge() } else { ack };
    let raw_window = u32::from(packet.window());
    let mut window = raw_window;

    if track.senders[s].max_window == 0 {
        if syn {
            track.init_sender(side, packet, end);
            if !has_ack {
                return Fit::Accept; // Simultaneous open.
            }
        } else {
            // The first that is seen of this end of a connection picked up in mid-stream.
            let scaled = (window << track.ends.scale(side)).max(1);
            let receiver = &mut track.senders[r];
            if receiver.max_window == 0 {
                receiver.end = sack;
                receiver.max_end = sack;
            } else if sack == receiver.end.wrapping_add(1) {
                receiver.end = sack; // Answers a keep-alive, which lies one below the stream.
            }
            let sender = &mut track.senders[s];
            sender.end = end;
            sender.max_window = scaled;
            sender.max_end = end.wrapping_add(scaled);
        }
    } else if syn && after(end, track.senders[s].end) && matches!(state, TcpState::SynSent | TcpState::SynRecv) {
        // A new attempt between the same ports, with other numbers and options.
        track.init_sender(side, packet, end);
        if side == Side::Reply && !has_ack {
            return Fit::Accept;
        }
    }

    let receiver = track.senders[r];
    let is_reset = flags & tcp_flags::RST != 0;
    if !has_ack || (is_reset && ack == 0) {
        // No acknowledgement (or an RST that forgot it): take it as fitting.
        ack = receiver.end;
        sack = receiver.end;
    }
    let sender = track.senders[s];
    if is_reset && seq == 0 && state == TcpState::SynSent {
        seq = sender.end;
        end = sender.end;
    }

    let liberal = liberal || track.ends.has(side, flag::LIBERAL);
    let outside = |fit: Fit| if liberal { Fit::Accept } else { fit };
    let ack_lag = sender.max_window.max(ACK_LAG);
    let not_too_old = after(end, sender.end.wrapping_sub(receiver.max_window).wrapping_sub(1));
    let ack_not_too_old = after(sack, receiver.end.wrapping_sub(ack_lag).wrapping_sub(1));
    let ack_not_too_new = !after(sack, receiver.end);

    if after(seq, sender.max_end) {
        // Beyond the receiver's window.
        let overshoot = end.wrapping_sub(sender.max_end).wrapping_add(1);
        if receiver.max_window != 0
            && not_too_old
            && ack_not_too_old
            && ack_not_too_new
            && overshoot <= receiver.max_window
        {
            // Some ends send a little more than was allowed; its acknowledgement must fit later.
            track.senders[s].end = end;
            track.ends.set(side, flag::UNACKNOWLEDGED);
            return outside(Fit::Ignore);
        }
        return outside(Fit::Invalid);
    }
    if !ack_not_too_new {
        return outside(Fit::Invalid);
    }
    if (receiver.max_window != 0 && !not_too_old) || !ack_not_too_old {
        return outside(Fit::Ignore);
    }

    if !syn {
        window <<= track.ends.scale(side);
    }
    let sender = &mut track.senders[s];
    sender.max_window = sender.max_window.max(window.wrapping_add(sack.wrapping_sub(ack)));
    if after(end, sender.end) {
        sender.end = end;
        track.ends.set(side, flag::UNACKNOWLEDGED);
    }
    if has_ack && (!track.ends.has(side, flag::ACKED) || after(ack, sender.max_ack)) {
        sender.max_ack = ack;
        track.ends.set(side, flag::ACKED);
    }
    let beyond = end.wrapping_sub(sender.max_end);
    let receiver = &mut track.senders[r];
    if receiver.max_window != 0 && (beyond as i32) > 0 {
        receiver.max_window = receiver.max_window.wrapping_add(beyond);
    }
    let window_end = sack.wrapping_add(window);
    if after(window_end, receiver.max_end.wrapping_sub(1)) {
        receiver.max_end = window_end.wrapping_add(u32::from(window == 0));
    }
    if ack == receiver.end {
        track.ends.clear(side.other(), flag::UNACKNOWLEDGED);
    }
    if segment == Segment::Ack {
        let ack = Ack { seq, ack, end, window: raw_window };
        track.count_repetition(ack, track.last().is_from(side));
    }
    Fit::Accept
}

/// Judges an RST by the sequence number that its receiver expects (RFC 5961, section 3.2).
#[inline(never)]
pub(super) fn judge_reset(
    track: &Track,
    status: Status,
    side: Side,
    old: TcpState,
    packet: &Packet,
    ignore_invalid_rst: bool,
) -> Reset {
    if old.is_closing() {
        // The ports may have been reused by now, so what is remembered proves nothing.
        return Reset::Skip;
    }
    let peer = side.other() as usize;
    let established = old == TcpState::Established && status.assured();
    let seq = packet.seq();
    let last = track.last();
    let mut keep = false;
    // After a SYN that was let through, the peer's acknowledgements may belong to the old connection.
    if track.ends.has(side.other(), flag::ACKED) && !last.is(Segment::Syn) {
        let expected = track.senders[peer].max_ack;
        if seq == 0 && !established {
            return Reset::InWindow; // Most likely the answer to a SYN that was let through.
        }
        if before(seq, expected) && !ignore_invalid_rst {
            return Reset::Invalid;
        }
        let follows_last_data = last == LastSegment::new(Segment::Ack, side) && seq == track.last_end;
        if !established || seq == expected || follows_last_data {
            return Reset::InWindow;
        }
        keep = true;
    }
    let answers_ignored = (status.replied() && last == LastSegment::new(Segment::Syn, side.other()))
        || (!status.assured() && last.is(Segment::Ack));
    let skip = (answers_ignored && packet.ack() == track.last_end)
        || (old == TcpState::SynSent && last == LastSegment::new(Segment::Ack, Side::Reply) && seq == track.last_ack);
    match (keep, skip) {
        (false, false) => Reset::InWindow,
        (false, true) => Reset::Skip,
        (true, false) => Reset::KeepState,
        (true, true) => Reset::KeepStateAndSkip,
    }
}
