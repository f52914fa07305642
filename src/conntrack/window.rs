//! TCP window tracking: is a segment inside what its receiver can expect?
//!
//! The four bounds are those of G. van Rooij, "Real Stateful TCP Packet Filtering in IP Filter"
//! (10th USENIX Security Symposium, 2001), with the tolerances that Linux adds. All sequence
//! arithmetic is modulo 2^32.

use super::status::LastSegment;
use super::tcp::{Segment, TcpState};
use super::{Notes, Side, Status};
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

/// What is known of one end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct End {
    /// One past the last sequence number sent.
    end: u32,
    /// One past the last sequence number that the other end's window allows.
    max_end: u32,
    /// The largest window that this end has offered, in bytes; 0: nothing known of it yet.
    max_window: u32,
    /// The highest acknowledgement that this end has sent.
    max_ack: u32,
    /// The bits of `flag`, above them the window scale, 0 to 14 (4 bits, from bit 8). From bit 16 on,
    /// at the original end: the options of the last ignored SYN, in the same form.
    marks: u32,
}

impl End {
    #[inline(always)]
    fn has(&self, flag: u32) -> bool {
        self.marks & flag != 0
    }

    #[inline(always)]
    fn scale(&self) -> u32 {
        self.marks >> 8 & 15
    }

    /// Flags and scale anew, as a SYN's options say.
    fn replace_options(&mut self, options: OptionBits) {
        self.marks = self.marks & 0xffff_0000 | options.0;
    }

    fn forget_scale(&mut self) {
        self.marks &= !0xf00;
    }

    fn start(&mut self, end: u32, max_end: u32, window: u32) {
        (self.end, self.max_end, self.max_window) = (end, max_end, window.max(1));
    }
}

/// What TCP window tracking remembers of both ends: 44 bytes.
///
/// Every field is a whole 32-bit word: a word that was written in parts and is then read whole makes
/// the CPU wait for the parts (a failed store-to-load forward: they took a quarter of all time while
/// flags and scales were bytes).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Windows {
    ends: [End; 2],
    /// End of the last ACK segment, or of the last ignored one.
    last_end: u32,
}

impl Windows {
    /// Anything, to be recognised.
    #[cfg(test)]
    pub(crate) fn of_test(value: u32) -> Self {
        let end = End { end: value, max_end: !value, max_window: value, max_ack: value, marks: value };
        Windows { ends: [end; 2], last_end: value }
    }

    /// The end that sends, and the end that receives.
    #[inline(always)]
    fn ends(&mut self, sender: Side) -> (&mut End, &mut End) {
        let [original, reply] = &mut self.ends;
        match sender {
            Side::Original => (original, reply),
            Side::Reply => (reply, original),
        }
    }
}

/// All that the state machine remembers of a connection beside its status.
pub struct Track<'a> {
    notes: &'a mut Notes,
    windows: &'a mut Windows,
}

// What TCP keeps in a connection's [`Notes`]. `marks`: the last segment that was taken note of (4 bits), how
// often the last ACK segment was repeated (8 bits, from bit 8), and its window, or that of the last ignored
// segment, as sent (16 bits, from bit 16). `number`: sequence number of the last ACK segment, or of the last
// ignored one, and above it its acknowledgement.

/// What the options of a SYN say, as in the low half of [`End::marks`].
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

impl<'a> Track<'a> {
    /// So many repetitions of one ACK shorten the timer (`nf_conntrack_tcp_max_retrans`).
    pub(super) const MAX_RETRANSMITS: u32 = 3;

    #[inline(always)]
    pub(super) fn new(notes: &'a mut Notes, windows: &'a mut Windows) -> Self {
        Track { notes, windows }
    }

    /// The last segment that was taken note of.
    #[inline(always)]
    pub(super) fn last(&self) -> LastSegment {
        LastSegment::from_bits(self.notes.marks & 0xf)
    }

    #[inline(always)]
    pub(super) fn set_last(&mut self, last: LastSegment) {
        self.notes.marks = self.notes.marks & !0xf | last.bits();
    }

    /// How often the last ACK segment was repeated. The count wraps at 256, as the kernel's does.
    #[inline(always)]
    pub(super) fn retransmits(&self) -> u32 {
        self.notes.marks >> 8 & 0xff
    }

    /// The window of the last ACK segment, or of the last ignored one, as sent.
    #[inline(always)]
    pub(super) fn last_window(&self) -> u32 {
        self.notes.marks >> 16
    }

    /// The acknowledgement of the last ACK segment.
    #[inline(always)]
    pub(super) fn set_last_ack(&mut self, ack: u32) {
        self.notes.number = self.notes.number & 0xffff_ffff | u64::from(ack) << 32;
    }

    fn last_ack(&self) -> u32 {
        (self.notes.number >> 32) as u32
    }

    /// End of the last ACK segment, or of the last ignored one.
    pub(super) fn last_end(&self) -> u32 {
        self.windows.last_end
    }

    /// Begins a connection with this SYN. Nothing is known yet.
    pub(super) fn start_with_syn(&mut self, packet: &Packet) {
        let end = end_of(packet);
        self.windows.ends[0].start(end, end, u32::from(packet.window()));
        self.read_syn_options(Side::Original, packet);
    }

    /// Picks a connection up at this segment. Scales are unknown, so windows are not enforced.
    pub(super) fn start_in_mid_stream(&mut self, packet: &Packet) {
        let (end, window) = (end_of(packet), u32::from(packet.window()).max(1));
        self.windows.ends[0].start(end, end.wrapping_add(window), window);
        for end in &mut self.windows.ends {
            end.marks = flag::SACK | flag::LIBERAL;
        }
    }

    /// Some end has sent data that was not acknowledged yet.
    #[inline(always)]
    pub(super) fn unacknowledged(&self) -> bool {
        let [original, reply] = &self.windows.ends;
        (original.marks | reply.marks) & flag::UNACKNOWLEDGED != 0
    }

    /// A SYN's options replace what was known of its sender. One without any options says nothing new
    /// (the kernel stops reading before it forgets what an earlier SYN has said).
    fn read_syn_options(&mut self, side: Side, packet: &Packet) {
        if !packet.syn_options().any {
            return;
        }
        let sender = &mut self.windows.ends[side as usize];
        let kept = sender.marks & flag::LIBERAL;
        sender.replace_options(OptionBits(OptionBits::of(packet).0 | kept));
    }

    /// The first SYN or SYN/ACK of an end, or a new one that replaces it.
    fn init_sender(&mut self, side: Side, packet: &Packet, end: u32) {
        self.windows.ends[side as usize].start(end, end, u32::from(packet.window()));
        self.read_syn_options(side, packet);
        let ends = &mut self.windows.ends;
        if side == Side::Reply && !ends.iter().all(|end| end.has(flag::SCALES)) {
            // RFC 7323, section 2.2: scaling is on only if both SYNs offer it.
            ends.iter_mut().for_each(End::forget_scale);
        }
    }

    /// Notes an ACK segment as the last segment. Returns how often it was repeated.
    #[inline(always)]
    fn count_repetition(&mut self, this: Ack, segment: LastSegment) -> u32 {
        // One word for both, as the table keeps it: were it put together from two stores, the CPU would wait
        // for them.
        let number = u64::from(this.seq) | u64::from(this.ack) << 32;
        let is_repeated = self.last().is_from_side_of(segment)
            & (number == self.notes.number)
            & (this.end == self.windows.last_end)
            & (this.window == self.last_window());
        let count = if is_repeated { (self.retransmits() + 1) & 0xff } else { 0 };
        *self.notes = Notes { marks: segment.bits() | count << 8 | this.window << 16, number };
        self.windows.last_end = this.end;
        count
    }

    /// Remembers an ignored segment, to recognise its answer.
    pub(super) fn note_ignored(&mut self, packet: &Packet) {
        self.notes.marks = self.notes.marks & 0xffff | u32::from(packet.window()) << 16;
        self.notes.number = self.notes.number & !0xffff_ffff | u64::from(packet.seq());
        self.windows.last_end = end_of(packet);
    }

    /// Remembers the options of an ignored SYN.
    pub(super) fn note_ignored_syn_options(&mut self, packet: &Packet) {
        let original = &mut self.windows.ends[0];
        original.marks = original.marks & 0xffff | OptionBits::of(packet).0 << 16;
    }

    /// The ignored SYN from `side` was answered: it is the connection now.
    pub(super) fn restart_from_ignored_syn(&mut self, side: Side) {
        let (last_end, last_window) = (self.last_end(), self.last_window());
        let options = OptionBits(self.windows.ends[0].marks >> 16);
        let (this, other) = self.windows.ends(side);
        this.start(last_end, last_end, last_window);
        // The SYN's end starts afresh; the other one, if it was not held to its window, still is not.
        this.replace_options(options);
        *other = End { marks: other.marks & (0xffff_0000 | flag::LIBERAL), ..End::default() };
    }
}

/// The fields by which one ACK segment repeats another.
#[derive(Clone, Copy)]
struct Ack {
    seq: u32,
    ack: u32,
    end: u32,
    window: u32,
}

/// What a timer must know of an ACK segment that was let through.
pub(super) struct Plain {
    /// Some end has sent data that was not acknowledged yet.
    pub(super) unacknowledged: bool,
    /// The segment was repeated too often, or closes its sender's window.
    pub(super) is_stalled: bool,
}

/// [`fit`] for what nearly every packet is: an ACK segment, not SYN, FIN or RST, that lies inside all
/// bounds of a connection both of whose ends have acknowledged something. `None`, and nothing is changed, if
/// it is anything else. Also notes the segment as the last one.
#[inline(always)]
pub(super) fn fit_plainly(track: &mut Track, side: Side, packet: &Packet) -> Option<Plain> {
    let (sender, receiver) = track.windows.ends(side);
    let (seq, ack, raw_window) = (packet.seq(), packet.ack(), u32::from(packet.window()));
    let end = seq.wrapping_add(u32::from(packet.payload_len()));
    let sack = if receiver.has(flag::SACK) { packet.sack_edge() } else { ack };
    // One branch for all bounds: each by itself is nearly always kept.
    let both_known =
        (sender.marks & receiver.marks & flag::ACKED != 0) & (sender.max_window.min(receiver.max_window) != 0);
    let data_inside = !after(seq, sender.max_end)
        & !after(end, sender.max_end)
        & after(end, sender.end.wrapping_sub(receiver.max_window).wrapping_sub(1));
    let ack_inside = !after(sack, receiver.end)
        & after(sack, receiver.end.wrapping_sub(sender.max_window.max(ACK_LAG)).wrapping_sub(1));
    if !(both_known & data_inside & ack_inside) {
        return None;
    }
    let this = Ack { seq, ack, end, window: raw_window };
    learn(sender, receiver, this, sack, raw_window << sender.scale());
    let unacknowledged = (sender.marks | receiver.marks) & flag::UNACKNOWLEDGED != 0;
    let count = track.count_repetition(this, LastSegment::new(Segment::Ack, side));
    Some(Plain { unacknowledged, is_stalled: (count >= Track::MAX_RETRANSMITS) | (raw_window == 0) })
}

/// What a segment inside the bounds says of both ends. `window` is scaled.
#[inline(always)]
fn learn(sender: &mut End, receiver: &mut End, this: Ack, sack: u32, window: u32) {
    let Ack { ack, end, .. } = this;
    // A branch, since it is hardly ever taken: a store less before the next packet's first locked operation.
    let offered = window.wrapping_add(sack.wrapping_sub(ack));
    if offered > sender.max_window {
        sender.max_window = offered;
    }
    let is_new = after(end, sender.end);
    sender.end = if is_new { end } else { sender.end };
    sender.marks |= if is_new { flag::UNACKNOWLEDGED } else { 0 };
    sender.max_ack = if after(ack, sender.max_ack) { ack } else { sender.max_ack };
    let window_end = sack.wrapping_add(window);
    if after(window_end, receiver.max_end.wrapping_sub(1)) {
        receiver.max_end = window_end.wrapping_add(u32::from(window == 0));
    }
    receiver.marks &= if ack == receiver.end { !flag::UNACKNOWLEDGED } else { !0 };
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
    let flags = packet.tcp_flags();
    let (syn, has_ack) = (flags & tcp_flags::SYN != 0, flags & tcp_flags::ACK != 0);
    let (mut seq, mut end, mut ack) = (packet.seq(), end_of(packet), packet.ack());
    let raw_window = u32::from(packet.window());
    let (sender, receiver) = track.windows.ends(side);
    let mut sack = if receiver.has(flag::SACK) && !syn { packet.sack_edge() } else { ack };

    if sender.max_window == 0 {
        if syn {
            track.init_sender(side, packet, end);
            if !has_ack {
                return Fit::Accept; // Simultaneous open.
            }
        } else {
            // The first that is seen of this end of a connection picked up in mid-stream.
            let scaled = (raw_window << sender.scale()).max(1);
            if receiver.max_window == 0 {
                receiver.end = sack;
                receiver.max_end = sack;
            } else if sack == receiver.end.wrapping_add(1) {
                receiver.end = sack; // Answers a keep-alive, which lies one below the stream.
            }
            sender.start(end, end.wrapping_add(scaled), scaled);
        }
    } else if syn && after(end, sender.end) && matches!(state, TcpState::SynSent | TcpState::SynRecv) {
        // A new attempt between the same ports, with other numbers and options.
        track.init_sender(side, packet, end);
        if side == Side::Reply && !has_ack {
            return Fit::Accept;
        }
    }

    let (sender, receiver) = track.windows.ends(side);
    let is_reset = flags & tcp_flags::RST != 0;
    if !has_ack || (is_reset && ack == 0) {
        // No acknowledgement (or an RST that forgot it): take it as fitting.
        ack = receiver.end;
        sack = receiver.end;
    }
    if is_reset && seq == 0 && state == TcpState::SynSent {
        seq = sender.end;
        end = sender.end;
    }

    let liberal = liberal || sender.has(flag::LIBERAL);
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
            sender.end = end;
            sender.marks |= flag::UNACKNOWLEDGED;
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

    if has_ack && !sender.has(flag::ACKED) {
        sender.max_ack = ack;
        sender.marks |= flag::ACKED;
    }
    let beyond = end.wrapping_sub(sender.max_end);
    if receiver.max_window != 0 && (beyond as i32) > 0 {
        receiver.max_window = receiver.max_window.wrapping_add(beyond);
    }
    let window = if syn { raw_window } else { raw_window << sender.scale() };
    let this = Ack { seq, ack, end, window: raw_window };
    let max_ack = sender.max_ack;
    learn(sender, receiver, this, sack, window);
    if !has_ack {
        sender.max_ack = max_ack; // It acknowledges nothing.
    }
    if segment == Segment::Ack {
        track.count_repetition(this, LastSegment::new(segment, side));
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
    let peer = &track.windows.ends[side.other() as usize];
    let established = old == TcpState::Established && status.assured();
    let seq = packet.seq();
    let last = track.last();
    let mut keep = false;
    // After a SYN that was let through, the peer's acknowledgements may belong to the old connection.
    if peer.has(flag::ACKED) && !last.is(Segment::Syn) {
        let expected = peer.max_ack;
        if seq == 0 && !established {
            return Reset::InWindow; // Most likely the answer to a SYN that was let through.
        }
        if before(seq, expected) && !ignore_invalid_rst {
            return Reset::Invalid;
        }
        let follows_last_data = last == LastSegment::new(Segment::Ack, side) && seq == track.last_end();
        if !established || seq == expected || follows_last_data {
            return Reset::InWindow;
        }
        keep = true;
    }
    let answers_ignored = (status.replied() && last == LastSegment::new(Segment::Syn, side.other()))
        || (!status.assured() && last.is(Segment::Ack));
    let skip = (answers_ignored && packet.ack() == track.last_end())
        || (old == TcpState::SynSent && last == LastSegment::new(Segment::Ack, Side::Reply) && seq == track.last_ack());
    match (keep, skip) {
        (false, false) => Reset::InWindow,
        (false, true) => Reset::Skip,
        (true, false) => Reset::KeepState,
        (true, true) => Reset::KeepStateAndSkip,
    }
}

#[cfg(all(test, not(loom)))]
mod plain_tests;
