//! The audit log in memory.

use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use signalbeam_domain::Timestamp;

use crate::audit::ocsp_answers::{OcspAnswerLog, OcspAnswerRow};
use crate::audit::{
    AttemptFilter, AttemptPage, AttemptScan, AuditArchive, AuditError, AuditLog, AuditReader, AuthenticationAttempt,
    RecordedAttempt, UsageSummary, count,
};

/// An audit log that lives as long as the process.
#[derive(Debug, Default)]
pub struct MemoryAuditLog(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// In the order of their numbers.
    rows: Vec<RecordedAttempt>,
    /// The number that was given last.
    last_row: i64,
    ocsp_answers: Vec<OcspAnswerRow>,
}

impl MemoryAuditLog {
    /// An empty log.
    pub fn new() -> Self {
        Self::default()
    }

    /// What was recorded of OCSP answers, oldest first.
    pub fn ocsp_answers(&self) -> Vec<OcspAnswerRow> {
        self.state().ocsp_answers.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl OcspAnswerLog for MemoryAuditLog {
    async fn record_answers(&self, rows: Vec<OcspAnswerRow>) -> Result<(), AuditError> {
        self.state().ocsp_answers.extend(rows);
        Ok(())
    }
}

#[async_trait]
impl AuditReader for MemoryAuditLog {
    async fn head(&self) -> Result<i64, AuditError> {
        Ok(self.state().last_row)
    }

    async fn scan(
        &self,
        filter: &AttemptFilter,
        after: i64,
        through: i64,
        limit: usize,
    ) -> Result<AttemptScan, AuditError> {
        let state = self.state();
        let through = through.min(state.last_row).max(after);
        let begin = state.rows.partition_point(|recorded| recorded.row <= after);
        let end = state.rows.partition_point(|recorded| recorded.row <= through);
        let matching = state.rows[begin..end].iter().filter(|recorded| filter.matches(&recorded.attempt));
        let mut attempts: Vec<_> = matching.take(limit.saturating_add(1)).cloned().collect();
        let has_more = attempts.len() > limit;
        attempts.truncate(limit);
        let last = attempts.last().map_or(after, |last| last.row);
        Ok(AttemptScan { attempts, reached: if has_more { last } else { through } })
    }
}

#[async_trait]
impl AuditLog for MemoryAuditLog {
    async fn record(&self, attempts: Vec<AuthenticationAttempt>) -> Result<(), AuditError> {
        let mut state = self.state();
        for attempt in attempts {
            state.last_row += 1;
            let row = state.last_row;
            state.rows.push(RecordedAttempt { row, attempt });
        }
        Ok(())
    }

    async fn query(&self, filter: &AttemptFilter, after: Option<i64>, limit: usize) -> Result<AttemptPage, AuditError> {
        let state = self.state();
        let end = state.rows.partition_point(|recorded| after.is_none_or(|after| recorded.row < after));
        let matching = state.rows[..end].iter().rev().filter(|recorded| filter.matches(&recorded.attempt));
        let mut found: Vec<_> = matching.take(limit.saturating_add(1)).collect();
        let has_more = found.len() > limit;
        found.truncate(limit);
        Ok(AttemptPage {
            next: found.last().map(|recorded| recorded.row).filter(|_| has_more),
            attempts: found.into_iter().map(|recorded| recorded.attempt.clone()).collect(),
        })
    }

    async fn usage_after(&self, row: i64, limit: usize) -> Result<UsageSummary, AuditError> {
        let state = self.state();
        let first = state.rows.partition_point(|recorded| recorded.row <= row);
        let last = first.saturating_add(limit).min(state.rows.len());
        let counted = &state.rows[first..last];
        Ok(UsageSummary {
            last_row: counted.last().map_or(row, |last| last.row),
            head: state.last_row,
            counts: count(counted.iter().map(|recorded| &recorded.attempt)),
        })
    }
}

#[async_trait]
impl AuditArchive for MemoryAuditLog {
    async fn earliest_behind(&self, after: i64) -> Result<Option<Timestamp>, AuditError> {
        let state = self.state();
        let begin = state.rows.partition_point(|recorded| recorded.row <= after);
        Ok(state.rows[begin..].iter().map(|recorded| recorded.attempt.timestamp).min())
    }

    async fn last_row_before(&self, after: i64, moment: Timestamp) -> Result<Option<i64>, AuditError> {
        let state = self.state();
        let begin = state.rows.partition_point(|recorded| recorded.row <= after);
        let before = state.rows[begin..].iter().rfind(|recorded| recorded.attempt.timestamp < moment);
        Ok(before.map(|recorded| recorded.row))
    }

    async fn drop_through(&self, row: i64) -> Result<(), AuditError> {
        self.state().rows.retain(|recorded| recorded.row > row);
        Ok(())
    }
}
