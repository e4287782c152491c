//! Sealing the authentication log: each finished day's rows are hashed, and the hash goes into the event log. With it
//! anybody can see later whether the rows are still what they were.

use ring::digest::SHA256;
use signalbeam_domain::audit_segment::{
    AuditSegmentCommand, AuditSegmentError, AuditSegmentEvent, AuditSegments, SegmentSealed, SegmentsDropped, UtcDay,
};
use signalbeam_domain::{Actor, CorrelationId, Digest, StreamId, Timestamp};
use uuid::Uuid;

use super::{AttemptFilter, AuditArchive, AuditError, AuditReader};
use crate::execute::{ExecuteError, execute};
use crate::port::{Appended, CommandMetadata, EventReader, EventStore, LoadError, load};

/// What the node of an embedded log is called.
pub const EMBEDDED_NODE: &str = "embedded";
/// How many rows are read and hashed at a time.
const CHUNK: usize = 1_000;

/// Why segments could not be sealed, dropped or verified.
#[derive(Debug, thiserror::Error)]
pub enum SegmentError {
    /// The authentication log failed.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// The seals could not be read.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The event could not be recorded.
    #[error("the segments' event was not recorded")]
    Record(#[from] ExecuteError<AuditSegmentError>),
    /// The authentication log ends before its own last seal.
    #[error("the authentication log ends at row {head}, but was sealed up to row {sealed}: rows are missing")]
    Missing {
        /// Its last row.
        head: i64,
        /// The last row of the last seal.
        sealed: u64,
    },
}

/// Whether a sealed segment is what it was.
#[derive(Debug)]
pub enum Verdict {
    /// Its rows hash to its seal.
    Intact,
    /// Its rows were let go of by retention, as the event log says.
    Dropped,
    /// Its rows are others than those that were sealed.
    Tampered {
        /// How many rows there are.
        count: u64,
        /// Their root hash.
        root_hash: Digest,
    },
    /// Its rows cannot be read, or one of them is no row any more.
    Unreadable(AuditError),
}

impl Verdict {
    /// Whether nothing speaks against the segment.
    pub const fn is_good(&self) -> bool {
        matches!(self, Self::Intact | Self::Dropped)
    }
}

fn stream() -> StreamId {
    StreamId::audit_segments(EMBEDDED_NODE)
}

/// Seals every day that ended before `now` by `grace_seconds` or more and has rows that are not sealed yet.
///
/// # Errors
/// [`SegmentError`]; what was sealed until then stays so.
pub async fn seal_finished_days(
    store: &(impl EventStore + ?Sized),
    audit: &(impl AuditArchive + ?Sized),
    now: Timestamp,
    grace_seconds: i64,
) -> Result<Vec<SegmentSealed>, SegmentError> {
    let mut sealed = vec![];
    loop {
        let (segments, _) = load::<AuditSegments>(store, &stream()).await?;
        let head = audit.head().await?;
        if head < segments.last_row().cast_signed() {
            return Err(SegmentError::Missing { head, sealed: segments.last_row() });
        }
        let Some(segment) = next_segment(&segments, audit, now, grace_seconds).await? else { return Ok(sealed) };
        record(store, now, "audit-sealer", AuditSegmentCommand::Seal(segment)).await?;
        sealed.push(segment);
    }
}

async fn next_segment(
    segments: &AuditSegments,
    audit: &(impl AuditArchive + ?Sized),
    now: Timestamp,
    grace_seconds: i64,
) -> Result<Option<SegmentSealed>, AuditError> {
    let after = segments.last_row().cast_signed();
    let last_finished = UtcDay::of(now.plus_seconds(-grace_seconds)).plus(-1);
    let Some(earliest) = audit.earliest_behind(after).await? else { return Ok(None) };
    let mut day = UtcDay::of(earliest);
    if let Some(last) = segments.sealed().last()
        && last.day < UtcDay::of(now)
    {
        // A day is sealed once, except where a clock that was wrong has sealed one that is still to come.
        day = day.max(last.day.plus(1));
    }
    while day <= last_finished {
        if let Some(last_row) = audit.last_row_before(after, day.end()).await? {
            let (count, root_hash) = hash(audit, after, last_row).await?;
            return Ok(Some(SegmentSealed {
                day,
                first_row: segments.last_row() + 1,
                last_row: last_row.cast_unsigned(),
                count,
                root_hash,
                previous: segments.sealed().last().map(|last| last.root_hash),
            }));
        }
        day = day.plus(1);
    }
    Ok(None)
}

/// How many rows there are behind `after`, up to `through`, and the SHA-256 of their canonical encodings, one behind the
/// other.
async fn hash(audit: &(impl AuditReader + ?Sized), after: i64, through: i64) -> Result<(u64, Digest), AuditError> {
    let mut hasher = ring::digest::Context::new(&SHA256);
    let (mut after, mut count) = (after, 0);
    while after < through {
        let scan = audit.scan(&AttemptFilter::default(), after, through, CHUNK).await?;
        for recorded in &scan.attempts {
            hasher.update(&recorded.attempt.canonical_encoding(recorded.row));
            count += 1;
        }
        if scan.reached <= after {
            break;
        }
        after = scan.reached;
        // Whoever waits for an answer goes first.
        tokio::task::yield_now().await;
    }
    Ok((count, digest_of(hasher)))
}

fn digest_of(hasher: ring::digest::Context) -> Digest {
    let mut octets = [0; 32];
    octets.copy_from_slice(hasher.finish().as_ref());
    Digest(octets)
}

/// Lets go of the segments whose day is more than `retention_days` ago: says so in the event log, then drops the rows.
///
/// # Errors
/// [`SegmentError`]; where only the rows could not be dropped, the next call goes on with them.
pub async fn drop_old_segments(
    store: &(impl EventStore + ?Sized),
    audit: &(impl AuditArchive + ?Sized),
    now: Timestamp,
    retention_days: u32,
) -> Result<Option<SegmentsDropped>, SegmentError> {
    let appended = record(store, now, "audit-retention", AuditSegmentCommand::Drop { retention_days }).await?;
    let (segments, _) = load::<AuditSegments>(store, &stream()).await?;
    // Also without a new event: an earlier process may have ended in the middle.
    audit.drop_through(segments.dropped_through().cast_signed()).await?;
    let event = appended.and_then(|appended| appended.events.last()?.event().ok());
    Ok(event.and_then(|event| match AuditSegmentEvent::try_from(event) {
        Ok(AuditSegmentEvent::Dropped(dropped)) => Some(dropped),
        Ok(AuditSegmentEvent::Sealed(_)) | Err(_) => None,
    }))
}

async fn record(
    store: &(impl EventStore + ?Sized),
    now: Timestamp,
    actor: &str,
    command: AuditSegmentCommand,
) -> Result<Option<Appended>, ExecuteError<AuditSegmentError>> {
    let metadata = CommandMetadata {
        actor: Actor::system(actor),
        correlation_id: CorrelationId::from_uuid(Uuid::now_v7()),
        causation_id: None,
        idempotency: None,
    };
    execute::<AuditSegments>(store, &stream(), None, &metadata, now, || command).await
}

/// Holds every segment that was ever sealed against the rows that are there now, also beside a running server.
///
/// # Errors
/// [`SegmentError`] where the seals cannot be read; rows that cannot are a [`Verdict`].
pub async fn verify(
    events: &(impl EventReader + ?Sized),
    audit: &(impl AuditReader + ?Sized),
) -> Result<Vec<(SegmentSealed, Verdict)>, SegmentError> {
    let (segments, _) = load::<AuditSegments>(events, &stream()).await?;
    let mut verdicts = vec![];
    for segment in segments.sealed() {
        let mut verdict = judge(&segments, segment, audit).await;
        if !verdict.is_good() {
            // A server beside this may just have dropped it.
            let (segments, _) = load::<AuditSegments>(events, &stream()).await?;
            if segment.last_row <= segments.dropped_through() {
                verdict = Verdict::Dropped;
            }
        }
        verdicts.push((*segment, verdict));
    }
    Ok(verdicts)
}

async fn judge(segments: &AuditSegments, segment: &SegmentSealed, audit: &(impl AuditReader + ?Sized)) -> Verdict {
    if segment.last_row <= segments.dropped_through() {
        return Verdict::Dropped;
    }
    match hash(audit, segment.first_row.cast_signed() - 1, segment.last_row.cast_signed()).await {
        Err(error) => Verdict::Unreadable(error),
        Ok((count, root_hash)) if count == segment.count && root_hash == segment.root_hash => Verdict::Intact,
        Ok((count, root_hash)) => Verdict::Tampered { count, root_hash },
    }
}
