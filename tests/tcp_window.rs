//! TCP sequence numbers and windows: what is inside, what is old, what is beyond. The bounds are those
//! of G. van Rooij, "Real Stateful TCP Packet Filtering in IP Filter" (2001), with Linux's
//! tolerances, checked against Linux 6.18.

mod common;

use common::facts::{HANDSHAKE, facts};

/// RFC 9293, section 3.10.7.4, table 6, case by case; 8,192 bytes are allowed from 5001 on.
#[test]
fn acceptability_of_a_segment() {
    let after_5_s = [
        // No data: the sequence number must lie inside the window.
        ("< A 5001 ack 1001", "est ESTABLISHED 432000"),
        ("< A 13193 ack 1001", "est ESTABLISHED 300"), // At the right edge: as Linux, still inside.
        // Data: some of it must.
        ("< PA 5001+8192 ack 1001", "est ESTABLISHED 300"),
        ("< PA 5001+8193 ack 1001", "est ESTABLISHED 300"), // It begins inside: its end is not looked at.
        ("< PA 13192+1 ack 1001", "est ESTABLISHED 300"),
        // Beyond the edge, by no more than a window: let through, not believed (Linux since 6.5).
        ("< PA 13194+1000 ack 1001", "est ESTABLISHED 431995"),
        ("< PA 13194+8190 ack 1001", "est ESTABLISHED 431995"),
        ("< PA 13194+8191 ack 1001", "inv ESTABLISHED 431995"),
        ("< PA 21385+1 ack 1001", "inv ESTABLISHED 431995"),
        ("< A 21384 ack 1001", "est ESTABLISHED 431995"),
        ("< A 21385 ack 1001", "inv ESTABLISHED 431995"),
        ("< PA 2147488648+1 ack 1001", "inv ESTABLISHED 431995"),
        // Below: within the largest window of the receiver it is a duplicate that counts, further
        // down one that does not.
        ("< A 5000 ack 1001", "est ESTABLISHED 432000"),
        ("< A -3191 ack 1001", "est ESTABLISHED 432000"),
        ("< A -3192 ack 1001", "est ESTABLISHED 431995"),
        ("< PA -4000+100 ack 1001", "est ESTABLISHED 431995"),
        ("< PA -4000+1000 ack 1001", "est ESTABLISHED 432000"),
    ];
    for (segment, expected) in after_5_s {
        facts(&format!("{HANDSHAKE} +5 {segment} = {expected}"));
    }
}

/// Of data that was never sent; and up to 66,000 bytes back.
#[test]
fn acceptability_of_an_acknowledgement() {
    let after_5_s = [
        ("> A 1001 ack 5001", "est ESTABLISHED 432000"),
        ("> A 1001 ack 5002", "inv ESTABLISHED 431995"),
        ("> A 1001 ack 5000", "est ESTABLISHED 432000"),
        ("> A 1001 ack 9000", "inv ESTABLISHED 431995"),
        ("> A 1001 ack -60999", "est ESTABLISHED 432000"),
        ("> A 1001 ack -61000", "est ESTABLISHED 431995"),
        ("> A 1001 ack -2147478646", "est ESTABLISHED 431995"),
        ("> PA 1001+100 ack 5002", "inv ESTABLISHED 431995"),
        ("> FA 1001 ack 5002", "inv ESTABLISHED 431995"),
        ("> RA 1001 ack 5002", "inv ESTABLISHED 431995"),
        ("> RA 1001 ack 0", "est CLOSE 10"), // An RST that forgot its acknowledgement.
    ];
    for (segment, expected) in after_5_s {
        facts(&format!("{HANDSHAKE} +5 {segment} = {expected}"));
    }
}

/// RFC 7323, section 2: in force only if both SYNs offer it, and never for the SYNs themselves.
#[test]
fn window_scaling() {
    // 1,000 scaled by 7 is 128,000 bytes.
    facts(
        "
        > S  1000 win 1000 wscale 7            = new
        < SA 5000 ack 1001 win 1000 wscale 2   = est
        > A  1001 ack 5001 win 1000            = est
        < PA 133001+1000 ack 1001 win 1000     = est ESTABLISHED 300  # at the edge
        ",
    );
    facts(
        "
        > S  1000 win 1000 wscale 7            = new
        < SA 5000 ack 1001 win 1000 wscale 2   = est
        > A  1001 ack 5001 win 1000            = est ESTABLISHED 432000
        +5 < PA 261002+1000 ack 1001 win 1000  = inv ESTABLISHED 431995
        < A 5001 ack 1001 win 1000             = est
        > PA 5001+1 ack 5001 win 1000          = est ESTABLISHED 300  # 4,000 bytes the other way
        +5 > PA 9003+1 ack 5001 win 1000       = inv ESTABLISHED 295
        ",
    );
    // Not scaled: the SYN's own window, though it offers scaling.
    facts(
        "
        > S  1000 win 1000 wscale 7            = new
        < SA 5000 ack 1001 win 1000 wscale 2   = est
        > A  1001 ack 5001 win 1               = est
        < PA 5001+1000 ack 1001 win 1000       = est ESTABLISHED 300
        < PA 7002+1 ack 1001 win 1000          = inv
        ",
    );
    // One end does not offer it: nobody scales.
    for (syn, syn_ack) in [("wscale 7", ""), ("wscale 7", "mss sackok"), ("mss", "wscale 7"), ("", "wscale 7")] {
        facts(&format!(
            "
            > S  1000 win 1000 {syn}               = new
            < SA 5000 ack 1001 win 1000 {syn_ack}  = est
            > A  1001 ack 5001 win 1000            = est
            < PA 7002+1 ack 1001 win 1000          = inv
            > PA 3003+1 ack 5001 win 1000          = inv
            < PA 6001+10 ack 1001 win 1000         = est ESTABLISHED 300
            "
        ));
    }
    // A second SYN's options replace those of the first; one without any says nothing new.
    for (again, expected) in [("", "est ESTABLISHED 300"), ("mss", "inv"), ("wscale 7", "est ESTABLISHED 300")] {
        facts(&format!(
            "
            > S  1000 win 1000 wscale 7              = new
            > S  2000 win 1000 {again}               = new
            < SA 5000 ack 2001 win 1000 wscale 7     = est
            > A  2001 ack 5001 win 1000              = est
            < PA 75001+1000 ack 2001 win 1000        = {expected}
            "
        ));
    }
    // Shifts above 14 count as 14 (RFC 7323, section 2.3).
    facts(
        "
        > S  1000 win 1000 wscale 15           = new
        < SA 5000 ack 1001 win 1000 wscale 255 = est
        > A  1001 ack 5001 win 2               = est
        < PA 37769+1 ack 1001                  = est ESTABLISHED 300   # 5001 + 2 * 2^14
        < PA 71540+1 ack 1001                  = inv
        ",
    );
}

/// A closed window stops data; one byte may probe it (RFC 9293, section 3.8.6.1).
#[test]
fn zero_window_and_its_probes() {
    facts(&format!(
        "{HANDSHAKE}
        < PA 5001+8192 ack 1001            = est ESTABLISHED 300
        > A 1001 ack 13193 win 0           = est ESTABLISHED 300     # a closed window ages
        +5 < PA 13193+1 ack 1001           = est ESTABLISHED 300     # the probe
        > A 1001 ack 13193 win 0           = est ESTABLISHED 300
        +60 < PA 13193+1 ack 1001          = est ESTABLISHED 300
        > A 1001 ack 13193 win 0           = est ESTABLISHED 300
        > A 1001 ack 13194 win 4000        = est ESTABLISHED 432000
        < PA 13194+1000 ack 1001           = est ESTABLISHED 300
        "
    ));
    // The probe may come one byte late.
    facts(&format!(
        "{HANDSHAKE}
        < PA 5001+8192 ack 1001            = est ESTABLISHED 300
        > A 1001 ack 13193 win 0           = est ESTABLISHED 300
        +5 < PA 13194+1 ack 1001           = est ESTABLISHED 300
        "
    ));
    // A window of zero in the SYN or the SYN/ACK counts as one byte.
    facts(
        "
        > S  1000 win 0                    = new
        < SA 5000 ack 1001 win 0           = est
        > A  1001 ack 5001 win 0           = est ESTABLISHED 300
        < PA 5001+1 ack 1001               = est ESTABLISHED 300
        +5 < PA 5010+1000 ack 1001         = inv ESTABLISHED 295
        ",
    );
}

/// A window that shrinks (RFC 9293, section 3.8.6.1) does not take back what it allowed.
#[test]
fn shrinking_windows() {
    facts(&format!(
        "{HANDSHAKE}
        > A 1001 ack 5001 win 8192         = est
        > A 1001 ack 5001 win 100          = est
        < PA 5001+8192 ack 1001            = est ESTABLISHED 300
        "
    ));
}

/// Linux since 6.5: some ends send more than they may; its acknowledgement must fit.
#[test]
fn overshoot_and_its_acknowledgement() {
    facts(&format!(
        "{HANDSHAKE}
        < PA 5001+8192 ack 1001            = est ESTABLISHED 300
        +5 < PA 13194+1000 ack 1001        = est ESTABLISHED 295     # one byte beyond
        > A 1001 ack 14194                 = est ESTABLISHED 432000
        < PA 14194+1000 ack 1001           = est ESTABLISHED 300
        "
    ));
    // Begun inside and ended outside: the receiver seems to take more than it said, so duplicates count from
    // further down.
    for (duplicate, expected) in [(5001, 300), (5000, 295)] {
        facts(&format!(
            "{HANDSHAKE}
            < PA 13193+1000 ack 1001       = est ESTABLISHED 300
            +5 < A {duplicate} ack 1001    = est ESTABLISHED {expected}
            "
        ));
    }
}

/// RFC 2018: an acknowledgement with SACK blocks reaches as far as the highest block.
#[test]
fn sack_edges() {
    const SACK: &str = "
        > S  1000 sackok           = new
        < SA 5000 ack 1001 sackok  = est
        > A  1001 ack 5001         = est
    ";
    // The first of two segments was lost before the tracker; the SACK block moves the window.
    facts(&format!(
        "{SACK}
        < PA 6001+1000 ack 1001                        = est ESTABLISHED 300
        > A 1001 ack 5001 sack 6001 7001               = est ESTABLISHED 300  # a hole is left
        +5 < PA 15193+10 ack 1001                      = est ESTABLISHED 300
        "
    ));
    // And its receiver's largest window is one that reaches from the acknowledgement over the block.
    for (duplicate, expected) in [(-3191, 300), (-3192, 295)] {
        facts(&format!(
            "{SACK}
            < PA 6001+1000 ack 1001                    = est ESTABLISHED 300
            > A 1001 ack 5001 sack 6001 7001           = est ESTABLISHED 300
            +5 < A {duplicate} ack 1001                = est ESTABLISHED {expected}
            "
        ));
    }
    // A block beyond what was sent acknowledges what was never sent.
    facts(&format!(
        "{SACK}
        < PA 5001+1000 ack 1001                        = est ESTABLISHED 300
        +5 > A 1001 ack 5001 sack 6001 7001            = inv ESTABLISHED 295
        > A 1001 ack 5001 sack 5501 6001               = est ESTABLISHED 300  # a hole is left
        > A 1001 ack 6001 sack 5001 5501               = est ESTABLISHED 432000  # D-SACK (RFC 2883): below
        "
    ));
    // What an end may send as blocks is what its peer has offered to read.
    facts(
        "
        > S  1000 sackok                               = new
        < SA 5000 ack 1001 mss                         = est
        > A  1001 ack 5001                             = est
        < PA 5001+1000 ack 1001                        = est ESTABLISHED 300
        > A 1001 ack 5001 sack 90001 91001             = est
        < A 6001 ack 1001 sack 90001 91001             = inv
        ",
    );
}

/// All arithmetic is modulo 2^32 (RFC 9293, section 3.4).
#[test]
fn sequence_numbers_wrap() {
    facts(
        "
        > S  -101                     = new SYN_SENT 120
        < SA -1 ack -100              = est SYN_RECV 60
        > A  -100 ack 0               = est ESTABLISHED 432000
        > PA -100+200 ack 0           = est ESTABLISHED 300
        < A  0 ack 100                = est ESTABLISHED 432000
        < PA 0+8192 ack 100           = est ESTABLISHED 300
        > A  100 ack 8192             = est ESTABLISHED 432000
        +5 > A 100 ack -1             = est ESTABLISHED 432000
        +5 > A 100 ack 8193           = inv ESTABLISHED 431995
        > PA -100+200 ack 0           = est ESTABLISHED 432000    # once more
        < FA 8192 ack 100             = est FIN_WAIT 120
        > FA 100 ack 8193             = est LAST_ACK 30
        < A 8193 ack 101              = est TIME_WAIT 120
        ",
    );
    // Four gigabytes later, in steps of a window.
    let mut script = String::from("> S -1 win 65535 wscale 14 = new\n < SA -1 ack 0 win 65535 wscale 14 = est\n");
    for step in 0..8u64 {
        let (seq, next) = ((step << 29) as u32, ((step + 1) << 29) as u32);
        script += &format!("> A 0 ack {seq} win 65535 = est\n");
        script += &format!("< PA {}+1 ack 0 win 65535 = est ESTABLISHED 300\n", next.wrapping_sub(1));
    }
    facts(&script);
}

/// The cases of NetBSD's NPF (`npf_state_test`): a handshake, data each way, pure acknowledgements,
/// windows of a few segments, and close, all packets inside.
#[test]
fn a_conversation_of_npf() {
    facts(
        "
        > S  9 win 4000                     = new SYN_SENT 120
        < SA 1999 ack 10 win 4000           = est SYN_RECV 60
        > A  10 ack 2000 win 4000           = est ESTABLISHED 432000
        > PA 10+1000 ack 2000 win 4000      = est ESTABLISHED 300
        < A  2000 ack 1010 win 3000         = est ESTABLISHED 432000
        > PA 1010+1000 ack 2000 win 4000    = est
        > PA 2010+1000 ack 2000 win 4000    = est
        > PA 3010+1000 ack 2000 win 4000    = est ESTABLISHED 300
        < A  2000 ack 4010 win 0            = est ESTABLISHED 300
        < A  2000 ack 4010 win 4000         = est ESTABLISHED 432000
        < PA 2000+1460 ack 4010 win 4000    = est
        > A  4010 ack 3460 win 4000         = est ESTABLISHED 432000
        > FA 4010 ack 3460 win 4000         = est FIN_WAIT 120
        < A  3460 ack 4011 win 4000         = est CLOSE_WAIT 60
        < PA 3460+1460 ack 4011 win 4000    = est CLOSE_WAIT 60
        > A  4011 ack 4920 win 4000         = est CLOSE_WAIT 60
        < FA 4920 ack 4011 win 4000         = est LAST_ACK 30
        > A  4011 ack 4921 win 4000         = est TIME_WAIT 120
        ",
    );
    // And its loose ends: past the window, an acknowledgement of the future, an old one.
    facts(
        "
        > S  9 win 4000                     = new
        < SA 1999 ack 10 win 4000           = est
        > A  10 ack 2000 win 4000           = est ESTABLISHED 432000
        +1 > PA 8011+1 ack 2000 win 4000    = inv ESTABLISHED 431999
        > PA 10+1000 ack 2001 win 4000      = inv ESTABLISHED 431999
        < PA 2000+1 ack 11 win 4000         = inv ESTABLISHED 431999
        > PA 10+1000 ack 2000 win 4000      = est ESTABLISHED 300
        ",
    );
}

/// What van Rooij's paper demands: the limit is what the other end has offered at most, as seen by a
/// filter that may have missed packets, and copies of old segments must still pass.
#[test]
fn losses_before_and_after_the_filter() {
    // An ACK was lost before the filter: data goes on, up to the window that the filter knows of.
    facts(&format!(
        "{HANDSHAKE}
        < PA 5001+4096 ack 1001            = est
        < PA 9097+4096 ack 1001            = est
        > A 1001 ack 13193                 = est ESTABLISHED 432000
        < PA 5001+4096 ack 1001            = est ESTABLISHED 432000  # sent again: the first ACK was lost
        < PA 9097+4096 ack 1001            = est ESTABLISHED 432000
        > A 1001 ack 13193                 = est ESTABLISHED 432000
        "
    ));
    // Data was lost before the filter: the ACK for it is one of the future.
    facts(&format!(
        "{HANDSHAKE}
        +5 > A 1001 ack 6461               = inv ESTABLISHED 431995
        < PA 5001+1460 ack 1001            = est ESTABLISHED 300
        > A 1001 ack 6461                  = est ESTABLISHED 432000
        "
    ));
    // Out of order within the window.
    facts(&format!(
        "{HANDSHAKE}
        < PA 7921+1460 ack 1001            = est ESTABLISHED 300
        < PA 6461+1460 ack 1001            = est ESTABLISHED 300
        < PA 5001+1460 ack 1001            = est ESTABLISHED 300
        > A 1001 ack 9381                  = est ESTABLISHED 432000
        "
    ));
}
