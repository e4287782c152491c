//! `given(what happened).at(a moment).when(a command).then(events)`: a rule as a sentence.

use std::fmt::Debug;

use signalbeam_domain::{Aggregate, Context, Timestamp};

use crate::fixtures::day;

/// What happened before, and the moment at which a command comes in.
pub(crate) struct Given<A> {
    state: A,
    now: Timestamp,
}

/// What came of the command.
pub(crate) struct Outcome<A: Aggregate>(Result<Vec<A::Event>, A::Error>);

/// Starts from a history. The moment is day 0 where a test does not name another.
pub(crate) fn given<A: Aggregate>(history: impl IntoIterator<Item = A::Event>) -> Given<A> {
    let state = history.into_iter().fold(A::default(), |state, event| state.evolve(&event));
    Given { state, now: day(0) }
}

impl<A: Aggregate> Given<A> {
    /// The moment at which the command comes in.
    pub(crate) fn at(self, now: Timestamp) -> Self {
        Self { now, ..self }
    }

    /// The command.
    pub(crate) fn when(self, command: A::Command) -> Outcome<A> {
        Outcome(self.state.decide(command, &Context { now: self.now }))
    }

    /// The state, for a rule about what it shows.
    pub(crate) fn state(self) -> A {
        self.state
    }
}

impl<A: Aggregate<Event: Debug + PartialEq, Error: Debug + PartialEq>> Outcome<A> {
    /// Exactly these events, in this order.
    #[track_caller]
    pub(crate) fn then(self, expected: impl IntoIterator<Item = A::Event>) {
        assert_eq!(self.0, Ok(expected.into_iter().collect()));
    }

    /// It is so already.
    #[track_caller]
    pub(crate) fn then_nothing(self) {
        assert_eq!(self.0, Ok(vec![]));
    }

    /// A rule forbids it.
    #[track_caller]
    pub(crate) fn then_refused(self, why: A::Error) {
        assert_eq!(self.0, Err(why));
    }
}
