//! Carrying the command out: pass after pass over what fits, until a pass finds nothing more.
//!
//! A named command keeps its steps under names of their own, so that a repetition knows what was done before: the steps
//! are numbered, each is either the start of a pass (without events) or a batch of revocations, and the end has its name
//! too. Two attempts at the same time share the steps: where one finds a number taken, it counts what is under it.

use std::collections::HashMap;
use std::time::Duration;

use signalbeam_authn::http::problem::Problem;
use signalbeam_authn::{ErrorCode, secrets};
use signalbeam_domain::certificate::{CertificateCommand, CertificateEvent, Certificates};
use signalbeam_domain::{Aggregate, Context, Position, SerialNumber, StreamId, TenantId};
use signalbeam_event_store::execute::MAX_DECISIONS;
use signalbeam_event_store::{ExpectedVersion, Idempotency, Recorded, StreamWrite, new_events};
use signalbeam_projections::CertificateFilter;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::Instrument as _;

use super::RevokeCertificates;
use super::tally::Tally;
use crate::certificates::filter::{Scope, Target, target};
use crate::command::{Cause, contended, internal, store_unavailable};
use crate::state::CommandApi;

/// How many passes are made at most: what is issued during the last one is left, and `completeTo` says so.
const MAX_PASSES: usize = 3;
/// How many devices' certificates are revoked in one append. Their reasons fit into one batch, however long they are.
const DEVICES_PER_APPEND: usize = 200;
/// How many devices are read at a time.
const CONCURRENT_READS: usize = 32;
/// How long the tables may take to hold what was appended.
const TABLES_TIMEOUT: Duration = Duration::from_secs(30);

/// One command on many certificates, with all that carrying it out takes.
#[derive(Clone)]
pub(super) struct Run {
    api: CommandApi,
    cause: Cause,
    confined_to: Option<TenantId>,
    request: RevokeCertificates,
}

/// A command that came to its end.
pub(super) struct Done {
    pub(super) tally: Tally,
    /// Everything that fits and was issued at or before this position is revoked.
    pub(super) complete_to: Position,
    /// How far the log reached then.
    pub(super) position: Position,
}

/// What an earlier attempt left, or another one is leaving.
#[derive(Default)]
struct Steps {
    /// The number of the next one.
    next: u32,
    /// Where the log ended when the last pass began.
    pass: Option<Position>,
}

impl Run {
    pub(super) fn new(
        api: CommandApi,
        cause: Cause,
        confined_to: Option<TenantId>,
        request: RevokeCertificates,
    ) -> Self {
        Self { api, cause, confined_to, request }
    }

    pub(super) fn is_dry(&self) -> bool {
        self.request.dry_run
    }

    /// What would be revoked, and where the log ended when it was looked for.
    pub(super) async fn rehearse(&self) -> Result<(Tally, Position), Problem> {
        let head = self.api.store.head().await.map_err(|error| store_unavailable(&error))?;
        self.await_tables(head).await?;
        let mut tally = Tally::default();
        let mut found = self.request.filter.find(&self.api, self.confined_to, Scope::Unrevoked);
        while let Some(targets) = found.page().await? {
            tally.add(targets);
        }
        Ok((tally, head))
    }

    pub(super) async fn carry_out(&self, told: &watch::Sender<Tally>) -> Result<Done, Problem> {
        // Another body under the same name is refused before anything is done.
        self.api.append(&self.cause, vec![]).await?;
        let mut steps = self.steps_before(told).await?;
        if let (Some(done), Some(complete_to)) = (self.done_before().await?, steps.pass) {
            let tally = told.borrow().clone();
            return Ok(Done { tally, complete_to, position: done });
        }
        let mut complete_to = Position::default();
        for _ in 0..MAX_PASSES {
            complete_to = self.begin_pass(&mut steps, told).await?;
            if !self.pass(&mut steps, told).await? {
                break;
            }
        }
        let end = Cause { idempotency: self.cause.idempotency.map(end), ..self.cause.clone() };
        let position = self.api.append(&end, vec![]).await?.map(|ended| ended.position).unwrap_or_default();
        let tally = told.borrow().clone();
        tracing::info!(count = tally.count(), complete_to = complete_to.0, "certificates revoked by a filter");
        Ok(Done { tally, complete_to, position })
    }

    /// Counts what is recorded under the command's names.
    async fn steps_before(&self, told: &watch::Sender<Tally>) -> Result<Steps, Problem> {
        let mut steps = Steps::default();
        while let Some(name) = self.step(&steps) {
            let recorded = self.api.store.command(&name.command_id).await.map_err(|error| store_unavailable(&error))?;
            let Some(recorded) = recorded else { break };
            steps.next += 1;
            if recorded.events.is_empty() {
                steps.pass = Some(recorded.position);
            } else {
                self.count(&recorded.events, recorded.position, told).await?;
            }
        }
        Ok(steps)
    }

    /// Where the log ended when the command was complete, where it is.
    async fn done_before(&self) -> Result<Option<Position>, Problem> {
        let Some(named) = self.cause.idempotency else { return Ok(None) };
        let ended = self.api.store.command(&end(named).command_id).await.map_err(|error| store_unavailable(&error))?;
        Ok(ended.map(|ended| ended.position))
    }

    fn step(&self, steps: &Steps) -> Option<Idempotency> {
        self.cause.idempotency.map(|command| part(command, &steps.next.to_be_bytes()))
    }

    fn step_cause(&self, steps: &Steps) -> Cause {
        Cause { idempotency: self.step(steps), ..self.cause.clone() }
    }

    /// Where the log ends, once the tables and the index hold all of it.
    async fn begin_pass(&self, steps: &mut Steps, told: &watch::Sender<Tally>) -> Result<Position, Problem> {
        loop {
            // A batch without streams has nothing to conflict with, and answers where the log ends.
            let begun = self.api.append(&self.step_cause(steps), vec![]).await?.ok_or_else(contended)?;
            steps.next += 1;
            if begun.events.is_empty() {
                self.await_tables(begun.position).await?;
                return Ok(begun.position);
            }
            self.count(&begun.events, begun.position, told).await?;
        }
    }

    /// Revokes what fits now; whether there was anything.
    async fn pass(&self, steps: &mut Steps, told: &watch::Sender<Tally>) -> Result<bool, Problem> {
        let mut was_any = false;
        let mut found = self.request.filter.find(&self.api, self.confined_to, Scope::Unrevoked);
        while let Some(targets) = found.page().await? {
            for targets in targets.chunks(DEVICES_PER_APPEND) {
                was_any = true;
                self.revoke(targets, steps, told).await?;
            }
        }
        Ok(was_any)
    }

    /// Revokes some, in one append that this node's index has seen before it returns.
    async fn revoke(&self, targets: &[Target], steps: &mut Steps, told: &watch::Sender<Tally>) -> Result<(), Problem> {
        let mut conflicts = 0;
        loop {
            let writes = self.decide(targets).await?;
            if writes.is_empty() {
                return Ok(());
            }
            let Some(appended) = self.api.append(&self.step_cause(steps), writes).await? else {
                conflicts += 1;
                if conflicts == MAX_DECISIONS {
                    return Err(contended());
                }
                continue;
            };
            steps.next += 1;
            self.count(&appended.events, appended.position, told).await?;
            if !appended.is_repeat {
                let revoked = u64::try_from(appended.events.len()).unwrap_or(u64::MAX);
                metrics::counter!("signalbeam_certificates_revoked_total").increment(revoked);
                return Ok(());
            }
            // Under that name another attempt revoked something, perhaps something else: look again at these.
        }
    }

    /// What revoking these does to their devices' streams; nothing where others revoked them meanwhile.
    async fn decide(&self, targets: &[Target]) -> Result<Vec<StreamWrite>, Problem> {
        let mut of_device: HashMap<_, Vec<SerialNumber>> = HashMap::new();
        for target in targets {
            of_device.entry((target.device_id, target.tenant_id)).or_default().push(target.serial_number);
        }
        let mut waiting = of_device.into_iter();
        let mut reading = JoinSet::new();
        let mut writes = vec![];
        loop {
            while reading.len() < CONCURRENT_READS
                && let Some(((device_id, tenant_id), serial_numbers)) = waiting.next()
            {
                let (run, stream) = (self.clone(), StreamId::certificates(device_id));
                let deciding = async move { run.decide_device(stream, tenant_id, &serial_numbers).await };
                reading.spawn(deciding.in_current_span());
            }
            let Some(decided) = reading.join_next().await else { return Ok(writes) };
            writes.extend(decided.map_err(|error| internal(&error))??);
        }
    }

    async fn decide_device(
        &self,
        stream: StreamId,
        tenant_id: TenantId,
        serial_numbers: &[SerialNumber],
    ) -> Result<Option<StreamWrite>, Problem> {
        let (mut certificates, version) = self.api.load::<Certificates>(&stream).await?;
        let mut events: Vec<CertificateEvent> = vec![];
        for serial_number in serial_numbers {
            let command = CertificateCommand::RevokeLine {
                serial_number: *serial_number,
                reason: self.request.reason.clone(),
                reason_code: self.request.reason_code,
            };
            let decided = certificates.decide(command, &Context { now: self.api.now() });
            let decided = decided.map_err(|error| internal(&error))?;
            certificates = decided.iter().fold(certificates, Aggregate::evolve);
            events.extend(decided);
        }
        let write = |events| StreamWrite {
            stream,
            expected: ExpectedVersion::Exact(version),
            events: new_events(Some(tenant_id), events),
        };
        Ok((!events.is_empty()).then(|| write(events)))
    }

    /// Adds what was recorded to what is told. The tables know each one's profile.
    async fn count(&self, events: &[Recorded], position: Position, told: &watch::Sender<Tally>) -> Result<(), Problem> {
        let mut serial_numbers = Vec::with_capacity(events.len());
        for recorded in events {
            let event = recorded.event().map_err(|error| store_unavailable(&error))?;
            if let Ok(CertificateEvent::Revoked(revoked)) = CertificateEvent::try_from(event) {
                serial_numbers.push(revoked.serial_number);
            }
        }
        self.await_tables(position).await?;
        let filter = CertificateFilter { serial_numbers: serial_numbers.clone(), ..CertificateFilter::default() };
        let rows = self.api.read_model.certificates(None, &filter, self.api.now(), None, serial_numbers.len()).await;
        let rows = rows.map_err(|error| store_unavailable(&error))?.items;
        let mut known: HashMap<_, _> = rows.iter().filter_map(target).map(|row| (row.serial_number, row)).collect();
        let revoked = serial_numbers.iter().filter_map(|serial_number| known.remove(serial_number)).collect();
        told.send_modify(|tally| {
            tally.add(revoked);
            tally.reach(position);
        });
        Ok(())
    }

    async fn await_tables(&self, position: Position) -> Result<(), Problem> {
        let awaited = self.api.freshness.wait_for(position, TABLES_TIMEOUT).await;
        awaited.map_err(|_| Problem::new(ErrorCode::ProjectionBehind, "the tables are behind; try again"))
    }
}

/// The name of one part of a command.
fn part(command: Idempotency, which: &[u8]) -> Idempotency {
    let name = [command.command_id.0.as_slice(), which].concat();
    Idempotency { command_id: secrets::sha256(&name), ..command }
}

/// The name of a command's end.
fn end(command: Idempotency) -> Idempotency {
    part(command, b"complete")
}
