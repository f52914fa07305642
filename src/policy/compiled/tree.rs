//! Many rules: an address to the most specific block, then protocol and port to the first rule.
//!
//! Blocks of addresses (CIDR) are nested or apart, so the blocks that hold an address are a chain: the most
//! specific one, the one around it, and so on. Each block has a map from protocol and port to the first
//! of *its own* rules. A lookup finds the most specific block by binary search, begun from an index over the
//! address's upper bits, then walks up the chain, and stops as soon as no block above has an earlier rule.
//! Where memory allows, a block's map already includes those above it: then the chain ends at once.
//! Rules for every address need no block: they have one map, in which every packet is looked up besides.
//!
//! Packets come in no order that a processor could guess, and a wrong guess costs more than a search among ten. So
//! every search of a tree takes the same number of steps, none with a branch: while one packet's wait for
//! memory, the next packet's go on.
//!
//! # Worst case
//! *Memory* is linear: at most 2n + 1 ranges of addresses, 3n own ranges of ports, and [`MERGED`] times n more
//! for maps that include those above. (A rule for one port range of *all* protocols counts as 256; AWS has
//! none.) *Time*: one search among at most 2n + 1 ranges of addresses, one in everybody's map, and one in the map of each
//! block of the chain, of at most 33 for IPv4 and 129 for IPv6, and those only if every length of prefix occurs around one
//! address, with maps too large to be included. A search takes the binary logarithm of the largest map's length in steps.

use super::{Action, KEY_END, Line, key_of};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fmt::Debug;
use std::hint::select_unpredictable;

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
    /// Where its map begins.
    map: u32,
    /// The block around it, if its rules are not in the map.
    above: u32,
    /// The earliest rule of all blocks above, but for everybody's.
    least_above: Action,
}

/// Where ranges of keys begin, and the first rule of each range.
type Map = Vec<(u32, Action)>;

/// The rules of one direction and family.
#[derive(Debug)]
pub(super) struct Tree<A> {
    /// Where ranges of addresses begin; the first is the lowest address, and each ends where the next begins.
    starts: Box<[A]>,
    /// The most specific block of each range.
    ranges: Box<[Block]>,
    index_bits: u32,
    /// The range that holds the lowest address with these upper bits.
    index: Box<[u32]>,
    /// Steps of the search from there.
    range_steps: u32,
    /// Blocks by number, for those inside them.
    blocks: Box<[Block]>,
    maps: Maps,
    /// The map of the rules for every address.
    everybody: Maps,
}

impl<A: Address> Tree<A> {
    pub(super) fn new(lines: &[Line<A>]) -> Self {
        let (everybody, mut sorted): (Vec<&Line<A>>, Vec<_>) =
            lines.iter().partition(|line| line.block == (A::MIN, A::MAX));
        // Blocks around others come first.
        sorted.sort_by_key(|line| (line.block.0, Reverse(line.block.1), line.action));
        let mut ranges = Ranges { starts: vec![A::MIN], blocks: vec![0] };
        let mut blocks = Blocks::new(sorted.len());
        // Around everything, a block without rules. The stack holds the blocks around what comes next.
        let mut stack = vec![(A::MAX, blocks.add(Vec::new(), None))];
        for rules in sorted.chunk_by(|a, b| a.block == b.block) {
            let (first, last) = rules[0].block;
            ranges.leave(&mut stack, Some(first));
            let block = blocks.add(first_rules(rules), stack.last().map(|(_, block)| *block));
            ranges.begin(first, block);
            stack.push((last, block));
        }
        ranges.leave(&mut stack, None);
        let index_bits = (usize::BITS - ranges.starts.len().leading_zeros()).min(MOST_INDEX_BITS);
        let index: Box<[u32]> = (0..1usize << index_bits)
            .map(|upper| ranges.starts.partition_point(|start| *start <= A::from_upper(upper, index_bits)) as u32 - 1)
            .collect();
        let last = ranges.starts.len() as u32 - 1;
        let ends = index[1..].iter().copied().chain([last]);
        let range_steps = index.iter().zip(ends).map(|(first, end)| steps(end - first + 1)).max().unwrap_or(0);
        let mut of_ranges: Vec<Block> = ranges.blocks.iter().map(|block| blocks.blocks[*block as usize]).collect();
        let last = of_ranges[of_ranges.len() - 1];
        pad(&mut ranges.starts, range_steps, A::MAX);
        pad(&mut of_ranges, range_steps, last);
        let mut for_all = Maps::default();
        for_all.add(&first_rules(&everybody));
        Tree {
            index_bits,
            index,
            range_steps,
            starts: ranges.starts.into_boxed_slice(),
            ranges: of_ranges.into_boxed_slice(),
            blocks: blocks.blocks.into_boxed_slice(),
            maps: blocks.maps.finished(),
            everybody: for_all.finished(),
        }
    }

    pub(super) fn bytes(&self) -> usize {
        size_of_val(&self.starts[..])
            + size_of_val(&self.ranges[..])
            + size_of_val(&self.index[..])
            + size_of_val(&self.blocks[..])
            + self.maps.bytes()
            + self.everybody.bytes()
    }

    #[inline]
    pub(super) fn first(&self, address: A, key: u32) -> Action {
        let from = self.index[address.upper(self.index_bits)];
        let range = last_at_most(&self.starts, from as usize, self.range_steps, address);
        let mut block = &self.ranges[range];
        let mut best = self.everybody.first(0, key).min(self.maps.first(block.map, key));
        while block.above != NO_BLOCK && block.least_above < best {
            block = &self.blocks[block.above as usize];
            best = best.min(self.maps.first(block.map, key));
        }
        best
    }
}

/// The last one that is at most `value`, of the 2^`steps` from `from` on, of which the first is. Neither their number nor
/// a branch depends on what is found.
#[inline(always)]
fn last_at_most<T: Copy + Ord>(sorted: &[T], from: usize, steps: u32, value: T) -> usize {
    let window = &sorted[from..][..1 << steps];
    let (mut at, mut half) = (0, window.len() / 2);
    while half > 0 {
        // SAFETY: `at` is a sum of earlier halves and `half` is no more than what is left of them, so that both
        // together are less than the window's length, which is a power of two.
        let middle = unsafe { *window.get_unchecked(at + half) };
        at = select_unpredictable(middle <= value, at + half, at);
        half /= 2;
    }
    from + at
}

/// Steps of a search among so many.
fn steps(count: u32) -> u32 {
    count.next_power_of_two().trailing_zeros()
}

/// Appends what a search of so many steps may look at behind the last.
fn pad<T: Copy>(sorted: &mut Vec<T>, steps: u32, with: T) {
    sorted.resize(sorted.len() + (1 << steps), with);
}

/// Maps, one behind the other.
#[derive(Debug, Default)]
struct Maps {
    /// Where a map's ranges begin, behind the place of the map: so all maps together are sorted, and a search that looks
    /// beyond its own finds only what is higher.
    keys: Vec<u64>,
    actions: Vec<Action>,
    /// Steps of a search in any of them.
    steps: u32,
}

impl Maps {
    /// Appends one, and says where it begins.
    fn add(&mut self, map: &[(u32, Action)]) -> u32 {
        let at = self.keys.len() as u32;
        let default = (map.first().is_none_or(|(start, _)| *start != 0)).then_some((0, Action::NONE));
        for (start, action) in default.iter().chain(map) {
            self.keys.push(tagged(at, *start));
            self.actions.push(*action);
        }
        self.steps = self.steps.max(steps(self.keys.len() as u32 - at));
        at
    }

    /// The map that begins there and ends before `end`.
    fn entries(&self, range: std::ops::Range<u32>) -> Map {
        let range = range.start as usize..range.end as usize;
        let starts = self.keys[range.clone()].iter().map(|key| *key as u32 & (KEY_END - 1));
        starts.zip(self.actions[range].iter().copied()).collect()
    }

    fn finished(mut self) -> Self {
        pad(&mut self.keys, self.steps, u64::MAX);
        self.keys.shrink_to_fit();
        self.actions.shrink_to_fit();
        self
    }

    fn bytes(&self) -> usize {
        size_of_val(&self.keys[..]) + size_of_val(&self.actions[..])
    }

    #[inline(always)]
    fn first(&self, map: u32, key: u32) -> Action {
        self.actions[last_at_most(&self.keys, map as usize, self.steps, tagged(map, key))]
    }
}

/// A key of the map that begins there.
#[inline(always)]
fn tagged(map: u32, key: u32) -> u64 {
    u64::from(map) << KEY_END.trailing_zeros() | u64::from(key)
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

/// Blocks under construction.
struct Blocks {
    blocks: Vec<Block>,
    /// Where each one's map ends, and the earliest rule in it.
    ends: Vec<(u32, Action)>,
    maps: Maps,
    /// Entries that may still be spent on including the maps above.
    budget: usize,
}

impl Blocks {
    fn new(rules: usize) -> Self {
        let budget = (MERGED * rules).max(MERGED_AT_LEAST);
        Blocks { blocks: Vec::new(), ends: Vec::new(), maps: Maps::default(), budget }
    }

    /// A new block with this map, inside that one.
    fn add(&mut self, own: Map, above: Option<u32>) -> u32 {
        let mut block = Block { map: 0, above: NO_BLOCK, least_above: Action::NONE };
        let mut map = own;
        if let Some(above) = above {
            let outer = self.blocks[above as usize];
            let (end, least) = self.ends[above as usize];
            let entries = (end - outer.map) as usize;
            if outer.above == NO_BLOCK && entries <= self.budget {
                self.budget -= entries;
                map = earlier_of(&map, &self.maps.entries(outer.map..end));
            } else {
                (block.above, block.least_above) = (above, least.min(outer.least_above));
            }
        }
        block.map = self.maps.add(&map);
        self.blocks.push(block);
        let least = map.iter().map(|(_, action)| *action).min().unwrap_or(Action::NONE);
        self.ends.push((self.maps.keys.len() as u32, least));
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
        if at == KEY_END {
            break; // No key is as high.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::statistics::Random;

    /// A rule for TCP.
    fn line(first: u32, length: u32, ports: (u32, u32), rule: u32) -> Line<u32> {
        let hosts = u32::MAX.checked_shr(length).unwrap_or(0);
        let block = (first & !hosts, first | hosts);
        Line { block, protocol: Some(6), ports, action: Action::new(rule, true) }
    }

    /// The most that the heading allows, whatever the rules.
    fn assert_bounded(tree: &Tree<u32>, rules: usize) {
        let bits = |count: usize| count.next_power_of_two().trailing_zeros();
        assert!(tree.range_steps <= bits(2 * rules + 1), "{} of addresses", tree.range_steps);
        let largest = (3 + MERGED) * rules + MERGED_AT_LEAST;
        assert!(tree.maps.steps <= bits(largest), "{} in maps", tree.maps.steps);
        assert!(tree.everybody.steps <= bits(3 * rules + 1), "{} for everybody", tree.everybody.steps);
        assert!(tree.maps.actions.len() <= 4 * rules + largest, "{} ranges of ports", tree.maps.actions.len());
        for mut block in &tree.ranges {
            let mut chain = 1;
            while block.above != NO_BLOCK {
                block = &tree.blocks[block.above as usize];
                chain += 1;
            }
            assert!(chain <= 33, "{chain} blocks");
        }
    }

    #[test]
    fn no_rules_make_it_larger_or_slower_than_stated() {
        const RULES: u32 = 4_000;
        let mut random = Random::new(5);
        let mut any = move |below: usize| random.below(below) as u32;
        type Kind<'a> = &'a mut dyn FnMut(u32) -> Line<u32>;
        let nested: Kind =
            &mut |n| line(0x0a01_0203, n * 33 / RULES, (n * 7919 % 60_000, n * 7919 % 60_000 + n % 5), n);
        let crossing: Kind = &mut |n| line(0, 0, (n * 3 % 60_000, 60_000 - n * 5 % 30_000), n);
        let hosts: Kind = &mut |n| line(n * 2, 32, (80, 80), n);
        let one_large: Kind = &mut |n| line(0x0a00_0000 + n * (n % 2), 8 + 24 * (n % 2), (n * 7, n * 7 + 3), n);
        let by_lot: Kind = &mut |n| line(any(1 << 31), any(33), (any(1 << 15), 1 << 15), n);
        for kind in [nested, crossing, hosts, one_large, by_lot] {
            let lines: Vec<Line<u32>> = (0..RULES).map(kind).collect();
            assert_bounded(&Tree::new(&lines), lines.len());
        }
    }
}
