//! Tells of API keys that are about to expire, and of those that have: once each.

use std::time::Duration;

use signalbeam_domain::api_key::{ApiKeyCommand, ApiKeys, KeyExpiryNoticed};
use signalbeam_domain::{ApiKey, StreamId, Timestamp};
use signalbeam_event_store::{CommandMetadata, ExecuteError, execute};

use super::{Monitor, MonitorError, PAGE, Surroundings, Tally, metadata};
use crate::read_model::ApiKeyRow;

/// The threshold of a key that has expired, in days before its end.
const EXPIRED_DAYS: u16 = 0;

/// Warns in the log of keys that expire within some days, and of keys that have expired.
///
/// An `api_key.expiry_noticed` says that a threshold was told. Of several monitors, and of rounds before and after a
/// restart, one appends it, and that one warns.
#[derive(Debug)]
pub struct ApiKeyExpiryMonitor {
    surroundings: Surroundings,
    interval: Duration,
    warning_threshold_days: u16,
}

impl ApiKeyExpiryMonitor {
    /// Looks every `interval` for keys with so many days left.
    pub fn new(surroundings: Surroundings, interval: Duration, warning_threshold_days: u16) -> Self {
        Self { surroundings, interval, warning_threshold_days }
    }

    /// Tells of the keys that expire from `from` on and before `before`, as far as nobody has at this threshold.
    async fn notice(
        &self,
        (from, before): (Timestamp, Timestamp),
        threshold_days: u16,
        now: Timestamp,
    ) -> Result<Tally, MonitorError> {
        let metadata = metadata(Self::NAME);
        let mut tally = Tally::default();
        let mut after = None;
        loop {
            let tables = &self.surroundings.read_model;
            let page = tables.api_keys_expiring(from, before, threshold_days, after, PAGE).await?;
            for key in &page.items {
                tally.add(self.notice_one(key, threshold_days, &metadata, now).await);
            }
            after = page.next;
            if after.is_none() {
                return Ok(tally);
            }
        }
    }

    async fn notice_one(
        &self,
        key: &ApiKeyRow,
        threshold_days: u16,
        metadata: &CommandMetadata,
        now: Timestamp,
    ) -> Result<bool, MonitorError> {
        let noticed = KeyExpiryNoticed { key_id: key.key_id, threshold_days };
        let (store, stream) = (&*self.surroundings.store, StreamId::api_keys(key.device_id));
        let command = || ApiKeyCommand::NoticeExpiry(noticed.clone());
        let appended = execute::<ApiKeys>(store, &stream, Some(key.tenant_id), metadata, now, command).await;
        let is_told_by_us = match appended {
            Ok(appended) => appended.is_some(),
            // The tables show a key that the log does not know: they were changed by another hand.
            Err(ExecuteError::Refused(error)) => {
                tracing::warn!(%error, key_id = %key.key_id, "the tables name an API key that cannot be told of");
                false
            }
            Err(ExecuteError::Load(error)) => return Err(error.into()),
            Err(ExecuteError::Append(error)) => return Err(error.into()),
        };
        if is_told_by_us {
            warn(key, now);
        }
        Ok(is_told_by_us)
    }
}

fn warn(key: &ApiKeyRow, now: Timestamp) {
    let (literal, prefix, device_id) = (ApiKey::LITERAL, key.prefix, key.device_id);
    let expires_at = key.expires_at.to_string();
    let day = expires_at.split('T').next().unwrap_or_default();
    if now >= key.expires_at {
        tracing::warn!("API key {literal}{prefix} for device {device_id} has EXPIRED on {day}");
    } else {
        let days = key.expires_at.days_since(now);
        tracing::warn!("API key {literal}{prefix} for device {device_id} expires in {days:.1} days on {day}");
    }
}

impl Monitor for ApiKeyExpiryMonitor {
    const NAME: &'static str = "api_key_expiry_monitor";

    fn interval(&self) -> Duration {
        self.interval
    }

    async fn round(&self) -> Result<usize, MonitorError> {
        self.surroundings.settle().await?;
        let now = self.surroundings.clock.now();
        // A key has expired at the moment that it names: the bounds here are exclusive at their end.
        let future = Timestamp::from_unix_microseconds(now.unix_microseconds() + 1);
        let warned_until = future.plus_days(self.warning_threshold_days.into());
        let beginning = Timestamp::from_unix_microseconds(0);
        let expired = self.notice((beginning, future), EXPIRED_DAYS, now).await?;
        let expiring = self.notice((future, warned_until), self.warning_threshold_days, now).await?;
        Ok(expired.conclude()? + expiring.conclude()?)
    }
}
