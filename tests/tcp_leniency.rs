//! Where windows are not enforced, or not fully: connections picked up in mid-stream, liberal and no
//! window checks, stray FINs; checked against Linux 6.18 (but for no checks at all, which it has not).

mod common;

use common::facts::{HANDSHAKE, facts};

/// Picked up in mid-stream, scales are unknown: neither end is held to its window.
#[test]
fn picked_up_connections_are_not_held_to_windows() {
    facts(
        "
        > A 700000 ack 300000 win 100          = new ESTABLISHED 300
        < PA 300000+1460 ack 700000 win 100    = est ESTABLISHED 300
        < PA 400000+1460 ack 700000 win 100    = est
        > A 700000 ack 401460 win 100          = est
        > PA 990000+1 ack 990000 win 100       = est
        ",
    );
}

/// A keep-alive is the first that is seen: its answer lies one above it.
#[test]
fn picked_up_at_a_keep_alive() {
    facts(
        "
        > A 999 ack 5000                       = new ESTABLISHED 300
        < A 5000 ack 1000                      = est ESTABLISHED 300
        > PA 1000+1 ack 5000                   = est
        < A 5000 ack 1001                      = est ESTABLISHED 432000
        ",
    );
}

/// Picked up, then begun anew by a SYN that is answered: the SYN's end is held to its window from now
/// on, the other is not.
#[test]
fn picked_up_and_begun_anew() {
    for options in ["", "mss"] {
        facts(&format!(
            "
            > A 700000 ack 300000 win 100          = new ESTABLISHED 300
            > S 1000 mss                           = new
            < SA 5000 ack 1001 {options}           = est SYN_RECV 60
            > A 1001 ack 5001                      = est ESTABLISHED 432000
            +5 < PA 900000+1 ack 1001              = est
            +5 > PA 1001+1 ack 700000              = inv
            > PA 900000+1 ack 5001                 = inv
            "
        ));
    }
}

/// `nf_conntrack_tcp_be_liberal`: what is out of window passes, an RST too.
#[test]
fn liberal_windows() {
    let liberal = format!("set be_liberal=1\n{HANDSHAKE}");
    facts(&format!(
        "{liberal}
        < PA 900000+1 ack 1001             = est
        > A 1001 ack 70000                 = est
        > PA 500000000+10 ack 5001         = est
        < S 5000                           = inv
        > FA 1001 ack 5001                 = est FIN_WAIT 120
        "
    ));
    facts(&format!("{liberal} +5 < R 400000 = est ESTABLISHED 10"));
    facts(&format!("{liberal} +5 < R 4000 = inv ESTABLISHED 431995"));
}

/// No window checks: flags alone decide.
#[test]
fn no_window_checks() {
    facts(&format!(
        "set window=off\n{HANDSHAKE}
        < PA 900000+1 ack 77               = est ESTABLISHED 432000
        > A 123456789 ack 70000            = est ESTABLISHED 432000
        > FA 99 ack 1                      = est FIN_WAIT 120
        < R 3                              = est CLOSE 10
        "
    ));
}

/// Both ends have sent a FIN or RST that is out of window: the connection is not kept for days.
#[test]
fn two_stray_ends_shorten_the_timer() {
    facts(&format!(
        "{HANDSHAKE}
        +5 > FA 900000 ack 5001            = inv ESTABLISHED 431995
        +5 < FA 900000 ack 1001            = inv ESTABLISHED 300
        > PA 1001+1 ack 5001               = est ESTABLISHED 300
        < A 5001 ack 1002                  = est ESTABLISHED 432000
        "
    ));
    // Only if it had 120 s to go.
    for (established, left) in [(130, 20), (129, 119)] {
        facts(&format!(
            "
            set tcp_unacknowledged=20 tcp_established={established}
            {HANDSHAKE}
            +5 > FA 900000 ack 5001        = inv
            +5 < FA 900000 ack 1001        = inv ESTABLISHED {left}
            "
        ));
    }
}
