//! Publishes revocation lists: on schedule, and soon after a certificate has ended.
//!
//! A list is served once the log knows it, and a number has one content: of several publishers the one whose event is
//! appended has published, and the others make the same octets again from the tables and the recorded signatures. So does
//! the next start, wherever this one ended.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use signalbeam_domain::authority::{
    Authority, AuthorityCommand, AuthorityError as RuleError, AuthorityEvent, AuthorityStatus, CrlContents, CrlKind,
    CrlPublished,
};
use signalbeam_domain::{
    Actor, Aggregate, AuthorityId, Context, CorrelationId, Position, StreamId, Timestamp, Version,
};
use signalbeam_event_store::{
    AppendError, Batch, CommandMetadata, ExpectedVersion, Filter, LoadError, Recorded, StoreError, StreamWrite, load,
    new_events,
};
use signalbeam_pki::blocking::JobLost;
use signalbeam_pki::{AuthorityError, BlockingPool, CertificateAuthority, PublishedUrl};
use signalbeam_projections::{Behind, NewEndings, ReadError};
use tokio::sync::Mutex;
use tokio::time::sleep;
use uuid::Uuid;

use super::lists::{self, Heading};
use super::published::Publication;
use crate::state::CommandApi;

/// How long a change waits for others that come with it.
const GATHERING: Duration = Duration::from_millis(500);
/// How often a superseded certificate alone leads to new lists: its key is not in wrong hands, and a large fleet always
/// renews.
const SUPERSEDED_INTERVAL_SECONDS: i64 = 900;
/// How long to wait after a failure.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_secs(5);
/// How long to wait before it is seen whether the event log is relied on again.
const PAUSE_WHILE_LOCKED: Duration = Duration::from_secs(1);
/// The longest time between two looks at the clock.
const LONGEST_PAUSE: Duration = Duration::from_mins(1);
/// How long the tables may take to hold what the log holds.
const TABLES_TIMEOUT: Duration = Duration::from_secs(30);
/// How many events are looked at in one go.
const PAGE: usize = 1_000;
/// How often a publication is made anew because another publisher was faster.
const MAX_RACES: usize = 10;

/// How revocation lists are published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CrlPolicy {
    /// How long a list says that it holds.
    pub validity_seconds: i64,
    /// How often lists are published although nothing has happened.
    pub refresh_seconds: i64,
    /// The least time between two publications.
    pub min_interval_seconds: i64,
    /// Where deltas are found; complete lists point there.
    pub delta_url: Option<PublishedUrl>,
}

impl Default for CrlPolicy {
    /// For a day, every six hours, at most every five seconds.
    fn default() -> Self {
        Self { validity_seconds: 86_400, refresh_seconds: 21_600, min_interval_seconds: 5, delta_url: None }
    }
}

/// Why lists could not be published or made again.
#[derive(Debug, thiserror::Error)]
pub enum CrlError {
    /// The log failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What the log knows of an authority cannot be read.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The tables failed.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The tables do not hold what the log holds.
    #[error(transparent)]
    Behind(#[from] Behind),
    /// The authority cannot sign lists.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// The lists do not fit the authority's history.
    #[error(transparent)]
    Rule(#[from] RuleError),
    /// The publication could not be recorded.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// The computation did not finish.
    #[error(transparent)]
    Lost(#[from] JobLost),
}

impl CrlError {
    fn is_the_authoritys(&self) -> bool {
        matches!(self, Self::Authority(_) | Self::Rule(_))
    }
}

/// What is known of an authority's stream.
#[derive(Debug, Default)]
struct Known {
    authority: Authority,
    version: Version,
    /// How far the log was searched for more.
    seen: Position,
}

/// What a publication is made of.
struct Draft {
    heading: Heading,
    contents: CrlContents,
}

/// Publishes the lists of the authorities that this node signs for.
#[derive(Debug)]
pub struct CrlPublisher {
    api: CommandApi,
    policy: CrlPolicy,
    pool: BlockingPool,
    known: Mutex<BTreeMap<AuthorityId, Known>>,
}

impl CrlPublisher {
    /// Serves what it publishes through the routes of `api`.
    pub fn new(api: CommandApi, policy: CrlPolicy) -> Self {
        Self { api, policy, pool: BlockingPool::new(1), known: Mutex::default() }
    }

    /// Publishes for as long as it is polled.
    pub async fn run(&self) {
        let mut is_failing = false;
        loop {
            let seen = self.api.freshness.tables_position();
            let pause = match self.round().await {
                Ok(pause) => {
                    is_failing = false;
                    pause
                }
                Err(error) => {
                    if error.is_the_authoritys() {
                        metrics::counter!("signalbeam_ca_errors_total").increment(1);
                    }
                    if !is_failing {
                        let error = &error as &dyn std::error::Error;
                        tracing::error!(error, "the revocation lists cannot be published; trying again");
                    }
                    is_failing = true;
                    sleep(PAUSE_AFTER_FAILURE).await;
                    continue;
                }
            };
            // Whether something has happened by then or not: the next round sees.
            let _moved = self.api.freshness.wait_for(Position(seen.0.saturating_add(1)), pause).await;
            sleep(GATHERING).await;
        }
    }

    /// Serves and publishes whatever is due, and tells when to look again although nothing happens.
    ///
    /// # Errors
    /// [`CrlError`]; what was served before is served on.
    pub async fn round(&self) -> Result<Duration, CrlError> {
        let mut known = self.known.lock().await;
        if self.api.authenticator.log_lock().is_engaged() {
            // What was read of such a log is not to be relied on later either.
            known.clear();
            return Ok(PAUSE_WHILE_LOCKED);
        }
        let current = self.api.authorities.current();
        let trusted = current.trusted().iter().map(|one| (&one.authority, false));
        // First those that need no key: the others wait for no store then.
        let authorities: Vec<_> = current.retired().iter().map(|one| (one, true)).chain(trusted).collect();
        let ids: Vec<_> = authorities.iter().map(|(authority, _)| authority.id()).collect();
        known.retain(|id, _| ids.contains(id));
        self.api.crls.keep(&ids);
        let mut outcome = Ok(LONGEST_PAUSE);
        for (authority, is_retired) in authorities {
            let known = known.entry(authority.id()).or_default();
            let looked_after = if is_retired {
                self.serve_to_its_end(authority, known).await
            } else {
                self.look_after(authority, known).await
            };
            // One that fails keeps none of the others from publishing.
            outcome = match (looked_after, outcome) {
                (Ok(pause), Ok(shortest)) => Ok(shortest.min(pause)),
                (Err(error), _) | (_, Err(error)) => Err(error),
            };
        }
        outcome
    }

    async fn look_after(&self, authority: &Arc<CertificateAuthority>, known: &mut Known) -> Result<Duration, CrlError> {
        for _ in 0..MAX_RACES {
            self.catch_up(authority.id(), known).await?;
            let now = self.api.now();
            let has_expired = now.to_offset_date_time() >= authority.own_validity().not_after;
            if has_expired || matches!(known.authority.status(), None | Some(AuthorityStatus::Retired)) {
                return Ok(LONGEST_PAUSE);
            }
            let is_served = self.serve_last(authority, known).await?;
            let (kind, due) = self.next_due(authority.id(), known, is_served).await?;
            if due > now {
                let seconds = due.unix_seconds().saturating_sub(now.unix_seconds());
                return Ok(Duration::from_secs(u64::try_from(seconds).unwrap_or_default().max(1)).min(LONGEST_PAUSE));
            }
            if self.publish(authority, known, kind, now).await? {
                return Ok(Duration::from_secs(u64::try_from(self.policy.min_interval_seconds).unwrap_or(1)));
            }
        }
        // Others publish all the time; what they publish is served at the next round.
        Ok(PAUSE_AFTER_FAILURE)
    }

    /// Serves the last lists of an authority that is retired for as long as they hold.
    async fn serve_to_its_end(
        &self,
        authority: &Arc<CertificateAuthority>,
        known: &mut Known,
    ) -> Result<Duration, CrlError> {
        self.catch_up(authority.id(), known).await?;
        let end = known.authority.crls().last().map(|(last, _)| last.next_update);
        let now = self.api.now();
        if end.is_none_or(|end| end <= now) || !self.serve_last(authority, known).await? {
            self.api.crls.withdraw(authority.id());
        }
        Ok(LONGEST_PAUSE)
    }

    /// Reads what the log has gained of the authority's stream.
    async fn catch_up(&self, id: AuthorityId, known: &mut Known) -> Result<(), CrlError> {
        let (stream, store) = (StreamId::certificate_authority(id), &self.api.store);
        if known.version == Version::default() {
            let seen = store.head().await?;
            let (authority, version) = load::<Authority>(&**store, &stream).await?;
            *known = Known { authority, version, seen };
        }
        let event_types = AuthorityEvent::KINDS.iter().map(|(kind, _)| (*kind).to_owned()).collect();
        let filter = Filter { event_types, ..Filter::default() };
        loop {
            let page = store.read_all(known.seen, PAGE, &filter).await?;
            for recorded in page.events.iter().filter(|recorded| recorded.envelope.stream == stream) {
                known.take(&stream, recorded)?;
            }
            if page.reached == known.seen {
                return Ok(());
            }
            known.seen = page.reached;
        }
    }

    /// Serves the newest publication that the log knows; false where it cannot be made again, or there is none.
    async fn serve_last(&self, authority: &Arc<CertificateAuthority>, known: &Known) -> Result<bool, CrlError> {
        let id = authority.id();
        let Some((published, contents)) = known.authority.crls().last() else { return Ok(false) };
        if self.api.crls.status(id).is_some_and(|served| served.number == published.number) {
            return Ok(true);
        }
        self.api.freshness.wait_for(published.complete_to, TABLES_TIMEOUT).await?;
        let (published, contents) = (published.clone(), *contents);
        let endings = self.api.read_model.endings(id, published.complete_to, contents.departed()).await?;
        let signer = Arc::clone(authority);
        let made = move || {
            let made = lists::made_again(&signer, &published, &contents, &endings);
            made.map(|(complete, delta)| Publication::new(&published, complete, delta))
        };
        let Some(publication) = self.pool.run(made).await? else {
            tracing::warn!("the last revocation lists cannot be made again from the log");
            return Ok(false);
        };
        self.api.crls.serve(id, publication);
        Ok(true)
    }

    /// Which publication comes next, and when.
    async fn next_due(
        &self,
        id: AuthorityId,
        known: &Known,
        is_served: bool,
    ) -> Result<(CrlKind, Timestamp), CrlError> {
        let crls = known.authority.crls();
        let (Some((last, _)), Some(scheduled_at)) = (crls.last(), crls.last_scheduled_at()) else {
            return Ok((CrlKind::Scheduled, Timestamp::default()));
        };
        let schedule = scheduled_at.plus_seconds(self.policy.refresh_seconds);
        let now = self.api.now();
        if schedule <= now {
            return Ok((CrlKind::Scheduled, schedule));
        }
        if !is_served {
            return Ok((CrlKind::OnChange, Timestamp::default()));
        }
        let NewEndings { has_revocation, has_any, .. } = self.api.read_model.new_endings(id, last.complete_to).await?;
        let interval = match (has_revocation, has_any) {
            (true, _) => self.policy.min_interval_seconds,
            (false, true) => self.policy.min_interval_seconds.max(SUPERSEDED_INTERVAL_SECONDS),
            (false, false) => return Ok((CrlKind::Scheduled, schedule)),
        };
        // A clock that was put back holds nothing up.
        let due = if last.this_update > now { now } else { last.this_update.plus_seconds(interval) };
        Ok((CrlKind::OnChange, due.min(schedule)))
    }

    /// Publishes; false where another publisher was faster.
    async fn publish(
        &self,
        authority: &Arc<CertificateAuthority>,
        known: &Known,
        kind: CrlKind,
        now: Timestamp,
    ) -> Result<bool, CrlError> {
        let id = authority.id();
        let complete_to = self.api.store.head().await?;
        self.api.freshness.wait_for(complete_to, TABLES_TIMEOUT).await?;
        let draft = self.draft(authority, known, kind, complete_to, now);
        let endings = self.api.read_model.endings(id, complete_to, draft.contents.departed()).await?;
        let (signer, heading) = (Arc::clone(authority), draft.heading.clone());
        let octets = self.pool.run(move || lists::octets(&signer, &heading, &draft.contents, &endings)).await??;
        let complete = authority.sign_crl(&octets.complete).await?;
        let delta = authority.sign_crl(&octets.delta).await?;
        let published = lists::event(draft.heading, &draft.contents, &octets, &complete, &delta);
        if !self.record(id, known, published.clone()).await? {
            return Ok(false);
        }
        tracing::info!(
            number = published.number,
            entries = published.complete.entries,
            changes = published.delta.entries,
            "revocation lists published"
        );
        self.api.crls.serve(id, Publication::new(&published, complete, delta));
        Ok(true)
    }

    fn draft(
        &self,
        authority: &CertificateAuthority,
        known: &Known,
        kind: CrlKind,
        complete_to: Position,
        now: Timestamp,
    ) -> Draft {
        let crls = known.authority.crls();
        let last = crls.last().map(|(last, _)| last.this_update);
        let this_update = last.map_or(now, |last| last.max(now)).to_whole_second();
        let end = Timestamp::from_offset_date_time(authority.own_validity().not_after);
        let number = crls.next_number(this_update);
        let delta_url = self.policy.delta_url.as_ref().map(|url| url.for_authority(authority.id()));
        let heading = Heading {
            number,
            kind,
            this_update,
            next_update: this_update.plus_seconds(self.policy.validity_seconds).min(end),
            complete_to,
            freshest_crl_url: delta_url.map(|url| url.as_str().to_owned()),
        };
        Draft { heading, contents: crls.contents(kind, number, this_update, complete_to) }
    }

    /// Appends the publication where nobody else has appended to the authority's stream.
    async fn record(&self, id: AuthorityId, known: &Known, published: CrlPublished) -> Result<bool, CrlError> {
        let context = Context { now: self.api.now() };
        let events = known.authority.decide(AuthorityCommand::PublishCrl(published), &context)?;
        let metadata = CommandMetadata {
            actor: Actor::system("crl_publisher"),
            correlation_id: CorrelationId::from_uuid(Uuid::now_v7()),
            causation_id: None,
            idempotency: None,
        };
        let write = StreamWrite {
            stream: StreamId::certificate_authority(id),
            expected: ExpectedVersion::Exact(known.version),
            events: new_events(None, events),
        };
        if self.api.authenticator.log_lock().is_engaged() {
            return Ok(false);
        }
        match self.api.store.append(Batch { metadata, writes: vec![write] }).await {
            Ok(_) => Ok(true),
            Err(AppendError::Conflict { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

impl Known {
    fn take(&mut self, stream: &StreamId, recorded: &Recorded) -> Result<(), LoadError> {
        if recorded.envelope.version <= self.version {
            return Ok(());
        }
        let event = recorded.event().map_err(|source| LoadError::Decode { stream: stream.clone(), source })?;
        let event = AuthorityEvent::try_from(event).map_err(|_| LoadError::OtherCategory { stream: stream.clone() })?;
        self.authority = std::mem::take(&mut self.authority).evolve(&event);
        self.version = recorded.envelope.version;
        Ok(())
    }
}
