//! Reads the log, on connections of its own that cannot write.

use std::path::Path;

use async_trait::async_trait;
use signalbeam_domain::{Category, Digest, EventId, Position, StreamId};
use sqlx::sqlite::SqliteRow;
use sqlx::{AssertSqlSafe, QueryBuilder, Sqlite, SqlitePool};
use tokio::sync::watch;

use crate::ledger::KnownCommand;
use crate::port::{EventReader, Filter, Page, Recorded, RecordedCommand, StoreError, Subscription};
use crate::sqlite::database::{self, OpenError};
use crate::sqlite::known::json_texts;
use crate::sqlite::recent::Recent;
use crate::sqlite::{KIND, copy, row};
use crate::subscription;

/// How many rows a filtered read looks at before it answers with what it has: so it ends soon, however rare a match is.
const SCANNED_MAX: u64 = 16_384;

/// The event log in a file, for reading only: also beside a running server, in another process.
///
/// Opened alone it notices what others append when a subscription looks again, at least once a second.
pub struct SqliteEventReader {
    pool: SqlitePool,
    head: watch::Receiver<Position>,
    /// Without a writer nothing is ever known here, and everything is read from the file.
    recent: Recent,
    /// Of a reader without a writer: never sends, and ends the subscriptions when it goes.
    _own_head: Option<watch::Sender<Position>>,
}

impl SqliteEventReader {
    /// Opens an existing log for reading.
    ///
    /// # Errors
    /// [`OpenError`] where the file does not exist or is something else.
    pub async fn open(path: impl AsRef<Path>) -> Result<Self, OpenError> {
        database::recognise(path.as_ref(), &KIND).await?;
        let (own_head, head) = watch::channel(Position::default());
        Ok(Self { pool: database::readers(path.as_ref()), head, recent: Recent::default(), _own_head: Some(own_head) })
    }

    /// Opens an existing log for reading, and leaves no file beside it where nobody writes to it at the moment.
    ///
    /// # Errors
    /// [`OpenError`] where the file does not exist or is something else.
    pub async fn open_at_rest(path: impl AsRef<Path>) -> Result<Self, OpenError> {
        let options = copy::reading(path.as_ref());
        database::recognise_by(path.as_ref(), &KIND, &options).await?;
        let (own_head, head) = watch::channel(Position::default());
        Ok(Self { pool: database::readers_by(options), head, recent: Recent::default(), _own_head: Some(own_head) })
    }

    pub(super) fn committed(&self) -> watch::Receiver<Position> {
        self.head.clone()
    }

    pub(super) fn beside_writer(path: &Path, head: watch::Receiver<Position>, recent: Recent) -> Self {
        Self { pool: database::readers(path), head, recent, _own_head: None }
    }

    /// Closes the connections. Reads that come later fail.
    pub async fn close(&self) {
        self.pool.close().await;
    }

    /// What a command recorded.
    pub(super) async fn events_of(&self, command: &KnownCommand) -> Result<Vec<Recorded>, StoreError> {
        let rows = sqlx::query(AssertSqlSafe(select("WHERE position > ? AND position <= ? ORDER BY position")))
            .bind(column(command.after().0))
            .bind(column(command.position.0))
            .fetch_all(&self.pool);
        decode("read a command's events", rows.await)
    }
}

#[async_trait]
impl EventReader for SqliteEventReader {
    async fn read_stream(&self, stream: &StreamId) -> Result<Vec<Recorded>, StoreError> {
        let rows = sqlx::query(AssertSqlSafe(select("WHERE stream = ? ORDER BY version")))
            .bind(stream.as_str())
            .fetch_all(&self.pool);
        decode("read a stream", rows.await)
    }

    async fn read_all(&self, after: Position, limit: usize, filter: &Filter) -> Result<Page, StoreError> {
        if *filter == Filter::default() {
            page(&self.pool, after, limit).await
        } else {
            self.filtered(after, limit, filter).await
        }
    }

    async fn streams_of(&self, category: Category) -> Result<Vec<StreamId>, StoreError> {
        // `.` follows `-`: the range holds this category's names alone, and the index of streams finds it.
        let bounds = [format!("{}-", category.as_str()), format!("{}.", category.as_str())];
        let names = sqlx::query_scalar(
            "SELECT stream FROM events WHERE stream >= ? AND stream < ? AND version = 1 ORDER BY stream",
        )
        .bind(&bounds[0])
        .bind(&bounds[1])
        .fetch_all(&self.pool);
        let names: Vec<String> = names.await.map_err(StoreError::because("list streams"))?;
        names.iter().map(|name| StreamId::parse(name).map_err(StoreError::because("list streams"))).collect()
    }

    async fn event(&self, id: EventId) -> Result<Option<Recorded>, StoreError> {
        let row =
            sqlx::query(AssertSqlSafe(select("WHERE event_id = ?"))).bind(*id.as_uuid()).fetch_optional(&self.pool);
        let row = row.await.map(|row| row.into_iter().collect());
        Ok(decode("read an event", row)?.pop())
    }

    async fn head(&self) -> Result<Position, StoreError> {
        let head: Result<i64, _> =
            sqlx::query_scalar("SELECT coalesce(max(position), 0) FROM events").fetch_one(&self.pool).await;
        Ok(Position(head.map_err(StoreError::because("read the log's head"))?.cast_unsigned()))
    }

    async fn command(&self, command_id: &Digest) -> Result<Option<RecordedCommand>, StoreError> {
        let row = sqlx::query("SELECT body_sha256, position, events FROM commands WHERE command_id = ?")
            .bind(command_id.0.as_slice())
            .fetch_optional(&self.pool)
            .await
            .and_then(|row| row.as_ref().map(row::known_command).transpose());
        let Some(command) = row.map_err(StoreError::because("read a command"))? else { return Ok(None) };
        let events = self.events_of(&command).await?;
        Ok(Some(RecordedCommand { body_sha256: command.body_sha256, position: command.position, events }))
    }

    fn subscribe(&self, after: Position) -> Subscription {
        let (pool, recent) = (self.pool.clone(), self.recent.clone());
        let read = move |after| {
            let (pool, known) = (pool.clone(), recent.behind(after, subscription::PAGE));
            async move {
                match known {
                    Some(page) => Ok(page),
                    None => page(&pool, after, subscription::PAGE).await,
                }
            }
        };
        subscription::start(read, self.head.clone(), after)
    }
}

impl SqliteEventReader {
    async fn filtered(&self, after: Position, limit: usize, filter: &Filter) -> Result<Page, StoreError> {
        // What is appended from here on is left to the next page: `reached` must not skip it.
        let head = self.head().await?;
        let through =
            if filter.streams.is_empty() { Position(after.0.saturating_add(SCANNED_MAX)).min(head) } else { head };
        if through <= after || limit == 0 {
            return Ok(Page { events: vec![], reached: after });
        }
        let rows = filtered_query(after, through, limit, filter).build().fetch_all(&self.pool).await;
        let events = decode("read the log", rows)?;
        let reached = events.last().filter(|_| events.len() >= limit).map_or(through, |last| last.envelope.position);
        Ok(Page { events, reached })
    }
}

/// Up to `limit` events between the positions, `through` included.
fn filtered_query(after: Position, through: Position, limit: usize, filter: &Filter) -> QueryBuilder<Sqlite> {
    // The plus sign keeps the planner from walking the positions where a few short streams are asked for.
    let position = if filter.streams.is_empty() { "position" } else { "+position" };
    let mut query = QueryBuilder::new(select("WHERE "));
    query.push(position).push(" > ").push_bind(column(after.0));
    query.push(" AND ").push(position).push(" <= ").push_bind(column(through.0));
    if !filter.streams.is_empty() {
        query
            .push(" AND stream IN (SELECT value FROM json_each(")
            .push_bind(json_texts(filter.streams.iter().map(StreamId::as_str)))
            .push("))");
    }
    if !filter.event_types.is_empty() {
        let types = json_texts(filter.event_types.iter().map(String::as_str));
        query.push(" AND event_type IN (SELECT value FROM json_each(").push_bind(types).push("))");
    }
    if let Some(tenant_id) = filter.tenant_id {
        query.push(" AND tenant_id = ").push_bind(*tenant_id.as_uuid());
    }
    query.push(" ORDER BY ").push(position).push(" LIMIT ").push_bind(column(limit));
    query
}

async fn page(pool: &SqlitePool, after: Position, limit: usize) -> Result<Page, StoreError> {
    let rows = sqlx::query(AssertSqlSafe(select("WHERE position > ? ORDER BY position LIMIT ?")))
        .bind(column(after.0))
        .bind(column(limit))
        .fetch_all(pool);
    let events = decode("read the log", rows.await)?;
    let reached = events.last().map_or(after, |last| last.envelope.position);
    Ok(Page { events, reached })
}

fn select(condition: &str) -> String {
    format!("SELECT {} FROM events {condition}", row::COLUMNS)
}

fn decode(context: &'static str, rows: Result<Vec<SqliteRow>, sqlx::Error>) -> Result<Vec<Recorded>, StoreError> {
    rows.and_then(|rows| rows.iter().map(row::read).collect()).map_err(StoreError::because(context))
}

/// A number as the engine keeps it. No log ever reaches what does not fit.
fn column(number: impl TryInto<i64>) -> i64 {
    number.try_into().unwrap_or(i64::MAX)
}
