//! TCP connections from state to state, with their timers, checked against Linux 6.18. Every segment in
//! every state: `tcp_table.rs`.

mod common;

use common::facts::{HANDSHAKE, facts};

/// RFC 9293, section 3.5, figures 6 and 13: open, data, close by the opener.
#[test]
fn three_way_open_data_and_close() {
    facts(
        "
        > S  1000 win 65535 mss sackok wscale 7            = new SYN_SENT 120 unassured
        < SA 5000 ack 1001 win 65535 mss sackok wscale 7   = est SYN_RECV 60 unassured
        > A  1001 ack 5001 win 512                         = est ESTABLISHED 432000 assured
        > PA 1001+200 ack 5001 win 512                     = est ESTABLISHED 300     # unacknowledged
        < A  5001 ack 1201 win 512                         = est ESTABLISHED 432000
        < PA 5001+1460 ack 1201 win 512                    = est ESTABLISHED 300
        > A  1201 ack 6461 win 512                         = est ESTABLISHED 432000
        > FA 1201 ack 6461 win 512                         = est FIN_WAIT 120
        < A  6461 ack 1202 win 512                         = est CLOSE_WAIT 60
        < FA 6461 ack 1202 win 512                         = est LAST_ACK 30
        > A  1202 ack 6462 win 512                         = est TIME_WAIT 120
        +119.999999999 > A 1202 ack 6462 win 512           = est TIME_WAIT 120
        +120 > A 1202 ack 6462 win 512                     = new ESTABLISHED 300     # picked up anew
        ",
    );
}

/// RFC 9293, section 3.5, figure 7: both SYNs cross.
#[test]
fn simultaneous_open() {
    facts(
        "
        > S  1000           = new SYN_SENT 120
        < S  5000           = est SYN_SENT2 120
        > SA 1000 ack 5001  = est SYN_RECV 60
        < SA 5000 ack 1001  = est SYN_RECV 60
        > A  1001 ack 5001  = est ESTABLISHED 432000 assured
        ",
    );
    // Both SYN/ACKs are answered; the ACK of either end completes it.
    facts(
        "
        > S  1000           = new
        < S  5000           = est
        < SA 5000 ack 1001  = est SYN_RECV 60
        > SA 1000 ack 5001  = est SYN_RECV 60
        < A  5001 ack 1001  = est ESTABLISHED 432000 assured
        ",
    );
}

/// A SYN repeated without an answer does not keep its connection alive.
#[test]
fn syn_retransmission() {
    facts(
        "
        > S 1000            = new SYN_SENT 120
        +1 > S 1000         = new SYN_SENT 119
        +2 > S 1000         = new SYN_SENT 117
        +4 > S 1000         = new SYN_SENT 113
        +8 > S 1000         = new SYN_SENT 105
        +104.999999999 > S 1000 = new SYN_SENT 0.000000001
        +0.000000001 > S 1000 = new SYN_SENT 120
        < SA 5000 ack 1001  = est SYN_RECV 60
        +1 < SA 5000 ack 1001 = est SYN_RECV 59             # repeated: let through, timer runs on
        +1 > S 1000         = est SYN_RECV 58
        +1 > A 1001 ack 5001 = est ESTABLISHED 432000
        ",
    );
    // A new attempt from the same port, with another number: the answer must acknowledge it.
    facts(
        "
        > S 1000            = new
        +1 > S 90000        = new SYN_SENT 119
        < SA 5000 ack 90001 = est SYN_RECV 60
        > A 90001 ack 5001  = est ESTABLISHED 432000
        ",
    );
}

/// A refused connection (RFC 9293, section 3.10.7.1) leaves nothing behind.
#[test]
fn refused_connections_leave_nothing() {
    facts(
        "
        > S 1000            = new
        < RA 0 ack 1001     = est gone
        > S 2000            = new SYN_SENT 120
        > R 2001            = new gone
        ",
    );
}

#[test]
fn reopening_after_time_wait() {
    let closed = format!(
        "{HANDSHAKE}
        > FA 1001 ack 5001  = est
        < FA 5001 ack 1002  = est
        > A  1002 ack 5002  = est TIME_WAIT 120
        "
    );
    facts(&format!(
        "{closed}
        +10 > S 900         = new SYN_SENT 120              # older numbers do not matter
        < SA 7000 ack 901   = est SYN_RECV 60
        > A 901 ack 7001    = est ESTABLISHED 432000 assured
        "
    ));
    // The other end opens: it is the opener from now on.
    facts(&format!(
        "{closed}
        +10 < S 70000       = new SYN_SENT 120
        +1 < S 70000        = new SYN_SENT 119
        > SA 900 ack 70001  = est SYN_RECV 60
        < A 70001 ack 901   = est ESTABLISHED 432000 assured
        "
    ));
}

/// After an RST the state is CLOSE. A SYN from the end that sent it opens anew; one from the other
/// is let through, since the RST may have been forged.
#[test]
fn reopening_after_a_reset() {
    facts(&format!(
        "{HANDSHAKE}
        > R 1001            = est CLOSE 10
        > S 3000            = new SYN_SENT 120
        "
    ));
    facts(&format!(
        "{HANDSHAKE}
        < R 5001            = est CLOSE 10
        +3 > S 3000         = est CLOSE 7
        < SA 9000 ack 3001  = est SYN_RECV 60
        > A 3001 ack 9001   = est ESTABLISHED 432000
        "
    ));
    // A FIN was seen before: the connection was closing anyway.
    facts(&format!(
        "{HANDSHAKE}
        > FA 1001 ack 5001  = est
        < R 5001            = est CLOSE 10
        > S 3000            = new SYN_SENT 120
        "
    ));
    facts(&format!(
        "{HANDSHAKE}
        < R 5001            = est CLOSE 10
        +12 > S 3000        = new SYN_SENT 120
        "
    ));
}

/// A SYN inside a connection is let through; what the other end answers shows which of the two,
/// tracker or opener, was out of step.
#[test]
fn ignored_syn_and_its_answers() {
    // The other end knows the old connection: it challenges (RFC 5961, section 4) and stays.
    facts(&format!(
        "{HANDSHAKE}
        +5 > S 800000       = est ESTABLISHED 431995
        < A 5001 ack 1001   = est ESTABLISHED 432000
        > PA 1001+10 ack 5001 = est ESTABLISHED 300
        "
    ));
    // It has forgotten: its SYN/ACK acknowledges exactly that SYN.
    facts(&format!(
        "{HANDSHAKE}
        +5 > S 800000       = est ESTABLISHED 431995
        < SA 9000 ack 800001 = est SYN_RECV 60
        > A 800001 ack 9001 = est ESTABLISHED 432000
        +5 > PA 1001+10 ack 5001 = est ESTABLISHED 431995  # the old numbers count as old duplicates
        "
    ));
    // The options are those of that SYN, and a FIN of the old connection counts no more.
    facts(&format!(
        "{HANDSHAKE}
        > FA 1001 ack 5001                        = est FIN_WAIT 120
        +1 > S 800000 mss wscale 7                = est FIN_WAIT 119
        < SA 9000 ack 800001 mss wscale 7         = est SYN_RECV 60
        > A 800001 ack 9001 win 1000              = est ESTABLISHED 432000
        < PA 109001+1000 ack 800001 win 1000      = est ESTABLISHED 300
        > A 800001 ack 110001 win 1000            = est ESTABLISHED 432000
        < R 110001                                = est CLOSE 10
        +1 > S 900000                             = est CLOSE 9
        "
    ));
    // A SYN/ACK for something else is let through as well, and believed no more.
    facts(&format!(
        "{HANDSHAKE}
        +5 > S 800000       = est
        < SA 9000 ack 700001 = est ESTABLISHED 431995
        > A 1001 ack 5001   = est ESTABLISHED 432000
        "
    ));
    // It refuses.
    facts(&format!(
        "{HANDSHAKE}
        +5 > S 800000       = est ESTABLISHED 431995
        < RA 0 ack 800001   = est CLOSE 10
        "
    ));
    // A SYN from the answering end belongs to nothing.
    facts(&format!("{HANDSHAKE} +5 < S 800000 = inv ESTABLISHED 431995"));
}

/// RFC 9293, section 3.6, case 1: one end is done, the other sends on.
#[test]
fn half_close() {
    facts(&format!(
        "{HANDSHAKE}
        > FA 1001 ack 5001     = est FIN_WAIT 120
        < A 5001 ack 1002      = est CLOSE_WAIT 60
        +50 < PA 5001+1000 ack 1002 = est CLOSE_WAIT 60
        +50 > A 1002 ack 6001  = est CLOSE_WAIT 60
        +59.999999999 < PA 6001+1000 ack 1002 = est CLOSE_WAIT 60
        +60 < PA 7001+1000 ack 1002 = new ESTABLISHED 300  # silent for too long: begun anew by the sender
        "
    ));
}

/// RFC 9293, section 3.6, cases 2 and 3, and their retransmissions.
#[test]
fn fins_in_every_order() {
    // The answering end closes first.
    facts(&format!(
        "{HANDSHAKE}
        < FA 5001 ack 1001  = est FIN_WAIT 120
        > A 1001 ack 5002   = est CLOSE_WAIT 60
        > FA 1001 ack 5002  = est LAST_ACK 30
        < A 5002 ack 1002   = est TIME_WAIT 120
        "
    ));
    // Simultaneous close: the FINs cross.
    facts(&format!(
        "{HANDSHAKE}
        > FA 1001 ack 5001  = est FIN_WAIT 120
        < FA 5001 ack 1001  = est LAST_ACK 30
        > A 1002 ack 5002   = est TIME_WAIT 120
        < A 5002 ack 1002   = est TIME_WAIT 120
        "
    ));
    // The tracker does not tell whose the second FIN is: a repeated first one counts.
    facts(&format!(
        "{HANDSHAKE}
        > FA 1001 ack 5001  = est FIN_WAIT 120
        +1 > FA 1001 ack 5001 = est LAST_ACK 30
        +1 < FA 5001 ack 1002 = est LAST_ACK 30
        +1 < FA 5001 ack 1002 = est LAST_ACK 30
        > A 1002 ack 5002   = est TIME_WAIT 120
        +1 < FA 5001 ack 1002 = est TIME_WAIT 120
        "
    ));
    // Data and FIN in one segment; the ACK of the handshake was lost.
    facts(
        "
        > S  1000           = new
        < SA 5000 ack 1001  = est
        > FPA 1001+100 ack 5001 = est FIN_WAIT 120
        < FA 5001 ack 1102  = est LAST_ACK 30
        > A 1102 ack 5002   = est TIME_WAIT 120
        ",
    );
}

/// RFC 9293, section 3.8.4: one byte, or none, below the stream.
#[test]
fn keep_alives_keep_alive() {
    facts(&format!(
        "{HANDSHAKE}
        +7200 > A 1000 ack 5001     = est ESTABLISHED 432000
        < A 5001 ack 1001           = est ESTABLISHED 432000
        +7200 > A 1000+1 ack 5001   = est ESTABLISHED 432000
        < A 5001 ack 1001           = est ESTABLISHED 432000
        +7200 < A 5000 ack 1001     = est ESTABLISHED 432000
        > A 1001 ack 5001           = est ESTABLISHED 432000
        +431999.999999999 < A 5000 ack 1001 = est
        "
    ));
    // The same one four times in a row and nobody answers: after the third repetition five minutes
    // are left (nf_conntrack_tcp_max_retrans).
    facts(&format!(
        "{HANDSHAKE}
        +75 > A 1000 ack 5001       = est ESTABLISHED 432000
        +75 > A 1000 ack 5001       = est ESTABLISHED 432000
        +75 > A 1000 ack 5001       = est ESTABLISHED 432000
        +75 > A 1000 ack 5001       = est ESTABLISHED 300
        +75 < A 5001 ack 1001       = est ESTABLISHED 432000
        "
    ));
}

/// Linux: `nf_conntrack_tcp_loose`.
#[test]
fn pick_up_in_mid_stream() {
    facts(
        "
        > A 700000 ack 300000       = new ESTABLISHED 300
        +10 > PA 700000+100 ack 300000 = new ESTABLISHED 300
        +10 < A 300000 ack 700100   = est ESTABLISHED 300 unassured
        +10 > A 700100 ack 300000   = est ESTABLISHED 300 assured
        +10 < A 300000 ack 700100   = est ESTABLISHED 432000
        > FA 700100 ack 300000      = est FIN_WAIT 120
        < FA 300000 ack 700101      = est LAST_ACK 30
        > A 700101 ack 300001       = est TIME_WAIT 120
        ",
    );
    // The answering end may be the one that is seen first.
    facts("> PA 300000+1460 ack 700000 = new ESTABLISHED 300\n < A 700000 ack 301460 = est");
    // Nothing else begins one.
    for segment in ["SA 5000 ack 1001", "FA 5000 ack 1001", "RA 5000 ack 1001", "R 5000", "FPA 5000+10 ack 1001"] {
        facts(&format!("> {segment} = inv gone"));
    }
    facts(
        "
        set loose=0
        > A 700000 ack 300000       = inv gone
        > PA 700000+100 ack 300000  = inv gone
        > S 1000                    = new SYN_SENT 120
        ",
    );
    // After an unanswered pick-up, a SYN is let through but makes no new connection.
    facts("> A 700000 ack 300000 = new\n +1 > S 1000 = new ESTABLISHED 299\n < SA 5000 ack 1001 = est SYN_RECV 60");
}

/// Flags that no segment can have: null, Xmas, SYN/FIN and other scans.
#[test]
fn impossible_flags_are_invalid() {
    let scans =
        ["-", "P", "U", "FPU", "F", "FU", "SF", "SFA", "SR", "SRA", "FR", "FRA", "SFPU", "SFRPAU", "RU", "RAU", "SAU"];
    for flags in scans {
        facts(&format!("> {flags} 1000 = inv gone"));
        facts(&format!("{HANDSHAKE} +5 > {flags} 1001 ack 5001 = inv ESTABLISHED 431995"));
    }
    // ECN (RFC 3168), push and urgent data change nothing.
    facts(
        "
        > SEW 1000 mss              = new SYN_SENT 120
        < SAE 5000 ack 1001 mss     = est SYN_RECV 60
        > AU 1001+1 ack 5001        = est ESTABLISHED 300
        > AEWP 1002+10 ack 5001     = est ESTABLISHED 300
        < FAU 5001 ack 1012         = est FIN_WAIT 120
        > RA 1012 ack 5002          = est CLOSE 10
        ",
    );
    facts("> SU 1000 = new SYN_SENT 120");
    // Header lengths that cannot be: below five words, or beyond the packet.
    facts("> S 1000 offset 4 = inv gone\n > S 1000 offset 6 = inv gone\n > S 1000 offset 15 = inv gone");
    facts(&format!("{HANDSHAKE} +5 > A 1001 ack 5001 offset 4 = inv ESTABLISHED 431995"));
}

/// What a tap on one of two paths sees: one end only.
#[test]
fn one_sided_connections() {
    // Of the opener: the SYN, then an ACK for a SYN/ACK that never came by.
    facts(
        "
        > S 1000                    = new SYN_SENT 120
        +1 > A 1001 ack 5001        = inv SYN_SENT 119
        > PA 1001+100 ack 5001      = inv
        > FA 1101 ack 5001          = inv
        +119 > A 1102 ack 5002      = new ESTABLISHED 300    # forgotten, and picked up
        +1 > FA 1102 ack 5002       = new FIN_WAIT 120
        ",
    );
    // Of the answering end: its SYN/ACK belongs to nothing, its data is picked up.
    facts(
        "
        > SA 5000 ack 1001          = inv gone
        > A 5001 ack 1101           = new ESTABLISHED 300
        +10 > PA 5001+1460 ack 1101 = new ESTABLISHED 300
        +10 > FA 6461 ack 1101      = new FIN_WAIT 120
        > RA 6462 ack 1101          = new gone
        ",
    );
}
