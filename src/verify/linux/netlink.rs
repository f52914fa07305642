//! Netlink: messages to and from the kernel's netfilter subsystems.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// How long the kernel may take to answer. It answers at once.
const PATIENCE_MS: libc::c_int = 5_000;

/// Length of a message's header, and of netfilter's own after it.
const HEADER: usize = 16;
const FAMILY_HEADER: usize = 4;

const ACKNOWLEDGE: u16 = libc::NLM_F_ACK as u16;

/// A message being written.
pub(super) struct Message(Vec<u8>);

impl Message {
    /// Begins a request: subsystem and message number, address family, resource.
    pub(super) fn new(subsystem: u8, message: u8, family: u8, resource: u16) -> Self {
        let mut bytes = vec![0; HEADER];
        bytes[4..6].copy_from_slice(&(u16::from(subsystem) << 8 | u16::from(message)).to_ne_bytes());
        bytes[6..8].copy_from_slice(&(libc::NLM_F_REQUEST as u16).to_ne_bytes());
        bytes.extend([family, 0]);
        bytes.extend(resource.to_be_bytes());
        Message(bytes)
    }

    /// Adds an attribute.
    pub(super) fn with(mut self, kind: u16, value: &[u8]) -> Self {
        attribute(&mut self.0, kind, value);
        self
    }
}

/// Appends an attribute: length, kind, value, padding to four bytes.
pub(super) fn attribute(bytes: &mut Vec<u8>, kind: u16, value: &[u8]) {
    bytes.extend(((value.len() + 4) as u16).to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend_from_slice(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

/// Marks an attribute that holds others.
pub(super) const NESTED: u16 = 0x8000;

/// The attributes in these bytes: kind and value. Stops at the first that does not fit.
pub(super) fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let [a, b, c, d, ..] = bytes else { return None };
        let len = usize::from(u16::from_ne_bytes([*a, *b]));
        let value = bytes.get(4..len)?;
        bytes = bytes.get(len.next_multiple_of(4)..).unwrap_or(&[]);
        Some((u16::from_ne_bytes([*c, *d]) & 0x3fff, value))
    })
}

/// A big-endian word.
pub(super) fn word(value: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(value.get(..4)?.try_into().ok()?))
}

/// A socket to netfilter in the thread's namespace.
pub(super) struct Socket {
    file: File,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Socket {
    /// Opens one.
    pub(super) fn open() -> io::Result<Self> {
        let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        // SAFETY: takes numbers only.
        let fd = unsafe { libc::socket(libc::AF_NETLINK, kind, libc::NETLINK_NETFILTER) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor has just been opened, and nothing else owns it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        // SAFETY: sockaddr_nl is plain numbers, for all of which zero is a value.
        let mut address: libc::sockaddr_nl = unsafe { std::mem::zeroed() };
        address.nl_family = libc::AF_NETLINK as libc::sa_family_t;
        let len = size_of::<libc::sockaddr_nl>() as libc::socklen_t;
        // SAFETY: the address is of the length given, and is read only.
        if unsafe { libc::bind(fd.as_raw_fd(), (&raw const address).cast(), len) } != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Socket { file: File::from(fd), sequence: 0, buffer: vec![0; 65_536] })
    }

    /// Sends a request that is answered with success or an error.
    pub(super) fn order(&mut self, message: Message) -> io::Result<()> {
        self.send(message, ACKNOWLEDGE)?;
        self.answer().map(|_| ())
    }

    /// Sends a request that is answered with a message: its attributes.
    pub(super) fn ask(&mut self, message: Message) -> io::Result<&[u8]> {
        self.send(message, 0)?;
        self.answer()
    }

    fn send(&mut self, message: Message, flags: u16) -> io::Result<()> {
        let mut bytes = message.0;
        self.sequence = self.sequence.wrapping_add(1);
        let all_flags = u16::from_ne_bytes([bytes[6], bytes[7]]) | flags;
        let len = bytes.len() as u32;
        bytes[..4].copy_from_slice(&len.to_ne_bytes());
        bytes[6..8].copy_from_slice(&all_flags.to_ne_bytes());
        bytes[8..12].copy_from_slice(&self.sequence.to_ne_bytes());
        self.file.write_all(&bytes)
    }

    /// The answer to the last request. What else comes in is passed over.
    fn answer(&mut self) -> io::Result<&[u8]> {
        loop {
            self.wait()?;
            let len = self.file.read(&mut self.buffer)?;
            let Some(header) = self.buffer.get(..HEADER.min(len)).filter(|header| header.len() == HEADER) else {
                continue;
            };
            let kind = u16::from_ne_bytes([header[4], header[5]]);
            let sequence = u32::from_ne_bytes([header[8], header[9], header[10], header[11]]);
            if sequence != self.sequence {
                continue;
            }
            if i32::from(kind) == libc::NLMSG_ERROR {
                let code = self.buffer.get(HEADER..HEADER + 4).and_then(|code| code.try_into().ok());
                return match code.map_or(-libc::EPROTO, i32::from_ne_bytes) {
                    0 => Ok(&[]),
                    code => Err(io::Error::from_raw_os_error(code.wrapping_neg())),
                };
            }
            return Ok(self.buffer.get(HEADER + FAMILY_HEADER..len).unwrap_or(&[]));
        }
    }

    /// The attributes of the next message that was not asked for, if there is one.
    pub(super) fn next(&mut self) -> io::Result<Option<&[u8]>> {
        match self.file.read(&mut self.buffer) {
            Ok(len) => Ok(Some(self.buffer.get(HEADER + FAMILY_HEADER..len).unwrap_or(&[]))),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn wait(&self) -> io::Result<()> {
        let mut poll = libc::pollfd { fd: self.file.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one pollfd is given and one is counted; it outlives the call.
        match unsafe { libc::poll(&raw mut poll, 1, PATIENCE_MS) } {
            1.. => Ok(()),
            0 => Err(io::Error::new(io::ErrorKind::TimedOut, "the kernel does not answer")),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_read_as_written() {
        let mut bytes = Vec::new();
        attribute(&mut bytes, 3, b"abcde");
        attribute(&mut bytes, 4 | NESTED, b"");
        assert_eq!(attributes(&bytes).collect::<Vec<_>>(), [(3, &b"abcde"[..]), (4, &b""[..])]);
        for cut in 0..bytes.len() {
            assert!(attributes(&bytes[..cut]).count() <= 2);
        }
        assert_eq!(attributes(&[2, 0, 1, 0, 9, 9]).count(), 0);
    }
}
