//! What must hold whatever is asked, in whatever order and at whatever pace.

use std::fmt::Debug;

use proptest::prelude::*;
use signalbeam_domain::{Aggregate, Context, Event, Timestamp};

use crate::fixtures::day;
use crate::recorded::{decode, encode};

mod admin_token;
mod api_keys;
mod audit_segment;
mod authority;
mod certificates;
mod device;
mod registration_token;

/// The life of one aggregate: its state, everything that was recorded and when, and the present moment.
struct Life<A: Aggregate> {
    state: A,
    log: Vec<(Timestamp, A::Event)>,
    now: Timestamp,
}

impl<A> Life<A>
where
    A: Aggregate<Event: Clone + Into<Event> + TryFrom<Event, Error: Debug> + 'static> + PartialEq + Debug,
{
    fn new() -> Self {
        Self { state: A::default(), log: vec![], now: day(0) }
    }

    fn wait(&mut self, hours: u16) {
        self.now = self.now.plus_seconds(i64::from(hours) * 3_600);
    }

    /// Decides, and records what was decided.
    fn ask(&mut self, command: A::Command) -> Result<Vec<A::Event>, A::Error> {
        let events = self.state.decide(command, &Context { now: self.now })?;
        for event in &events {
            self.state = std::mem::take(&mut self.state).evolve(event);
            self.log.push((self.now, event.clone()));
        }
        Ok(events)
    }

    fn events(&self) -> impl Iterator<Item = &A::Event> {
        self.log.iter().map(|(_, event)| event)
    }

    /// The log, written down and read again, tells the same story as living it did.
    fn replays(&self) -> Result<(), TestCaseError> {
        let read_again: Vec<A::Event> = self.events().map(written_and_read::<A>).collect();
        prop_assert_eq!(&A::fold(&read_again), &self.state);
        Ok(())
    }
}

fn written_and_read<A: Aggregate<Event: Clone + Into<Event> + TryFrom<Event, Error: Debug>>>(
    event: &A::Event,
) -> A::Event {
    let event: Event = event.clone().into();
    decode(event.event_type(), event.schema_version(), &encode(&event)).try_into().expect("the same aggregate's event")
}

/// Steps, each some hours after the one before.
fn steps<S: Strategy>(step: S) -> impl Strategy<Value = Vec<(u16, S::Value)>>
where
    S::Value: Debug,
{
    prop::collection::vec((0_u16..600, step), 0..40)
}
