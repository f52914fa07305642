//! What the kernel says of each packet: one log message, whose prefix the rules chose.

use super::netlink::{Message, Socket, attributes};
use super::rules::GROUP;
use super::{LinuxError, error::failed};
use crate::engine::{State, Verdict};

/// Reports of one namespace.
pub(super) struct Log(Socket);

const ULOG: u8 = libc::NFNL_SUBSYS_ULOG as u8;
const CONFIG: u8 = libc::NFULNL_MSG_CONFIG as u8;

impl Log {
    /// Asks for the reports of the rules' log group, one at a time and without the packets.
    pub(super) fn open() -> Result<Self, LinuxError> {
        let open = || {
            let mut socket = Socket::open()?;
            let config =
                |kind: libc::c_int, value: &[u8]| Message::new(ULOG, CONFIG, 0, GROUP).with(kind as u16, value);
            socket.order(config(libc::NFULA_CFG_CMD, &[libc::NFULNL_CFG_CMD_BIND as u8]))?;
            // Bytes to copy (none), mode, padding.
            socket.order(config(libc::NFULA_CFG_MODE, &[0, 0, 0, 0, libc::NFULNL_COPY_META as u8, 0]))?;
            socket.order(config(libc::NFULA_CFG_QTHRESH, &1u32.to_be_bytes()))?;
            Ok(socket)
        };
        open().map(Log).map_err(failed("asking the kernel for its log (nfnetlink_log)"))
    }

    /// The report on the packet that was just sent. `None`: the rules did not see it.
    pub(super) fn next(&mut self) -> Result<Option<(Verdict, State)>, LinuxError> {
        let what = "reading the kernel's log";
        let Some(message) = self.0.next().map_err(failed(what))? else { return Ok(None) };
        let prefix = attributes(message).find(|(kind, _)| i32::from(*kind) == libc::NFULA_PREFIX);
        let report = prefix.and_then(|(_, prefix)| parse(prefix));
        let strange = || failed(what)(std::io::Error::other("a message that the rules did not make"));
        report.map(Some).ok_or_else(strange)
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
