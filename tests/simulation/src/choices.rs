//! Where every decision comes from: a seed, a recording, or the next of all sequences that there are.
//!
//! What happens in a world depends on nothing else, so a sequence of choices is the world. The choice 0 is the simplest
//! everywhere: nothing goes wrong, the first in line is next, the shortest will do.

/// The decisions of one world, those to come and those that were taken.
#[derive(Debug)]
pub struct Choices {
    source: Source,
    taken: Vec<Choice>,
}

#[derive(Debug)]
enum Source {
    Seed(u64),
    /// What is given first; after that, always 0.
    Given(std::vec::IntoIter<usize>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Choice {
    index: usize,
    of: usize,
}

impl Choices {
    /// Decisions that look random and are the same each time.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Self { source: Source::Seed(seed), taken: Vec::new() }
    }

    /// These decisions, and the simplest ones from there on. One that is out of range counts as the last of its range.
    #[must_use]
    pub fn given(sequence: Vec<usize>) -> Self {
        Self { source: Source::Given(sequence.into_iter()), taken: Vec::new() }
    }

    /// One of `of` possibilities. There must be at least one; if there is just one, nothing was decided.
    pub fn choose(&mut self, of: usize) -> usize {
        if of < 2 {
            return 0;
        }
        let index = match &mut self.source {
            Source::Seed(state) => usize::try_from(next(state) % of as u64).unwrap_or(0),
            Source::Given(sequence) => sequence.next().unwrap_or(0).min(of - 1),
        };
        self.taken.push(Choice { index, of });
        index
    }

    /// One of these.
    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.choose(from.len())]
    }

    /// Yes or no. A seed says yes once in `odds` times.
    pub fn rarely(&mut self, odds: u64) -> bool {
        let index = match &mut self.source {
            Source::Seed(state) => usize::from(next(state).is_multiple_of(odds)),
            Source::Given(sequence) => sequence.next().unwrap_or(0).min(1),
        };
        self.taken.push(Choice { index, of: 2 });
        index == 1
    }

    /// What was decided so far, without the simplest decisions at its end.
    #[must_use]
    pub fn sequence(&self) -> Vec<usize> {
        let mut sequence: Vec<usize> = self.taken.iter().map(|choice| choice.index).collect();
        while sequence.last() == Some(&0) {
            sequence.pop();
        }
        sequence
    }

    /// The next sequence after this one, depth first, as if this were the dial of an odometer; none after the last.
    #[must_use]
    pub fn following(&self) -> Option<Vec<usize>> {
        let turned = self.taken.iter().rposition(|choice| choice.index + 1 < choice.of)?;
        let mut sequence: Vec<usize> = self.taken[..=turned].iter().map(|choice| choice.index).collect();
        sequence[turned] += 1;
        Some(sequence)
    }
}

/// SplitMix64: a counter, well stirred.
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_decides_the_same_each_time_and_another_seed_otherwise() {
        let decide = |seed| (0..64).map(|_| 10).scan(Choices::seeded(seed), |all, of| Some(all.choose(of))).collect();
        let (first, again, other): (Vec<_>, Vec<_>, Vec<_>) = (decide(1), decide(1), decide(2));
        assert_eq!(first, again);
        assert_ne!(first, other);
    }

    #[test]
    fn an_odometer_comes_by_every_sequence_once() {
        let (mut next, mut seen) = (Some(Vec::new()), Vec::new());
        while let Some(sequence) = next {
            let mut choices = Choices::given(sequence);
            let first = choices.choose(3);
            let second = if first == 1 { 0 } else { choices.choose(2) };
            seen.push((first, second));
            next = choices.following();
        }
        assert_eq!(seen, [(0, 0), (0, 1), (1, 0), (2, 0), (2, 1)]);
    }
}
