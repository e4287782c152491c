//! `signalbeam-agent version`.

use serde_json::json;

use super::{Context, Outcome};
use crate::exit::Exit;

/// Says which version this is.
pub fn execute(context: &mut Context<'_>) -> Outcome {
    let version = env!("CARGO_PKG_VERSION");
    context
        .output
        .show(&format!("signalbeam-agent {version}"), &json!({ "name": "signalbeam-agent", "version": version }))?;
    Ok(Exit::Fine)
}
