//! What operators and their tools look at: metrics, liveness, readiness. Plain HTTP on an address of its own.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use metrics_exporter_prometheus::PrometheusHandle;
use serde::Serialize;
use tokio::time::timeout;

/// How long the readiness checks may take together.
const READINESS_TIMEOUT: Duration = Duration::from_secs(2);

/// What a part of the server says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Component {
    /// Whether it does its work.
    pub ready: bool,
    /// Its state in words or numbers; never a secret, never a caller's data.
    pub detail: String,
}

/// The parts of the server, by name.
pub type Components = BTreeMap<&'static str, Component>;

/// Knows how the parts are doing.
#[async_trait]
pub trait ReadinessProbe: Send + Sync + 'static {
    /// Looks at every part.
    async fn look(&self) -> Components;
}

#[derive(Clone)]
struct OpsState {
    metrics: PrometheusHandle,
    probe: Arc<dyn ReadinessProbe>,
}

/// The routes of the operations listener.
pub fn router(metrics: PrometheusHandle, probe: Arc<dyn ReadinessProbe>) -> Router {
    Router::new()
        .route("/metrics", get(render_metrics))
        .route("/health/live", get(async || Json(serde_json::json!({"status": "live"}))))
        .route("/health/ready", get(readiness))
        .with_state(OpsState { metrics, probe })
}

async fn render_metrics(State(state): State<OpsState>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], state.metrics.render())
}

#[derive(Serialize)]
struct Readiness {
    status: &'static str,
    components: Components,
}

async fn readiness(State(state): State<OpsState>) -> impl IntoResponse {
    let components = timeout(READINESS_TIMEOUT, state.probe.look()).await.unwrap_or_else(|_| {
        let detail = format!("no answer within {} s", READINESS_TIMEOUT.as_secs());
        BTreeMap::from([("readiness", Component { ready: false, detail })])
    });
    let is_ready = components.values().all(|component| component.ready);
    let (code, status) =
        if is_ready { (StatusCode::OK, "ready") } else { (StatusCode::SERVICE_UNAVAILABLE, "not_ready") };
    (code, Json(Readiness { status, components }))
}
