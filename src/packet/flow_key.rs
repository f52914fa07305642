//! The flow key: who talks to whom, the same for both directions.

use super::{Packet, flags};

/// Local address, remote address, ports and protocol in five words: 40 bytes for IPv4 and IPv6 alike.
///
/// Hashed and compared by words: `derive(Hash)` would go byte by byte through the hasher.
#[derive(Clone, Copy, Debug, Default, Eq, PartialOrd, Ord)]
pub struct FlowKey {
    /// Local address (2 words), remote address (2 words), ports, protocol and key flags (1 word).
    pub words: [u64; 5],
}

impl FlowKey {
    /// The key of a packet's flow.
    #[inline(always)]
    pub fn of(packet: &Packet) -> Self {
        let half = |bytes: &[u8; 16], i: usize| {
            u64::from_le_bytes([
                bytes[i],
                bytes[i + 1],
                bytes[i + 2],
                bytes[i + 3],
                bytes[i + 4],
                bytes[i + 5],
                bytes[i + 6],
                bytes[i + 7],
            ])
        };
        let tail = u64::from(packet.local_port)
            | u64::from(packet.remote_port) << 16
            | u64::from(packet.protocol) << 32
            | u64::from(packet.flags & flags::KEY_MASK) << 40;
        FlowKey {
            words: [
                half(&packet.local, 0),
                half(&packet.local, 8),
                half(&packet.remote, 0),
                half(&packet.remote, 8),
                tail,
            ],
        }
    }
}

impl PartialEq for FlowKey {
    /// Word by word in line: the derived comparison calls `memcmp`, 9 % of a stateful pass.
    #[inline(always)]
    fn eq(&self, other: &Self) -> bool {
        self.words.iter().zip(&other.words).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
    }
}

impl std::hash::Hash for FlowKey {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.words.iter().for_each(|word| state.write_u64(*word));
    }
}
