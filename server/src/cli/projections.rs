//! `signalbeam projections`: how far the derived tables are, and making them anew.

use clap::Subcommand;
use signalbeam_event_store::{EventReader, SqliteEventReader};
use signalbeam_projections::{DIRECTORY, Tables, rebuild};

use super::{DataDirArgs, Failure, block_on, print};
use crate::serve::{EVENTS_FILE, PROJECTIONS_FILE};

/// What to do with what is derived.
#[derive(Debug, Subcommand)]
pub(super) enum ProjectionsCommand {
    /// Print each projection with its position and the log's
    Status {
        #[command(flatten)]
        data_dir: DataDirArgs,
    },
    /// Make a projection anew from the whole log and put it in the place of the live one, also beside a running server
    Rebuild {
        #[command(flatten)]
        data_dir: DataDirArgs,
        /// The projection, as `status` names it
        name: String,
    },
}

pub(super) fn run(command: &ProjectionsCommand) -> Result<(), Failure> {
    block_on(async {
        let (ProjectionsCommand::Status { data_dir } | ProjectionsCommand::Rebuild { data_dir, .. }) = command;
        let folder = data_dir.with(&[EVENTS_FILE])?;
        let reader = SqliteEventReader::open(folder.join(EVENTS_FILE)).await.map_err(Failure::of)?;
        let tables = Tables::attach(&folder.join(PROJECTIONS_FILE)).await.map_err(Failure::of)?;
        let ProjectionsCommand::Rebuild { name, .. } = command else { return status(&reader, &tables).await };
        let rebuilt = rebuild(name, &tables, &reader, |_| {}).await.map_err(Failure::of)?;
        print(&format!("{name}: rebuilt from {} events, up to position {}\n", rebuilt.events, rebuilt.position))
    })
}

async fn status(reader: &SqliteEventReader, tables: &Tables) -> Result<(), Failure> {
    let reached = tables.checkpoint().await.map_err(Failure::of)?.position;
    let head = reader.head().await.map_err(Failure::of)?;
    let behind = head.0.saturating_sub(reached.0);
    print(&format!("{DIRECTORY}: at position {reached} of {head}, {behind} events behind\n"))
}
