//! Many rules: an address to the most specific block, then protocol and port to the first rule.
//!
//! Blocks of addresses (CIDR) are nested or apart, so the blocks that hold an address are a chain: the most
//! specific one, the one around it, and so on. Each block has a map from protocol and port to the first
//! of *its own* rules. A lookup finds the most specific block by binary search, begun from an index over the
//! address's upper bits, then walks up the chain, and stops as soon as no block above has an earlier rule.
//! Where memory allows, a block's map already includes those above it: then the chain ends at once.
//!
//! # Worst case
//! *Memory* is linear: at most 2n + 1 ranges of addresses, 3n own ranges of ports, and [`MERGED`] times n more
//! for maps that include those above. (A rule for one port range of *all* protocols counts as 256; AWS has
//! none.) *Time*: a binary search among 2n + 1 ranges, and one among a block's ports for each block of the
//! chain: at most 33 for IPv4 and 129 for IPv6, and those only if every length of prefix occurs around one
//! address, with maps too large to be included.

use super::{Action, KEY_END, Line, key_of};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fmt::Debug;

/// An address as a number.
pub(super) trait Address: Copy + Ord + Debug {
    const MIN: Self;
    const MAX: Self;
    /// The upper bits, so many.
    fn upper(self, bits: u32) -> usize;
    /// The lowest address with these upper bits.
    fn from_upper(upper: usize, bits: u32) -> Self;
    /// The one after it, if it is not the last.
    fn next(self) -> Option<Self>;
}

macro_rules! address {
    ($number:ty) => {
        impl Address for $number {
            const MIN: Self = 0;
            const MAX: Self = <$number>::MAX;
            #[inline(always)]
            fn upper(self, bits: u32) -> usize {
                (self >> (<$number>::BITS - bits)) as usize
            }
            fn from_upper(upper: usize, bits: u32) -> Self {
                (upper as Self) << (<$number>::BITS - bits)
            }
            fn next(self) -> Option<Self> {
                self.checked_add(1)
            }
        }
    };
}
address!(u32);
address!(u128);

/// Maps that include those above them take at most so many times the number of rules, and some.
const MERGED: usize = 16;
const MERGED_AT_LEAST: usize = 4096;

/// An index over more bits than these does not fit into the cache.
const MOST_INDEX_BITS: u32 = 16;

const NO_BLOCK: u32 = u32::MAX;

/// A block of addresses.
#[derive(Clone, Copy, Debug)]
struct Block {
    /// Its map, in `keys` and `actions`.
    from: u32,
    to: u32,
    /// The block around it, if its rules are not in the map.
    above: u32,
    /// The earliest rule of all blocks above.
    least_above: Action,
}

/// Where ranges of keys begin, and the first rule of each range.
type Map = Vec<(u32, Action)>;

/// The rules of one direction and family.
#[derive(Debug)]
pub(super) struct Tree<A> {
    /// Where ranges of addresses begin. Two sentinels: the first is the lowest address, and each ends where the
    /// next begins.
    starts: Box<[A]>,
    /// The most specific block of each range.
    blocks_of: Box<[u32]>,
    index_bits: u32,
    /// The range that holds the lowest address with these upper bits.
    index: Box<[u32]>,
    blocks: Box<[Block]>,
    keys: Box<[u32]>,
    actions: Box<[Action]>,
}

impl<A: Address> Tree<A> {
    pub(super) fn new(lines: &[Line<A>]) -> Self {
        let mut sorted: Vec<&Line<A>> = lines.iter().collect();
        // Blocks around others come first.
        sorted.sort_by_key(|line| (line.block.0, Reverse(line.block.1), line.action));
        let mut ranges = Ranges { starts: vec![A::MIN], blocks: vec![0] };
        let mut maps = Maps::new(lines.len());
        // Around everything, a block without rules. The stack holds the blocks around what comes next.
        let mut stack = vec![(A::MAX, maps.add(Vec::new(), None))];
        for rules in sorted.chunk_by(|a, b| a.block == b.block) {
            let (first, last) = rules[0].block;
            ranges.leave(&mut stack, Some(first));
            let block = maps.add(first_rules(rules), stack.last().map(|(_, block)| *block));
            ranges.begin(first, block);
            stack.push((last, block));
        }
        ranges.leave(&mut stack, None);
        let index_bits = (usize::BITS - ranges.starts.len().leading_zeros()).min(MOST_INDEX_BITS);
        let index = (0..=1usize << index_bits).map(|upper| match upper >> index_bits {
            0 => ranges.starts.partition_point(|start| *start <= A::from_upper(upper, index_bits)) as u32 - 1,
            _ => ranges.starts.len() as u32 - 1,
        });
        Tree {
            index_bits,
            index: index.collect(),
            starts: ranges.starts.into_boxed_slice(),
            blocks_of: ranges.blocks.into_boxed_slice(),
            blocks: maps.blocks.into_boxed_slice(),
            keys: maps.keys.into_boxed_slice(),
            actions: maps.actions.into_boxed_slice(),
        }
    }

    pub(super) fn bytes(&self) -> usize {
        size_of_val(&self.starts[..])
            + size_of_val(&self.blocks_of[..])
            + size_of_val(&self.index[..])
            + size_of_val(&self.blocks[..])
            + size_of_val(&self.keys[..])
            + size_of_val(&self.actions[..])
    }

    #[inline]
    pub(super) fn first(&self, address: A, key: u32) -> Action {
        let upper = address.upper(self.index_bits);
        let (low, high) = (self.index[upper] as usize, self.index[upper + 1] as usize);
        let range = low + self.starts[low + 1..=high].partition_point(|start| *start <= address);
        let mut block = &self.blocks[self.blocks_of[range] as usize];
        let mut best = self.in_map(block, key);
        while block.above != NO_BLOCK && block.least_above < best {
            block = &self.blocks[block.above as usize];
            best = best.min(self.in_map(block, key));
        }
        best
    }

    #[inline(always)]
    fn in_map(&self, block: &Block, key: u32) -> Action {
        let (from, to) = (block.from as usize, block.to as usize);
        // The first range of every map begins at 0.
        self.actions[from + self.keys[from..to].partition_point(|start| *start <= key) - 1]
    }
}

/// Ranges of addresses under construction.
struct Ranges<A> {
    starts: Vec<A>,
    blocks: Vec<u32>,
}

impl<A: Address> Ranges<A> {
    /// From this address on, this block is the most specific one.
    fn begin(&mut self, start: A, block: u32) {
        if self.starts.last() == Some(&start) {
            self.blocks.pop();
        } else {
            self.starts.push(start);
        }
        self.blocks.push(block);
    }

    /// Leaves the blocks that end before this address; `None`: all of them.
    fn leave(&mut self, stack: &mut Vec<(A, u32)>, before: Option<A>) {
        while let &[.., (_, around), (last, _)] = stack.as_slice()
            && before.is_none_or(|before| last < before)
        {
            stack.pop();
            if let Some(next) = last.next() {
                self.begin(next, around);
            }
        }
    }
}

/// Maps under construction.
struct Maps {
    blocks: Vec<Block>,
    keys: Vec<u32>,
    actions: Vec<Action>,
    /// Entries that may still be spent on including the maps above.
    budget: usize,
}

impl Maps {
    fn new(rules: usize) -> Self {
        let budget = (MERGED * rules).max(MERGED_AT_LEAST);
        Maps { blocks: Vec::new(), keys: Vec::new(), actions: Vec::new(), budget }
    }

    /// A new block with this map, inside that one.
    fn add(&mut self, own: Map, above: Option<u32>) -> u32 {
        let own = if own.first().is_some_and(|(start, _)| *start == 0) {
            own
        } else {
            std::iter::once((0, Action::NONE)).chain(own).collect()
        };
        let mut block = Block { from: self.keys.len() as u32, to: 0, above: NO_BLOCK, least_above: Action::NONE };
        let mut map = own;
        if let Some(above) = above {
            let outer = self.blocks[above as usize];
            let entries = outer.from as usize..outer.to as usize;
            if outer.above == NO_BLOCK && entries.len() <= self.budget {
                self.budget -= entries.len();
                let outer: Map =
                    self.keys[entries.clone()].iter().copied().zip(self.actions[entries].iter().copied()).collect();
                map = earlier_of(&map, &outer);
            } else {
                let least = self.actions[entries].iter().copied().min().unwrap_or(Action::NONE);
                (block.above, block.least_above) = (above, least.min(outer.least_above));
            }
        }
        let (keys, actions): (Vec<u32>, Vec<Action>) = map.into_iter().unzip();
        self.keys.extend(keys);
        self.actions.extend(actions);
        block.to = self.keys.len() as u32;
        self.blocks.push(block);
        self.blocks.len() as u32 - 1
    }
}

/// Of rules for the same addresses, the first for each key.
fn first_rules<A>(rules: &[&Line<A>]) -> Map {
    let mut ranges: Vec<(u32, u32, Action)> = Vec::new();
    for rule in rules {
        let (low, high) = rule.ports;
        match rule.protocol {
            Some(protocol) => ranges.push((key_of(protocol, low), key_of(protocol, high) + 1, rule.action)),
            None if rule.ports == (0, super::NO_PORT) => ranges.push((0, KEY_END, rule.action)),
            None => ranges.extend((0..=255).map(|p| (key_of(p, low), key_of(p, high) + 1, rule.action))),
        }
    }
    ranges.sort_unstable();
    let mut ends: Vec<u32> = ranges.iter().map(|(_, end, _)| *end).collect();
    ends.sort_unstable();
    let mut map = Map::new();
    // The rules whose range has begun, the earliest on top; those that have ended are dropped when they come up.
    let mut open: BinaryHeap<Reverse<(Action, u32)>> = BinaryHeap::new();
    let (mut begun, mut ended) = (0, 0);
    while begun < ranges.len() || ended < ends.len() {
        let at = match (ranges.get(begun), ends.get(ended)) {
            (Some((start, ..)), Some(end)) => *start.min(end),
            (Some((start, ..)), None) => *start,
            (None, Some(end)) => *end,
            (None, None) => break,
        };
        while let Some((_, end, action)) = ranges.get(begun).filter(|(start, ..)| *start == at) {
            open.push(Reverse((*action, *end)));
            begun += 1;
        }
        while ends.get(ended) == Some(&at) {
            ended += 1;
        }
        while open.peek().is_some_and(|Reverse((_, end))| *end <= at) {
            open.pop();
        }
        push(&mut map, at, open.peek().map_or(Action::NONE, |Reverse((action, _))| *action));
    }
    map
}

/// Both maps in one: the earlier rule of both for each key.
fn earlier_of(a: &Map, b: &Map) -> Map {
    let mut map = Map::with_capacity(a.len() + b.len());
    let (mut rest_a, mut rest_b) = (a.as_slice(), b.as_slice());
    let (mut now_a, mut now_b) = (Action::NONE, Action::NONE);
    loop {
        let at = match (rest_a.first(), rest_b.first()) {
            (Some(a), Some(b)) => a.0.min(b.0),
            (Some(next), None) | (None, Some(next)) => next.0,
            (None, None) => return map,
        };
        for (rest, now) in [(&mut rest_a, &mut now_a), (&mut rest_b, &mut now_b)] {
            if let Some(((start, action), tail)) = rest.split_first()
                && *start == at
            {
                (*now, *rest) = (*action, tail);
            }
        }
        push(&mut map, at, now_a.min(now_b));
    }
}

fn push(map: &mut Map, start: u32, action: Action) {
    if map.last().is_none_or(|(_, last)| *last != action) {
        map.push((start, action));
    }
}
