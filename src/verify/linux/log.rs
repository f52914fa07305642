//! What the kernel says of each packet: one log message, whose prefix the rules chose.

use super::netlink::{Message, Socket, attributes};
use super::rules::GROUP;
use super::{LinuxError, error::failed};
use crate::engine::{State, Verdict};

/// Reports of one namespace.
pub(super) struct Log(Socket);

/// What the kernel said of one packet.
pub(super) struct Report {
    pub(super) verdict: Verdict,
    pub(super) state: State,
    /// What the rules saw was a single piece of a datagram, not the whole.
    pub(super) is_piece: bool,
}

/// Bytes of each packet that a report brings: enough for the IP headers.
const COPIED: u32 = 128;

const ULOG: u8 = libc::NFNL_SUBSYS_ULOG as u8;
const CONFIG: u8 = libc::NFULNL_MSG_CONFIG as u8;

impl Log {
    /// Asks for the reports of the rules' log group, one at a time, with the packets' headers.
    pub(super) fn open() -> Result<Self, LinuxError> {
        let open = || {
            let mut socket = Socket::open()?;
            let config =
                |kind: libc::c_int, value: &[u8]| Message::new(ULOG, CONFIG, 0, GROUP).with(kind as u16, value);
            socket.order(config(libc::NFULA_CFG_CMD, &[libc::NFULNL_CFG_CMD_BIND as u8]))?;
            // Bytes to copy, mode, padding.
            let [a, b, c, d] = COPIED.to_be_bytes();
            socket.order(config(libc::NFULA_CFG_MODE, &[a, b, c, d, libc::NFULNL_COPY_PACKET as u8, 0]))?;
            socket.order(config(libc::NFULA_CFG_QTHRESH, &1u32.to_be_bytes()))?;
            Ok(socket)
        };
        open().map(Log).map_err(failed("asking the kernel for its log (nfnetlink_log)"))
    }

    /// The report on the packet that was just sent. `None`: the rules did not see it.
    pub(super) fn next(&mut self) -> Result<Option<Report>, LinuxError> {
        let what = "reading the kernel's log";
        let Some(message) = self.0.next().map_err(failed(what))? else { return Ok(None) };
        let attribute = |wanted| attributes(message).find(|(kind, _)| i32::from(*kind) == wanted).map(|(_, v)| v);
        let said = attribute(libc::NFULA_PREFIX).and_then(parse);
        let is_piece = attribute(libc::NFULA_PAYLOAD).is_some_and(is_piece);
        let report = said.map(|(verdict, state)| Report { verdict, state, is_piece });
        let strange = || failed(what)(std::io::Error::other("a message that the rules did not make"));
        report.map(Some).ok_or_else(strange)
    }
}

/// True for a piece of a datagram: an IPv4 header with an offset or "more fragments", or an IPv6
/// fragment header behind other extension headers.
fn is_piece(ip: &[u8]) -> bool {
    match ip.first().map(|first| first >> 4) {
        Some(4) => ip.get(6..8).is_some_and(|bytes| u16::from_be_bytes([bytes[0], bytes[1]]) & 0x3fff != 0),
        Some(6) => {
            let (mut next, mut at) = (ip.get(6).copied(), 40);
            // Hop-by-hop options, routing, destination options: kind of the next, length in 8 bytes less one.
            while let (Some(0 | 43 | 60), Some([kind, len])) = (next, ip.get(at..at + 2)) {
                next = Some(*kind);
                at += 8 * (usize::from(*len) + 1);
            }
            next == Some(44)
        }
        _ => false,
    }
}

/// The inverse of the prefixes in `rules.rs`; the kernel adds a zero byte.
fn parse(prefix: &[u8]) -> Option<(Verdict, State)> {
    let text = std::str::from_utf8(prefix).ok()?.trim_end_matches('\0');
    let (verdict, state) = text.split_once(':')?;
    let verdict = [Verdict::Accept, Verdict::Drop].into_iter().find(|v| v.name() == verdict)?;
    let states = [State::None, State::New, State::Established, State::Related, State::Invalid, State::Untracked];
    Some((verdict, states.into_iter().find(|s| s.name() == state)?))
}
