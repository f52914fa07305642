//! Rule changes in mid-replay: which rules are in force at a packet time.

/// Rules that hold from some instant on, until the next.
#[derive(Clone, Debug)]
pub struct Epoch<R> {
    /// First packet time, in ns since 1970, at which they hold; 0 for the first rules.
    pub from_ns: u64,
    /// The rules.
    pub rules: R,
}

/// The rules in force, as packet time goes on.
///
/// A change costs a comparison a packet and touches no table: connections that were accepted live on.
#[derive(Debug)]
pub struct Epochs<'a, R> {
    current: &'a R,
    later: &'a [Epoch<R>],
}

impl<R> Clone for Epochs<'_, R> {
    fn clone(&self) -> Self {
        Epochs { current: self.current, later: self.later }
    }
}

impl<'a, R> Epochs<'a, R> {
    /// Starts with the first of `epochs`, which are in the order of time. `None` if there is none.
    pub fn new(epochs: &'a [Epoch<R>]) -> Option<Self> {
        let (first, later) = epochs.split_first()?;
        Some(Epochs { current: &first.rules, later })
    }

    /// The rules at this packet time, which never goes back.
    #[inline(always)]
    pub fn at(&mut self, time_ns: u64) -> &'a R {
        while let Some(next) = self.later.first()
            && time_ns >= next.from_ns
        {
            self.current = &next.rules;
            self.later = &self.later[1..];
        }
        self.current
    }
}
