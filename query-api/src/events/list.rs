//! `GET /api/events`

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use signalbeam_authn::http::extract::QueryParameters;
use signalbeam_authn::http::problem::{Problem, ProblemBody};
use signalbeam_authn::{Admin, Permission};
use signalbeam_domain::{DeviceId, Event, Position, StreamId};
use signalbeam_projections::Filter;
use utoipa::IntoParams;

use super::{ShownEvent, page, streams_of_device};
use crate::listing::{Limit, List, ListName};
use crate::state::QueryApi;

/// Which events are listed.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListEvents {
    /// Only those behind this position.
    #[serde(default)]
    after: Option<u64>,
    /// Only this stream's, such as `device-018f3c5e-7b1a-7cc2-9d3e-0123456789ab`.
    #[serde(default)]
    stream: Option<String>,
    /// Only of this type, such as `device.approved`.
    #[serde(default, rename = "type")]
    event_type: Option<String>,
    /// Only those of this device, its API keys and its certificates.
    #[serde(default)]
    #[param(value_type = Option<Uuid>)]
    device_id: Option<DeviceId>,
    /// How many at most: 1 to 500.
    #[serde(default)]
    #[param(value_type = u16, required = false, minimum = 1, maximum = 500, default = 50)]
    limit: Limit,
    /// Where to continue: the `nextCursor` of the page before.
    #[serde(default)]
    cursor: Option<String>,
    /// Answer only from this position of the log on; waits up to 2 s for it.
    #[serde(default)]
    min_position: Option<u64>,
}

/// List events.
///
/// Oldest first. A page may have fewer events than its limit; only a `nextCursor` of `null` says that the log ends. An
/// admin of one tenant sees that tenant's events.
#[utoipa::path(
    get, path = "/api/events", tag = "Events", operation_id = "listEvents",
    params(ListEvents),
    responses(
        (status = 200, body = List<ShownEvent>, description = "A page of events"),
        (status = 400, body = ProblemBody, description = "`INVALID_REQUEST`"),
        (status = 401, body = ProblemBody, description = "`AUTHENTICATION_REQUIRED`, `INVALID_TOKEN`"),
        (status = 403, body = ProblemBody, description = "`FORBIDDEN`"),
        (status = 503, body = ProblemBody, description = "`PROJECTION_BEHIND`, `STORE_UNAVAILABLE`"),
    ),
    security(("adminToken" = [])),
)]
pub async fn list_events(
    State(api): State<QueryApi>,
    Admin(admin): Admin,
    QueryParameters(query): QueryParameters<ListEvents>,
) -> Result<Json<List<ShownEvent>>, Problem> {
    admin.require(Permission::Read)?;
    let continued: Option<u64> = ListName::Events.after(query.cursor.as_deref())?;
    let after = Position(continued.or(query.after).unwrap_or_default());
    let streams = query.streams()?;
    let event_types = query.event_types()?;
    if let Some(position) = query.min_position {
        api.settle(Some(position)).await?;
    }
    let Some(streams) = streams else { return Ok(Json(List { items: vec![], next_cursor: None })) };
    let filter = Filter { streams, event_types, tenant_id: admin.tenant_id };
    page(&api, ListName::Events, after, query.limit, &filter).await.map(Json)
}

impl ListEvents {
    /// The streams that are asked for, an empty list meaning all; `None` where none can be: the stream is not the device's.
    fn streams(&self) -> Result<Option<Vec<StreamId>>, Problem> {
        let named = self.stream.as_deref().map(StreamId::parse).transpose();
        let named = named.map_err(|error| Problem::invalid("/query/stream", error.to_string()))?;
        Ok(match (named, self.device_id.map(streams_of_device)) {
            (None, None) => Some(vec![]),
            (Some(stream), None) => Some(vec![stream]),
            (None, Some(streams)) => Some(streams.into()),
            (Some(stream), Some(streams)) => streams.contains(&stream).then(|| vec![stream]),
        })
    }

    fn event_types(&self) -> Result<Vec<String>, Problem> {
        let Some(event_type) = &self.event_type else { return Ok(vec![]) };
        if Event::kinds().any(|(known, _)| known == event_type) {
            return Ok(vec![event_type.clone()]);
        }
        let known: Vec<_> = Event::kinds().map(|(known, _)| known).collect();
        Err(Problem::invalid("/query/type", format!("must be one of {}", known.join(", "))))
    }
}
