use super::*;
use crate::conntrack::{Config, Profile, TcpWindow};
use crate::engine::Reason;
use crate::packet::{Direction, TcpFields, protocol, tcp_flags};
use proptest::prelude::*;
use tcp_flags::{ACK, FIN, RST, SYN};

const SECOND: u64 = 1_000_000_000;
const WINDOW: u32 = 10;

const NEW: Decision = Decision::new(Verdict::Accept, State::New, Reason::Rule);
const ESTABLISHED: Decision = Decision::new(Verdict::Accept, State::Established, Reason::Tracked);
const RELATED: Decision = Decision::new(Verdict::Accept, State::Related, Reason::Tracked);
const INVALID: Decision = Decision::new(Verdict::Drop, State::Invalid, Reason::Invalid);

fn tracker() -> Tracker {
    Tracker::new(&Config { tcp_window: TcpWindow::Off, ..Config::new(Profile::Linux) })
}

fn rules(tracker: &Tracker) -> Reordering<'_> {
    Reordering {
        tracker,
        drops_invalid: true,
        window: WINDOW,
        shortest_timeout_ns: 10 * SECOND,
        shortest_cut_ns: 300 * SECOND,
        limit: 100_000,
    }
}

/// Sequence numbers count, too.
fn strict() -> Tracker {
    Tracker::new(&Config::new(Profile::Linux))
}

fn packet(direction: Direction, protocol: u8, flags: u8, time_ns: u64) -> Packet {
    let packet = Packet::new([10, 0, 1, 10].into(), [198, 51, 100, 7].into(), direction, protocol, time_ns);
    let packet = packet.with_ports(80, 50_000);
    if protocol == protocol::TCP { packet.with_tcp(TcpFields { flags, ..TcpFields::default() }) } else { packet }
}

fn tcp(direction: Direction, flags: u8) -> Packet {
    packet(direction, protocol::TCP, flags, SECOND)
}

fn udp(direction: Direction, time_ns: u64) -> Packet {
    packet(direction, protocol::UDP, 0, time_ns)
}

fn seen(packet: &Packet, index: u32, decision: Decision) -> Seen<'_> {
    Seen { packet, index, decision, by_rules: Verdict::Accept, tracked: true }
}

/// The outcome for packets with their index, core and decision.
fn explain(packets: &[(Packet, u32, usize, Decision)]) -> Explanation {
    let mut cores = vec![Vec::new(); 3];
    for (packet, index, core, decision) in packets {
        cores[*core].push(seen(packet, *index, *decision));
    }
    rules(&tracker()).explain(&cores).0
}

use Direction::{In, Out};
use Explanation::{Found, Impossible, Undecided};

#[test]
fn trace_order_explains_and_so_does_another_within_the_window() {
    let (syn, syn_ack) = (tcp(In, SYN), tcp(Out, SYN | ACK));
    assert_eq!(explain(&[(syn, 0, 0, NEW), (syn_ack, 5, 1, ESTABLISHED)]), Found);
    // The SYN/ACK first: it belongs to no connection.
    assert_eq!(explain(&[(syn, 0, 0, NEW), (syn_ack, WINDOW, 1, INVALID)]), Found);
    assert_eq!(explain(&[(syn, 0, 0, NEW), (syn_ack, WINDOW + 1, 1, INVALID)]), Impossible, "too far apart");
    assert_eq!(explain(&[(syn, 0, 0, NEW), (syn_ack, WINDOW, 0, INVALID)]), Impossible, "one core keeps its order");
}

#[test]
fn a_verdict_that_no_order_gives_is_refused() {
    let (syn, syn_ack, ack) = (tcp(In, SYN), tcp(Out, SYN | ACK), tcp(In, ACK));
    assert_eq!(explain(&[(syn, 0, 0, NEW), (syn_ack, 1, 1, RELATED)]), Impossible);
    assert_eq!(explain(&[(syn, 0, 0, INVALID), (syn_ack, 1, 1, ESTABLISHED)]), Impossible);
    // Every one of them possible in itself, but not together: two packets cannot both come before the
    // connection's first.
    let both_new = [(udp(In, SECOND), 0, 0, NEW), (udp(Out, SECOND), 1, 1, NEW)];
    assert_eq!(explain(&both_new), Impossible);
    let late = [(syn, 0, 0, NEW), (syn_ack, 1, 1, INVALID), (ack, 2, 1, ESTABLISHED)];
    assert_eq!(explain(&late), Impossible);
    assert_eq!(explain(&[]), Found);
}

#[test]
fn rules_and_exemptions_count() {
    let tracker = tracker();
    let (a, b) = (udp(In, SECOND), udp(Out, SECOND));
    let dropped = Decision::new(Verdict::Drop, State::New, Reason::NoRule);
    let refused = Seen { by_rules: Verdict::Drop, ..seen(&a, 0, dropped) };
    // What the rules drop leaves no connection behind.
    let after = |decision| rules(&tracker).explain(&[vec![refused], vec![seen(&b, 1, decision)]]).0;
    assert_eq!((after(NEW), after(ESTABLISHED)), (Found, Impossible));
    let untracked = Decision::new(Verdict::Accept, State::Untracked, Reason::Rule);
    let exempt = Seen { tracked: false, ..seen(&a, 0, untracked) };
    let after = |decision| rules(&tracker).explain(&[vec![exempt], vec![seen(&b, 1, decision)]]).0;
    assert_eq!((after(NEW), after(ESTABLISHED)), (Found, Impossible));
}

#[test]
fn deadlines_are_exact_on_one_core_and_tolerant_on_several() {
    let first = udp(In, SECOND);
    let deadline = SECOND + 30 * SECOND;
    let second = |time_ns, core, decision| explain(&[(first, 0, 0, NEW), (udp(Out, time_ns), 20, core, decision)]);
    for (time_ns, one, several) in [
        (deadline - 2 * SECOND, [Found, Impossible], [Found, Impossible]),
        (deadline - 1, [Found, Impossible], [Found, Found]),
        (deadline, [Impossible, Found], [Found, Found]),
        (deadline + 2 * SECOND, [Impossible, Found], [Impossible, Found]),
    ] {
        assert_eq!([ESTABLISHED, NEW].map(|decision| second(time_ns, 0, decision)), one, "{time_ns}");
        assert_eq!([ESTABLISHED, NEW].map(|decision| second(time_ns, 1, decision)), several, "{time_ns}");
    }
}

#[test]
fn a_search_beyond_its_limit_is_undecided() {
    // 3 cores, 30 packets each, all in one window, and a last one that nothing explains.
    let flags = |n| [SYN, SYN | ACK].get(n).copied().unwrap_or(ACK);
    let packets: Vec<Packet> = (0..90).map(|n| tcp(if n % 2 == 0 { In } else { Out }, flags(n))).collect();
    let last = tcp(In, ACK);
    let mut cores = vec![Vec::new(); 3];
    for (index, packet) in (0u32..).zip(&packets) {
        cores[index as usize % 3].push(seen(packet, index, if index == 0 { NEW } else { ESTABLISHED }));
    }
    cores[0].push(seen(&last, 90, RELATED));
    let tracker = tracker();
    let with = |limit| Reordering { limit, window: 1000, ..rules(&tracker) }.explain(&cores);
    let (explanation, looked_at) = with(100);
    assert_eq!(explanation, Undecided);
    assert!((100..1000).contains(&looked_at), "{looked_at}");
    assert_eq!(with(10_000_000).0, Impossible);
}

/// What a packet does: the entry after, and its label, unless it has first removed an old entry.
fn act(mut entry: Entry, packet: &Packet, tracker: &Tracker) -> (Entry, Option<State>) {
    let Some((connection, windows)) = &mut entry else {
        let mut windows = Windows::default();
        let opened = tracker.open(packet, &mut windows).map(|connection| (connection, windows));
        return (opened, Some(if opened.is_some() { State::New } else { State::Invalid }));
    };
    match tracker.advance(connection, windows, packet) {
        Transition::Store(state) => (entry, Some(state)),
        Transition::Remove(state) => (None, Some(state)),
        Transition::Reopen | Transition::Expired => (None, None),
    }
}

fn decision(state: State) -> Decision {
    match state {
        State::New => NEW,
        State::Established => ESTABLISHED,
        State::Related => RELATED,
        _ => INVALID,
    }
}

/// The packets that may come next, given those that are open, in trace order.
fn allowed(packets: &[(Packet, usize)], open: &[usize], window: u32) -> Vec<usize> {
    let of_core = |core| open.iter().copied().find(|index| packets[*index].1 == core);
    (0..3).filter_map(of_core).filter(|index| index - open[0] <= window as usize).collect()
}

/// Plays one order that the window allows, drawn by `choices`; the decisions by packet.
fn play(packets: &[(Packet, usize)], window: u32, choices: &[u8], tracker: &Tracker) -> Vec<Decision> {
    let mut open: Vec<usize> = (0..packets.len()).collect();
    let mut entry = None;
    let mut decisions = vec![NEW; packets.len()];
    let mut choices = choices.iter().cycle();
    while !open.is_empty() {
        let allowed = allowed(packets, &open, window);
        let index = allowed[usize::from(*choices.next().unwrap()) % allowed.len()];
        let (after, label) = act(entry, &packets[index].0, tracker);
        entry = after;
        // Without a label others may come in between.
        if let Some(state) = label {
            decisions[index] = decision(state);
            open.retain(|other| *other != index);
        }
    }
    decisions
}

/// Whether any order gives these decisions: all orders, one by one, by definition.
fn any_order_gives(
    packets: &[(Packet, usize)],
    window: u32,
    decisions: &[Decision],
    tracker: &Tracker,
    open: &[usize],
    entry: Entry,
) -> bool {
    open.is_empty()
        || allowed(packets, open, window).into_iter().any(|index| {
            let (after, label) = act(entry, &packets[index].0, tracker);
            let rest: Vec<usize> = open.iter().copied().filter(|other| label.is_none() || *other != index).collect();
            label.is_none_or(|state| decisions[index] == decision(state))
                && any_order_gives(packets, window, decisions, tracker, &rest, after)
        })
}

/// Up to eight packets of a flow, each with its core; none near a deadline.
fn any_flow() -> impl Strategy<Value = Vec<(Packet, usize)>> {
    let flags = prop::sample::select(vec![SYN, SYN | ACK, ACK, ACK, FIN | ACK, RST]);
    let number = prop::sample::select(vec![100u32, 101, 102, 5000, 100_000]);
    let pause = prop_oneof![12 => Just(0), 2 => Just(400 * SECOND)];
    let one = (any::<bool>(), flags, number.clone(), number, pause, 0usize..3, prop::bool::weighted(0.15));
    (prop::collection::vec(one, 1..9), prop::bool::weighted(0.8)).prop_map(|(flow, is_tcp)| {
        let mut now = SECOND;
        let make = |(out, flags, seq, ack, pause, core, error)| {
            now += pause;
            let direction = if out { Out } else { In };
            let mut packet = packet(direction, if is_tcp { protocol::TCP } else { protocol::UDP }, flags, now);
            if is_tcp {
                let sack_or_options = if flags & SYN != 0 { 0 } else { ack };
                packet = packet.with_tcp(TcpFields { flags, seq, ack, sack_or_options, window: 500, payload_len: 1 });
            }
            if error {
                packet = Packet::icmp_error(packet, direction, [198, 51, 100, 9].into(), 3, 1, now);
            }
            (packet, core)
        };
        flow.into_iter().map(make).collect()
    })
}

/// What the search finds of these packets and decisions.
fn searched(packets: &[(Packet, usize)], window: u32, decisions: &[Decision], tracker: &Tracker) -> Explanation {
    let mut cores = vec![Vec::new(); 3];
    for (index, ((packet, core), decision)) in (0u32..).zip(packets.iter().zip(decisions)) {
        cores[*core].push(seen(packet, index, *decision));
    }
    Reordering { window, ..rules(tracker) }.explain(&cores).0
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, ..ProptestConfig::default() })]

    /// Whatever order is played, its decisions are explained.
    #[test]
    fn what_an_order_gives_is_explained(
        packets in any_flow(),
        window in 1u32..8,
        choices in prop::collection::vec(any::<u8>(), 1..9),
        windows in any::<bool>(),
    ) {
        let tracker = if windows { strict() } else { tracker() };
        let decisions = play(&packets, window, &choices, &tracker);
        prop_assert_eq!(searched(&packets, window, &decisions, &tracker), Found);
    }

    /// One decision is replaced by another: the search agrees with the trial of all orders.
    #[test]
    fn the_search_finds_an_order_exactly_if_there_is_one(
        packets in any_flow(),
        window in 1u32..8,
        choices in prop::collection::vec(any::<u8>(), 1..9),
        windows in any::<bool>(),
        wrong in any::<prop::sample::Index>(),
        decision in prop::sample::select(vec![NEW, ESTABLISHED, RELATED, INVALID]),
    ) {
        let tracker = if windows { strict() } else { tracker() };
        let mut decisions = play(&packets, window, &choices, &tracker);
        decisions[wrong.index(packets.len())] = decision;
        let all: Vec<usize> = (0..packets.len()).collect();
        let right = any_order_gives(&packets, window, &decisions, &tracker, &all, None);
        let expected = if right { Found } else { Impossible };
        prop_assert_eq!(searched(&packets, window, &decisions, &tracker), expected);
    }
}
