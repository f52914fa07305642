//! The configuration in the form that the packet path reads.

use super::tcp::TcpState;
use super::{Config, TcpWindow};

const NS_PER_S: u64 = 1_000_000_000;

/// Timeouts in ns and switches, ready to use.
#[derive(Clone, Debug)]
pub struct Timers {
    /// Per [`TcpState`].
    pub(super) tcp: [u64; TcpState::COUNT],
    /// An established connection's, and the same while data is unacknowledged.
    pub(super) established: [u64; 2],
    pub(super) max_retrans: u64,
    pub(super) unacknowledged: u64,
    pub(super) udp: u64,
    pub(super) udp_stream: u64,
    pub(super) icmp: [u64; 2],
    pub(super) gre: u64,
    pub(super) gre_stream: u64,
    pub(super) other: u64,
    pub(super) loose: bool,
    pub(super) check_window: bool,
    pub(super) liberal: bool,
    pub(super) ignore_invalid_rst: bool,
}

impl Timers {
    /// Seconds to ns. Timeouts of over 584 years end up at 584 years.
    pub fn new(config: &Config) -> Self {
        let t = &config.timeouts;
        let ns = |seconds: u64| seconds.saturating_mul(NS_PER_S);
        let mut tcp = [0; TcpState::COUNT];
        for (state, seconds) in [
            (TcpState::SynSent, t.tcp_syn_sent),
            (TcpState::SynRecv, t.tcp_syn_recv),
            (TcpState::Established, t.tcp_established),
            (TcpState::FinWait, t.tcp_fin_wait),
            (TcpState::CloseWait, t.tcp_close_wait),
            (TcpState::LastAck, t.tcp_last_ack),
            (TcpState::TimeWait, t.tcp_time_wait),
            (TcpState::Close, t.tcp_close),
            (TcpState::SynSent2, t.tcp_syn_sent2),
        ] {
            tcp[state as usize] = ns(seconds);
        }
        Timers {
            tcp,
            established: [ns(t.tcp_established), ns(t.tcp_established.min(t.tcp_unacknowledged))],
            max_retrans: ns(t.tcp_max_retrans),
            unacknowledged: ns(t.tcp_unacknowledged),
            udp: ns(t.udp),
            udp_stream: ns(t.udp_stream),
            icmp: [ns(t.icmp), ns(t.icmpv6)],
            gre: ns(t.gre),
            gre_stream: ns(t.gre_stream),
            other: ns(t.other),
            loose: config.loose,
            check_window: config.tcp_window != TcpWindow::Off,
            liberal: config.tcp_window == TcpWindow::Liberal,
            ignore_invalid_rst: config.ignore_invalid_rst,
        }
    }
}
