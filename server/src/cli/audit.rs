//! `signalbeam audit`: whether the authentication log is still what was sealed.

use clap::Subcommand;
use signalbeam_domain::audit_segment::SegmentSealed;
use signalbeam_event_store::audit::segments::{Verdict, verify};
use signalbeam_event_store::sqlite::copy::audit_tail;
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
            let tail = audit_tail(&folder.join(AUDIT_FILE), false).await.map_err(Failure::of)?;
            return print(&format!("{}\n", extent(&verdicts, tail.map_or(0, |tail| tail.row))));
        }
        let days: Vec<_> = bad.iter().map(|(segment, _)| segment.day.to_string()).collect();
        Err(Failure::of(NotWhatWasSealed(days.join(", "))))
    })
}

/// How much is as it was sealed, and how much nobody can tell of yet.
pub(crate) fn extent(verdicts: &[(SegmentSealed, Verdict)], last_row: i64) -> String {
    let segments = match verdicts.len() {
        1 => "1 sealed segment, nothing speaks against it".to_owned(),
        number => format!("{number} sealed segments, nothing speaks against them"),
    };
    let sealed = verdicts.iter().map(|(segment, _)| segment.last_row).max().unwrap_or_default();
    let open = u64::try_from(last_row).unwrap_or_default().saturating_sub(sealed);
    match open {
        0 => segments,
        1 => format!("{segments}; 1 row is in no seal yet and was not checked"),
        _ => format!("{segments}; {open} rows are in no seal yet and were not checked"),
    }
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
