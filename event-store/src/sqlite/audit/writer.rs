//! The one task that writes attempts: what waits is inserted with one statement and committed once.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use signalbeam_domain::Timestamp;
use sqlx::sqlite::SqliteArguments;
use sqlx::{Arguments, AssertSqlSafe, SqliteConnection};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout_at};

use super::{ocsp_answers, row, trim};
use crate::audit::ocsp_answers::OcspAnswerRow;
use crate::audit::{AuditError, AuthenticationAttempt};
use crate::sqlite::database::{Database, close_writer};
use crate::sqlite::insert::BoxError;
use crate::sqlite::queue;
use crate::sqlite::write_health::WriteHealth;

/// From this many attempts on a group takes no more.
const GROUP: usize = 1_000;
/// How many rows the engine takes in one statement: their parameters stay below its limit of 32,766.
const ROWS_PER_STATEMENT: usize = 2_048;
/// How long a success that nobody waits for may stay in memory; with the commit it stays below the promised 250 ms.
const LINGER: Duration = Duration::from_millis(200);
/// How many rows share an entry in the table of moments, and are indexed together.
pub(super) const BLOCK: i64 = 16_384;
/// How many rows share an entry in the finer table of moments.
pub(super) const PART: i64 = 512;

const NOTE_BLOCK: &str = "
INSERT INTO device_authentication_log_blocks (block, earliest, latest) VALUES (?, ?, ?)
    ON CONFLICT (block) DO UPDATE SET earliest = min(earliest, excluded.earliest), latest = max(latest, excluded.latest);";

const NOTE_PARTS: &str = "
INSERT INTO device_authentication_log_parts (part, earliest, latest)
    SELECT value ->> 0, value ->> 1, value ->> 2 FROM json_each(?) WHERE TRUE
    ON CONFLICT (part) DO UPDATE SET earliest = min(earliest, excluded.earliest), latest = max(latest, excluded.latest);";

const NOTE_FAILURES: &str = "
INSERT OR ROLLBACK INTO device_authentication_log_failures (block, failure_code, row)
    SELECT value ->> 0, value ->> 1, value ->> 2 FROM json_each(?);";

/// What the writer is asked for.
pub(super) enum Request {
    /// Somebody waits until these are on disk.
    Write {
        attempts: Vec<AuthenticationAttempt>,
        answer: Answer,
    },
    /// These count as recorded already.
    Queue(Vec<AuthenticationAttempt>),
    /// A step of dropping the rows up to `through`; answers whether there may be more of them.
    Drop {
        through: i64,
        answer: oneshot::Sender<Result<bool, AuditError>>,
    },
    /// Beside the attempts, and after those that came first.
    OcspAnswers {
        rows: Vec<OcspAnswerRow>,
        answer: Answer,
    },
    /// A step of dropping what is older than `before`; answers whether there may be more of it.
    DropOcspAnswers {
        before: Timestamp,
        answer: oneshot::Sender<Result<bool, AuditError>>,
    },
    Close(oneshot::Sender<()>),
}

type Answer = oneshot::Sender<Result<(), AuditError>>;

struct Writer {
    database: Database,
    is_failing: Arc<AtomicBool>,
    health: WriteHealth,
    /// Absent after a failure: what was committed is unknown then, so connection and number are taken anew.
    open: Option<Open>,
    /// Attempts that count as recorded and could not be written: they go with the next group. No more than what stood in
    /// the queue when the writing began to fail, since from then on nothing counts as recorded unwritten.
    unwritten: Vec<Row>,
}

struct Open {
    connection: SqliteConnection,
    last_row: i64,
}

/// An attempt in the order of arrival.
struct Row {
    attempt: AuthenticationAttempt,
    is_waited_for: bool,
}

#[derive(Default)]
struct Group {
    rows: Vec<Row>,
    answers: Vec<Answer>,
    /// What is no attempt: done after the attempts.
    others: Vec<Request>,
    closed: Vec<oneshot::Sender<()>>,
}

/// Starts the writer. It ends when it is asked to, or when nobody is left to ask.
pub(super) async fn start(
    database: Database,
    requests: mpsc::Receiver<Request>,
    is_failing: Arc<AtomicBool>,
    health: WriteHealth,
) -> Result<(), sqlx::Error> {
    let open = Some(Open::new(&database).await?);
    tokio::spawn(Writer { database, is_failing, health, open, unwritten: vec![] }.run(requests));
    Ok(())
}

impl Open {
    async fn new(database: &Database) -> Result<Self, sqlx::Error> {
        let mut connection = database.connect().await?;
        let last_row: Option<i64> =
            sqlx::query_scalar("SELECT seq FROM sqlite_sequence WHERE name = 'device_authentication_logs'")
                .fetch_optional(&mut connection)
                .await?;
        Ok(Self { connection, last_row: last_row.unwrap_or(0) })
    }
}

fn weight(request: &Request) -> usize {
    match request {
        Request::Write { attempts, .. } | Request::Queue(attempts) => attempts.len(),
        Request::Drop { .. } | Request::OcspAnswers { .. } | Request::DropOcspAnswers { .. } | Request::Close(_) => 0,
    }
}

impl Group {
    fn take(&mut self, request: Request) {
        let (attempts, is_waited_for) = match request {
            Request::Write { attempts, answer } => {
                self.answers.push(answer);
                (attempts, true)
            }
            Request::Queue(attempts) => (attempts, false),
            Request::Close(done) => return self.closed.push(done),
            other => return self.others.push(other),
        };
        self.rows.extend(attempts.into_iter().map(|attempt| Row { attempt, is_waited_for }));
    }

    fn is_urgent(&self) -> bool {
        !self.answers.is_empty() || !self.others.is_empty() || !self.closed.is_empty() || self.rows.len() >= GROUP
    }
}

/// What waits, as soon as somebody waits for it; otherwise what comes until it has lingered long enough.
async fn next_group(requests: &mut mpsc::Receiver<Request>) -> Option<Group> {
    let mut next = requests.recv().await?;
    let deadline = Instant::now() + LINGER;
    let mut group = Group::default();
    loop {
        queue::gather(requests, next, GROUP, weight).await.into_iter().for_each(|request| group.take(request));
        if group.is_urgent() {
            return Some(group);
        }
        next = match timeout_at(deadline, requests.recv()).await {
            Ok(Some(request)) => request,
            Ok(None) | Err(_) => return Some(group),
        };
    }
}

impl Writer {
    async fn run(mut self, mut requests: mpsc::Receiver<Request>) {
        let mut closed = vec![];
        while let Some(mut group) = next_group(&mut requests).await {
            if !group.closed.is_empty() {
                requests.close();
                closed.append(&mut group.closed);
            }
            let others = std::mem::take(&mut group.others);
            self.write(group).await;
            for request in others {
                self.serve(request).await;
            }
        }
        if !self.unwritten.is_empty() {
            tracing::error!(attempts = self.unwritten.len(), "successful attempts never reached the audit log");
        }
        if let Some(open) = self.open.take()
            && let Err(error) = close_writer(open.connection).await
        {
            tracing::warn!(%error, "closing the audit log failed");
        }
        // The file is let go before anybody hears that it is closed.
        drop(self);
        for done in closed {
            // Whoever asked may have gone.
            let _ = done.send(());
        }
    }

    async fn write(&mut self, group: Group) {
        let mut rows = std::mem::take(&mut self.unwritten);
        rows.extend(group.rows);
        let outcome = self.insert(&rows).await.map_err(AuditError::because("record an attempt"));
        if let Err(error) = &outcome {
            self.open = None;
            self.health.failed();
            rows.retain(|row| !row.is_waited_for);
            tracing::warn!(kept = rows.len(), error = %error.source, "writing to the audit log failed");
            self.unwritten = rows;
        }
        self.is_failing.store(outcome.is_err(), Ordering::Relaxed);
        for answer in group.answers {
            // Whoever asked may have gone.
            let _ = answer.send(outcome.clone());
        }
    }

    /// Whoever asked may have gone.
    async fn serve(&mut self, request: Request) {
        match request {
            Request::Drop { through, answer } => {
                let dropped = self.with_open(async |open| trim::step(&mut open.connection, through).await).await;
                let _ = answer.send(dropped.map_err(AuditError::because("drop old rows")));
            }
            Request::OcspAnswers { rows, answer } => {
                let written =
                    self.with_open(async |open| ocsp_answers::insert(&mut open.connection, &rows).await).await;
                let _ = answer.send(written.map_err(AuditError::because("record OCSP answers")));
            }
            Request::DropOcspAnswers { before, answer } => {
                let dropped =
                    self.with_open(async |open| ocsp_answers::drop_some(&mut open.connection, before).await).await;
                let _ = answer.send(dropped.map_err(AuditError::because("drop old OCSP answers")));
            }
            Request::Write { .. } | Request::Queue(_) | Request::Close(_) => {}
        }
    }

    /// Does something with the connection; after a failure it is opened anew.
    async fn with_open<R>(
        &mut self,
        act: impl AsyncFnOnce(&mut Open) -> Result<R, sqlx::Error>,
    ) -> Result<R, sqlx::Error> {
        let done = match self.open().await {
            Ok(open) => act(open).await,
            Err(error) => Err(error),
        };
        if done.is_err() {
            self.open = None;
        }
        done
    }

    async fn open(&mut self) -> Result<&mut Open, sqlx::Error> {
        match &mut self.open {
            Some(open) => Ok(open),
            closed => Ok(closed.insert(Open::new(&self.database).await?)),
        }
    }

    async fn insert(&mut self, rows: &[Row]) -> Result<(), sqlx::Error> {
        if rows.is_empty() {
            return Ok(());
        }
        let open = self.open().await?;
        let last_row = open.last_row + number(rows.len());
        let (mut sql, arguments) = statement(open.last_row, rows).map_err(sqlx::Error::Encode)?;
        let completed = open.last_row / BLOCK..last_row / BLOCK;
        // A statement that names a block comes once, so it is not worth keeping.
        let is_worth_keeping = completed.is_empty();
        completed.for_each(|block| index(&mut sql, block));
        sql.push_str("COMMIT");
        let query = sqlx::query_with(AssertSqlSafe(sql), arguments).persistent(is_worth_keeping);
        query.execute(&mut open.connection).await?;
        open.last_row = last_row;
        self.health.succeeded();
        Ok(())
    }
}

/// Adds the statements that index a block whose rows are all there.
fn index(sql: &mut String, block: i64) {
    let rows = block * BLOCK..(block + 1) * BLOCK;
    for (table, column) in [("devices", "device_id"), ("tenants", "tenant_id")] {
        // Writing to a string does not fail.
        let _ = write!(
            sql,
            "INSERT OR ROLLBACK INTO device_authentication_log_{table} (block, {column}, row)
             SELECT {block}, {column}, row FROM device_authentication_logs
             WHERE row >= {} AND row < {} AND {column} IS NOT NULL ORDER BY {column}, row;",
            rows.start, rows.end
        );
    }
}

/// The beginning of a transaction for all rows, which runs in one turn of the connection's thread.
fn statement(last_row: i64, rows: &[Row]) -> Result<(String, SqliteArguments), BoxError> {
    let mut arguments = SqliteArguments::default();
    arguments.reserve(rows.len() * row::COLUMN_COUNT, 0);
    let mut sql = String::from("BEGIN IMMEDIATE;");
    for (block, (earliest, latest)) in moments(last_row, rows, BLOCK) {
        arguments.add(block)?;
        arguments.add(earliest.to_string())?;
        arguments.add(latest.to_string())?;
        sql.push_str(NOTE_BLOCK);
    }
    let parts: Vec<_> = moments(last_row, rows, PART).into_iter().map(|(part, (from, to))| (part, from, to)).collect();
    arguments.add(serde_json::to_string(&parts)?)?;
    sql.push_str(NOTE_PARTS);
    if let Some(failures) = failures(last_row, rows)? {
        arguments.add(failures)?;
        sql.push_str(NOTE_FAILURES);
    }
    // Only the last statement with parameters may have some that are not bound.
    for chunk in rows.chunks(ROWS_PER_STATEMENT) {
        sql.push_str(&row::insert(chunk.len()));
        sql.push(';');
    }
    for (row, number) in rows.iter().zip(last_row + 1..) {
        row::bind(&mut arguments, number, &row.attempt)?;
    }
    Ok((sql, arguments))
}

/// The failures among the rows, as JSON: block, code and number of each; `None` without any.
fn failures(last_row: i64, rows: &[Row]) -> Result<Option<String>, serde_json::Error> {
    let numbered = rows.iter().zip(last_row + 1..).filter(|(row, _)| !row.attempt.success);
    let entries: Vec<_> = numbered
        .map(|(row, number)| (number / BLOCK, row.attempt.failure_code.as_deref().unwrap_or_default(), number))
        .collect();
    if entries.is_empty() { Ok(None) } else { serde_json::to_string(&entries).map(Some) }
}

/// The stretches of `size` numbers that these rows fall into, with their earliest and latest moments.
fn moments(last_row: i64, rows: &[Row], size: i64) -> BTreeMap<i64, (Timestamp, Timestamp)> {
    let mut moments = BTreeMap::new();
    for (row, number) in rows.iter().zip(last_row + 1..) {
        let moment = row.attempt.timestamp;
        let (earliest, latest) = moments.entry(number / size).or_insert((moment, moment));
        *earliest = moment.min(*earliest);
        *latest = moment.max(*latest);
    }
    moments
}

fn number(rows: usize) -> i64 {
    i64::try_from(rows).unwrap_or(i64::MAX)
}
