//! `signalbeam events`: the log as it stands, for its owner. Nothing is redacted: a backup must hold the exact data.

use std::fs::OpenOptions;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use clap::Subcommand;
use serde::Serialize;
use serde_json::value::RawValue;
use signalbeam_domain::{Actor, CorrelationId, Digest, EventId, Position, TenantId, Timestamp};
use signalbeam_event_store::{EventReader, Filter, Recorded, SqliteEventReader};

use super::{DataDirArgs, Failure, block_on, print};
use crate::serve::EVENTS_FILE;

/// How many events are read at a time.
const PAGE: usize = 1_000;

/// What to do with the log.
#[derive(Debug, Subcommand)]
pub(super) enum EventsCommand {
    /// Write every event with its exact data and hash, one JSON object a line, oldest first; the verifiers of secrets
    /// are in it, so keep it as you keep the log itself
    Export {
        #[command(flatten)]
        data_dir: DataDirArgs,
        /// Where to; readable by its owner alone. Standard output by default
        #[arg(long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Print one event
    Show {
        #[command(flatten)]
        data_dir: DataDirArgs,
        /// The event's id
        id: EventId,
    },
}

/// An event as it is exported.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Exported<'a> {
    position: u64,
    id: EventId,
    #[serde(rename = "type")]
    event_type: &'a str,
    schema_version: u16,
    stream: &'a str,
    version: u64,
    recorded_at: Timestamp,
    tenant_id: Option<TenantId>,
    actor: &'a Actor,
    command_id: Option<Digest>,
    correlation_id: &'a CorrelationId,
    causation_id: Option<EventId>,
    /// The exact bytes that the hash was taken of.
    data: &'a RawValue,
    hash: Digest,
}

/// There is no such event.
#[derive(Debug, thiserror::Error)]
#[error("there is no event {0}")]
struct NoSuchEvent(EventId);

pub(super) fn run(command: EventsCommand) -> Result<(), Failure> {
    block_on(async {
        match command {
            EventsCommand::Export { data_dir, output } => {
                let reader = open(&data_dir).await?;
                let Some(path) = output else { return export(&reader, io::stdout().lock()).await };
                let mut options = OpenOptions::new();
                let file = options.write(true).create(true).truncate(true).mode(0o600).open(path);
                export(&reader, file.map_err(Failure::of)?).await
            }
            EventsCommand::Show { data_dir, id } => {
                let recorded = open(&data_dir).await?.event(id).await.map_err(Failure::of)?;
                let recorded = recorded.ok_or_else(|| Failure::of(NoSuchEvent(id)))?;
                let text = serde_json::to_string_pretty(&exported(&recorded)?).map_err(Failure::of)?;
                print(&format!("{text}\n"))
            }
        }
    })
}

async fn open(data_dir: &DataDirArgs) -> Result<SqliteEventReader, Failure> {
    SqliteEventReader::open(data_dir.data_dir.join(EVENTS_FILE)).await.map_err(Failure::of)
}

async fn export(reader: &SqliteEventReader, output: impl Write) -> Result<(), Failure> {
    let mut output = BufWriter::new(output);
    // What is appended meanwhile is left for the next export, so that this one ends.
    let head = reader.head().await.map_err(Failure::of)?;
    let mut after = Position::default();
    while after < head {
        let page = reader.read_all(after, PAGE, &Filter::default()).await.map_err(Failure::of)?;
        for recorded in &page.events {
            serde_json::to_writer(&mut output, &exported(recorded)?).map_err(Failure::of)?;
            output.write_all(b"\n").map_err(Failure::of)?;
        }
        if page.reached <= after {
            break;
        }
        after = page.reached;
    }
    output.flush().map_err(Failure::of)
}

fn exported(recorded: &Recorded) -> Result<Exported<'_>, Failure> {
    let envelope = &recorded.envelope;
    Ok(Exported {
        position: envelope.position.0,
        id: envelope.event_id,
        event_type: &envelope.event_type,
        schema_version: envelope.schema_version,
        stream: envelope.stream.as_str(),
        version: envelope.version.0,
        recorded_at: envelope.recorded_at,
        tenant_id: envelope.tenant_id,
        actor: &envelope.actor,
        command_id: envelope.command_id,
        correlation_id: &envelope.correlation_id,
        causation_id: envelope.causation_id,
        data: serde_json::from_slice(&envelope.data).map_err(Failure::of)?,
        hash: recorded.hash,
    })
}
