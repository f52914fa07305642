//! The TCP state machine of nf_conntrack: flags, per direction, to the next state.
//!
//! [`step`] is a pure function of what is remembered of a connection and of one segment. It follows
//! the behaviour of Linux 6.18 as observed by probing; sequence numbers are checked by
//! `window.rs`, which implements van Rooij, "Real Stateful TCP Packet Filtering in IP Filter".

use super::status::LastSegment;
use super::window::{self, Fit, Track};
use super::{Side, Status, Timers};
use crate::packet::{Packet, tcp_flags};

/// State of a connection, as nf_conntrack names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum TcpState {
    /// No connection.
    None = 0,
    /// SYN seen.
    SynSent,
    /// SYN and SYN/ACK seen.
    SynRecv,
    /// The handshake is complete, or the connection was picked up in mid-stream.
    Established,
    /// One FIN seen.
    FinWait,
    /// The FIN was followed by an ACK.
    CloseWait,
    /// A second FIN seen (from whichever end).
    LastAck,
    /// The second FIN was followed by an ACK.
    TimeWait,
    /// RST seen.
    Close,
    /// SYN from both ends: a simultaneous open.
    SynSent2,
}

impl TcpState {
    /// Number of states.
    pub const COUNT: usize = 10;

    /// The inverse of `self as u8`, of its low four bits.
    #[inline(always)]
    pub fn from_bits(bits: u32) -> Self {
        use TcpState::*;
        const ALL: [TcpState; 16] = [
            None,
            SynSent,
            SynRecv,
            Established,
            FinWait,
            CloseWait,
            LastAck,
            TimeWait,
            Close,
            SynSent2,
            None,
            None,
            None,
            None,
            None,
            None,
        ];
        ALL[(bits & 15) as usize]
    }

    /// Past the point where the connection still counts as open.
    pub(super) fn is_closing(self) -> bool {
        use TcpState::*;
        matches!(self, FinWait | CloseWait | LastAck | TimeWait | Close)
    }
}

/// The flag that decides the transition: RST before SYN before FIN before ACK.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Segment {
    /// None of the four: never legal.
    Bare = 0,
    /// SYN without ACK.
    Syn,
    /// SYN and ACK.
    SynAck,
    /// FIN.
    Fin,
    /// ACK only.
    Ack,
    /// RST.
    Rst,
}

impl Segment {
    /// The class of these flag bits.
    #[inline(always)]
    pub fn of(flags: u8) -> Self {
        if flags & tcp_flags::RST != 0 {
            Segment::Rst
        } else if flags & tcp_flags::SYN != 0 {
            if flags & tcp_flags::ACK != 0 { Segment::SynAck } else { Segment::Syn }
        } else if flags & tcp_flags::FIN != 0 {
            Segment::Fin
        } else if flags & tcp_flags::ACK != 0 {
            Segment::Ack
        } else {
            Segment::Bare
        }
    }
}

/// A cell of the transition table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cell {
    To(TcpState),
    /// Accepted, but nothing is learnt from it: the tracker may be out of step with the ends.
    Ignore,
    Invalid,
}

/// `TRANSITIONS[side][segment][state]`; states in the order of [`TcpState`].
const TRANSITIONS: [[[Cell; TcpState::COUNT]; 6]; 2] = {
    use TcpState::*;
    const NO: Cell = Cell::Invalid;
    const IG: Cell = Cell::Ignore;
    const SS: Cell = Cell::To(SynSent);
    const S2: Cell = Cell::To(SynSent2);
    const SR: Cell = Cell::To(SynRecv);
    const ES: Cell = Cell::To(Established);
    const FW: Cell = Cell::To(FinWait);
    const CW: Cell = Cell::To(CloseWait);
    const LA: Cell = Cell::To(LastAck);
    const TW: Cell = Cell::To(TimeWait);
    const CL: Cell = Cell::To(Close);
    [
        // From the end that opened the connection. SynSent in the columns TimeWait and Close is a
        // wish to open it again: see `reopens`.
        //  None SS  SR  ES  FW  CW  LA  TW  CL  S2
        [
            [NO, NO, NO, NO, NO, NO, NO, NO, NO, NO],
            [SS, SS, IG, IG, IG, IG, IG, SS, SS, S2],
            [NO, NO, SR, NO, NO, NO, NO, NO, NO, SR],
            [NO, NO, FW, FW, LA, LA, LA, TW, CL, NO],
            [ES, NO, ES, ES, CW, CW, TW, TW, CL, NO],
            [NO, CL, CL, CL, CL, CL, CL, CL, CL, CL],
        ],
        // From the other end.
        [
            [NO, NO, NO, NO, NO, NO, NO, NO, NO, NO],
            [NO, S2, NO, NO, NO, NO, NO, SS, NO, S2],
            [NO, SR, IG, IG, IG, IG, IG, IG, IG, SR],
            [NO, NO, FW, FW, LA, LA, LA, TW, CL, NO],
            [NO, IG, SR, ES, CW, CW, TW, TW, CL, IG],
            [NO, CL, CL, CL, CL, CL, CL, CL, CL, CL],
        ],
    ]
};

/// What a segment does to its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// It belongs to the connection, whose idle timer restarts with this many ns.
    Refresh(u64),
    /// It belongs to the connection, whose timer runs on.
    Keep,
    /// It ends the connection at once: the entry goes.
    Remove,
    /// It ends the old connection and opens a new one between the same ports.
    Reopen,
    /// It cannot belong to the connection; the timer runs on.
    Invalid,
    /// The same, and the timer is cut to at most this many ns if more than 120 s are left.
    InvalidShorten(u64),
}

/// Opens a connection with its first segment: what is remembered of it goes to `track`, which must be
/// empty. `None`: INVALID, nothing is opened.
///
/// Returns the status and the timeout in ns.
#[inline]
pub fn open(packet: &Packet, timers: &Timers, track: &mut Track) -> Option<(Status, u64)> {
    let segment = Segment::of(packet.tcp_flags());
    let mut status = Status::opened_by(packet.direction());
    let state = match TRANSITIONS[0][segment as usize][0] {
        Cell::To(TcpState::SynSent) => {
            track.start_with_syn(packet);
            TcpState::SynSent
        }
        Cell::To(state) if timers.loose => {
            track.start_in_mid_stream(packet);
            state
        }
        _ => return None,
    };
    if timers.check_window {
        // The first segment passes through the window too: it leaves its mark on the receiver.
        window::fit(track, status, Side::Original, segment, packet, false);
    }
    status.set_tcp_state(state);
    track.set_last(LastSegment::new(segment, Side::Original));
    let timeout = timeout_after(timers, track, state, segment);
    // Picked up in mid-stream and still unanswered: not for five days.
    let timeout = if state == TcpState::Established { timeout.min(timers.unacknowledged) } else { timeout };
    Some((status, timeout))
}

/// [`step`] for nearly every packet: an ACK segment of an established connection that was answered, inside
/// its windows. It says the same, in a third of the instructions. `None`, and nothing is changed, if the
/// segment is anything else. Returns the idle timeout in ns.
#[inline(always)]
pub(super) fn step_plainly(
    status: &mut Status,
    track: &mut Track,
    side: Side,
    packet: &Packet,
    timers: &Timers,
) -> Option<u64> {
    const OTHERS: u8 = tcp_flags::SYN | tcp_flags::FIN | tcp_flags::RST;
    let is_plain = packet.tcp_flags() & (OTHERS | tcp_flags::ACK) == tcp_flags::ACK;
    if !(is_plain & (status.tcp_state() == TcpState::Established) & status.replied()) {
        return None;
    }
    let timeout = if timers.check_window {
        let plain = window::fit_plainly(track, side, packet)?;
        match plain.is_stalled {
            false => timers.established[usize::from(plain.unacknowledged)],
            true => timeout_after(timers, track, TcpState::Established, Segment::Ack),
        }
    } else {
        track.set_last(LastSegment::new(Segment::Ack, side));
        timers.established[0]
    };
    status.set_assured();
    Some(timeout)
}

/// One segment of a known connection.
#[inline(never)]
pub fn step(status: &mut Status, track: &mut Track, side: Side, packet: &Packet, timers: &Timers) -> Step {
    let segment = Segment::of(packet.tcp_flags());
    let old = status.tcp_state();
    let mut next = match TRANSITIONS[side as usize][segment as usize][old as usize] {
        Cell::Invalid => return Step::Invalid,
        Cell::Ignore => return ignored(status, track, side, segment, old, packet, timers),
        Cell::To(TcpState::SynSent) if old >= TcpState::TimeWait && old != TcpState::SynSent2 => {
            if reopens(*status, track, side) {
                return Step::Reopen;
            }
            return ignored(status, track, side, segment, old, packet, timers);
        }
        Cell::To(next) => next,
    };

    let mut skip_window = false;
    match next {
        // A SYN that was let through unseen may draw a challenge ACK (RFC 5961, section 4.2). That
        // ACK is not the one for the last FIN.
        TcpState::TimeWait
            if old == TcpState::LastAck
                && segment == Segment::Ack
                && status.challenge_expected()
                && track.last() == LastSegment::new(Segment::Syn, side.other()) =>
        {
            status.set_challenge_expected(false);
            return Step::Keep;
        }
        TcpState::SynSent2 => status.set_simultaneous_open(),
        TcpState::SynRecv if side == Side::Reply && segment == Segment::Ack && status.simultaneous_open() => {
            next = TcpState::Established;
        }
        TcpState::Close if segment == Segment::Rst && timers.check_window => {
            match window::judge_reset(track, *status, side, old, packet, timers.ignore_invalid_rst) {
                window::Reset::Invalid => return Step::Invalid,
                window::Reset::KeepState => next = old,
                window::Reset::InWindow => {}
                window::Reset::Skip => skip_window = true,
                window::Reset::KeepStateAndSkip => {
                    next = old;
                    skip_window = true;
                }
            }
        }
        _ => {}
    }
    advance(status, track, side, segment, (old, next), packet, timers, skip_window)
}

/// The window check, then the new state and timer.
#[allow(clippy::too_many_arguments)] // One tail for all ways into it; a struct would only rename them.
#[inline(always)]
fn advance(
    status: &mut Status,
    track: &mut Track,
    side: Side,
    segment: Segment,
    (old, next): (TcpState, TcpState),
    packet: &Packet,
    timers: &Timers,
    skip_window: bool,
) -> Step {
    if timers.check_window && !skip_window {
        match window::fit(track, *status, side, segment, packet, timers.liberal) {
            Fit::Accept => {}
            Fit::Ignore => return Step::Keep,
            Fit::Invalid => return invalid(*status, track, side, segment, timers),
        }
    }
    track.set_last(LastSegment::new(segment, side));
    status.set_tcp_state(next);
    if next == TcpState::FinWait && old != next {
        status.set_fin_seen(side);
    }
    let mut timeout = timeout_after(timers, track, next, segment);
    if !status.replied() {
        if segment == Segment::Rst {
            return Step::Remove;
        }
        if segment == Segment::Syn && old == TcpState::SynSent {
            // Retransmitted SYNs must not keep an unanswered entry alive for ever.
            return Step::Keep;
        }
        if next == TcpState::Established {
            timeout = timeout.min(timers.unacknowledged);
        }
    } else if next == TcpState::Established && matches!(old, TcpState::SynRecv | TcpState::Established) {
        status.set_assured();
    }
    Step::Refresh(timeout)
}

/// A SYN on a closed connection opens it anew if a FIN was once seen, or if the last segment was an
/// RST from the SYN's own end; else it may be stale.
fn reopens(status: Status, track: &Track, side: Side) -> bool {
    status.any_fin_seen() || track.last() == LastSegment::new(Segment::Rst, side)
}

/// A segment that the tracker lets through without believing it: a SYN or SYN/ACK inside a
/// connection that the tracker may know wrongly. The answer shows who was right.
#[inline(never)]
fn ignored(
    status: &mut Status,
    track: &mut Track,
    side: Side,
    segment: Segment,
    old: TcpState,
    packet: &Packet,
    timers: &Timers,
) -> Step {
    if timers.check_window {
        let answers_ignored_syn = segment == Segment::SynAck
            && track.last() == LastSegment::new(Segment::Syn, side.other())
            && packet.ack() == track.last_end();
        if answers_ignored_syn {
            // The ends agree on the SYN that was not believed: so follow them.
            track.restart_from_ignored_syn(side.other());
            status.set_challenge_expected(false);
            status.clear_fins();
            let states = (TcpState::SynSent, TcpState::SynRecv);
            return advance(status, track, side, segment, states, packet, timers, false);
        }
        track.note_ignored(packet);
        if old == TcpState::SynSent && segment == Segment::Ack && side == Side::Reply {
            // Perhaps a challenge ACK: the RST that follows it repeats its acknowledgement.
            track.set_last_ack(packet.ack());
        }
    }
    if segment == Segment::Syn && side == Side::Original {
        if timers.check_window {
            track.note_ignored_syn_options(packet);
        }
        status.restart_handshake_notes(old == TcpState::LastAck);
    }
    track.set_last(LastSegment::new(segment, side));
    Step::Keep
}

/// A FIN or RST out of window may still be the end of the connection: once both ends have sent
/// one, do not keep the entry for days.
#[inline(never)]
fn invalid(status: Status, track: &mut Track, side: Side, segment: Segment, timers: &Timers) -> Step {
    if !status.assured() || !matches!(segment, Segment::Rst | Segment::Fin) {
        return Step::Invalid;
    }
    let closing = track.last().is(Segment::Fin) || track.last().is(Segment::Rst);
    if closing && track.last().is_from(side.other()) {
        return Step::InvalidShorten(timers.unacknowledged);
    }
    track.set_last(LastSegment::new(segment, side));
    Step::Invalid
}

/// The idle timeout in ns after an accepted segment.
#[inline]
fn timeout_after(timers: &Timers, track: &Track, state: TcpState, segment: Segment) -> u64 {
    let timeout = timers.tcp[state as usize];
    if !timers.check_window {
        return if segment == Segment::Rst { timers.tcp[TcpState::Close as usize] } else { timeout };
    }
    if track.retransmits() >= Track::MAX_RETRANSMITS && timeout > timers.max_retrans {
        timers.max_retrans
    } else if segment == Segment::Rst {
        timers.tcp[TcpState::Close as usize]
    } else if track.unacknowledged() && timeout > timers.unacknowledged {
        timers.unacknowledged
    } else if track.last_window() == 0 && timeout > timers.max_retrans {
        timers.max_retrans
    } else {
        timeout
    }
}
