//! TCP as the reference knows it: the observed behaviour of Linux's tracker, case by case.

mod window;

use crate::conntrack::{Config, TcpWindow};
use crate::packet::{Packet, tcp_flags};
use window::{End, Window};

/// Kinds of segments, by their flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Syn,
    SynAck,
    Fin,
    Ack,
    Rst,
    /// No flag of interest.
    Nothing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    SynSent,
    SynSent2,
    SynRecv,
    Established,
    FinWait,
    CloseWait,
    LastAck,
    TimeWait,
    Close,
}

/// What becomes of the segment's connection.
pub(super) enum Answer {
    /// The segment belongs to it. The timer restarts, or runs on.
    Accepted { timeout: Option<u64> },
    /// The segment ends it.
    Over,
    /// The segment ends it and may open another.
    StartsAnew,
    /// The segment does not belong to it. Perhaps its timer is cut.
    Invalid { shorten_to: Option<u64> },
}

/// What the tracker knows beside the TCP state.
#[derive(Clone, Copy)]
pub(super) struct Seen {
    pub replied: bool,
    pub from_original: bool,
}

/// The last segment of note.
#[derive(Clone, Copy)]
struct Last {
    kind: Kind,
    from_original: bool,
    seq: u32,
    ack: u32,
    end: u32,
    window: u16,
    /// How often an ACK was repeated.
    repeated: u8,
    /// Of a SYN that was let through without being believed.
    scale: Option<u8>,
    sack: bool,
}

pub(super) struct Connection {
    state: State,
    assured: bool,
    fin_seen: bool,
    /// SYNs crossed.
    crossed: bool,
    /// A SYN was let through in LAST_ACK, so the next ACK may be a challenge.
    challenge: bool,
    /// Original end, replying end.
    ends: [End; 2],
    last: Last,
}

fn kind_of(packet: &Packet) -> Kind {
    let set = |bit| packet.tcp_flags() & bit != 0;
    if set(tcp_flags::RST) {
        Kind::Rst
    } else if set(tcp_flags::SYN) && set(tcp_flags::ACK) {
        Kind::SynAck
    } else if set(tcp_flags::SYN) {
        Kind::Syn
    } else if set(tcp_flags::FIN) {
        Kind::Fin
    } else if set(tcp_flags::ACK) {
        Kind::Ack
    } else {
        Kind::Nothing
    }
}

/// Modulo 2^32. At a distance of exactly 2^31 each is after, and before, the other, as in the kernel.
fn is_after(a: u32, b: u32) -> bool {
    (1..=1 << 31).contains(&a.wrapping_sub(b))
}

/// Modulo 2^32.
fn is_before(a: u32, b: u32) -> bool {
    a.wrapping_sub(b) >= 1 << 31
}

fn segment_end(packet: &Packet) -> u32 {
    let mut end = packet.seq().wrapping_add(u32::from(packet.payload_len()));
    for bit in [tcp_flags::SYN, tcp_flags::FIN] {
        if packet.tcp_flags() & bit != 0 {
            end = end.wrapping_add(1);
        }
    }
    end
}

/// What the table of states says.
enum Next {
    Go(State),
    /// Let through, nothing learnt.
    Ignore,
    Invalid,
    /// A SYN on a connection that is over: a new one, or nothing learnt.
    Renew,
}

fn next_state(state: State, kind: Kind, from_original: bool) -> Next {
    use State::*;
    match (kind, from_original, state) {
        (Kind::Nothing, _, _) => Next::Invalid,
        (Kind::Rst, _, _) => Next::Go(Close),

        (Kind::Syn, true, SynSent) => Next::Go(SynSent),
        (Kind::Syn, true, SynSent2) => Next::Go(SynSent2),
        (Kind::Syn, true, TimeWait | Close) => Next::Renew,
        (Kind::Syn, true, _) => Next::Ignore,
        (Kind::Syn, false, SynSent | SynSent2) => Next::Go(SynSent2),
        (Kind::Syn, false, TimeWait) => Next::Renew,
        (Kind::Syn, false, _) => Next::Invalid,

        (Kind::SynAck, true, SynSent2 | SynRecv) => Next::Go(SynRecv),
        (Kind::SynAck, true, _) => Next::Invalid,
        (Kind::SynAck, false, SynSent | SynSent2) => Next::Go(SynRecv),
        (Kind::SynAck, false, _) => Next::Ignore,

        (Kind::Fin, _, SynSent | SynSent2) => Next::Invalid,
        (Kind::Fin, _, SynRecv | Established) => Next::Go(FinWait),
        (Kind::Fin, _, FinWait | CloseWait | LastAck) => Next::Go(LastAck),
        (Kind::Fin, _, TimeWait) => Next::Go(TimeWait),
        (Kind::Fin, _, Close) => Next::Go(Close),

        (Kind::Ack, true, SynSent | SynSent2) => Next::Invalid,
        (Kind::Ack, false, SynSent | SynSent2) => Next::Ignore,
        (Kind::Ack, true, SynRecv) => Next::Go(Established),
        (Kind::Ack, false, SynRecv) => Next::Go(SynRecv),
        (Kind::Ack, _, Established) => Next::Go(Established),
        (Kind::Ack, _, FinWait | CloseWait) => Next::Go(CloseWait),
        (Kind::Ack, _, LastAck | TimeWait) => Next::Go(TimeWait),
        (Kind::Ack, _, Close) => Next::Go(Close),
    }
}

impl Connection {
    /// Established and answered: not to be evicted.
    pub(super) fn is_assured(&self) -> bool {
        self.assured
    }

    pub(super) fn can_open(packet: &Packet, config: &Config) -> bool {
        match kind_of(packet) {
            Kind::Syn => true,
            Kind::Ack => config.loose,
            _ => false,
        }
    }

    /// A connection and its first timeout in seconds.
    pub(super) fn open(packet: &Packet, config: &Config) -> (Self, u64) {
        let kind = kind_of(packet);
        let sent = segment_end(packet);
        let window = u32::from(packet.window()).max(1);
        let mut original = End { sent, allowed: sent, window, ..End::default() };
        let mut reply = End::default();
        if kind == Kind::Syn {
            original.read_options(packet);
        } else {
            original.allowed = sent.wrapping_add(window);
            for end in [&mut original, &mut reply] {
                end.sack = true;
                end.liberal = true;
            }
        }
        let state = if kind == Kind::Syn { State::SynSent } else { State::Established };
        let last = Last {
            kind: Kind::Nothing,
            from_original: true,
            seq: 0,
            ack: 0,
            end: 0,
            window: 0,
            repeated: 0,
            scale: None,
            sack: false,
        };
        let mut connection = Connection {
            state,
            assured: false,
            fin_seen: false,
            crossed: false,
            challenge: false,
            ends: [original, reply],
            last,
        };
        if config.tcp_window != TcpWindow::Off {
            connection.check_window(packet, true, None, false);
        }
        connection.last.kind = kind;
        let mut timeout = connection.timeout(kind, config);
        if state == State::Established {
            timeout = timeout.min(config.timeouts.tcp_unacknowledged);
        }
        (connection, timeout)
    }

    /// One more segment.
    pub(super) fn segment(&mut self, packet: &Packet, seen: Seen, config: &Config) -> Answer {
        let checking = config.tcp_window != TcpWindow::Off;
        let kind = kind_of(packet);
        let from_original = seen.from_original;
        let next = match next_state(self.state, kind, from_original) {
            Next::Invalid => return Answer::Invalid { shorten_to: None },
            Next::Go(next) => next,
            Next::Renew => {
                let aborted = self.last.kind == Kind::Rst && self.last.from_original == from_original;
                if self.fin_seen || aborted {
                    return Answer::StartsAnew;
                }
                return self.let_through(packet, seen, config);
            }
            Next::Ignore => return self.let_through(packet, seen, config),
        };
        match next {
            State::TimeWait
                if self.state == State::LastAck
                    && kind == Kind::Ack
                    && self.challenge
                    && self.last.kind == Kind::Syn
                    && self.last.from_original != from_original =>
            {
                self.challenge = false;
                Answer::Accepted { timeout: None }
            }
            State::SynSent2 => {
                self.crossed = true;
                self.take(packet, seen, config, next, checking, self.state)
            }
            State::SynRecv if !from_original && kind == Kind::Ack && self.crossed => {
                self.take(packet, seen, config, State::Established, checking, self.state)
            }
            State::Close if kind == Kind::Rst && checking => self.reset(packet, seen, config),
            _ => self.take(packet, seen, config, next, checking, self.state),
        }
    }

    /// An RST, when sequence numbers are checked.
    fn reset(&mut self, packet: &Packet, seen: Seen, config: &Config) -> Answer {
        let state = self.state;
        if matches!(state, State::FinWait | State::CloseWait | State::LastAck | State::TimeWait | State::Close) {
            return self.take(packet, seen, config, State::Close, false, state);
        }
        let peer = self.ends[usize::from(seen.from_original)];
        let established = state == State::Established && self.assured;
        let mut next = State::Close;
        // After a SYN that was let through, the peer's acknowledgements may belong to the old connection.
        let expected = if self.last.kind == Kind::Syn { None } else { peer.acked };
        if let Some(expected) = expected {
            if packet.seq() == 0 && !established {
                return self.take(packet, seen, config, next, true, state);
            }
            if is_before(packet.seq(), expected) && !config.ignore_invalid_rst {
                return Answer::Invalid { shorten_to: None };
            }
            let in_train = self.last.kind == Kind::Ack
                && self.last.from_original == seen.from_original
                && packet.seq() == self.last.end;
            if !established || packet.seq() == expected || in_train {
                return self.take(packet, seen, config, next, true, state);
            }
            next = state;
        }
        let answers_what_was_let_through = packet.ack() == self.last.end
            && ((seen.replied && self.last.kind == Kind::Syn && self.last.from_original != seen.from_original)
                || (!self.assured && self.last.kind == Kind::Ack));
        let answers_challenge = state == State::SynSent
            && self.last.kind == Kind::Ack
            && !self.last.from_original
            && packet.seq() == self.last.ack;
        let check = !(answers_what_was_let_through || answers_challenge);
        self.take(packet, seen, config, next, check, state)
    }

    /// A segment that is accepted but not believed.
    fn let_through(&mut self, packet: &Packet, seen: Seen, config: &Config) -> Answer {
        let checking = config.tcp_window != TcpWindow::Off;
        let kind = kind_of(packet);
        let from_original = seen.from_original;
        if checking
            && kind == Kind::SynAck
            && self.last.kind == Kind::Syn
            && self.last.from_original != from_original
            && packet.ack() == self.last.end
        {
            // It answers the SYN that was not believed. So that SYN was the truth.
            let (theirs, ours) = (usize::from(!self.last.from_original), usize::from(!from_original));
            self.ends[theirs] = End {
                sent: self.last.end,
                allowed: self.last.end,
                window: u32::from(self.last.window).max(1),
                acked: None,
                scale: self.last.scale.unwrap_or(0),
                offered_scale: self.last.scale.is_some(),
                sack: self.last.sack,
                liberal: false,
                unacknowledged: false,
            };
            self.ends[ours] = End { liberal: self.ends[ours].liberal, ..End::default() };
            self.fin_seen = false;
            self.challenge = false;
            return self.take(packet, seen, config, State::SynRecv, true, State::SynSent);
        }
        if checking {
            self.last.seq = packet.seq();
            self.last.end = segment_end(packet);
            self.last.window = packet.window();
            if self.state == State::SynSent && kind == Kind::Ack && !from_original {
                self.last.ack = packet.ack();
            }
        }
        if kind == Kind::Syn && from_original {
            let options = packet.syn_options();
            self.last.scale = options.window_scale;
            self.last.sack = options.sack_permitted;
            self.crossed = false;
            self.challenge = self.state == State::LastAck;
        }
        self.last.kind = kind;
        self.last.from_original = from_original;
        Answer::Accepted { timeout: None }
    }

    /// Checks the window if asked, then moves to the next state. `coming_from` is the state that
    /// counts as the old one.
    fn take(
        &mut self,
        packet: &Packet,
        seen: Seen,
        config: &Config,
        next: State,
        check: bool,
        coming_from: State,
    ) -> Answer {
        let kind = kind_of(packet);
        if check {
            let liberal = config.tcp_window == TcpWindow::Liberal;
            match self.check_window(packet, seen.from_original, Some(self.state), liberal) {
                Window::Inside => {}
                Window::OldNews => return Answer::Accepted { timeout: None },
                Window::Outside => return self.outside(kind, seen, config),
            }
        }
        self.last.kind = kind;
        self.last.from_original = seen.from_original;
        self.state = next;
        if next == State::FinWait && coming_from != State::FinWait {
            self.fin_seen = true;
        }
        let mut timeout = self.timeout(kind, config);
        if !seen.replied {
            if kind == Kind::Rst {
                return Answer::Over;
            }
            if kind == Kind::Syn && coming_from == State::SynSent {
                return Answer::Accepted { timeout: None };
            }
            if next == State::Established {
                timeout = timeout.min(config.timeouts.tcp_unacknowledged);
            }
        } else if next == State::Established && matches!(coming_from, State::SynRecv | State::Established) {
            self.assured = true;
        }
        Answer::Accepted { timeout: Some(timeout) }
    }

    /// A segment out of window. If both ends have now tried to close, the entry need not last.
    fn outside(&mut self, kind: Kind, seen: Seen, config: &Config) -> Answer {
        let closing = |kind: Kind| matches!(kind, Kind::Fin | Kind::Rst);
        if !self.assured || !closing(kind) {
            return Answer::Invalid { shorten_to: None };
        }
        if closing(self.last.kind) && self.last.from_original != seen.from_original {
            return Answer::Invalid { shorten_to: Some(config.timeouts.tcp_unacknowledged) };
        }
        self.last.kind = kind;
        self.last.from_original = seen.from_original;
        Answer::Invalid { shorten_to: None }
    }

    /// Seconds until the connection is forgotten.
    fn timeout(&self, kind: Kind, config: &Config) -> u64 {
        let t = &config.timeouts;
        let seconds = match self.state {
            State::SynSent => t.tcp_syn_sent,
            State::SynSent2 => t.tcp_syn_sent2,
            State::SynRecv => t.tcp_syn_recv,
            State::Established => t.tcp_established,
            State::FinWait => t.tcp_fin_wait,
            State::CloseWait => t.tcp_close_wait,
            State::LastAck => t.tcp_last_ack,
            State::TimeWait => t.tcp_time_wait,
            State::Close => t.tcp_close,
        };
        if config.tcp_window == TcpWindow::Off {
            return if kind == Kind::Rst { t.tcp_close } else { seconds };
        }
        if self.last.repeated >= 3 && seconds > t.tcp_max_retrans {
            t.tcp_max_retrans
        } else if kind == Kind::Rst {
            t.tcp_close
        } else if (self.ends[0].unacknowledged || self.ends[1].unacknowledged) && seconds > t.tcp_unacknowledged {
            t.tcp_unacknowledged
        } else if self.last.window == 0 && seconds > t.tcp_max_retrans {
            t.tcp_max_retrans
        } else {
            seconds
        }
    }
}
