//! Which flow sends next: a calendar queue (Brown, 1988), constant work an event for any number of flows.
//!
//! Time is cut into days of a fixed width, and days into years. Each day of this year has a list of its flows; what
//! comes later waits in a list of its year and is dealt out when that begins. A heap would cost a cache miss a level.

/// No flow.
const NONE: u32 = u32::MAX;

#[derive(Clone, Copy)]
struct Entry {
    at: u64,
    next: u32,
}

pub(super) struct Calendar {
    days: Vec<u32>,
    years: Vec<u32>,
    entries: Vec<Entry>,
    /// log2 of a day's width in ns.
    width: u32,
    day: u64,
    /// Flows in lists.
    waiting: usize,
}

/// Days a year: their lists fit the first-level cache's neighbour.
const DAYS: u64 = 1 << 14;
/// Years that have a list of their own; later ones share it.
const YEARS: u64 = 1 << 14;
/// Events on a day, about: few enough to sort, enough that most days have one.
const EVENTS_A_DAY: u64 = 8;

impl Calendar {
    /// For about so many events a second, from this time on.
    pub(super) fn new(events_per_s: u64, start: u64) -> Self {
        let width = (EVENTS_A_DAY * 1_000_000_000 / events_per_s.max(1)).clamp(1, 1 << 40).ilog2();
        let [days, years] = [DAYS, YEARS].map(|lists| vec![NONE; lists as usize]);
        Calendar { days, years, entries: Vec::new(), width, day: start >> width, waiting: 0 }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting == 0
    }

    /// The first moment after the current day.
    pub(super) fn day_ends(&self) -> u64 {
        (self.day + 1) << self.width
    }

    /// Lets a flow wait. False if its time is still today: then it is the caller's to sort in.
    #[inline]
    pub(super) fn add(&mut self, flow: u32, at: u64) -> bool {
        let day = at >> self.width;
        if day <= self.day {
            return false;
        }
        if self.entries.len() <= flow as usize {
            self.entries.resize(flow as usize + 1, Entry { at: 0, next: NONE });
        }
        self.entries[flow as usize].at = at;
        self.list(flow, day);
        self.waiting += 1;
        true
    }

    #[inline]
    fn list(&mut self, flow: u32, day: u64) {
        let year = day / DAYS;
        let list = match year == self.day / DAYS {
            true => &mut self.days[(day % DAYS) as usize],
            false => &mut self.years[(year % YEARS) as usize],
        };
        self.entries[flow as usize].next = std::mem::replace(list, flow);
    }

    /// Deals out the flows of the year that begins.
    fn begin_year(&mut self) {
        let list = (self.day / DAYS % YEARS) as usize;
        let mut flow = std::mem::replace(&mut self.years[list], NONE);
        while flow != NONE {
            let entry = self.entries[flow as usize];
            self.list(flow, entry.at >> self.width);
            flow = entry.next;
        }
    }

    /// Goes on to the next day, or to the day of `no_earlier` if nothing waits, and gives today's flows in order of
    /// time.
    pub(super) fn next_day(&mut self, no_earlier: u64, due: &mut Vec<(u64, u32)>) {
        due.clear();
        self.day += 1;
        if self.is_empty() {
            self.day = self.day.max(no_earlier >> self.width);
            return;
        }
        if self.day.is_multiple_of(DAYS) {
            self.begin_year();
        }
        let mut flow = std::mem::replace(&mut self.days[(self.day % DAYS) as usize], NONE);
        while flow != NONE {
            let entry = self.entries[flow as usize];
            due.push((entry.at, flow));
            self.waiting -= 1;
            flow = entry.next;
        }
        due.sort_unstable();
    }
}

#[cfg(test)]
mod tests {
    use super::super::Random;
    use super::*;

    #[test]
    fn events_come_in_order_of_time_whatever_the_width() {
        for rate in [1, 1000, 1_000_000_000] {
            let mut calendar = Calendar::new(rate, 0);
            let mut random = Random::new(rate);
            let mut times: Vec<u64> = (0..2000).map(|_| random.draw() >> 40).collect();
            let added = times.iter().zip(0..).filter(|(at, flow)| calendar.add(*flow, **at)).count();
            let (mut found, mut due) = (Vec::new(), Vec::new());
            while !calendar.is_empty() {
                calendar.next_day(0, &mut due);
                found.extend(due.iter().map(|(at, _)| *at));
            }
            times.sort_unstable();
            assert_eq!(found, times[times.len() - added..], "{rate}");
        }
    }
}
