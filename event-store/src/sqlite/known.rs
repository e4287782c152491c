//! What the file knows of the streams, commands and event ids that a group of batches names: one query for all.

use std::fmt::Write as _;

use signalbeam_domain::{Position, Timestamp, Version};
use sqlx::{Row, SqliteConnection};

use crate::ledger::{Ledger, PreparedBatch, Tail};
use crate::sqlite::row;

/// Rows of a kind and the number of the name in its list: 0 is a stream (`position` is its version), 1 a command, 2 an
/// event id that is taken.
const KNOWN: &str = "
SELECT 0 AS kind, names.key AS number, (SELECT max(version) FROM events WHERE stream = names.value) AS position,
       0 AS events, NULL AS body_sha256
    FROM json_each(?) AS names WHERE position IS NOT NULL
UNION ALL
SELECT 1, names.key, commands.position, commands.events, commands.body_sha256
    FROM json_each(?) AS names CROSS JOIN commands ON commands.command_id = unhex(names.value)
UNION ALL
SELECT 2, names.key, 0, 0, NULL
    FROM json_each(?) AS names CROSS JOIN events ON events.event_id = unhex(names.value)";

/// The end of the log as it stands in the file.
pub(super) async fn tail(connection: &mut SqliteConnection) -> Result<Tail, sqlx::Error> {
    let newest: Option<(i64, i64)> =
        sqlx::query_as("SELECT position, recorded_at FROM events ORDER BY position DESC LIMIT 1")
            .fetch_optional(connection)
            .await?;
    Ok(newest.map_or_else(Tail::default, |(position, recorded_at)| Tail {
        position: Position(position.cast_unsigned()),
        recorded_at: Timestamp::from_unix_microseconds(recorded_at),
    }))
}

/// A ledger that knows all that judging these batches takes.
pub(super) async fn ledger(
    connection: &mut SqliteConnection,
    tail: Tail,
    batches: &[&PreparedBatch],
) -> Result<Ledger, sqlx::Error> {
    let streams: Vec<_> = batches.iter().flat_map(|batch| &batch.writes).map(|write| &write.stream).collect();
    let commands: Vec<_> =
        batches.iter().filter_map(|batch| batch.metadata.idempotency).map(|n| n.command_id).collect();
    let event_ids: Vec<_> = batches.iter().flat_map(|batch| batch.events()).map(|event| event.event_id).collect();
    let rows = sqlx::query(KNOWN)
        .bind(json_texts(streams.iter().map(|stream| stream.as_str())))
        .bind(json_hex(&commands))
        .bind(json_hex(event_ids.iter().map(|id| id.as_uuid().simple())))
        .fetch_all(connection)
        .await?;
    let mut ledger = Ledger { tail, ..Ledger::default() };
    for row in rows {
        let index = usize::try_from(row.try_get::<i64, _>(1)?).unwrap_or(usize::MAX);
        let unasked = || sqlx::Error::Decode("the file names something that it was not asked for".into());
        match row.try_get::<i64, _>(0)? {
            0 => {
                let stream = streams.get(index).copied().ok_or_else(unasked)?;
                ledger.versions.insert(stream.clone(), Version(row.try_get::<i64, _>(2)?.cast_unsigned()));
            }
            1 => {
                ledger.commands.insert(*commands.get(index).ok_or_else(unasked)?, row::known_command(&row)?);
            }
            _ => {
                ledger.event_ids.insert(*event_ids.get(index).ok_or_else(unasked)?);
            }
        }
    }
    Ok(ledger)
}

/// A JSON list of any texts.
pub(super) fn json_texts<'a>(texts: impl IntoIterator<Item = &'a str>) -> String {
    serde_json::Value::from_iter(texts).to_string()
}

/// A JSON list of hexadecimal numbers.
fn json_hex<T: std::fmt::Display>(names: impl IntoIterator<Item = T>) -> String {
    let mut list = String::from("[");
    for name in names {
        // Writing to a string does not fail.
        let _ = write!(list, "\"{name}\",");
    }
    if list.len() > 1 {
        list.pop();
    }
    list.push(']');
    list
}
