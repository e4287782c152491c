//! Carrying out a command for a request: the first outcome again where it was carried out before, otherwise decide,
//! append, and wait until this node knows it.

use std::time::Duration;

use axum::Json;
use axum::http::header::CACHE_CONTROL;
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use signalbeam_authn::http::problem::Problem;
use signalbeam_authn::{ErrorCode, RequestContext};
use signalbeam_domain::device::{Device, DeviceEvent, KnownDevice};
use signalbeam_domain::{
    Actor, Aggregate, Context, DeviceId, DeviceStatus, Event, Position, StreamId, TenantId, Timestamp, Version,
};
use signalbeam_event_store::execute::MAX_DECISIONS;
use signalbeam_event_store::{
    AppendError, Appended, Batch, CommandMetadata, ExpectedVersion, Idempotency, Recorded, StreamWrite, load,
    new_events,
};
use signalbeam_projections::ReadModel;

use crate::state::CommandApi;
use crate::withdrawals;

/// The header that says how far the log reaches after a command.
pub(crate) const X_EVENT_POSITION: HeaderName = HeaderName::from_static("x-event-position");

/// How long the tables may take to hold what this node appended.
const TABLES_TIMEOUT: Duration = Duration::from_secs(2);

/// Who asks, and under which name.
#[derive(Debug, Clone)]
pub(crate) struct Cause {
    pub(crate) actor: Actor,
    pub(crate) context: RequestContext,
    pub(crate) idempotency: Option<Idempotency>,
}

impl Cause {
    fn metadata(&self) -> CommandMetadata {
        CommandMetadata {
            actor: self.actor.clone(),
            correlation_id: self.context.correlation_id.clone(),
            causation_id: None,
            idempotency: self.idempotency,
        }
    }

    /// The same cause without its name, for what a command does on the way to its outcome.
    pub(crate) fn unnamed(&self) -> Self {
        Self { idempotency: None, ..self.clone() }
    }
}

/// What a command led to.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// What was recorded; empty where everything was so already.
    pub(crate) events: Vec<Recorded>,
    /// How far the log reached; where nothing was recorded, how far it reached then.
    pub(crate) position: Position,
    /// Whether this was carried out before, under the same name.
    pub(crate) is_repeat: bool,
}

impl Outcome {
    /// For answers that show a secret: it was shown once and nobody has it any more.
    ///
    /// # Errors
    /// 409 `ALREADY_PROCESSED` where this is a repetition.
    pub(crate) fn require_first(self) -> Result<Self, Problem> {
        if self.is_repeat {
            return Err(Problem::new(
                ErrorCode::AlreadyProcessed,
                "this was carried out before, and its answer showed a secret that is not kept; use a new Idempotency-Key",
            ));
        }
        Ok(self)
    }
}

impl From<Appended> for Outcome {
    fn from(appended: Appended) -> Self {
        Self { events: appended.events, position: appended.position, is_repeat: appended.is_repeat }
    }
}

/// A device's stream, read strongly.
#[derive(Debug, Clone)]
pub(crate) struct LoadedDevice {
    pub(crate) device: KnownDevice,
    pub(crate) version: Version,
}

impl LoadedDevice {
    /// # Errors
    /// 403 `DEVICE_NOT_APPROVED`
    pub(crate) fn require_approved(&self) -> Result<(), Problem> {
        if self.device.status == DeviceStatus::Approved {
            return Ok(());
        }
        let detail = format!("the device is {}; it must be Approved for this", self.device.status);
        Err(Problem::new(ErrorCode::DeviceNotApproved, detail).with("deviceStatus", self.device.status.as_str()))
    }

    /// Asserts that nothing happens to the device while something is appended for it.
    pub(crate) fn unchanged(&self) -> StreamWrite {
        StreamWrite {
            stream: StreamId::device(self.device.registered.device_id),
            expected: ExpectedVersion::Exact(self.version),
            events: vec![],
        }
    }
}

impl CommandApi {
    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Reads a device; for a caller of another tenant it does not exist.
    pub(crate) async fn device(&self, id: DeviceId, tenant_id: Option<TenantId>) -> Result<LoadedDevice, Problem> {
        let (device, version) = self.load::<Device>(&StreamId::device(id)).await?;
        let visible = device.known().filter(|d| tenant_id.is_none_or(|own| own == d.registered.tenant_id));
        let device = visible.cloned().ok_or_else(|| Problem::not_found("device"))?;
        Ok(LoadedDevice { device, version })
    }

    /// A device as it was when the log ended at a position.
    pub(crate) async fn device_at(&self, id: DeviceId, position: Position) -> Result<Device, Problem> {
        let recorded =
            self.store.read_stream(&StreamId::device(id)).await.map_err(|error| store_unavailable(&error))?;
        let until_then = recorded.iter().take_while(|recorded| recorded.envelope.position <= position);
        until_then.map(Recorded::event).try_fold(Device::default(), |device, event| {
            let event = event.map_err(|error| store_unavailable(&error))?;
            let event = DeviceEvent::try_from(event).map_err(|error| store_unavailable(&error))?;
            Ok(device.evolve(&event))
        })
    }

    pub(crate) async fn load<A>(&self, stream: &StreamId) -> Result<(A, Version), Problem>
    where
        A: Aggregate,
        A::Event: TryFrom<Event>,
    {
        load::<A>(&*self.store, stream).await.map_err(|error| store_unavailable(&error))
    }

    /// The tables, once they hold everything that this node has appended.
    pub(crate) async fn tables(&self) -> Result<&ReadModel, Problem> {
        let awaited = self.freshness.wait_for_own_writes(TABLES_TIMEOUT).await;
        awaited.map_err(|_| Problem::new(ErrorCode::ProjectionBehind, "the tables are behind; try again"))?;
        Ok(&self.read_model)
    }

    /// The tables, once they hold everything up to a position.
    pub(crate) async fn tables_at(&self, position: Position) -> Result<&ReadModel, Problem> {
        let awaited = self.freshness.wait_for(position, TABLES_TIMEOUT).await;
        awaited.map_err(|_| Problem::new(ErrorCode::ProjectionBehind, "the tables are behind; try again"))?;
        Ok(&self.read_model)
    }

    /// What was recorded under the cause's name before, if anything was; known to this node's index by now.
    pub(crate) async fn repeated(&self, cause: &Cause) -> Result<Option<Outcome>, Problem> {
        let Some(named) = cause.idempotency else { return Ok(None) };
        let recorded = self.store.command(&named.command_id).await.map_err(|error| store_unavailable(&error))?;
        let Some(recorded) = recorded else { return Ok(None) };
        if recorded.body_sha256 != named.body_sha256 {
            return Err(key_reused());
        }
        self.await_head().await?;
        Ok(Some(Outcome { events: recorded.events, position: recorded.position, is_repeat: true }))
    }

    /// Waits until this node's index has seen the whole log: what somebody else has just recorded holds here too.
    pub(crate) async fn await_head(&self) -> Result<(), Problem> {
        let head = self.store.head().await.map_err(|error| store_unavailable(&error))?;
        self.authenticator.await_own_write(head).await
    }

    /// Appends and waits until this node's index has seen it: what is answered holds on the very next request.
    ///
    /// `None` where another writer was faster: read and decide again.
    ///
    /// # Errors
    /// 503 `LOG_ROLLED_BACK` where the log is not to be relied on and this would grant something.
    pub(crate) async fn append(&self, cause: &Cause, writes: Vec<StreamWrite>) -> Result<Option<Appended>, Problem> {
        if writes.iter().flat_map(|write| &write.events).any(|new| !withdrawals::is_withdrawal(&new.event)) {
            self.authenticator.log_lock().require_released()?;
        }
        match self.store.append(Batch { metadata: cause.metadata(), writes }).await {
            Ok(appended) => {
                self.freshness.note_appended(appended.position);
                self.authenticator.await_own_write(appended.position).await?;
                Ok(Some(appended))
            }
            Err(AppendError::Conflict { .. }) => Ok(None),
            Err(AppendError::CommandReused) => Err(key_reused()),
            Err(error) => Err(store_unavailable(&error)),
        }
    }

    /// Carries out a command on one aggregate, of a tenant or of none. Where everything is so already, nothing is recorded
    /// but the cause's name.
    pub(crate) async fn execute<A>(
        &self,
        cause: &Cause,
        stream: &StreamId,
        tenant_id: impl Into<Option<TenantId>>,
        command: impl Fn() -> A::Command,
        refused: impl Fn(A::Error) -> Problem,
    ) -> Result<Outcome, Problem>
    where
        A: Aggregate,
        A::Event: TryFrom<Event> + Into<Event>,
    {
        if let Some(outcome) = self.repeated(cause).await? {
            return Ok(outcome);
        }
        let tenant_id = tenant_id.into();
        for _ in 0..MAX_DECISIONS {
            let (aggregate, version) = self.load::<A>(stream).await?;
            let events = match aggregate.decide(command(), &Context { now: self.now() }) {
                Ok(events) => events,
                // The same command may have been carried out in the meantime: then it is no refusal but a repetition.
                Err(error) => return self.repeated(cause).await?.ok_or_else(|| refused(error)),
            };
            // Also without events: the name is kept, and the answer waits until the index knows what made it so.
            let write = StreamWrite {
                stream: stream.clone(),
                expected: ExpectedVersion::Exact(version),
                events: new_events(tenant_id, events),
            };
            if let Some(appended) = self.append(cause, vec![write]).await? {
                return Ok(appended.into());
            }
        }
        Err(contended())
    }
}

pub(crate) fn contended() -> Problem {
    Problem::new(ErrorCode::Conflict, "others keep changing the same thing; try again").retry_after(1)
}

fn key_reused() -> Problem {
    Problem::new(ErrorCode::IdempotencyKeyReused, "this Idempotency-Key came with another body before; use a new one")
}

pub(crate) fn store_unavailable(error: &(dyn std::error::Error + 'static)) -> Problem {
    tracing::error!(error, "the event store failed");
    Problem::new(ErrorCode::StoreUnavailable, "the event store is unavailable; try again")
}

pub(crate) fn internal(error: &(dyn std::error::Error + 'static)) -> Problem {
    tracing::error!(error, "a command could not be carried out");
    Problem::new(ErrorCode::InternalError, "something went wrong here; the log has the correlation id")
}

/// An answer with the position that the command reached; where nothing was left to be done, one at which it was so.
#[derive(Debug)]
pub(crate) struct Changed<T> {
    status: StatusCode,
    body: T,
    position: Position,
}

impl<T> Changed<T> {
    pub(crate) fn new(status: StatusCode, body: T, position: Position) -> Self {
        Self { status, body, position }
    }
}

impl Changed<()> {
    /// 204 without a body.
    pub(crate) fn no_content(position: Position) -> Self {
        Self::new(StatusCode::NO_CONTENT, (), position)
    }
}

trait Body {
    fn respond(self, status: StatusCode) -> Response;
}

impl Body for () {
    fn respond(self, status: StatusCode) -> Response {
        status.into_response()
    }
}

impl<T: Serialize> Body for Json<T> {
    fn respond(self, status: StatusCode) -> Response {
        (status, self).into_response()
    }
}

impl<T: Body> IntoResponse for Changed<T> {
    fn into_response(self) -> Response {
        with_position(self.body.respond(self.status), self.position)
    }
}

/// An answer that says which position the command reached, and that nobody on the way keeps.
pub(crate) fn with_position(mut response: Response, position: Position) -> Response {
    // Many of these answers show a secret once.
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response.headers_mut().insert(X_EVENT_POSITION, HeaderValue::from(position.0));
    response
}
