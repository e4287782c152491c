//! What every aggregate has in common: deciding is a function, and so is becoming.

use crate::timestamp::Timestamp;

/// What a decision may know of the world beside the aggregate's own state.
#[derive(Debug, Clone, Copy)]
pub struct Context {
    /// The present moment.
    pub now: Timestamp,
}

/// The state of one stream, with the rules that hold in it. `Default` is the state before the first event.
pub trait Aggregate: Default + Sized {
    /// What can be asked of it.
    type Command;
    /// What can happen to it.
    type Event;
    /// Why a command was refused.
    type Error;

    /// Judges a command. No events: what was asked for is so already.
    ///
    /// # Errors
    /// Says which rule forbids it; nothing has happened then.
    fn decide(&self, command: Self::Command, context: &Context) -> Result<Vec<Self::Event>, Self::Error>;

    /// The state after an event. Never refuses: what is recorded has happened.
    #[must_use]
    fn evolve(self, event: &Self::Event) -> Self;

    /// The state after a whole stream.
    fn fold<'a>(events: impl IntoIterator<Item = &'a Self::Event>) -> Self
    where
        Self::Event: 'a,
    {
        events.into_iter().fold(Self::default(), Self::evolve)
    }
}
