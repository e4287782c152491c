//! How an event becomes a row, and a row an event.

use signalbeam_domain::{
    Actor, ActorKind, CorrelationId, Digest, Envelope, EventId, Position, StreamId, TenantId, Timestamp, Version,
};
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{Arguments, Row};
use uuid::Uuid;

use crate::ledger::{KnownCommand, seal};
use crate::port::Recorded;
use crate::sqlite::insert::{BoxError, multi_row_insert, text};

/// The columns in the order in which they are written and read.
pub(super) const COLUMNS: &str = "position, event_id, stream, version, event_type, schema_version, recorded_at, \
     tenant_id, actor_kind, actor_id, command_id, correlation_id, causation_id, data, hash";
pub(super) const COLUMN_COUNT: usize = 15;

/// A row that is no event.
#[derive(Debug, thiserror::Error)]
#[error("the row at position {position} is damaged: {what}")]
struct DamagedRow {
    position: i64,
    what: &'static str,
}

/// The statement that inserts this many events.
pub(super) fn insert(rows: usize) -> String {
    multi_row_insert("events", COLUMNS, COLUMN_COUNT, rows)
}

/// Binds one event's columns.
pub(super) fn bind(arguments: &mut SqliteArguments, recorded: &Recorded) -> Result<(), BoxError> {
    let envelope = &recorded.envelope;
    arguments.add(envelope.position.0.cast_signed())?;
    arguments.add(*envelope.event_id.as_uuid())?;
    arguments.add(text(envelope.stream.as_str()))?;
    arguments.add(envelope.version.0.cast_signed())?;
    arguments.add(text(&envelope.event_type))?;
    arguments.add(envelope.schema_version)?;
    arguments.add(envelope.recorded_at.unix_microseconds())?;
    arguments.add(envelope.tenant_id.map(|id| *id.as_uuid()))?;
    arguments.add(text(envelope.actor.kind.as_str()))?;
    arguments.add(text(&envelope.actor.id))?;
    arguments.add(envelope.command_id.as_ref().map(|id| id.0.as_slice()))?;
    arguments.add(text(envelope.correlation_id.as_str()))?;
    arguments.add(envelope.causation_id.map(|id| *id.as_uuid()))?;
    arguments.add(envelope.data.as_slice())?;
    arguments.add(recorded.hash.0.as_slice())
}

/// Reads a row of [`COLUMNS`]. One that was changed after it was appended is none.
pub(super) fn read(row: &SqliteRow) -> Result<Recorded, sqlx::Error> {
    let position: i64 = row.try_get(0)?;
    let damaged = |what| sqlx::Error::Decode(Box::new(DamagedRow { position, what }));
    let envelope = Envelope {
        event_id: EventId::from_uuid(row.try_get(1)?),
        stream: StreamId::parse(row.try_get(2)?).map_err(|_| damaged("stream"))?,
        version: Version(row.try_get::<i64, _>(3)?.cast_unsigned()),
        position: Position(position.cast_unsigned()),
        event_type: row.try_get(4)?,
        schema_version: row.try_get(5)?,
        recorded_at: Timestamp::from_unix_microseconds(row.try_get(6)?),
        tenant_id: row.try_get::<Option<Uuid>, _>(7)?.map(TenantId::from_uuid),
        actor: Actor {
            kind: ActorKind::parse(row.try_get(8)?).ok_or_else(|| damaged("actor_kind"))?,
            id: row.try_get(9)?,
        },
        command_id: row.try_get::<Option<&[u8]>, _>(10)?.map(digest).transpose().map_err(damaged)?,
        correlation_id: CorrelationId::parse(row.try_get(11)?).ok_or_else(|| damaged("correlation_id"))?,
        causation_id: row.try_get::<Option<Uuid>, _>(12)?.map(EventId::from_uuid),
        data: row.try_get(13)?,
    };
    let recorded = seal(envelope);
    if recorded.hash != digest(row.try_get(14)?).map_err(damaged)? {
        return Err(damaged("it is not what its hash was taken of"));
    }
    Ok(recorded)
}

/// Reads a row with the columns of `commands`.
pub(super) fn known_command(row: &SqliteRow) -> Result<KnownCommand, sqlx::Error> {
    Ok(KnownCommand {
        body_sha256: digest(row.try_get("body_sha256")?).map_err(|what| sqlx::Error::Decode(what.into()))?,
        position: Position(row.try_get::<i64, _>("position")?.cast_unsigned()),
        events: row.try_get::<i64, _>("events")?.cast_unsigned(),
    })
}

fn digest(octets: &[u8]) -> Result<Digest, &'static str> {
    octets.try_into().map(Digest).map_err(|_| "a digest of another length than 32")
}
