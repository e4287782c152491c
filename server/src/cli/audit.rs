//! `signalbeam audit`: whether the authentication log is still what was sealed.

use clap::Subcommand;
use signalbeam_domain::audit_segment::SegmentSealed;
use signalbeam_event_store::audit::segments::{Verdict, verify};
use signalbeam_event_store::{SqliteAuditReader, SqliteEventReader};

use super::{DataDirArgs, Failure, block_on, print};
use crate::serve::{AUDIT_FILE, EVENTS_FILE};

/// What to do with the authentication log.
#[derive(Debug, Subcommand)]
pub(super) enum AuditCommand {
    /// Hold every sealed day against its seal in the event log; ends with 1 where rows were changed, added or removed
    Verify {
        #[command(flatten)]
        data_dir: DataDirArgs,
    },
}

/// Rows are not what was sealed.
#[derive(Debug, thiserror::Error)]
#[error("the authentication log is not what was sealed: {0}")]
struct NotWhatWasSealed(String);

pub(super) fn run(command: &AuditCommand) -> Result<(), Failure> {
    let AuditCommand::Verify { data_dir } = command;
    block_on(async {
        let folder = data_dir.with(&[EVENTS_FILE, AUDIT_FILE])?;
        let events = SqliteEventReader::open(folder.join(EVENTS_FILE)).await.map_err(Failure::of)?;
        let audit = SqliteAuditReader::open(folder.join(AUDIT_FILE)).await.map_err(Failure::of)?;
        let verdicts = verify(&events, &audit).await.map_err(Failure::of)?;
        let lines: String = verdicts.iter().map(|(segment, verdict)| line(segment, verdict)).collect();
        print(&lines)?;
        let bad: Vec<_> = verdicts.iter().filter(|(_, verdict)| !verdict.is_good()).collect();
        if bad.is_empty() {
            return print(&format!("{} sealed segments, nothing speaks against them\n", verdicts.len()));
        }
        let days: Vec<_> = bad.iter().map(|(segment, _)| segment.day.to_string()).collect();
        Err(Failure::of(NotWhatWasSealed(days.join(", "))))
    })
}

fn line(segment: &SegmentSealed, verdict: &Verdict) -> String {
    let SegmentSealed { day, first_row, last_row, count, root_hash, .. } = segment;
    let verdict = match verdict {
        Verdict::Intact => "intact".to_owned(),
        Verdict::Dropped => "dropped by retention".to_owned(),
        Verdict::Tampered { count, root_hash } => format!("TAMPERED WITH: now {count} rows, {root_hash}"),
        Verdict::Unreadable(error) => format!("UNREADABLE: {}", error.source),
    };
    format!("{day}  rows {first_row}..{last_row}  {count} rows, {root_hash}  {verdict}\n")
}
