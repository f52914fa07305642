//! The transition table of nf_conntrack, every state, direction and kind of segment, as Linux 6.18 runs
//! it. Sequence numbers fit; where they do not, see `tcp_window.rs`.

mod common;

use common::facts::{HANDSHAKE, facts};

/// How each state is reached, and what fits next: sequence number and acknowledgement of either end.
struct Reached {
    state: &'static str,
    by: &'static str,
    /// (seq, ack) of the opener, (seq, ack) of the other end.
    next: [(u32, u32); 2],
    /// Seconds left.
    left: u32,
}

const STATES: &[Reached] = &[
    Reached { state: "SYN_SENT", by: "> S 1000 = new", next: [(1000, 0), (5000, 1001)], left: 120 },
    Reached {
        state: "SYN_SENT2",
        by: "> S 1000 = new\n < S 5000 = est",
        next: [(1000, 5001), (5000, 1001)],
        left: 120,
    },
    Reached {
        state: "SYN_RECV",
        by: "> S 1000 = new\n < SA 5000 ack 1001 = est",
        next: [(1001, 5001), (5001, 1001)],
        left: 60,
    },
    Reached { state: "ESTABLISHED", by: "", next: [(1001, 5001), (5001, 1001)], left: 432_000 },
    Reached { state: "FIN_WAIT", by: "> FA 1001 ack 5001 = est", next: [(1002, 5001), (5001, 1002)], left: 120 },
    Reached {
        state: "CLOSE_WAIT",
        by: "> FA 1001 ack 5001 = est\n < A 5001 ack 1002 = est",
        next: [(1002, 5001), (5001, 1002)],
        left: 60,
    },
    Reached {
        state: "LAST_ACK",
        by: "> FA 1001 ack 5001 = est\n < FA 5001 ack 1002 = est",
        next: [(1002, 5002), (5002, 1002)],
        left: 30,
    },
    Reached {
        state: "TIME_WAIT",
        by: "> FA 1001 ack 5001 = est\n < FA 5001 ack 1002 = est\n > A 1002 ack 5002 = est",
        next: [(1002, 5002), (5002, 1002)],
        left: 120,
    },
    Reached { state: "CLOSE", by: "< R 5001 = est", next: [(1001, 5001), (5001, 1001)], left: 10 },
];

/// A cell: the next state, `=` (let through, state and timer kept), `I` (INVALID, state and timer
/// kept), `kept` (belongs to it, timer kept), `kill` (the connection is gone), `anew` (a new
/// connection by this segment), or the next state and the seconds left where the timer is not its own
/// (a SYN on an unanswered connection does not restart it, not even a crossing one).
const TABLE: &str = "
                syn    synack    fin        ack          rst
> SYN_SENT      kept   I         I          I            kill
> SYN_SENT2     SYN_SENT2 SYN_RECV I        I            CLOSE
> SYN_RECV      =      SYN_RECV  FIN_WAIT   ESTABLISHED  CLOSE
> ESTABLISHED   =      I         FIN_WAIT   ESTABLISHED  CLOSE
> FIN_WAIT      =      I         LAST_ACK   CLOSE_WAIT   CLOSE
> CLOSE_WAIT    =      I         LAST_ACK   CLOSE_WAIT   CLOSE
> LAST_ACK      =      I         LAST_ACK   TIME_WAIT    CLOSE
> TIME_WAIT     anew   I         TIME_WAIT  TIME_WAIT    CLOSE
> CLOSE         =      I         CLOSE      CLOSE        CLOSE
< SYN_SENT      SYN_SENT2:115 SYN_RECV I    =            kill
< SYN_SENT2     SYN_SENT2 SYN_RECV I        =            CLOSE
< SYN_RECV      I      =         FIN_WAIT   SYN_RECV     CLOSE
< ESTABLISHED   I      =         FIN_WAIT   ESTABLISHED  CLOSE
< FIN_WAIT      I      =         LAST_ACK   CLOSE_WAIT   CLOSE
< CLOSE_WAIT    I      =         LAST_ACK   CLOSE_WAIT   CLOSE
< LAST_ACK      I      =         LAST_ACK   TIME_WAIT    CLOSE
< TIME_WAIT     anew   =         TIME_WAIT  TIME_WAIT    CLOSE
< CLOSE         I      =         CLOSE      CLOSE        CLOSE
";

/// The idle timers of Documentation/networking/nf_conntrack-sysctl.rst.
fn timeout(state: &str) -> u32 {
    match state {
        "SYN_SENT" | "SYN_SENT2" | "FIN_WAIT" | "TIME_WAIT" => 120,
        "SYN_RECV" | "CLOSE_WAIT" => 60,
        "ESTABLISHED" => 432_000,
        "LAST_ACK" => 30,
        "CLOSE" => 10,
        other => panic!("no state {other}"),
    }
}

/// Every cell of the table, five seconds after its state was reached.
#[test]
fn every_segment_in_every_state() {
    for row in TABLE.lines().skip(2).filter(|row| !row.trim().is_empty()) {
        let words: Vec<&str> = row.split_whitespace().collect();
        let (direction, from) = (words[0], STATES.iter().find(|reached| reached.state == words[1]).unwrap());
        let side = usize::from(direction == "<");
        let (seq, ack) = from.next[side];
        let first = [1000, 5000][side];
        for (name, cell) in ["syn", "synack", "fin", "ack", "rst"].iter().zip(&words[2..]) {
            let segment = match *name {
                "syn" => format!("S {first}"),
                "synack" => format!("SA {first} ack {ack}"),
                "fin" => format!("FA {seq} ack {ack}"),
                "ack" => format!("A {seq} ack {ack}"),
                _ => format!("R {seq}"),
            };
            let label = if from.state == "SYN_SENT" && side == 0 { "new" } else { "est" };
            let kept = format!("{} {}", from.state, from.left - 5);
            let expected = match *cell {
                "I" => format!("inv {kept}"),
                "=" | "kept" => format!("{label} {kept}"),
                "kill" => format!("{label} gone"),
                "anew" => "new SYN_SENT 120".into(),
                next => match next.split_once(':') {
                    Some((next, left)) => format!("{label} {next} {left}"),
                    None => format!("{label} {next} {}", timeout(next)),
                },
            };
            let opening = if from.by.starts_with("> S") { "" } else { HANDSHAKE };
            facts(&format!("{opening}\n{}\n+5 {direction} {segment} = {expected}", from.by));
        }
    }
}
