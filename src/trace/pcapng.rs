//! The pcapng format (draft-ietf-opsawg-pcapng): sections, interfaces, packets; other blocks are passed by.
//!
//! Blocks are found by `pcap-file`. What is in them is read here: `pcap-file` ends at an interface or a packet that it
//! cannot read, where the blocks after it are whole, knows no times finer than a nanosecond, and lists each packet's
//! options in memory of their own.

use super::Frame;
use super::record::{Order, Stop};
use byteorder_slice::{BigEndian, LittleEndian};
use pcap_file::pcapng::{PcapNgFormatError, RawBlock, RawBlockParseError};

/// A pcapng file, as far as it was read.
#[derive(Clone, Debug)]
pub(super) struct PcapNg {
    order: Order,
    version: (u16, u16),
    /// Of this section.
    interfaces: Vec<Interface>,
    /// Time of the last packet: simple packets have none of their own.
    last_ns: u64,
    pub(super) snaplen: u32,
    pub(super) bad_blocks: u64,
}

#[derive(Clone, Copy, Debug)]
struct Interface {
    link_type: u16,
    snaplen: u32,
    /// `if_tsresol`: 10^-n of a second, or 2^-n with the highest bit.
    resolution: u8,
    /// `if_tsoffset`, in seconds.
    offset_s: i64,
}

/// Block types.
mod block {
    pub const SECTION: u32 = 0x0a0d_0d0a;
    pub const INTERFACE: u32 = 1;
    /// Obsolete, but found.
    pub const PACKET: u32 = 2;
    pub const SIMPLE_PACKET: u32 = 3;
    pub const ENHANCED_PACKET: u32 = 6;
}

/// A block without its body: type, two lengths.
const FRAMING: usize = 12;
/// A section's first field: tells its byte order.
const MAGIC: u32 = 0x1a2b_3c4d;

/// Microseconds, where an interface does not say.
const DEFAULT_RESOLUTION: u8 = 6;

impl Interface {
    fn read(order: Order, body: &[u8]) -> Option<Self> {
        let fixed = body.first_chunk::<8>()?;
        let mut interface = Interface {
            link_type: order.u16(fixed, 0),
            snaplen: order.u32(fixed, 4),
            resolution: DEFAULT_RESOLUTION,
            offset_s: 0,
        };
        let mut options = &body[8..];
        while let Some(head) = options.first_chunk::<4>() {
            let (code, len) = (order.u16(head, 0), usize::from(order.u16(head, 2)));
            let Some(value) = options.get(4..4 + len) else { break };
            match (code, value) {
                (0, _) => break,
                (9, [resolution]) => interface.resolution = *resolution,
                (14, value) if len == 8 => {
                    let (first, second) = (u64::from(order.u32(value, 0)), u64::from(order.u32(value, 4)));
                    interface.offset_s = match order {
                        Order::Little => first | second << 32,
                        Order::Big => first << 32 | second,
                    } as i64;
                }
                _ => {}
            }
            options = options.get(4 + len.next_multiple_of(4)..).unwrap_or(&[]);
        }
        Some(interface)
    }

    /// A time of this interface in ns since 1970, as near as 64 bits can hold it.
    #[inline]
    fn time_ns(&self, high: u32, low: u32) -> u64 {
        let ticks = u128::from(u64::from(high) << 32 | u64::from(low));
        let exponent = u32::from(self.resolution & 0x7f);
        let ns = match (self.resolution & 0x80 != 0, exponent) {
            (true, _) => (ticks * 1_000_000_000) >> exponent,
            (false, 0..=9) => ticks * 10u128.pow(9 - exponent),
            (false, _) => 10u128.checked_pow(exponent - 9).map_or(0, |divisor| ticks / divisor),
        };
        // Less than 2^94, and less than 2^93.
        let ns = ns as i128 + i128::from(self.offset_s) * 1_000_000_000;
        ns.clamp(0, i128::from(u64::MAX)) as u64
    }
}

impl PcapNg {
    /// Looks at the header of the first section.
    pub(super) fn begin(bytes: &[u8]) -> Result<Self, String> {
        let mut format = PcapNg {
            order: Order::Little,
            version: (0, 0),
            interfaces: Vec::new(),
            last_ns: 0,
            snaplen: 0,
            bad_blocks: 0,
        };
        match format.next_block(bytes) {
            Ok((_, body)) => format.section(body).map(|()| format),
            Err(Stop::Damaged(reason)) => Err(reason),
            Err(Stop::More { needed }) => Err(format!("it needs {needed} bytes where {} are left", bytes.len())),
            Err(Stop::End) => Err("nothing is left".into()),
        }
    }

    pub(super) fn name(&self) -> String {
        format!("pcapng ({}.{}, {})", self.version.0, self.version.1, self.order.name())
    }

    /// Type and body of the block that `bytes` begins with. A section's header turns the byte order.
    #[inline]
    fn next_block<'a>(&mut self, bytes: &'a [u8]) -> Result<(u32, &'a [u8]), Stop> {
        if bytes.len() < FRAMING {
            return Err(if bytes.is_empty() { Stop::End } else { Stop::More { needed: FRAMING as u64 } });
        }
        let block = match self.order {
            Order::Little => RawBlock::from_slice::<LittleEndian>(bytes),
            Order::Big => RawBlock::from_slice::<BigEndian>(bytes),
        };
        let (_, block) = block.map_err(stop)?;
        let body = &bytes[8..block.initial_len as usize - 4];
        if block.type_ == block::SECTION {
            self.order = if body.starts_with(&MAGIC.to_le_bytes()) { Order::Little } else { Order::Big };
        }
        Ok((block.type_, body))
    }

    fn section(&mut self, body: &[u8]) -> Result<(), String> {
        let Some(head) = body.first_chunk::<16>() else {
            return Err(format!("a section header of {} bytes", body.len()));
        };
        self.version = (self.order.u16(head, 4), self.order.u16(head, 6));
        self.interfaces.clear();
        match self.version.0 {
            1 => Ok(()),
            major => Err(format!("a section of version {major}, which is not known")),
        }
    }

    #[inline]
    pub(super) fn walk(&mut self, bytes: &[u8], mut found: impl FnMut(Frame)) -> (usize, Stop) {
        let mut at = 0;
        loop {
            let (kind, body) = match self.next_block(&bytes[at..]) {
                Ok(block) => block,
                Err(stop) => return (at, stop),
            };
            match kind {
                block::SECTION => {
                    if let Err(reason) = self.section(body) {
                        return (at, Stop::Damaged(reason));
                    }
                }
                block::INTERFACE => {
                    let interface = Interface::read(self.order, body);
                    self.bad_blocks += u64::from(interface.is_none());
                    // Later interfaces keep their numbers.
                    const UNKNOWN: Interface =
                        Interface { link_type: u16::MAX, snaplen: 0, resolution: DEFAULT_RESOLUTION, offset_s: 0 };
                    let interface = interface.unwrap_or(UNKNOWN);
                    self.snaplen = self.snaplen.max(interface.snaplen);
                    self.interfaces.push(interface);
                }
                block::PACKET | block::SIMPLE_PACKET | block::ENHANCED_PACKET => match self.packet(kind, body) {
                    Some(frame) => {
                        self.last_ns = frame.time_ns;
                        found(Frame { offset: frame.offset + at as u64 + 8, ..frame });
                    }
                    None => self.bad_blocks += 1,
                },
                _ => {}
            }
            at += body.len() + FRAMING;
        }
    }

    /// The frame of a packet block; its offset is the one in the body.
    #[inline]
    fn packet(&self, kind: u32, body: &[u8]) -> Option<Frame> {
        let order = self.order;
        if kind == block::SIMPLE_PACKET {
            // Of the first interface, and as long as the rest of the fields leave it.
            let (interface, wire) = (self.interfaces.first()?, order.u32(body.first_chunk::<4>()?, 0));
            let limit = if interface.snaplen == 0 { u32::MAX } else { interface.snaplen };
            let captured = wire.min(limit);
            return (captured as usize <= body.len() - 4).then_some(Frame {
                offset: 4,
                captured,
                wire,
                time_ns: self.last_ns,
                link_type: interface.link_type,
                part: 0,
            });
        }
        let head = body.first_chunk::<20>()?;
        let interface = match kind {
            block::PACKET => usize::from(order.u16(head, 0)),
            _ => order.u32(head, 0) as usize,
        };
        let interface = self.interfaces.get(interface)?;
        let captured = order.u32(head, 12);
        (captured as usize <= body.len() - 20).then(|| Frame {
            offset: 20,
            captured,
            wire: order.u32(head, 16),
            time_ns: interface.time_ns(order.u32(head, 4), order.u32(head, 8)),
            link_type: interface.link_type,
            part: 0,
        })
    }
}

/// Why there is no block.
#[cold]
fn stop(error: RawBlockParseError) -> Stop {
    Stop::Damaged(match error {
        // Counted from the field after the length.
        RawBlockParseError::IncompleteBuffer(needed, _) => return Stop::More { needed: needed as u64 + 8 },
        RawBlockParseError::InvalidFormat(error) => match error {
            PcapNgFormatError::InvalidMagicNumber(_) => "a section without the byte-order magic".into(),
            PcapNgFormatError::BlockNotAligned(len) | PcapNgFormatError::BlockTooShort(_, len) => {
                format!("a block of length {len}")
            }
            PcapNgFormatError::BlockLengthMismatch(stated, again) => {
                format!("a block of length {stated} whose end says {again}")
            }
            other => other.to_string(),
        },
    })
}
