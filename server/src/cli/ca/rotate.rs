//! `signalbeam ca rotate`: the three steps by which one authority follows another, carried out by the running server.

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};
use signalbeam_domain::AuthorityId;
use signalbeam_pki::CaKeyType;

use super::running_server::RunningServer;
use super::survey::{Survey, Surveyed};
use super::{Failure, PlaceArgs};
use crate::cli::print;

const ROUTE: &str = "/api/certificate-authorities";

const EXAMPLES: &str = "\
Examples:
  signalbeam ca rotate prepare                              a successor of the same kind
  signalbeam ca rotate prepare --hierarchy intermediate     an issuing authority under the present root
  signalbeam ca rotate prepare --hierarchy intermediate --new-root --key-type ecdsa-p384
  signalbeam ca rotate activate                             show what that would do
  signalbeam ca rotate activate --yes                       do it
  signalbeam ca rotate retire

Between the steps devices need time: docs/runbooks/certificate-rotation.md says how much.";

/// A step.
#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) enum RotateCommand {
    /// Make the successor's key and certificate; devices learn to trust it from now on, and it signs nothing yet
    Prepare(PrepareArgs),
    /// Let the successor sign; devices renew into it early. Without --yes: show what that would do
    Activate(ActivateArgs),
    /// Trust an authority no longer in whose place another one signs
    Retire(RetireArgs),
}

#[derive(Debug, Args)]
pub(in crate::cli) struct PrepareArgs {
    #[command(flatten)]
    place: PlaceArgs,
    /// Who signs devices' certificates: a root itself, or an authority under one. By default as it is now
    #[arg(long, value_enum)]
    hierarchy: Option<Hierarchy>,
    /// With `--hierarchy intermediate`: under a new root
    #[arg(long)]
    new_root: bool,
    /// rsa-2048, rsa-3072, rsa-4096, ecdsa-p256 or ecdsa-p384; by default as configured
    #[arg(long, value_name = "TYPE")]
    key_type: Option<CaKeyType>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Hierarchy {
    Root,
    Intermediate,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct ActivateArgs {
    #[command(flatten)]
    place: PlaceArgs,
    /// The authority; by default the one that is prepared
    id: Option<AuthorityId>,
    /// Do it
    #[arg(long)]
    yes: bool,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct RetireArgs {
    #[command(flatten)]
    place: PlaceArgs,
    /// The authority; by default the one in whose place another one signs
    id: Option<AuthorityId>,
    /// Also where devices still live by certificates that it signed: they are shut out, and need their API key to get new
    /// ones
    #[arg(long)]
    force: bool,
}

/// No authority, or not one alone, is meant.
#[derive(Debug, thiserror::Error)]
enum NotOne {
    #[error("no certificate authority is prepared: signalbeam ca rotate prepare")]
    NonePrepared,
    #[error("no certificate authority is on its way out; `signalbeam ca status` shows all of them")]
    NoneLeaving,
    #[error("several certificate authorities could be retired; name one: {0}")]
    SeveralLeaving(String),
    #[error("there is no certificate authority {0}; `signalbeam ca status` shows all of them")]
    Unknown(AuthorityId),
}

pub(super) async fn run(command: &RotateCommand) -> Result<(), Failure> {
    match command {
        RotateCommand::Prepare(args) => prepare(args).await,
        RotateCommand::Activate(args) => activate(args).await,
        RotateCommand::Retire(args) => retire(args).await,
    }
}

async fn prepare(args: &PrepareArgs) -> Result<(), Failure> {
    let mut body = json!({"newRoot": args.new_root});
    if let Some(hierarchy) = args.hierarchy {
        body["hierarchy"] = json!(if hierarchy == Hierarchy::Root { "root" } else { "intermediate" });
    }
    if let Some(key_type) = args.key_type {
        body["keyType"] = json!(key_type.as_str());
    }
    let server = RunningServer::find(&args.place).await?;
    let changed = server.post(ROUTE, &body).await.map_err(Failure::of)?;
    told_of_prepared(&changed)
}

/// Says what was prepared, and what comes next.
pub(super) fn told_of_prepared(changed: &Value) -> Result<(), Failure> {
    print(&format!(
        "prepared {}, {}\nDevices learn to trust it from now on, when they renew and when they ask what to trust. Give them time, \
         then:\n\n  signalbeam ca rotate activate\n",
        text(changed, "authorityId"),
        text(changed, "fingerprint"),
    ))
}

async fn activate(args: &ActivateArgs) -> Result<(), Failure> {
    let survey = Survey::of(&args.place.data_dir).await?;
    let one = match args.id {
        Some(id) => survey.by_id(id).ok_or_else(|| Failure::of(NotOne::Unknown(id)))?,
        None => survey.waiting().ok_or_else(|| Failure::of(NotOne::NonePrepared))?,
    };
    let heard = heard(&survey, one).await;
    if !args.yes {
        let created = &one.known.created;
        print(&format!(
            "`{}` ({}) would sign from now on, and devices would renew into it.\n{heard}\nTo do it, type:\n\n  signalbeam ca \
             rotate activate {} --yes\n",
            created.subject,
            created.fingerprint,
            one.id()
        ))?;
        return Err(Failure::Told(1));
    }
    let server = RunningServer::find(&args.place).await?;
    let changed = server.post(&format!("{ROUTE}/{}/activate", one.id()), &json!({})).await.map_err(Failure::of)?;
    print(&format!(
        "active {}, {}\nDevices renew into it over the next days. When `signalbeam ca status` shows that nobody lives by the old \
         one any more:\n\n  signalbeam ca rotate retire\n",
        text(&changed, "authorityId"),
        text(&changed, "fingerprint"),
    ))
}

/// How many devices can know the authority already.
async fn heard(survey: &Survey, one: &Surveyed) -> String {
    let is_root_known = survey.signing().is_some_and(|signing| {
        survey.root_of(signing).created.authority_id == survey.root_of(one).created.authority_id
    });
    if is_root_known {
        return "It is under the root that devices trust already: they need to learn nothing.".to_owned();
    }
    let learn =
        "Devices learn to trust it when they renew, and when they ask what to trust, which the agent does once a day.";
    match survey.live_since(one.known.created_at).await {
        Some((live, fresh)) => format!(
            "Of {live} live certificates {fresh} were issued since it was prepared ({}), and it came with them. {learn}",
            one.known.created_at
        ),
        None => format!("How many have is not known: {} cannot be read. {learn}", crate::serve::PROJECTIONS_FILE),
    }
}

async fn retire(args: &RetireArgs) -> Result<(), Failure> {
    let survey = Survey::of(&args.place.data_dir).await?;
    let id = match args.id {
        Some(id) => survey.by_id(id).ok_or_else(|| Failure::of(NotOne::Unknown(id)))?.id(),
        None => only_leaving(&survey).map_err(Failure::of)?,
    };
    let server = RunningServer::find(&args.place).await?;
    let route = format!("{ROUTE}/{id}/retire");
    let changed = server.post(&route, &json!({"force": args.force})).await.map_err(Failure::of)?;
    print(&format!(
        "retired {}, {}\nIt is trusted no longer.\n",
        text(&changed, "authorityId"),
        text(&changed, "fingerprint")
    ))
}

fn only_leaving(survey: &Survey) -> Result<AuthorityId, NotOne> {
    let leaving: Vec<AuthorityId> = survey.leaving().map(Surveyed::id).collect();
    match leaving[..] {
        [] => Err(NotOne::NoneLeaving),
        [one] => Ok(one),
        _ => Err(NotOne::SeveralLeaving(leaving.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))),
    }
}

fn text<'v>(value: &'v Value, field: &str) -> &'v str {
    value[field].as_str().unwrap_or_default()
}
