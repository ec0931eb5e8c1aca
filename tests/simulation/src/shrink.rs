//! Makes a world that fails simpler, as long as it fails in the same way.

use crate::choices::Choices;
use crate::run::{Cast, Ended, run};
use crate::script::Size;

/// A world in which an invariant does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What was decided: [`Choices::given`] this, the world fails again.
    pub sequence: Vec<usize>,
    /// How it ended.
    pub ended: Ended,
}

/// More attempts than are worth it.
const ATTEMPTS: usize = 5_000;

/// The simplest world that fails as this one does, as far as leaving out and lowering choices leads to one. It is told.
#[must_use]
pub fn shrink(cast: &Cast, size: Size, failure: &Failure) -> Failure {
    let mut search = Search { cast, size, best: failure.clone(), attempts: 0 };
    while search.leave_out() | search.lower() {}
    let sequence = search.best.sequence;
    let ended = run(cast, size, &mut Choices::given(sequence.clone()), true);
    Failure { sequence, ended }
}

/// The simplest plan that fails as this one does, as far as steps to simpler ones lead to one.
pub(crate) fn simplest<P: Clone, V: PartialEq>(
    plan: &P,
    simpler: impl Fn(&P) -> Vec<P>,
    violated: impl Fn(&P) -> Option<V>,
) -> P {
    let mut best = plan.clone();
    let Some(violation) = violated(&best) else { return best };
    while let Some(simpler) = simpler(&best).into_iter().find(|plan| violated(plan).as_ref() == Some(&violation)) {
        best = simpler;
    }
    best
}

struct Search<'a> {
    cast: &'a Cast,
    size: Size,
    best: Failure,
    attempts: usize,
}

impl Search<'_> {
    /// Leaves out runs of choices, long ones first.
    fn leave_out(&mut self) -> bool {
        let (mut better, mut length) = (false, self.best.sequence.len());
        while length > 0 {
            let mut from = 0;
            while from + length <= self.best.sequence.len() {
                let mut sequence = self.best.sequence.clone();
                sequence.drain(from..from + length);
                if self.attempt(sequence) {
                    better = true;
                } else {
                    from += length.div_ceil(2);
                }
            }
            length /= 2;
        }
        better
    }

    /// Makes each choice simpler: the simplest, half, or one less.
    fn lower(&mut self) -> bool {
        let mut better = false;
        for place in 0..self.best.sequence.len() {
            let Some(choice) = self.best.sequence.get(place).copied() else { break };
            for lower in [0, choice / 2, choice.saturating_sub(1)] {
                let mut sequence = self.best.sequence.clone();
                sequence[place] = lower;
                if lower < choice && self.attempt(sequence) {
                    better = true;
                    break;
                }
            }
        }
        better
    }

    /// Keeps a sequence if its world fails in the same way and is simpler: of fewer steps, or of fewer or lower choices.
    fn attempt(&mut self, sequence: Vec<usize>) -> bool {
        self.attempts += 1;
        if self.attempts > ATTEMPTS {
            return false;
        }
        let mut choices = Choices::given(sequence);
        let ended = run(self.cast, self.size, &mut choices, false);
        let invariant = |ended: &Ended| ended.violation.as_ref().map(|violation| violation.invariant);
        let failure = Failure { sequence: choices.sequence(), ended };
        let simpler = weight(&failure) < weight(&self.best);
        if simpler && invariant(&failure.ended) == invariant(&self.best.ended) {
            self.best = failure;
            return true;
        }
        false
    }
}

fn weight(failure: &Failure) -> (usize, usize, &[usize]) {
    (failure.ended.steps, failure.sequence.len(), &failure.sequence)
}
