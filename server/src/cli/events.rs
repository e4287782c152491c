//! `signalbeam events`: the log as it stands, for its owner. Nothing is redacted: a backup must hold the exact data.

use std::fs::OpenOptions;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use clap::Subcommand;
use serde::Serialize;
use serde_json::value::RawValue;
use signalbeam_domain::{Actor, CorrelationId, Digest, EventId, Position, TenantId, Timestamp};
use signalbeam_event_store::{EventReader, Filter, Recorded, SqliteEventReader};
use uuid::Uuid;

use super::{DataDirArgs, Failure, STANDARD_OUTPUT, block_on, print};
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
                let Some(path) = output else {
                    return export(&reader, &mut io::stdout().lock(), STANDARD_OUTPUT).await;
                };
                export_into(&reader, &path).await
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
    let folder = data_dir.with(&[EVENTS_FILE])?;
    SqliteEventReader::open(folder.join(EVENTS_FILE)).await.map_err(Failure::of)
}

/// A file appears whole, readable by its owner alone whatever stood there before; a device or a pipe is written to.
async fn export_into(reader: &SqliteEventReader, path: &Path) -> Result<(), Failure> {
    let place = path.display().to_string();
    let failed = |error| Failure::of_output(&place, error);
    if std::fs::metadata(path).is_ok_and(|present| !present.is_file()) {
        let mut file = OpenOptions::new().write(true).open(path).map_err(failed)?;
        return export(reader, &mut file, &place).await;
    }
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".partial-{}", Uuid::now_v7().simple()));
    let draft = path.with_file_name(name);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft).map_err(failed)?;
    let written = export(reader, &mut file, &place).await;
    let written = written.and_then(|()| file.sync_all().and_then(|()| std::fs::rename(&draft, path)).map_err(failed));
    if written.is_err() {
        // What went wrong is said; a draft that cannot be removed either is its owner's alone.
        let _left = std::fs::remove_file(&draft);
    }
    written
}

async fn export(reader: &SqliteEventReader, output: &mut dyn Write, place: &str) -> Result<(), Failure> {
    let failed = |error| Failure::of_output(place, error);
    let mut output = BufWriter::new(output);
    // What is appended meanwhile is left for the next export, so that this one ends.
    let head = reader.head().await.map_err(Failure::of)?;
    let mut after = Position::default();
    while after < head {
        let page = reader.read_all(after, PAGE, &Filter::default()).await.map_err(Failure::of)?;
        for recorded in &page.events {
            let mut line = serde_json::to_vec(&exported(recorded)?).map_err(Failure::of)?;
            line.push(b'\n');
            output.write_all(&line).map_err(failed)?;
        }
        if page.reached <= after {
            break;
        }
        after = page.reached;
    }
    output.flush().map_err(failed)
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
