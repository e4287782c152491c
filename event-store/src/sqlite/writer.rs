//! The one task that writes: judges the batches that wait, appends what is accepted in one transaction, answers all.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Instant;

use signalbeam_domain::{Digest, Position};
use sqlx::sqlite::SqliteArguments;
use sqlx::{Arguments, AssertSqlSafe, SqliteConnection};
use tokio::sync::{mpsc, oneshot, watch};

use crate::clock::Clock;
use crate::ledger::{KnownCommand, Ledger, PreparedBatch, Tail, Verdict};
use crate::port::{AppendError, Recorded, StoreError};
use crate::sqlite::database::{Database, close_writer};
use crate::sqlite::recent::Recent;
use crate::sqlite::write_health::WriteHealth;
use crate::sqlite::{known, queue, row};

/// From this many events on a group takes no further batch. With the largest batch it stays below 2,048 events, whose
/// parameters the engine can take in one statement.
const GROUP: usize = 1_000;
/// How many octets of payload weigh as much as an event.
const OCTETS_PER_EVENT: usize = 4_096;

const INSERT_COMMANDS: &str = "
INSERT INTO commands (command_id, body_sha256, position, events)
    SELECT unhex(value ->> 0), unhex(value ->> 1), value ->> 2, value ->> 3 FROM json_each(?);";

/// What the writer is asked for.
pub(super) enum Request {
    Append { batch: PreparedBatch, answer: oneshot::Sender<Result<Written, AppendError>> },
    Close(oneshot::Sender<()>),
}

/// What became of an accepted batch.
pub(super) enum Written {
    Appended { events: Vec<Recorded>, position: Position },
    Repeat(KnownCommand),
}

type Answer = oneshot::Sender<Result<Written, AppendError>>;
type Outcome = Result<Written, AppendError>;

struct Writer {
    database: Database,
    clock: Arc<dyn Clock>,
    head: watch::Sender<Position>,
    health: WriteHealth,
    recent: Recent,
    /// Absent after a failure: what was committed is unknown then, so connection and tail are taken anew.
    open: Option<Open>,
}

struct Open {
    connection: SqliteConnection,
    tail: Tail,
}

/// Starts the writer. It ends when it is asked to, or when nobody is left to ask.
pub(super) async fn start(
    database: Database,
    requests: mpsc::Receiver<Request>,
    clock: Arc<dyn Clock>,
    health: WriteHealth,
    recent: Recent,
) -> Result<watch::Receiver<Position>, sqlx::Error> {
    let open = Open::new(&database).await?;
    recent.begin(open.tail.position);
    let (head, receiver) = watch::channel(open.tail.position);
    tokio::spawn(Writer { database, clock, head, health, recent, open: Some(open) }.run(requests));
    Ok(receiver)
}

impl Open {
    async fn new(database: &Database) -> Result<Self, sqlx::Error> {
        let mut connection = database.connect().await?;
        let tail = known::tail(&mut connection).await?;
        // What a process left behind that was killed between writing and syncing is visible now: from here on it also is
        // durable, so that nobody has seen what the loss of power could still take away.
        database.sync_written_ahead().map_err(sqlx::Error::Io)?;
        Ok(Self { connection, tail })
    }
}

fn weight(request: &Request) -> usize {
    match request {
        Request::Append { batch, .. } => batch.len().max(1) + batch.payload_octets / OCTETS_PER_EVENT,
        Request::Close(_) => 0,
    }
}

impl Writer {
    async fn run(mut self, mut requests: mpsc::Receiver<Request>) {
        let mut closed = vec![];
        while let Some(first) = requests.recv().await {
            let mut batches = vec![];
            let mut answers: Vec<Answer> = vec![];
            for request in queue::gather(&mut requests, first, GROUP, weight).await {
                match request {
                    Request::Append { batch, answer } => {
                        batches.push(batch);
                        answers.push(answer);
                    }
                    Request::Close(done) => {
                        requests.close();
                        closed.push(done);
                    }
                }
            }
            self.append(batches, answers).await;
        }
        if let Some(open) = self.open.take()
            && let Err(error) = close_writer(open.connection).await
        {
            tracing::warn!(%error, "closing the event log failed");
        }
        // The file is let go before anybody hears that it is closed.
        drop(self);
        for done in closed {
            // Whoever asked may have gone.
            let _ = done.send(());
        }
    }

    async fn append(&mut self, batches: Vec<PreparedBatch>, answers: Vec<Answer>) {
        if batches.is_empty() {
            return;
        }
        let started = Instant::now();
        let outcomes = match self.commit(batches).await {
            Ok(outcomes) => outcomes,
            Err(error) => {
                self.open = None;
                self.recent.forget();
                self.health.failed();
                let error = StoreError::because("append")(error);
                tracing::warn!(batches = answers.len(), error = %error.source, "appending to the event log failed");
                answers.iter().map(|_| Err(error.clone().into())).collect()
            }
        };
        tracing::debug!(batches = answers.len(), elapsed = ?started.elapsed(), "answered a group of appends");
        for (answer, outcome) in answers.into_iter().zip(outcomes) {
            // Whoever asked may have gone.
            let _ = answer.send(outcome);
        }
    }

    /// One outcome for each batch. After an error it is unknown what was appended.
    async fn commit(&mut self, batches: Vec<PreparedBatch>) -> Result<Vec<Outcome>, sqlx::Error> {
        let open = match &mut self.open {
            Some(open) => open,
            closed => {
                let open = closed.insert(Open::new(&self.database).await?);
                self.recent.begin(open.tail.position);
                open
            }
        };
        let named: Vec<&PreparedBatch> = batches.iter().collect();
        let mut ledger = known::ledger(&mut open.connection, open.tail, &named).await?;
        let (outcomes, commands) = judge(&mut ledger, batches, &*self.clock);
        if insert(&mut open.connection, &outcomes, &commands).await? {
            self.health.succeeded();
        }
        open.tail = ledger.tail;
        self.recent.add(appended(&outcomes));
        let position = open.tail.position;
        self.head.send_if_modified(|head| std::mem::replace(head, position) != position);
        Ok(outcomes)
    }
}

/// Judges the batches in their order, each after the effects of those before it. Also returns the commands to be kept.
fn judge(
    ledger: &mut Ledger,
    batches: Vec<PreparedBatch>,
    clock: &dyn Clock,
) -> (Vec<Outcome>, Vec<(Digest, KnownCommand)>) {
    let mut commands = vec![];
    let mut outcomes = Vec::with_capacity(batches.len());
    for batch in batches {
        let named = batch.metadata.idempotency;
        outcomes.push(ledger.judge(batch, clock.now()).map(|verdict| match verdict {
            Verdict::Repeat(command) => Written::Repeat(command),
            Verdict::Append { events, position } => {
                commands.extend(named.and_then(|n| Some((n.command_id, *ledger.commands.get(&n.command_id)?))));
                Written::Appended { events, position }
            }
        }));
    }
    (outcomes, commands)
}

/// The events of the batches that were accepted, in the order of the log.
fn appended(outcomes: &[Outcome]) -> impl Iterator<Item = &Recorded> {
    let appended = outcomes.iter().filter_map(|outcome| match outcome {
        Ok(Written::Appended { events, .. }) => Some(events),
        _ => None,
    });
    appended.flatten()
}

/// Inserts all in one transaction and commits it, in one turn of the connection's thread; false where there was nothing.
async fn insert(
    connection: &mut SqliteConnection,
    outcomes: &[Outcome],
    commands: &[(Digest, KnownCommand)],
) -> Result<bool, sqlx::Error> {
    let events: Vec<&Recorded> = appended(outcomes).collect();
    if events.is_empty() && commands.is_empty() {
        return Ok(false);
    }
    let mut arguments = SqliteArguments::default();
    let mut sql = String::from("BEGIN IMMEDIATE;");
    if !commands.is_empty() {
        // In front, since the rows of events need not all be bound.
        arguments.add(json_rows(commands)).map_err(sqlx::Error::Encode)?;
        sql.push_str(INSERT_COMMANDS);
    }
    if !events.is_empty() {
        arguments.reserve(events.len() * row::COLUMN_COUNT, 0);
        for recorded in &events {
            row::bind(&mut arguments, recorded).map_err(sqlx::Error::Encode)?;
        }
        sql.push_str(&row::insert(events.len()));
    }
    sql.push_str(";COMMIT");
    sqlx::query_with(AssertSqlSafe(sql), arguments).execute(connection).await?;
    Ok(true)
}

fn json_rows(commands: &[(Digest, KnownCommand)]) -> String {
    let mut rows = String::from("[");
    for (id, command) in commands {
        // Writing to a string does not fail.
        let _ = write!(rows, "[\"{id}\",\"{}\",{},{}],", command.body_sha256, command.position, command.events);
    }
    rows.pop();
    rows.push(']');
    rows
}
