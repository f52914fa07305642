//! The window check of the reference: van Rooij's four bounds with Linux's tolerances.

use super::{Connection, Kind, Packet, State, is_after, is_before, kind_of, segment_end};
use crate::packet::tcp_flags;

/// One end's side of the sequence space.
#[derive(Clone, Copy, Default)]
pub(super) struct End {
    /// Highest sequence number sent, plus one.
    pub(super) sent: u32,
    /// Highest sequence number allowed by the other end's window, plus one.
    pub(super) allowed: u32,
    /// Largest window offered; 0 if nothing was seen of this end.
    pub(super) window: u32,
    /// Highest acknowledgement sent.
    pub(super) acked: Option<u32>,
    pub(super) scale: u8,
    pub(super) offered_scale: bool,
    pub(super) sack: bool,
    /// Seen from the middle on: its window is not enforced.
    pub(super) liberal: bool,
    /// Has sent data that nobody has acknowledged.
    pub(super) unacknowledged: bool,
}

pub(super) enum Window {
    Inside,
    OldNews,
    Outside,
}

impl Connection {
    /// Is the segment where its sender may send? Learns from it if so. `state`: before the segment.
    pub(super) fn check_window(
        &mut self,
        packet: &Packet,
        from_original: bool,
        state: Option<State>,
        liberal: bool,
    ) -> Window {
        let (s, r) = if from_original { (0, 1) } else { (1, 0) };
        let set = |bit| packet.tcp_flags() & bit != 0;
        let (syn, has_ack, rst) = (set(tcp_flags::SYN), set(tcp_flags::ACK), set(tcp_flags::RST));
        let (mut seq, mut end, mut ack) = (packet.seq(), segment_end(packet), packet.ack());
        let mut sack = if self.ends[r].sack && !syn { packet.sack_edge() } else { ack };
        let raw = u32::from(packet.window());

        if self.ends[s].window == 0 && !syn {
            let window = (raw << self.ends[s].scale).max(1);
            self.ends[s].sent = end;
            self.ends[s].window = window;
            self.ends[s].allowed = end.wrapping_add(window);
            if self.ends[r].window == 0 {
                self.ends[r].sent = sack;
                self.ends[r].allowed = sack;
            } else if sack == self.ends[r].sent.wrapping_add(1) {
                self.ends[r].sent = sack;
            }
        } else if syn {
            let first = self.ends[s].window == 0;
            let again = is_after(end, self.ends[s].sent) && matches!(state, Some(State::SynSent | State::SynRecv));
            if first || again {
                self.ends[s].start(packet, end);
                let both_offer = self.ends[0].offered_scale && self.ends[1].offered_scale;
                if !from_original && !both_offer {
                    self.ends[0].scale = 0;
                    self.ends[1].scale = 0;
                }
                if !has_ack && (first || !from_original) {
                    return Window::Inside;
                }
            }
        }

        if !has_ack || (rst && ack == 0) {
            ack = self.ends[r].sent;
            sack = ack;
        }
        if rst && seq == 0 && state == Some(State::SynSent) {
            seq = self.ends[s].sent;
            end = seq;
        }

        let (sender, receiver) = (self.ends[s], self.ends[r]);
        let lenient = liberal || sender.liberal;
        let slack = sender.window.max(66_000);
        let ack_recent = is_after(sack, receiver.sent.wrapping_sub(slack).wrapping_sub(1));
        let ack_possible = is_before(sack, receiver.sent.wrapping_add(1));
        let data_recent = is_after(end, sender.sent.wrapping_sub(receiver.window).wrapping_sub(1));
        if !is_before(seq, sender.allowed.wrapping_add(1)) {
            let over = end.wrapping_sub(sender.allowed).wrapping_add(1);
            let tolerable =
                receiver.window != 0 && data_recent && ack_recent && ack_possible && over <= receiver.window;
            if tolerable {
                self.ends[s].sent = end;
                self.ends[s].unacknowledged = true;
            }
            return match (lenient, tolerable) {
                (true, _) => Window::Inside,
                (false, true) => Window::OldNews,
                (false, false) => Window::Outside,
            };
        }
        if !ack_possible {
            return if lenient { Window::Inside } else { Window::Outside };
        }
        if (receiver.window != 0 && !data_recent) || !ack_recent {
            return if lenient { Window::Inside } else { Window::OldNews };
        }

        let window = if syn { raw } else { raw << sender.scale };
        let offered = window.wrapping_add(sack.wrapping_sub(ack));
        self.ends[s].window = sender.window.max(offered);
        if is_after(end, sender.sent) {
            self.ends[s].sent = end;
            self.ends[s].unacknowledged = true;
        }
        if has_ack && sender.acked.is_none_or(|acked| is_after(ack, acked)) {
            self.ends[s].acked = Some(ack);
        }
        if receiver.window != 0 && is_after(end, sender.allowed) {
            self.ends[r].window = receiver.window.wrapping_add(end.wrapping_sub(sender.allowed));
        }
        let edge = sack.wrapping_add(window);
        if is_after(edge, receiver.allowed.wrapping_sub(1)) {
            self.ends[r].allowed = if window == 0 { edge.wrapping_add(1) } else { edge };
        }
        if ack == receiver.sent {
            self.ends[r].unacknowledged = false;
        }
        if kind_of(packet) == Kind::Ack {
            let last = &mut self.last;
            let same = last.from_original == from_original
                && (last.seq, last.ack, last.end, last.window) == (seq, ack, end, packet.window());
            if same {
                last.repeated = last.repeated.wrapping_add(1);
            } else {
                (last.seq, last.ack, last.end, last.window) = (seq, ack, end, packet.window());
                last.repeated = 0;
            }
        }
        Window::Inside
    }
}

impl End {
    /// Begins at a SYN. What was known of the options before is forgotten.
    pub(super) fn start(&mut self, packet: &Packet, end: u32) {
        (self.sent, self.allowed) = (end, end);
        self.window = u32::from(packet.window()).max(1);
        // A SYN without options leaves what an earlier one has said.
        if packet.syn_options().any {
            (self.acked, self.unacknowledged) = (None, false);
            self.read_options(packet);
        }
    }

    pub(super) fn read_options(&mut self, packet: &Packet) {
        let options = packet.syn_options();
        self.scale = options.window_scale.unwrap_or(0);
        self.offered_scale = options.window_scale.is_some();
        self.sack = options.sack_permitted;
    }
}
