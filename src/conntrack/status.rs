//! What is remembered of every connection, of whatever protocol, in one 32-bit word.

use super::tcp::{Segment, TcpState};
use crate::packet::Direction;

/// Which end of a connection sent a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Side {
    /// The end that sent the first packet.
    Original = 0,
    /// The other end.
    Reply = 1,
}

impl Side {
    /// The other one.
    #[inline(always)]
    pub fn other(self) -> Side {
        match self {
            Side::Original => Side::Reply,
            Side::Reply => Side::Original,
        }
    }
}

/// Class and side of a segment, in four bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct LastSegment(u8);

impl LastSegment {
    #[inline(always)]
    pub(super) fn new(segment: Segment, side: Side) -> Self {
        LastSegment(segment as u8 | (side as u8) << 3)
    }

    /// As stored, in the low four bits.
    #[inline(always)]
    pub(super) fn bits(self) -> u32 {
        u32::from(self.0)
    }

    /// The inverse of [`LastSegment::bits`].
    #[inline(always)]
    pub(super) fn from_bits(bits: u32) -> Self {
        LastSegment(bits as u8)
    }

    #[inline(always)]
    pub(super) fn is(self, segment: Segment) -> bool {
        self.0 & 7 == segment as u8
    }

    #[inline(always)]
    pub(super) fn is_from_side_of(self, other: LastSegment) -> bool {
        (self.0 ^ other.0) & 8 == 0
    }

    #[inline(always)]
    pub(super) fn is_from(self, side: Side) -> bool {
        self.0 >> 3 == side as u8
    }
}

/// Bits of one connection. The TCP bits are zero for other protocols.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Status(u32);

impl Status {
    const STATE: u32 = 0xf;
    const REPLIED: u32 = 1 << 4;
    const ASSURED: u32 = 1 << 5;
    const OPENED_OUT: u32 = 1 << 6;
    const LAST_SHIFT: u32 = 7;
    const LAST: u32 = 15 << Status::LAST_SHIFT;
    const FIN_SEEN: u32 = 1 << 11; // and the next bit: one for each side
    const SIMULTANEOUS: u32 = 1 << 13;
    const CHALLENGE: u32 = 1 << 14;

    /// Number of bits in use.
    pub const BITS: u32 = 15;

    /// A connection whose first packet goes in this direction.
    #[inline(always)]
    pub fn opened_by(direction: Direction) -> Self {
        Status(if direction == Direction::Out { Status::OPENED_OUT } else { 0 })
    }

    /// As stored in a table entry.
    #[inline(always)]
    pub fn bits(self) -> u32 {
        self.0
    }

    /// The inverse of [`Status::bits`].
    #[inline(always)]
    pub fn from_bits(bits: u32) -> Self {
        Status(bits)
    }

    /// The side that a packet in this direction comes from.
    #[inline(always)]
    pub fn side(self, direction: Direction) -> Side {
        let out = direction == Direction::Out;
        if out == (self.0 & Status::OPENED_OUT != 0) { Side::Original } else { Side::Reply }
    }

    /// A packet from the reply side was seen.
    #[inline(always)]
    pub fn replied(self) -> bool {
        self.0 & Status::REPLIED != 0
    }

    pub(super) fn set_replied(&mut self) {
        self.0 |= Status::REPLIED;
    }

    /// Not to be evicted when the table is full.
    #[inline(always)]
    pub fn assured(self) -> bool {
        self.0 & Status::ASSURED != 0
    }

    pub(super) fn set_assured(&mut self) {
        self.0 |= Status::ASSURED;
    }

    /// TCP: the state.
    #[inline(always)]
    pub fn tcp_state(self) -> TcpState {
        TcpState::from_bits(self.0 & Status::STATE)
    }

    #[inline(always)]
    pub(super) fn set_tcp_state(&mut self, state: TcpState) {
        self.0 = self.0 & !Status::STATE | state as u32;
    }

    /// TCP without window checks: the last segment that was taken note of. With them it changes
    /// with nearly every packet and stands in the window data, so that this word seldom changes.
    #[inline(always)]
    pub(super) fn last(self) -> LastSegment {
        LastSegment(((self.0 & Status::LAST) >> Status::LAST_SHIFT) as u8)
    }

    #[inline(always)]
    pub(super) fn set_last(&mut self, last: LastSegment) {
        self.0 = self.0 & !Status::LAST | u32::from(last.0) << Status::LAST_SHIFT;
    }

    /// TCP: this side's FIN began the close.
    #[inline(always)]
    pub(super) fn set_fin_seen(&mut self, side: Side) {
        self.0 |= Status::FIN_SEEN << side as u32;
    }

    pub(super) fn any_fin_seen(self) -> bool {
        self.0 & (Status::FIN_SEEN | Status::FIN_SEEN << 1) != 0
    }

    pub(super) fn clear_fins(&mut self) {
        self.0 &= !(Status::FIN_SEEN | Status::FIN_SEEN << 1);
    }

    pub(super) fn simultaneous_open(self) -> bool {
        self.0 & Status::SIMULTANEOUS != 0
    }

    pub(super) fn set_simultaneous_open(&mut self) {
        self.0 |= Status::SIMULTANEOUS;
    }

    /// A SYN was let through in LAST_ACK: the next ACK may be a challenge (RFC 5961).
    pub(super) fn challenge_expected(self) -> bool {
        self.0 & Status::CHALLENGE != 0
    }

    pub(super) fn set_challenge_expected(&mut self, expected: bool) {
        self.0 = if expected { self.0 | Status::CHALLENGE } else { self.0 & !Status::CHALLENGE };
    }

    /// A SYN that was not believed starts these notes afresh.
    pub(super) fn restart_handshake_notes(&mut self, challenge_expected: bool) {
        self.0 &= !(Status::SIMULTANEOUS | Status::CHALLENGE);
        self.set_challenge_expected(challenge_expected);
    }
}
