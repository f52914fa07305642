//! A value that can be put elsewhere in memory.
//!
//! Where a few hot words lie, such as the counters of a table, makes the same engine faster or slower by one or two
//! percent, for as long as they lie there: `benches/planted` found it, as others have before (Mytkowicz, Diwan, Hauswirth,
//! Sweeney, "Producing Wrong Data Without Doing Anything Obviously Wrong!", ASPLOS 2009).

use crate::measure::statistics::Random;

/// Places to choose from, one behind the other.
const PLACES: usize = 64;

/// A value in one of several places.
pub(crate) struct Movable<T> {
    places: Vec<Option<T>>,
    at: usize,
}

impl<T> Movable<T> {
    pub(crate) fn new(value: T) -> Self {
        let mut places: Vec<Option<T>> = std::iter::repeat_with(|| None).take(PLACES).collect();
        places[0] = Some(value);
        Movable { places, at: 0 }
    }

    /// Puts the value into another place, or the same, whichever is drawn.
    pub(crate) fn put_elsewhere(&mut self, random: &mut Random) {
        let to = random.below(self.places.len());
        self.places.swap(self.at, to);
        self.at = to;
    }

    pub(crate) fn get(&self) -> &T {
        match &self.places[self.at] {
            Some(value) => value,
            None => unreachable!("it is where it was put"),
        }
    }

    pub(crate) fn get_mut(&mut self) -> &mut T {
        match &mut self.places[self.at] {
            Some(value) => value,
            None => unreachable!("it is where it was put"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn the_value_moves_and_stays_the_same() {
        let (mut random, mut addresses) = (Random::new(1), HashSet::new());
        let mut value = Movable::new([7u64; 9]);
        for _ in 0..1000 {
            value.put_elsewhere(&mut random);
            assert_eq!(value.get(), &[7; 9]);
            value.get_mut()[3] = 7;
            addresses.insert(std::ptr::from_ref(value.get()).addr());
        }
        assert_eq!(addresses.len(), PLACES);
    }
}
