//! The event log, as admins see it: everything but what verifies secrets.

pub mod list;
mod redaction;

use serde::Serialize;
use serde_json::Value;
use signalbeam_authn::{ErrorCode, Problem};
use signalbeam_domain::{Actor, DeviceId, Digest, EventId, Position, StreamId, TenantId, Timestamp};
use signalbeam_projections::{Filter, Recorded};
use utoipa::ToSchema;

use crate::listing::{Limit, List, ListName};
use crate::reading::store_unavailable;
use crate::state::QueryApi;

/// How often the log is searched on for one page. A filter that matches little reads much; the page then ends early and
/// the next one continues.
const SEARCHES_MAX: usize = 16;

/// One event.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ShownEvent {
    /// Its place in the log. Compare positions, don't count with them.
    #[schema(value_type = u64)]
    position: Position,
    /// Its id.
    #[schema(value_type = Uuid)]
    id: EventId,
    /// What happened.
    #[serde(rename = "type")]
    #[schema(example = "device.approved")]
    event_type: String,
    /// The version of the schema of `data`.
    schema_version: u16,
    /// The stream it belongs to.
    #[schema(example = "device-018f3c5e-7b1a-7cc2-9d3e-0123456789ab")]
    stream: String,
    /// Its number in the stream, from 1.
    version: u64,
    /// When it was recorded.
    #[schema(value_type = String, format = DateTime)]
    recorded_at: Timestamp,
    /// Whose it is; `null` for what belongs to no tenant.
    #[schema(value_type = Option<Uuid>)]
    tenant_id: Option<TenantId>,
    /// Who caused it.
    #[schema(value_type = ShownActor)]
    actor: Actor,
    /// The request that caused it.
    correlation_id: String,
    /// The event that caused it, where one did.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Uuid>)]
    causation_id: Option<EventId>,
    /// What happened in detail; what verifies a secret reads `[redacted]`.
    #[schema(value_type = Object)]
    data: Value,
    /// The SHA-256 of the event as it was recorded, in hex.
    #[schema(value_type = String)]
    hash: Digest,
}

/// Who caused an event.
#[derive(Serialize, ToSchema)]
#[schema(as = Actor)]
pub struct ShownActor {
    /// `admin`, `device`, `registration_token` or `system`.
    kind: String,
    /// An admin's subject, a device's id, a token's prefix, or the name of a part of the system.
    id: String,
}

impl TryFrom<Recorded> for ShownEvent {
    type Error = Problem;

    fn try_from(recorded: Recorded) -> Result<Self, Problem> {
        let envelope = recorded.envelope;
        let data = serde_json::from_slice(&envelope.data).map_err(|error| {
            tracing::error!(error = &error as &dyn std::error::Error, event_id = %envelope.event_id, "an event is damaged");
            Problem::new(ErrorCode::InternalError, format!("the event {} is damaged", envelope.event_id))
        })?;
        Ok(Self {
            position: envelope.position,
            id: envelope.event_id,
            event_type: envelope.event_type,
            schema_version: envelope.schema_version,
            stream: envelope.stream.as_str().to_owned(),
            version: envelope.version.0,
            recorded_at: envelope.recorded_at,
            tenant_id: envelope.tenant_id,
            actor: envelope.actor,
            correlation_id: envelope.correlation_id.as_str().to_owned(),
            causation_id: envelope.causation_id,
            data: redaction::redact(data),
            hash: recorded.hash,
        })
    }
}

/// A device's own streams: the device, its API keys, its certificates.
pub(crate) fn streams_of_device(id: DeviceId) -> [StreamId; 3] {
    [StreamId::device(id), StreamId::api_keys(id), StreamId::certificates(id)]
}

/// A page of the log behind `after`.
pub(crate) async fn page(
    api: &QueryApi,
    list: ListName,
    after: Position,
    limit: Limit,
    filter: &Filter,
) -> Result<List<ShownEvent>, Problem> {
    let (events, next) = search(api, after, limit.get(), filter).await?;
    let items = events.into_iter().map(ShownEvent::try_from).collect::<Result<_, _>>()?;
    Ok(List { items, next_cursor: next.map(|next| list.cursor(&next)) })
}

/// At most `limit` events, and where the log continues behind them; `None` at its end.
async fn search(
    api: &QueryApi,
    after: Position,
    limit: usize,
    filter: &Filter,
) -> Result<(Vec<Recorded>, Option<Position>), Problem> {
    let mut found: Vec<Recorded> = vec![];
    let mut reached = after;
    for _ in 0..SEARCHES_MAX {
        // One more than asked for tells whether there is another page.
        let page = api.events.read_all(reached, limit + 1 - found.len(), filter).await;
        let page = page.map_err(|error| store_unavailable(&error))?;
        found.extend(page.events);
        if found.len() > limit {
            found.truncate(limit);
            let last = found.last().map(|last| last.envelope.position);
            return Ok((found, last));
        }
        if page.reached == reached {
            return Ok((found, None));
        }
        reached = page.reached;
    }
    Ok((found, Some(reached)))
}
