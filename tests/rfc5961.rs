//! Blind attacks and their defences (RFC 5961), and how connections end and begin anew around them,
//! checked against Linux 6.18.

mod common;

use common::facts::facts;

/// 100 bytes were sent by each end, and acknowledged.
const BUSY: &str = "
    > S  1000 win 65535 mss sackok wscale 7            = new
    < SA 5000 ack 1001 win 65535 mss sackok wscale 7   = est
    > A  1001 ack 5001 win 512                         = est
    > PA 1001+100 ack 5001 win 512                     = est
    < PA 5001+100 ack 1101 win 512                     = est
    > A  1101 ack 5101 win 512                         = est ESTABLISHED 432000
";

/// Section 3.2: only the exact sequence number closes. Inside the window an RST passes, so that its
/// receiver can challenge it, and ten seconds are left unless somebody goes on.
#[test]
fn resets_exact_inside_and_outside_the_window() {
    for reset in ["< R 5101", "< RA 5101 ack 1101", "< RA 5101 ack 0", "> R 1101", "> RA 1101 ack 5101"] {
        facts(&format!("{BUSY} +5 {reset} = est CLOSE 10"));
    }
    for reset in ["< R 5102", "< R 15101", "< R 70000", "< RA 5200 ack 1101"] {
        facts(&format!("{BUSY} +5 {reset} = est ESTABLISHED 10"));
    }
    for reset in ["< R 5100", "< R 5001", "< R 0", "< R 300000", "< R 2000005101", "< R -1", "> R 1100", "> R 0"] {
        facts(&format!("{BUSY} +5 {reset} = inv ESTABLISHED 431995"));
    }
}

/// The challenge ACK answers an inexact RST; the connection goes on.
#[test]
fn an_inexact_reset_is_challenged() {
    facts(&format!(
        "{BUSY}
        +5 < R 5200                             = est ESTABLISHED 10
        > A 1101 ack 5101 win 512               = est ESTABLISHED 300      # the challenge
        +3 < PA 5101+100 ack 1101 win 512       = est ESTABLISHED 300
        "
    ));
    // The true sender of the RST answers the challenge with an exact one.
    facts(&format!(
        "{BUSY}
        +5 < R 5200                             = est ESTABLISHED 10
        > A 1101 ack 5101 win 512               = est ESTABLISHED 300
        +1 < R 5101                             = est CLOSE 10
        "
    ));
    // Nobody does.
    facts(&format!("{BUSY} +5 < R 5200 = est ESTABLISHED 10\n +12 > S 9000 = new SYN_SENT 120"));
}

/// Linux accepts an RST that follows its sender's last data, though the other end has not
/// acknowledged that yet.
#[test]
fn reset_at_the_end_of_a_train_of_data() {
    facts(&format!(
        "{BUSY}
        < PA 5101+100 ack 1101 win 512          = est
        < PA 5201+100 ack 1101 win 512          = est
        < R 5301                                = est CLOSE 10
        "
    ));
    facts(&format!(
        "{BUSY}
        < PA 5101+100 ack 1101 win 512          = est
        < PA 5201+100 ack 1101 win 512          = est
        < R 5201                                = est ESTABLISHED 10
        "
    ));
}

/// `nf_conntrack_tcp_ignore_invalid_rst`: RSTs below what is expected pass, and change no state.
#[test]
fn ignoring_invalid_resets() {
    facts(&format!("set ignore_invalid_rst=1\n{BUSY} +5 < R 5100 = est ESTABLISHED 10"));
    facts(&format!("set ignore_invalid_rst=1\n{BUSY} +5 < R 5101 = est CLOSE 10"));
    facts(&format!("set ignore_invalid_rst=1\n{BUSY} +5 < R 300000000 = inv ESTABLISHED 431995"));
}

/// Once a FIN was seen, any RST closes.
#[test]
fn resets_of_closing_connections() {
    for reset in ["> R 0", "< R 0", "< R 123456789", "> RA 77 ack 1"] {
        facts(&format!("{BUSY} > FA 1101 ack 5101 win 512 = est FIN_WAIT 120\n +5 {reset} = est CLOSE 10"));
    }
}

/// During the handshake an RST must fit as well.
#[test]
fn resets_of_unfinished_connections() {
    let half_open = "> S 1000 = new\n < SA 5000 ack 1001 = est SYN_RECV 60\n";
    facts(&format!("{half_open} +5 > R 1001 = est CLOSE 10"));
    facts(&format!("{half_open} +5 > R 1002 = est CLOSE 10"));
    facts(&format!("{half_open} +5 > R 900000 = inv SYN_RECV 55"));
    facts(&format!("{half_open} +5 < RA 5001 ack 1001 = est CLOSE 10"));
    facts(&format!("{half_open} +5 > R 999 = inv SYN_RECV 55"));
    // From the opener, zero counts as the answer to a SYN/ACK that it does not know.
    facts(&format!("{half_open} +5 > R 0 = est CLOSE 10"));
    // An ACK that answers a SYN is let through (RFC 9293, figure 9): the RST that it draws repeats its
    // acknowledgement, or acknowledges its end.
    let old_peer = "> S 1000 = new SYN_SENT 120\n < A 9000 ack 5000 = est SYN_SENT 120\n";
    facts(&format!("{old_peer} +5 > R 5000 = est CLOSE 10"));
    facts(&format!("{old_peer} +5 > R 5001 = inv SYN_SENT 115"));
    facts(&format!("{old_peer} +5 > RA 77 ack 9000 = est CLOSE 10"));
    facts(&format!("{old_peer} +5 > RA 77 ack 9001 = inv SYN_SENT 115"));
    // A refusal may acknowledge less than the SYN, but not more than what was sent.
    facts("> S 1000 = new SYN_SENT 120\n +5 < RA 0 ack 77 = est gone");
    facts("> S 1000 = new SYN_SENT 120\n +5 < RA 0 ack 1002 = est gone"); // One more: room for a keep-alive.
    facts("> S 1000 = new SYN_SENT 120\n +5 < RA 0 ack 1003 = inv SYN_SENT 115");
    facts("> S 1000 = new SYN_SENT 120\n +5 < RA 0 ack 90000 = inv SYN_SENT 115");
}

/// Section 4.2: a SYN inside a connection draws a challenge ACK, and moves nothing by itself.
#[test]
fn syn_inside_a_connection() {
    facts(&format!(
        "{BUSY}
        +5 > S 1500                             = est ESTABLISHED 431995
        < A 5101 ack 1101 win 512               = est ESTABLISHED 432000   # the challenge
        > R 1101                                = est CLOSE 10             # its receiver knows no connection
        +1 > S 1500                             = new SYN_SENT 120         # and tries again
        "
    ));
    // The attacker's SYN comes from the answering end's address: it never fits.
    for seq in [0, 5000, 5101, 99_999] {
        facts(&format!("{BUSY} +5 < S {seq} = inv ESTABLISHED 431995"));
    }
    facts(&format!("{BUSY} +5 > SA 1101 ack 5101 = inv ESTABLISHED 431995"));
    facts(&format!("{BUSY} +5 < SA 99 ack 88 = est ESTABLISHED 431995"));
}

/// A challenge ACK in LAST_ACK does not count as the ACK of the last FIN.
#[test]
fn challenge_ack_in_last_ack() {
    facts(&format!(
        "{BUSY}
        < FA 5101 ack 1101 win 512              = est FIN_WAIT 120
        > A 1101 ack 5102 win 512               = est CLOSE_WAIT 60
        < FA 5101 ack 1101 win 512              = est LAST_ACK 30
        +1 > S 60000                            = est LAST_ACK 29
        +1 < A 5102 ack 1101 win 512            = est LAST_ACK 28
        +1 > R 1101                             = est CLOSE 10
        +1 > S 60000                            = new SYN_SENT 120
        "
    ));
}

/// Section 5.2: data blindly injected must fit by acknowledgement too.
#[test]
fn blind_data_injection() {
    let injected = [
        ("< PA 5101+100 ack 1101", "est ESTABLISHED 300"), // The lucky guess is what it looks like.
        ("< PA 5101+100 ack 1102", "inv ESTABLISHED 431995"),
        ("< PA 5101+100 ack 99999", "inv ESTABLISHED 431995"),
        ("< PA 5101+100 ack 2000000000", "inv ESTABLISHED 431995"),
        ("< PA 5101+100 ack -70000", "est ESTABLISHED 431995"), // Taken for an old duplicate, as Linux does.
        ("< PA 300000+100 ack 1101", "inv ESTABLISHED 431995"),
        ("< PA 3000000000+100 ack 1101", "est ESTABLISHED 431995"),
        ("< PA 2000000000+100 ack 1101", "inv ESTABLISHED 431995"),
        ("< P 5101+100", "inv ESTABLISHED 431995"), // Without ACK: no legal segment.
        ("< FA 300000 ack 1101", "inv ESTABLISHED 431995"),
        ("< FA 5102 ack 1102", "inv ESTABLISHED 431995"),
    ];
    for (segment, expected) in injected {
        facts(&format!("{BUSY} +5 {segment} win 512 = {expected}"));
    }
}

// What follows rebuilds the situations of the Linux self-tests for conntrack (tools/testing/selftests/
// net/netfilter/packetdrill), by their descriptions.

/// The ACK of the handshake is lost; data comes from the opener, then from the other end.
#[test]
fn lost_acknowledgement_of_the_handshake() {
    facts(
        "
        > S  1000 win 65535 mss wscale 8           = new SYN_SENT 120
        < SA 5000 ack 1001 win 65535 mss wscale 8  = est SYN_RECV 60
        +1 < SA 5000 ack 1001 win 65535 mss wscale 8 = est SYN_RECV 59
        > PA 1001+1000 ack 5001 win 256            = est ESTABLISHED 300
        < A 5001 ack 2001 win 256                  = est ESTABLISHED 432000
        ",
    );
    // A SYN/ACK that was sent again, though the ACK has come.
    facts(&format!("{BUSY} +1 < SA 5000 ack 1001 win 65535 = est ESTABLISHED 431999"));
}

/// Data beyond a lost ACK: the window is known from ACKs that the tracker has seen.
#[test]
fn lost_acknowledgements_of_data() {
    facts(
        "
        > S  1000 win 65535 mss wscale 1           = new
        < SA 5000 ack 1001 win 65535 mss wscale 1  = est
        > A  1001 ack 5001 win 1000                = est                    # 2,000 bytes
        < PA 5001+1460 ack 1001 win 1000           = est
        < PA 6461+540 ack 1001 win 1000            = est ESTABLISHED 300
        +1 < PA 7002+1000 ack 1001 win 1000        = est ESTABLISHED 299    # its ACK went another way
        > A  1001 ack 8002 win 1000                = est ESTABLISHED 432000
        ",
    );
}

/// A SYN/ACK with an acknowledgement that does not fit the SYN; then the right one.
#[test]
fn syn_ack_for_an_old_syn() {
    facts(
        "
        > S  1000 win 65535 mss                    = new SYN_SENT 120
        < SA 8000 ack 900 win 65535 mss            = est SYN_RECV 60
        > R 900                                    = est CLOSE 10
        +1 > S 1000 win 65535 mss                  = new SYN_SENT 120
        < SA 5000 ack 1001 win 65535 mss           = est SYN_RECV 60
        > A 1001 ack 5001                          = est ESTABLISHED 432000
        ",
    );
    // Far off, it is INVALID, and Linux 6.18 still takes it for the beginning of that end's numbers:
    // the true one fits no more.
    facts(
        "
        > S  1000 win 65535 mss                    = new SYN_SENT 120
        < SA 145824453 ack 643160523 win 240 mss   = inv SYN_SENT 120
        > R  643160523                             = inv SYN_SENT 120
        +1 > S 1000 win 65535 mss                  = new SYN_SENT 119
        < SA 5000 ack 1001 win 65535 mss           = est SYN_SENT 119
        > A  1001 ack 5001                         = inv SYN_SENT 119
        ",
    );
    // The answering end still has the old connection: it challenges, is reset, and the SYN comes again.
    facts(
        "
        > S  1000 win 65535 mss                    = new SYN_SENT 120
        +0.1 < A 7000 ack 90000                    = est SYN_SENT 119.9
        > R 90000                                  = est CLOSE 10
        +1 > S 1000 win 65535 mss                  = new SYN_SENT 120
        < SA 5000 ack 1001 win 65535 mss           = est SYN_RECV 60
        > A 1001 ack 5001                          = est ESTABLISHED 432000
        ",
    );
}

/// The ports are used again while the tracker still holds the old connection open: the other end
/// refuses, and the RST must be understood by the new SYN.
#[test]
fn reset_after_reuse() {
    facts(&format!(
        "{BUSY}
        +5 > S 70000000 win 65535 mss wscale 7     = est ESTABLISHED 431995
        < RA 0 ack 70000001                        = est CLOSE 10
        +1 > S 80000000 win 65535 mss wscale 7     = est CLOSE 9
        < SA 3000 ack 80000001 win 65535 wscale 7  = est SYN_RECV 60
        > A 80000001 ack 3001 win 512              = est ESTABLISHED 432000
        "
    ));
    facts(&format!(
        "{BUSY}
        +5 > S 70000000 win 65535 mss wscale 7     = est ESTABLISHED 431995
        +1 > S 70000000 win 65535 mss wscale 7     = est ESTABLISHED 431994
        < SA 3000 ack 70000001 win 65535 wscale 7  = est SYN_RECV 60
        > A 70000001 ack 3001 win 512              = est ESTABLISHED 432000
        > R 70000001                               = est CLOSE 10
        "
    ));
}

/// SYN and SYN/ACK are both sent again before the handshake ends.
#[test]
fn crossing_retransmissions_of_the_handshake() {
    facts(
        "
        > S  1000 win 65535 mss wscale 7           = new SYN_SENT 120
        +1 > S 1000 win 65535 mss wscale 7         = new SYN_SENT 119
        < SA 5000 ack 1001 win 65535 mss wscale 7  = est SYN_RECV 60
        +1 > S 1000 win 65535 mss wscale 7         = est SYN_RECV 59
        < SA 5000 ack 1001 win 65535 mss wscale 7  = est SYN_RECV 60   # it answers the repeated SYN
        > A  1001 ack 5001 win 512                 = est ESTABLISHED 432000
        < PA 5001+1000 ack 1001 win 512            = est ESTABLISHED 300
        ",
    );
}
