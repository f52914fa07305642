//! The short path against the full one: whenever it answers, it says the same, and leaves the same behind.

use super::*;
use crate::conntrack::tcp::{Step, open, step, step_plainly};
use crate::conntrack::{Config, Profile, TcpWindow, Timers};
use crate::measure::statistics::Random;
use crate::packet::{Direction, SynOptions, TcpFields, protocol};

fn segment(side: Side, fields: TcpFields) -> Packet {
    let direction = if side == Side::Original { Direction::In } else { Direction::Out };
    let (local, remote) = ([10, 0, 0, 1].into(), [198, 51, 100, 1].into());
    Packet::new(local, remote, direction, protocol::TCP, 1).with_ports(80, 50_000).with_tcp(fields)
}

/// A connection in the state in which a conversation leaves it, and its timers.
struct Held {
    status: Status,
    notes: Notes,
    windows: Windows,
}

impl Held {
    /// One segment through both paths. True if the short one answered.
    fn take(&mut self, side: Side, packet: &Packet, timers: &Timers) -> bool {
        let (mut status, mut notes, mut windows) = (self.status, self.notes, self.windows);
        let plain = step_plainly(&mut status, &mut Track::new(&mut notes, &mut windows), side, packet, timers);
        let before = (self.status, self.notes, self.windows);
        let mut track = Track::new(&mut self.notes, &mut self.windows);
        let full = step(&mut self.status, &mut track, side, packet, timers);
        if side == Side::Reply && matches!(full, Step::Refresh(_) | Step::Keep) {
            self.status.set_replied();
        }
        match plain {
            Some(timeout) => {
                assert_eq!(full, Step::Refresh(timeout), "{side:?} {packet:?} after {before:?}");
                assert_eq!((status, notes, windows), (self.status, self.notes, self.windows), "{packet:?}");
            }
            None => assert_eq!((status, notes, windows), before, "declined, but changed something: {packet:?}"),
        }
        plain.is_some()
    }
}

/// A number close to one that matters.
fn near(random: &mut Random, numbers: &[u32]) -> u32 {
    numbers[random.below(numbers.len())].wrapping_add(random.below(5) as u32).wrapping_sub(2)
}

#[test]
fn the_short_path_says_what_the_full_path_says() {
    let mut random = Random::new(11);
    let (mut plain, mut declined) = (0, 0);
    for round in 0..6_000 {
        let tcp_window = if round % 3 == 0 { TcpWindow::Liberal } else { TcpWindow::Strict };
        let mut config = Config { tcp_window, ..Config::new(Profile::Linux) };
        if round % 5 == 0 {
            // The order of the timeouts matters, too.
            config.timeouts.tcp_unacknowledged = [50, 500_000][random.below(2)];
            config.timeouts.tcp_max_retrans = [40, 600_000][random.below(2)];
        }
        let timers = Timers::new(&config);
        // Some connections begin close to where sequence numbers wrap.
        let start = |random: &mut Random| [0u32.wrapping_sub(700), random.bits() as u32][random.below(2)];
        let (client, server) = (start(&mut random), start(&mut random));
        let options = |random: &mut Random| {
            let scale = [None, Some(0), Some(7), Some(14)][random.below(4)];
            SynOptions { any: true, window_scale: scale, sack_permitted: random.below(2) == 0 }.to_bits()
        };
        let window = |random: &mut Random| [0u16, 1, 100, 1000, 65_535][random.below(5)];
        let syn = TcpFields {
            flags: tcp_flags::SYN,
            seq: client,
            sack_or_options: options(&mut random),
            window: window(&mut random),
            ..TcpFields::default()
        };
        let syn = segment(Side::Original, syn);
        let (mut notes, mut windows) = Default::default();
        let opened = open(&syn, &timers, &mut Track::new(&mut notes, &mut windows));
        let mut held = Held { status: opened.unwrap().0, notes, windows };
        let answer = TcpFields {
            flags: tcp_flags::SYN | tcp_flags::ACK,
            seq: server,
            ack: client.wrapping_add(1),
            sack_or_options: options(&mut random),
            window: window(&mut random),
            payload_len: 0,
        };
        held.take(Side::Reply, &segment(Side::Reply, answer), &timers);
        let mut last = segment(Side::Original, TcpFields::default());
        for _ in 0..40 {
            let side = if random.below(2) == 0 { Side::Original } else { Side::Reply };
            let (sender, receiver) = {
                let (sender, receiver) = held.windows.ends(side);
                (*sender, *receiver)
            };
            let packet = if random.below(6) == 0 {
                last // The same again, from the same side or not.
            } else {
                let oldest = sender.end.wrapping_sub(receiver.max_window);
                let seq = near(&mut random, &[sender.end, sender.end, sender.end, sender.max_end, oldest]);
                let lag = receiver.end.wrapping_sub(sender.max_window.max(ACK_LAG));
                let ack = near(&mut random, &[receiver.end, receiver.end, sender.max_ack, lag]);
                let fills = sender.max_end.wrapping_sub(seq) as u16;
                let flags = [tcp_flags::FIN, tcp_flags::PSH, 0, 0, 0, 0, 0, 0][random.below(8)];
                segment(
                    side,
                    TcpFields {
                        flags: tcp_flags::ACK | if random.below(12) == 0 { flags } else { 0 },
                        seq,
                        ack,
                        sack_or_options: if random.below(4) == 0 {
                            near(&mut random, &[receiver.end, ack])
                        } else {
                            ack
                        },
                        window: window(&mut random),
                        payload_len: [0, 0, 1, 300, fills.saturating_add(1), fills][random.below(6)],
                    },
                )
            };
            last = packet;
            match held.take(side, &packet, &timers) {
                true => plain += 1,
                false => declined += 1,
            }
        }
    }
    // Both happen often enough for this test to mean something.
    assert!(plain > 30_000 && declined > 30_000, "{plain} short, {declined} declined");
}
