//! Reads attempts, newest first, in bounded steps.

use sqlx::{QueryBuilder, Sqlite, SqlitePool};

use super::row;
use super::writer::BLOCK;
use crate::audit::{AttemptFilter, AttemptPage, AuthenticationAttempt};

/// How many rows are looked at for a page where no index leads to the matches; then the page ends, full or not.
const SCANNED_MAX: i64 = 200_000;

/// Rows from `first` through `last`. Those before `indexed_before` stand in the indexes of their blocks.
#[derive(Debug, Clone, Copy)]
struct Span {
    first: i64,
    last: i64,
    indexed_before: i64,
}

pub(super) async fn page(
    readers: &SqlitePool,
    filter: &AttemptFilter,
    after: Option<i64>,
    limit: usize,
) -> Result<AttemptPage, sqlx::Error> {
    let mut page = AttemptPage { attempts: vec![], next: None };
    let Some(span) = span(readers, filter, after).await? else { return Ok(page) };
    let searched = searched(span, filter);
    // One more than asked for tells whether there is another page.
    let mut found = find(readers, filter, searched, limit.saturating_add(1)).await?;
    if found.len() > limit {
        found.truncate(limit);
        page.next = found.last().map(|(row, _)| *row);
    } else if searched.first > span.first {
        page.next = Some(searched.first);
    }
    page.attempts = found.into_iter().map(|(_, attempt)| attempt).collect();
    Ok(page)
}

/// The rows that can match: older than the page before, in blocks that touch the span of time.
async fn span(readers: &SqlitePool, filter: &AttemptFilter, after: Option<i64>) -> Result<Option<Span>, sqlx::Error> {
    let blocks: (Option<i64>, Option<i64>, Option<i64>) = sqlx::query_as(
        "SELECT min(block), max(block), (SELECT max(block) FROM device_authentication_log_blocks)
         FROM device_authentication_log_blocks WHERE (? IS NULL OR latest >= ?) AND (? IS NULL OR earliest < ?)",
    )
    .bind(filter.start.map(|start| start.to_string()))
    .bind(filter.start.map(|start| start.to_string()))
    .bind(filter.end.map(|end| end.to_string()))
    .bind(filter.end.map(|end| end.to_string()))
    .fetch_one(readers)
    .await?;
    let (Some(first), Some(last), Some(newest)) = blocks else { return Ok(None) };
    let last = (last * BLOCK + BLOCK - 1).min(after.map_or(i64::MAX, |after| after.saturating_sub(1)));
    let span = Span { first: first * BLOCK, last, indexed_before: newest * BLOCK };
    Ok((span.first <= span.last).then_some(span))
}

/// The part of the span that is searched for one page: all of it, unless most of what is looked at may not match.
fn searched(span: Span, filter: &AttemptFilter) -> Span {
    let is_thinned = filter.success.is_some() || filter.method.is_some() || filter.failure_code.is_some();
    if filter.device_id.is_some() || !is_thinned {
        return span;
    }
    Span { first: span.first.max(span.last - SCANNED_MAX), ..span }
}

/// The newest matches of the span with their row's numbers.
async fn find(
    readers: &SqlitePool,
    filter: &AttemptFilter,
    span: Span,
    limit: usize,
) -> Result<Vec<(i64, AuthenticationAttempt)>, sqlx::Error> {
    let index = match (filter.device_id, filter.tenant_id) {
        (Some(device_id), _) => Some(("devices", "device_id", device_id.to_string())),
        (None, Some(tenant_id)) => Some(("tenants", "tenant_id", tenant_id.to_string())),
        (None, None) => None,
    };
    let Some((table, column, value)) = index else {
        return fetch(readers, scan(filter, span, limit)).await;
    };
    let mut found = vec![];
    if span.last >= span.indexed_before {
        let newest = Span { first: span.first.max(span.indexed_before), ..span };
        found = fetch(readers, scan(filter, newest, limit)).await?;
    }
    if found.len() < limit && span.first < span.indexed_before {
        let mut query = select();
        query.push("device_authentication_log_blocks AS blocks CROSS JOIN device_authentication_log_").push(table);
        query.push(" AS found ON found.block = blocks.block AND found.").push(column).push(" = ").push_bind(value);
        query.push(" CROSS JOIN device_authentication_logs AS logs ON logs.row = found.row WHERE blocks.block >= ");
        query.push_bind(span.first / BLOCK).push(" AND blocks.block <= ").push_bind(span.last / BLOCK);
        query.push(" AND found.row >= ").push_bind(span.first);
        query.push(" AND found.row <= ").push_bind(span.last.min(span.indexed_before - 1));
        restrict(&mut query, filter);
        query.push(" ORDER BY blocks.block DESC, found.row DESC LIMIT ").push_bind(column_of(limit - found.len()));
        found.extend(fetch(readers, query).await?);
    }
    Ok(found)
}

fn select() -> QueryBuilder<Sqlite> {
    let columns: Vec<_> = row::COLUMNS.split(", ").map(|column| format!("logs.{column}")).collect();
    QueryBuilder::new(format!("SELECT {} FROM ", columns.join(", ")))
}

/// Row by row, in the order of their numbers.
fn scan(filter: &AttemptFilter, span: Span, limit: usize) -> QueryBuilder<Sqlite> {
    let mut query = select();
    query.push("device_authentication_logs AS logs WHERE logs.row >= ").push_bind(span.first);
    query.push(" AND logs.row <= ").push_bind(span.last);
    restrict(&mut query, filter);
    query.push(" ORDER BY logs.row DESC LIMIT ").push_bind(column_of(limit));
    query
}

fn restrict(query: &mut QueryBuilder<Sqlite>, filter: &AttemptFilter) {
    if let Some(device_id) = filter.device_id {
        query.push(" AND logs.device_id = ").push_bind(device_id.to_string());
    }
    if let Some(tenant_id) = filter.tenant_id {
        query.push(" AND logs.tenant_id = ").push_bind(tenant_id.to_string());
    }
    if let Some(start) = filter.start {
        query.push(" AND logs.timestamp >= ").push_bind(start.to_string());
    }
    if let Some(end) = filter.end {
        query.push(" AND logs.timestamp < ").push_bind(end.to_string());
    }
    if let Some(success) = filter.success {
        query.push(" AND logs.success = ").push_bind(success);
    }
    if let Some(method) = filter.method {
        query.push(" AND logs.authentication_method = ").push_bind(method.as_str());
    }
    if let Some(code) = &filter.failure_code {
        query.push(" AND logs.failure_code = ").push_bind(code.clone());
    }
}

async fn fetch(
    readers: &SqlitePool,
    mut query: QueryBuilder<Sqlite>,
) -> Result<Vec<(i64, AuthenticationAttempt)>, sqlx::Error> {
    query.build().fetch_all(readers).await?.iter().map(row::read).collect()
}

fn column_of(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}
