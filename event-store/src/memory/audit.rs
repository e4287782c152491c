//! The audit log in memory.

use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;

use crate::audit::{AttemptFilter, AttemptPage, AuditError, AuditLog, AuthenticationAttempt, UsageSummary, count};

/// An audit log that lives as long as the process.
#[derive(Debug, Default)]
pub struct MemoryAuditLog {
    /// A row's number is its index plus one.
    rows: Mutex<Vec<AuthenticationAttempt>>,
}

impl MemoryAuditLog {
    /// An empty log.
    pub fn new() -> Self {
        Self::default()
    }
}

#[async_trait]
impl AuditLog for MemoryAuditLog {
    async fn record(&self, attempts: Vec<AuthenticationAttempt>) -> Result<(), AuditError> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner).extend(attempts);
        Ok(())
    }

    async fn query(&self, filter: &AttemptFilter, after: Option<i64>, limit: usize) -> Result<AttemptPage, AuditError> {
        let rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        let before = after.map_or(usize::MAX, |row| usize::try_from(row - 1).unwrap_or(0)).min(rows.len());
        let matching = rows[..before].iter().enumerate().rev().filter(|(_, attempt)| filter.matches(attempt));
        let mut found: Vec<_> = matching.take(limit.saturating_add(1)).collect();
        let has_more = found.len() > limit;
        found.truncate(limit);
        let last = found.last().and_then(|(index, _)| i64::try_from(index + 1).ok());
        Ok(AttemptPage {
            next: last.filter(|_| has_more),
            attempts: found.into_iter().map(|(_, attempt)| attempt.clone()).collect(),
        })
    }

    async fn usage_after(&self, row: i64, limit: usize) -> Result<UsageSummary, AuditError> {
        let rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        let first = usize::try_from(row).unwrap_or(0).min(rows.len());
        let last = first.saturating_add(limit).min(rows.len());
        let number = |index: usize| i64::try_from(index).unwrap_or(i64::MAX);
        Ok(UsageSummary {
            last_row: if first == last { row } else { number(last) },
            head: number(rows.len()),
            counts: count(rows[first..last].iter()),
        })
    }
}
