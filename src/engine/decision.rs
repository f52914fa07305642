//! What an engine says of a packet, in one word: verdict, connection state and reason.

use std::fmt;

/// Accept or drop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Verdict {
    /// The packet passes.
    Accept = 0,
    /// The packet is dropped.
    Drop = 1,
}

/// The connection-tracking state of a packet, as nf_conntrack labels it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum State {
    /// No tracking: a stateless engine.
    None = 0,
    /// Opens a connection, or belongs to one that has seen no reply yet.
    New = 1,
    /// Belongs to a connection that has seen both directions.
    Established = 2,
    /// An ICMP error about a known connection.
    Related = 3,
    /// Cannot be attributed to a connection.
    Invalid = 4,
    /// Exempt from tracking.
    Untracked = 5,
}

/// Why the verdict is what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Reason {
    /// A rule matched; [`Decision::rule`] says which.
    Rule = 0,
    /// No rule matched: the implicit deny.
    NoRule = 1,
    /// Part of a tracked connection.
    Tracked = 2,
    /// INVALID packets are dropped.
    Invalid = 3,
    /// A new connection, but the table is full.
    TableFull = 4,
    /// The datagram was never completed, so the fragment is never forwarded.
    FragmentIncomplete = 5,
    /// The `null` engine accepts without looking.
    Null = 6,
    /// A new connection beyond the instance's allowance.
    AllowanceExceeded = 7,
}

/// A packed decision: what a worker stores per packet, 4 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Decision(u32);

impl Decision {
    /// Largest rule index that fits.
    pub const MAX_RULE: u32 = (1 << 24) - 1;

    /// A decision without a rule.
    #[inline(always)]
    pub const fn new(verdict: Verdict, state: State, reason: Reason) -> Self {
        Decision(verdict as u32 | (state as u32) << 1 | (reason as u32) << 4)
    }

    /// A decision by the rule with this index in its rule set.
    #[inline(always)]
    pub const fn by_rule(verdict: Verdict, state: State, rule: u32) -> Self {
        Decision(Decision::new(verdict, state, Reason::Rule).0 | rule << 8)
    }

    /// Accept or drop.
    #[inline(always)]
    pub fn verdict(self) -> Verdict {
        if self.0 & 1 == 0 { Verdict::Accept } else { Verdict::Drop }
    }

    /// The packet's connection state.
    #[inline(always)]
    pub fn state(self) -> State {
        match self.0 >> 1 & 7 {
            0 => State::None,
            1 => State::New,
            2 => State::Established,
            3 => State::Related,
            4 => State::Invalid,
            _ => State::Untracked,
        }
    }

    /// Why.
    #[inline(always)]
    pub fn reason(self) -> Reason {
        match self.0 >> 4 & 15 {
            0 => Reason::Rule,
            1 => Reason::NoRule,
            2 => Reason::Tracked,
            3 => Reason::Invalid,
            4 => Reason::TableFull,
            5 => Reason::FragmentIncomplete,
            6 => Reason::Null,
            _ => Reason::AllowanceExceeded,
        }
    }

    /// The index of the deciding rule, if a rule decided.
    #[inline(always)]
    pub fn rule(self) -> Option<u32> {
        (self.reason() == Reason::Rule).then_some(self.0 >> 8)
    }

    /// Verdict, state and reason without the rule: an index below [`Decision::KINDS`].
    #[inline(always)]
    pub fn kind(self) -> usize {
        (self.0 & 0xff) as usize
    }

    /// A decision of this kind, without a rule.
    pub(crate) const fn of_kind(kind: u8) -> Self {
        Decision(kind as u32)
    }

    /// One more than the largest [`Decision::kind`].
    pub const KINDS: usize = 256;
}

impl fmt::Debug for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}/{:?}/{:?}", self.verdict(), self.state(), self.reason())?;
        match self.rule() {
            Some(rule) => write!(f, "#{rule}"),
            None => Ok(()),
        }
    }
}

impl Verdict {
    /// The word of the verdict CSV.
    pub fn name(self) -> &'static str {
        match self {
            Verdict::Accept => "accept",
            Verdict::Drop => "drop",
        }
    }
}

impl State {
    /// The word of the verdict CSV.
    pub fn name(self) -> &'static str {
        match self {
            State::None => "-",
            State::New => "new",
            State::Established => "established",
            State::Related => "related",
            State::Invalid => "invalid",
            State::Untracked => "untracked",
        }
    }
}
