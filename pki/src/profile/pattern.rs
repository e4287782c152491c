//! Texts with places for the device's ids: `device-{deviceId}`.
//!
//! There is no place for a device's name: names are labels that strangers choose and admins change, and nothing in a
//! certificate may look like an identity that nobody vouches for.

use crate::spiffe::DeviceIdentity;

/// A text in which the device's ids are filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pattern(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    DeviceId,
    TenantId,
}

impl Pattern {
    pub(super) fn text(text: &str) -> Self {
        Self(vec![Part::Text(text.to_owned())])
    }

    pub(super) fn then_device_id(mut self) -> Self {
        self.0.push(Part::DeviceId);
        self
    }

    /// Reads the text; where that is impossible, says what is expected.
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(open) = rest.find(['{', '}']) {
            let (before, from) = rest.split_at(open);
            if !before.is_empty() {
                parts.push(Part::Text(before.to_owned()));
            }
            let (part, after) = [("{deviceId}", Part::DeviceId), ("{tenantId}", Part::TenantId)]
                .into_iter()
                .find_map(|(place, part)| Some((part, from.strip_prefix(place)?)))
                .ok_or("no braces but those of {deviceId} and {tenantId}")?;
            parts.push(part);
            rest = after;
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.to_owned()));
        }
        Ok(Self(parts))
    }

    /// Whether no two devices get the same text.
    pub(super) fn names_the_device(&self) -> bool {
        self.0.contains(&Part::DeviceId)
    }

    pub(super) fn render(&self, identity: &DeviceIdentity) -> String {
        let parts = self.0.iter().map(|part| match part {
            Part::Text(text) => text.clone(),
            Part::DeviceId => identity.device_id.to_string(),
            Part::TenantId => identity.tenant_id.to_string(),
        });
        parts.collect()
    }
}
