//! `signalbeam ca status`

use clap::{Args, ValueEnum};
use serde::Serialize;
use signalbeam_domain::{AuthorityId, Fingerprint, Timestamp};

use super::survey::{Survey, Surveyed, status_name};
use super::{DataDirArgs, Failure};
use crate::cli::print;

const EXAMPLES: &str = "\
Examples:
  signalbeam ca status --data-dir /var/lib/signalbeam
  signalbeam ca status --output json | jq -r '.authorities[] | select(.status == \"Active\").fingerprint'";

/// A successor is prepared so long before the end: what devices get ends no later than who signed it.
const WARNING_DAYS: f64 = 397.0;

/// What to show, and how.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct StatusArgs {
    #[command(flatten)]
    data_dir: DataDirArgs,
    /// For people, or for programs
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    Text,
    Json,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown<'a> {
    authorities: Vec<ShownAuthority<'a>>,
    next_step: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ShownAuthority<'a> {
    authority_id: AuthorityId,
    status: &'static str,
    vouches_for_another: bool,
    issuer_id: Option<AuthorityId>,
    subject: &'a str,
    key_type: &'a str,
    key_slot: &'a str,
    not_before: Timestamp,
    not_after: Timestamp,
    /// `null` where it is not known.
    live_certificates: Option<u64>,
    fingerprint: Fingerprint,
}

pub(super) async fn run(args: &StatusArgs) -> Result<(), Failure> {
    let survey = Survey::of(&args.data_dir).await?;
    match args.output {
        Output::Text => print(&format!("{}\nnext: {}\n", table(&survey), next_step(&survey))),
        Output::Json => {
            let authorities = survey.authorities.iter().map(shown).collect();
            let shown = Shown { authorities, next_step: next_step(&survey) };
            print(&(serde_json::to_string_pretty(&shown).map_err(Failure::of)? + "\n"))
        }
    }
}

fn shown(one: &Surveyed) -> ShownAuthority<'_> {
    let created = &one.known.created;
    ShownAuthority {
        authority_id: created.authority_id,
        status: status_name(one.known.status),
        vouches_for_another: one.vouches,
        issuer_id: created.issuer_id,
        subject: &created.subject,
        key_type: &created.key_type,
        key_slot: slot(one),
        not_before: created.not_before,
        not_after: created.not_after,
        live_certificates: one.live,
        fingerprint: created.fingerprint,
    }
}

fn slot(one: &Surveyed) -> &str {
    one.known.created.key_slot.as_deref().unwrap_or("main")
}

const HEADINGS: [&str; 8] = ["STATUS", "ID", "SUBJECT", "KEY TYPE", "SLOT", "ENDS", "LIVE", "FINGERPRINT"];

fn table(survey: &Survey) -> String {
    let rows = survey.authorities.iter().map(|one| {
        let created = &one.known.created;
        [
            one.status_word().to_owned(),
            created.authority_id.to_string(),
            created.subject.clone(),
            created.key_type.clone(),
            slot(one).to_owned(),
            created.not_after.to_string().chars().take("YYYY-MM-DD".len()).collect(),
            one.live.map_or_else(|| "unknown".to_owned(), |live| live.to_string()),
            created.fingerprint.to_string(),
        ]
    });
    let rows: Vec<_> = std::iter::once(HEADINGS.map(str::to_owned)).chain(rows).collect();
    let widths: [usize; HEADINGS.len()] =
        std::array::from_fn(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default());
    rows.iter().map(|row| line(row, widths)).collect()
}

fn line<const N: usize>(row: &[String; N], widths: [usize; N]) -> String {
    let cells: Vec<String> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
    format!("{}\n", cells.join("  ").trim_end())
}

/// What is to be done now, and by which command.
fn next_step(survey: &Survey) -> String {
    let Some(signing) = survey.signing() else {
        return "no authority signs yet: start the server on this directory (`signalbeam serve`)".to_owned();
    };
    if let Some(waiting) = survey.waiting() {
        let subject = &waiting.known.created.subject;
        return format!(
            "`{subject}` is prepared, and devices learn to trust it; when they have: signalbeam ca rotate activate"
        );
    }
    if let Some(leaving) = survey.leaving().next() {
        let subject = &leaving.known.created.subject;
        return match leaving.live {
            Some(0) => format!("nobody lives by `{subject}` any more: signalbeam ca rotate retire {}", leaving.id()),
            Some(live) => {
                format!("wait: {live} certificates that `{subject}` signed are in use; their devices renew them")
            }
            None => format!("start the server; it tells when nobody lives by `{subject}` any more, to retire it then"),
        };
    }
    let days = signing.known.created.not_after.days_since(survey.now).floor();
    if days < 0.0 {
        "the signing authority has ended, nothing can be issued: prepare its successor: signalbeam ca rotate prepare"
            .to_owned()
    } else if days <= WARNING_DAYS {
        format!("the signing authority ends in {days} days: prepare its successor: signalbeam ca rotate prepare")
    } else {
        format!("nothing: the signing authority ends in {days} days; prepare its successor {WARNING_DAYS} days before")
    }
}
