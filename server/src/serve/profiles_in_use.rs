//! Whether the profiles that devices have are configured: one that is not leaves them without a next certificate.

use signalbeam_projections::ReadModel;

use super::parts::Parts;

/// Says which profiles devices in service have that are not configured. As far as the tables have come: it is a hint, and
/// each refusal says it again.
pub(super) async fn warn_of_missing(parts: &Parts) {
    let in_use = ReadModel::new(parts.projector.tables().clone()).devices_by_profile().await;
    let configured = parts.profiles.current();
    match in_use {
        Ok(in_use) => {
            for (profile, devices) in in_use.iter().filter(|(profile, _)| configured.get(profile.as_str()).is_none()) {
                tracing::warn!(
                    %profile, devices,
                    "devices have a certificate profile that is not configured: their certificates cannot be renewed"
                );
            }
        }
        Err(error) => {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(error, "whether all certificate profiles in use are configured is not known");
        }
    }
}
