//! Whether an authority signs to this day, by the log itself: what this node has in memory may be older.

use std::sync::{Mutex, PoisonError};

use signalbeam_authn::Problem;
use signalbeam_domain::authority::{Authority, AuthorityEvent, AuthorityStatus};
use signalbeam_domain::{Aggregate, AuthorityId, Event, Position, StreamId, Version};
use signalbeam_event_store::{ExpectedVersion, Filter, StreamWrite};

use crate::command::store_unavailable;
use crate::state::CommandApi;

/// How many events are looked at in one go.
const PAGE: usize = 1_000;

/// What is known of the authority that signs, so that each issuance reads only what the log has gained since.
#[derive(Debug, Default)]
pub(crate) struct LastSeen(Mutex<Option<Seen>>);

#[derive(Debug, Clone)]
struct Seen {
    id: AuthorityId,
    authority: Authority,
    version: Version,
    /// How far the log was searched for more.
    until: Position,
}

impl CommandApi {
    /// Asserts that an authority signs while something is appended; `None` where another one does in its place.
    ///
    /// No certificate of an authority is recorded after another one took its place. So whoever retires it knows everybody
    /// who lives by it, and nobody gets a certificate that is refused from its first moment.
    pub(crate) async fn still_signs(&self, id: AuthorityId) -> Result<Option<StreamWrite>, Problem> {
        let last = self.last_seen_signing().0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let seen = if let Some(seen) = last.filter(|seen| seen.id == id) {
            self.caught_up(seen).await?
        } else {
            let until = self.store.head().await.map_err(|error| store_unavailable(&error))?;
            let (authority, version) = self.load::<Authority>(&StreamId::certificate_authority(id)).await?;
            Seen { id, authority, version, until }
        };
        let expected = ExpectedVersion::Exact(seen.version);
        let signs = seen.authority.status() == Some(AuthorityStatus::Active);
        let mut last = self.last_seen_signing().0.lock().unwrap_or_else(PoisonError::into_inner);
        if last.as_ref().is_none_or(|last| last.id != id || last.until < seen.until) {
            *last = Some(seen);
        }
        Ok(signs.then(|| StreamWrite { stream: StreamId::certificate_authority(id), expected, events: vec![] }))
    }

    async fn caught_up(&self, mut seen: Seen) -> Result<Seen, Problem> {
        let stream = StreamId::certificate_authority(seen.id);
        let event_types = AuthorityEvent::KINDS.iter().map(|(kind, _)| (*kind).to_owned()).collect();
        let filter = Filter { event_types, ..Filter::default() };
        loop {
            let page = self.store.read_all(seen.until, PAGE, &filter).await;
            let page = page.map_err(|error| store_unavailable(&error))?;
            for recorded in page.events.iter().filter(|recorded| recorded.envelope.stream == stream) {
                if recorded.envelope.version <= seen.version {
                    continue;
                }
                if let Event::AuthorityEvent(event) = recorded.event().map_err(|error| store_unavailable(&error))? {
                    seen.authority = seen.authority.evolve(&event);
                    seen.version = recorded.envelope.version;
                }
            }
            if page.reached == seen.until {
                return Ok(seen);
            }
            seen.until = page.reached;
        }
    }
}
