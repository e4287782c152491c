//! Reads attempts, newest first, in bounded steps.

use sqlx::{QueryBuilder, Sqlite, SqlitePool};

use super::row;
use super::writer::BLOCK;
use crate::audit::{AttemptFilter, AttemptPage};

/// How many rows are looked at for a page where no index leads to the matches; then the page ends, full or not.
const SCANNED_MAX: i64 = 200_000;

/// Rows from `first` through `last`.
#[derive(Clone, Copy)]
struct Span {
    first: i64,
    last: i64,
}

pub(super) async fn page(
    readers: &SqlitePool,
    filter: &AttemptFilter,
    after: Option<i64>,
    limit: usize,
) -> Result<AttemptPage, sqlx::Error> {
    let mut page = AttemptPage { attempts: vec![], next: None };
    let Some(span) = span(readers, filter, after).await? else { return Ok(page) };
    let searched =
        if is_led_by_index(filter) { span } else { Span { first: span.first.max(span.last - SCANNED_MAX), ..span } };
    // One more than asked for tells whether there is another page.
    let rows = query(filter, searched, limit.saturating_add(1)).build().fetch_all(readers).await?;
    let mut found = rows.iter().map(row::read).collect::<Result<Vec<_>, _>>()?;
    if found.len() > limit {
        found.truncate(limit);
        page.next = found.last().map(|(row, _)| *row);
    } else if searched.first > span.first {
        page.next = Some(searched.first);
    }
    page.attempts = found.into_iter().map(|(_, attempt)| attempt).collect();
    Ok(page)
}

/// Whether matches are found without looking at many rows that don't match.
fn is_led_by_index(filter: &AttemptFilter) -> bool {
    let is_thinned = filter.success.is_some() || filter.method.is_some() || filter.failure_code.is_some();
    filter.device_id.is_some() || !is_thinned
}

/// The rows that can match: older than the page before, in blocks that touch the span of time.
async fn span(readers: &SqlitePool, filter: &AttemptFilter, after: Option<i64>) -> Result<Option<Span>, sqlx::Error> {
    let blocks: (Option<i64>, Option<i64>) = sqlx::query_as(
        "SELECT min(block), max(block) FROM device_authentication_log_blocks
         WHERE (? IS NULL OR latest >= ?) AND (? IS NULL OR earliest < ?)",
    )
    .bind(filter.start.map(|start| start.to_string()))
    .bind(filter.start.map(|start| start.to_string()))
    .bind(filter.end.map(|end| end.to_string()))
    .bind(filter.end.map(|end| end.to_string()))
    .fetch_one(readers)
    .await?;
    let (Some(first), Some(last)) = blocks else { return Ok(None) };
    let last = (last * BLOCK + BLOCK - 1).min(after.map_or(i64::MAX, |after| after.saturating_sub(1)));
    let span = Span { first: first * BLOCK, last };
    Ok((span.first <= span.last).then_some(span))
}

fn query(filter: &AttemptFilter, span: Span, limit: usize) -> QueryBuilder<Sqlite> {
    let mut query = QueryBuilder::new("SELECT ");
    query.push(row::COLUMNS).push(" FROM device_authentication_logs WHERE row >= ").push_bind(span.first);
    query.push(" AND row <= ").push_bind(span.last);
    if let Some(device_id) = filter.device_id {
        query.push(" AND device_id = ").push_bind(device_id.to_string());
    }
    if let Some(tenant_id) = filter.tenant_id {
        // Where a device is asked for, its index leads.
        query.push(if filter.device_id.is_some() { " AND +tenant_id = " } else { " AND tenant_id = " });
        query.push_bind(tenant_id.to_string());
    }
    if let Some(start) = filter.start {
        query.push(" AND timestamp >= ").push_bind(start.to_string());
    }
    if let Some(end) = filter.end {
        query.push(" AND timestamp < ").push_bind(end.to_string());
    }
    if let Some(success) = filter.success {
        query.push(" AND success = ").push_bind(success);
    }
    if let Some(method) = filter.method {
        query.push(" AND authentication_method = ").push_bind(method.as_str());
    }
    if let Some(code) = &filter.failure_code {
        query.push(" AND failure_code = ").push_bind(code.clone());
    }
    query.push(" ORDER BY row DESC LIMIT ").push_bind(i64::try_from(limit).unwrap_or(i64::MAX));
    query
}
