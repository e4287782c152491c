//! Carrying out a command on one aggregate: load, decide, append at that version; and again where somebody was faster.

use signalbeam_domain::{Aggregate, Context, Event, EventId, StreamId, TenantId, Timestamp};
use uuid::Uuid;

use crate::port::{
    AppendError, Appended, Batch, CommandMetadata, EventStore, ExpectedVersion, LoadError, NewEvent, StreamWrite, load,
};

/// How often a command is decided anew before its caller is told of the conflict.
pub const MAX_DECISIONS: usize = 10;

/// Why a command had no effect.
#[derive(Debug, thiserror::Error)]
pub enum ExecuteError<E> {
    /// A rule forbids it.
    #[error("{0}")]
    Refused(E),
    /// The stream could not be read.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The events could not be appended.
    #[error(transparent)]
    Append(#[from] AppendError),
}

/// Events that are to be appended, with ids drawn for them.
pub fn new_events<E: Into<Event>>(tenant_id: Option<TenantId>, events: impl IntoIterator<Item = E>) -> Vec<NewEvent> {
    let new_event =
        |event: E| NewEvent { event_id: EventId::from_uuid(Uuid::now_v7()), tenant_id, event: event.into() };
    events.into_iter().map(new_event).collect()
}

/// Decides a command on the aggregate in `stream` and appends what follows. `None`: what was asked for is so already.
///
/// The command is made anew for each decision, since it is consumed by it.
///
/// # Errors
/// [`ExecuteError`]: a refusal by the aggregate's rules, or the store's failure. After [`MAX_DECISIONS`] conflicts in a
/// row the last conflict is returned.
pub async fn execute<A>(
    store: &(impl EventStore + ?Sized),
    stream: &StreamId,
    tenant_id: Option<TenantId>,
    metadata: &CommandMetadata,
    now: Timestamp,
    command: impl Fn() -> A::Command,
) -> Result<Option<Appended>, ExecuteError<A::Error>>
where
    A: Aggregate,
    A::Event: TryFrom<Event> + Into<Event>,
{
    let mut decisions = 0;
    loop {
        let (aggregate, version) = load::<A>(store, stream).await?;
        let events = aggregate.decide(command(), &Context { now }).map_err(ExecuteError::Refused)?;
        if events.is_empty() {
            return Ok(None);
        }
        let write = StreamWrite {
            stream: stream.clone(),
            expected: ExpectedVersion::Exact(version),
            events: new_events(tenant_id, events),
        };
        decisions += 1;
        match store.append(Batch { metadata: metadata.clone(), writes: vec![write] }).await {
            Ok(appended) => return Ok(Some(appended)),
            Err(AppendError::Conflict { .. }) if decisions < MAX_DECISIONS => {}
            Err(error) => return Err(error.into()),
        }
    }
}
