//! Our connection-tracking settings as the kernel's.

use super::connections::LONGEST;
use super::{LinuxError, namespace};
use crate::conntrack::{Config, TcpWindow, Timeouts};

/// Sets the namespace's connection tracking. The rules must have been loaded: the kernel makes these
/// parameters when connection tracking is first asked for.
pub(super) fn apply(config: &Config) -> Result<(), LinuxError> {
    let unsupported = |what: &str| Err(LinuxError::Unsupported(what.to_owned()));
    let t = &config.timeouts;
    if config.tcp_window == TcpWindow::Off {
        return unsupported("tcp_window = \"off\" has no counterpart in the kernel: use \"strict\" or \"liberal\"");
    }
    if t.tcp_syn_sent2 != Timeouts::default().tcp_syn_sent2 {
        return unsupported("the kernel does not let tcp_syn_sent2 be set: leave it at 120");
    }
    let switch = |on: bool| u64::from(on);
    for (name, value) in [
        // Captures with offload hold wrong checksums.
        ("checksum", 0),
        ("tcp_loose", switch(config.loose)),
        ("tcp_be_liberal", switch(config.tcp_window == TcpWindow::Liberal)),
        ("tcp_ignore_invalid_rst", switch(config.ignore_invalid_rst)),
        ("tcp_timeout_syn_sent", t.tcp_syn_sent),
        ("tcp_timeout_syn_recv", t.tcp_syn_recv),
        ("tcp_timeout_established", t.tcp_established),
        ("tcp_timeout_fin_wait", t.tcp_fin_wait),
        ("tcp_timeout_close_wait", t.tcp_close_wait),
        ("tcp_timeout_last_ack", t.tcp_last_ack),
        ("tcp_timeout_time_wait", t.tcp_time_wait),
        ("tcp_timeout_close", t.tcp_close),
        ("tcp_timeout_max_retrans", t.tcp_max_retrans),
        ("tcp_timeout_unacknowledged", t.tcp_unacknowledged),
        ("udp_timeout", t.udp),
        ("udp_timeout_stream", t.udp_stream),
        ("icmp_timeout", t.icmp),
        ("icmpv6_timeout", t.icmpv6),
        ("generic_timeout", t.other),
    ] {
        if value >= LONGEST {
            return unsupported(&format!("{name} = {value}: only idle times below {LONGEST} s can be judged"));
        }
        namespace::set(&format!("net.netfilter.nf_conntrack_{name}"), &value.to_string())?;
    }
    for (name, value) in [("gre_timeout", t.gre), ("gre_timeout_stream", t.gre_stream)] {
        // A kernel without GRE tracking treats it as any other protocol: that then shows.
        let _ = namespace::set(&format!("net.netfilter.nf_conntrack_{name}"), &value.to_string());
    }
    Ok(())
}
