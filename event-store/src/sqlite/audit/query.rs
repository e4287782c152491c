//! Finds attempts in bounded steps, newest or oldest first.

use signalbeam_domain::Timestamp;
use sqlx::{QueryBuilder, Sqlite, SqlitePool};

use super::row;
use super::writer::{BLOCK, PART};
use crate::audit::{AttemptFilter, AttemptPage, AttemptScan, AuthenticationMethod, RecordedAttempt};

/// How many rows are looked at for a page where no index leads to the matches; then the page ends, full or not.
const SCANNED_MAX: i64 = 200_000;
/// How many entries of an index are followed for a page; then the page ends, full or not.
const FOLLOWED_MAX: usize = 20_000;
/// How many entries of an index are followed at first where some of them lead to rows that do not match.
const FOLLOWED_FIRST: usize = 250;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    NewestFirst,
    OldestFirst,
}

/// Rows from `first` through `last`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Span {
    first: i64,
    last: i64,
}

/// What leads to the rows of a span.
enum Way {
    /// Every row is looked at.
    Scan,
    /// The index in this table, by this column and value; without a column all of its entries.
    Index { table: &'static str, key: Option<(&'static str, String)> },
}

/// What a search came to: matches in order, and the row at which it stopped before the end of its span.
#[derive(Default)]
struct Found {
    attempts: Vec<RecordedAttempt>,
    stopped_at: Option<i64>,
}

/// A page for people: newest first, behind the row `after`.
pub(super) async fn page(
    readers: &SqlitePool,
    filter: &AttemptFilter,
    after: Option<i64>,
    limit: usize,
) -> Result<AttemptPage, sqlx::Error> {
    let wanted = Span { first: 1, last: after.map_or(i64::MAX, |after| after.saturating_sub(1)) };
    let found = search(readers, filter, wanted, Order::NewestFirst, limit).await?;
    let attempts = found.attempts.into_iter().map(|recorded| recorded.attempt).collect();
    Ok(AttemptPage { attempts, next: found.stopped_at })
}

/// A stretch of the log: oldest first, behind the row `after`.
pub(super) async fn scan(
    readers: &SqlitePool,
    filter: &AttemptFilter,
    after: i64,
    through: i64,
    limit: usize,
) -> Result<AttemptScan, sqlx::Error> {
    let through = through.min(head(readers).await?).max(after);
    let wanted = Span { first: after.saturating_add(1), last: through };
    let found = search(readers, filter, wanted, Order::OldestFirst, limit).await?;
    Ok(AttemptScan { attempts: found.attempts, reached: found.stopped_at.unwrap_or(through) })
}

/// The number of the row that was written last, dropped or not.
pub(super) async fn head(readers: &SqlitePool) -> Result<i64, sqlx::Error> {
    let head: Option<i64> =
        sqlx::query_scalar("SELECT seq FROM sqlite_sequence WHERE name = 'device_authentication_logs'")
            .fetch_optional(readers)
            .await?;
    Ok(head.unwrap_or(0))
}

/// The earliest moment of the blocks from the one on that holds the row behind `after`.
pub(super) async fn earliest_behind(readers: &SqlitePool, after: i64) -> Result<Option<Timestamp>, sqlx::Error> {
    if head(readers).await? <= after {
        return Ok(None);
    }
    let earliest: Option<String> =
        sqlx::query_scalar("SELECT min(earliest) FROM device_authentication_log_blocks WHERE block >= ?")
            .bind(after.saturating_add(1) / BLOCK)
            .fetch_one(readers)
            .await?;
    earliest.map(|text| Timestamp::parse(&text)).transpose().map_err(|error| sqlx::Error::Decode(error.into()))
}

pub(super) async fn last_row_before(
    readers: &SqlitePool,
    after: i64,
    moment: Timestamp,
) -> Result<Option<i64>, sqlx::Error> {
    let filter = AttemptFilter { end: Some(moment), ..AttemptFilter::default() };
    let mut query = QueryBuilder::new("SELECT logs.row FROM ");
    from_rows(&mut query, &filter, Span { first: after.saturating_add(1), last: i64::MAX });
    restrict(&mut query, &filter);
    query.push(" ORDER BY parts.part DESC, logs.row DESC LIMIT 1");
    query.build_query_scalar().fetch_optional(readers).await
}

/// At most `limit` matches.
async fn search(
    readers: &SqlitePool,
    filter: &AttemptFilter,
    wanted: Span,
    order: Order,
    limit: usize,
) -> Result<Found, sqlx::Error> {
    let mut found = Found::default();
    // One more than asked for tells whether there is more.
    let enough = limit.saturating_add(1);
    for (way, span) in ways(readers, filter, wanted, order).await? {
        let missing = enough - found.attempts.len();
        let part = match way {
            Way::Scan => look(readers, filter, span, order, missing).await?,
            Way::Index { table, key } => follow(readers, filter, table, key, span, order, missing).await?,
        };
        found.attempts.extend(part.attempts);
        found.stopped_at = part.stopped_at;
        if found.attempts.len() > limit {
            found.attempts.truncate(limit);
            found.stopped_at = found.attempts.last().map(|last| last.row);
            break;
        }
        if found.stopped_at.is_some() {
            break;
        }
    }
    Ok(found)
}

/// The spans to search, in order, each with its way: of the blocks that touch the span of time, without rows that are not
/// wanted. The newest block is in the indexes of devices and tenants only once it is full.
async fn ways(
    readers: &SqlitePool,
    filter: &AttemptFilter,
    wanted: Span,
    order: Order,
) -> Result<Vec<(Way, Span)>, sqlx::Error> {
    let mut query = QueryBuilder::new(
        "SELECT min(block), max(block), (SELECT max(block) FROM device_authentication_log_blocks)
         FROM device_authentication_log_blocks AS blocks WHERE TRUE",
    );
    restrict_moments(&mut query, filter, "blocks");
    let blocks: (Option<i64>, Option<i64>, Option<i64>) = query.build_query_as().fetch_one(readers).await?;
    let (Some(first), Some(last), Some(newest)) = blocks else { return Ok(vec![]) };
    let span = Span { first: wanted.first.max(first * BLOCK), last: wanted.last.min(last * BLOCK + BLOCK - 1) };
    let newest = newest * BLOCK;
    let mut ways = match way(filter) {
        index @ Way::Index { table, .. } if table != FAILURES => {
            vec![
                (index, Span { last: span.last.min(newest - 1), ..span }),
                (Way::Scan, Span { first: span.first.max(newest), ..span }),
            ]
        }
        way => vec![(way, span)],
    };
    ways.retain(|(_, span)| span.first <= span.last);
    if order == Order::NewestFirst {
        ways.reverse();
    }
    Ok(ways)
}

const FAILURES: &str = "device_authentication_log_failures";

fn way(filter: &AttemptFilter) -> Way {
    use AuthenticationMethod::{AdminToken, ClaimSecret, RegistrationToken};
    let only_fails = matches!(filter.method, Some(AdminToken | ClaimSecret | RegistrationToken));
    let key = |column, value| Some((column, value));
    if let Some(device_id) = filter.device_id {
        return Way::Index { table: "device_authentication_log_devices", key: key("device_id", device_id.to_string()) };
    }
    if filter.success == Some(false) || filter.failure_code.is_some() || only_fails {
        let code = filter.failure_code.clone();
        return Way::Index { table: FAILURES, key: code.and_then(|code| key("failure_code", code)) };
    }
    if let Some(tenant_id) = filter.tenant_id {
        return Way::Index { table: "device_authentication_log_tenants", key: key("tenant_id", tenant_id.to_string()) };
    }
    Way::Scan
}

/// Whether all that the index of [`way`] leads to is wanted.
fn finds_all(filter: &AttemptFilter) -> bool {
    let mut rest = filter.clone();
    match way(filter) {
        Way::Index { table: FAILURES, .. } => {
            rest.failure_code = None;
            rest.success = rest.success.filter(|success| *success);
        }
        Way::Index { .. } => {
            rest.device_id = None;
            // A device has one tenant.
            rest.tenant_id = None;
        }
        Way::Scan => {}
    }
    rest == AttemptFilter::default()
}

impl Order {
    const fn direction(self) -> &'static str {
        match self {
            Self::NewestFirst => "DESC",
            Self::OldestFirst => "ASC",
        }
    }

    /// What is left of a span once it was searched up to a row.
    const fn beyond(self, span: Span, row: i64) -> Span {
        match self {
            Self::NewestFirst => Span { last: row - 1, ..span },
            Self::OldestFirst => Span { first: row + 1, ..span },
        }
    }
}

/// Looks at every row of the span, or of the part of it that is enough for a page where matches may be rare.
async fn look(
    readers: &SqlitePool,
    filter: &AttemptFilter,
    span: Span,
    order: Order,
    limit: usize,
) -> Result<Found, sqlx::Error> {
    let looked_at = match order {
        Order::NewestFirst => Span { first: span.first.max(span.last.saturating_sub(SCANNED_MAX - 1)), ..span },
        Order::OldestFirst => Span { last: span.last.min(span.first.saturating_add(SCANNED_MAX - 1)), ..span },
    };
    let mut query = select();
    from_rows(&mut query, filter, looked_at);
    restrict(&mut query, filter);
    let direction = order.direction();
    query.push(format!(" ORDER BY parts.part {direction}, logs.row {direction} LIMIT "));
    query.push_bind(column_of(limit));
    let stopped_at = (looked_at != span).then_some(match order {
        Order::NewestFirst => looked_at.first,
        Order::OldestFirst => looked_at.last,
    });
    Ok(Found { attempts: fetch(readers, query).await?, stopped_at })
}

/// Follows an index, a few entries at first and more where they lead to too few matches.
async fn follow(
    readers: &SqlitePool,
    filter: &AttemptFilter,
    table: &str,
    key: Option<(&str, String)>,
    mut span: Span,
    order: Order,
    limit: usize,
) -> Result<Found, sqlx::Error> {
    let mut found = Found::default();
    let (mut followed, mut step) = (0, if finds_all(filter) { limit } else { limit.max(FOLLOWED_FIRST) });
    loop {
        let rows: Vec<i64> =
            entries(filter, table, key.as_ref(), span, order, step).build_query_scalar().fetch_all(readers).await?;
        let mut query = select();
        // The engine reads integers out of JSON; `ids` is what they are joined by.
        query.push("json_each(").push_bind(serde_json::to_string(&rows).unwrap_or_default());
        query.push(") AS ids CROSS JOIN device_authentication_logs AS logs ON logs.row = ids.value WHERE TRUE");
        restrict(&mut query, filter);
        query.push(format!(" ORDER BY logs.row {} LIMIT ", order.direction()));
        query.push_bind(column_of(limit - found.attempts.len()));
        found.attempts.extend(fetch(readers, query).await?);
        let Some(last) = rows.last().filter(|_| rows.len() == step) else { return Ok(found) };
        followed += rows.len();
        if found.attempts.len() >= limit || followed >= FOLLOWED_MAX {
            found.stopped_at = Some(*last);
            return Ok(found);
        }
        span = order.beyond(span, *last);
        step = (step * 4).min(FOLLOWED_MAX - followed);
    }
}

/// The numbers of the rows that an index leads to.
fn entries(
    filter: &AttemptFilter,
    table: &str,
    key: Option<&(&str, String)>,
    span: Span,
    order: Order,
    limit: usize,
) -> QueryBuilder<Sqlite> {
    let mut query = QueryBuilder::new("SELECT found.row FROM device_authentication_log_blocks AS blocks CROSS JOIN ");
    query.push(table).push(" AS found ON found.block = blocks.block");
    let is_timed = filter.start.is_some() || filter.end.is_some();
    if is_timed {
        query.push(format!(" CROSS JOIN device_authentication_log_parts AS parts ON parts.part = found.row / {PART}"));
    }
    query.push(" WHERE blocks.block >= ");
    query.push_bind(span.first / BLOCK).push(" AND blocks.block <= ").push_bind(span.last / BLOCK);
    if let Some((column, value)) = key {
        query.push(" AND found.").push(column).push(" = ").push_bind(value.clone());
    }
    query.push(" AND found.row >= ").push_bind(span.first).push(" AND found.row <= ").push_bind(span.last);
    restrict_moments(&mut query, filter, "blocks");
    if is_timed {
        restrict_moments(&mut query, filter, "parts");
    }
    let direction = order.direction();
    query.push(format!(" ORDER BY blocks.block {direction}, found.row {direction} LIMIT "));
    query.push_bind(column_of(limit));
    query
}

fn select() -> QueryBuilder<Sqlite> {
    let columns: Vec<_> = row::COLUMNS.split(", ").map(|column| format!("logs.{column}")).collect();
    QueryBuilder::new(format!("SELECT {} FROM ", columns.join(", ")))
}

/// The rows of a span, part by part, without the parts that do not touch the span of time. One bound on each side: given
/// two, the engine may seek by the one that is further away.
fn from_rows(query: &mut QueryBuilder<Sqlite>, filter: &AttemptFilter, span: Span) {
    let last = PART - 1;
    query.push("device_authentication_log_parts AS parts CROSS JOIN device_authentication_logs AS logs");
    query.push(format!(" ON logs.row >= max(parts.part * {PART}, ")).push_bind(span.first);
    query.push(format!(") AND logs.row <= min(parts.part * {PART} + {last}, ")).push_bind(span.last);
    query.push(") WHERE parts.part >= ").push_bind(span.first / PART);
    query.push(" AND parts.part <= ").push_bind(span.last / PART);
    restrict_moments(query, filter, "parts");
}

/// Leaves out the blocks, or the parts, that do not touch the span of time.
fn restrict_moments(query: &mut QueryBuilder<Sqlite>, filter: &AttemptFilter, table: &str) {
    if let Some(start) = filter.start {
        query.push(" AND ").push(table).push(".latest >= ").push_bind(start.to_string());
    }
    if let Some(end) = filter.end {
        query.push(" AND ").push(table).push(".earliest < ").push_bind(end.to_string());
    }
}

/// The plus signs keep the engine from making an index of the whole table for one query.
fn restrict(query: &mut QueryBuilder<Sqlite>, filter: &AttemptFilter) {
    let mut equal = |column: &str, value: Option<String>| {
        if let Some(value) = value {
            query.push(" AND +logs.").push(column).push(" = ").push_bind(value);
        }
    };
    equal("device_id", filter.device_id.map(|id| id.to_string()));
    equal("tenant_id", filter.tenant_id.map(|id| id.to_string()));
    equal("authentication_method", filter.method.map(|method| method.as_str().to_owned()));
    equal("failure_code", filter.failure_code.clone());
    equal("ip_address", filter.ip_address.map(|address| address.to_string()));
    equal("api_key_prefix", filter.api_key_prefix.map(|prefix| prefix.to_string()));
    equal("certificate_serial_number", filter.certificate_serial_number.map(|serial| serial.to_string()));
    equal("correlation_id", filter.correlation_id.as_ref().map(|id| id.as_str().to_owned()));
    if let Some(start) = filter.start {
        query.push(" AND +logs.timestamp >= ").push_bind(start.to_string());
    }
    if let Some(end) = filter.end {
        query.push(" AND +logs.timestamp < ").push_bind(end.to_string());
    }
    if let Some(success) = filter.success {
        query.push(" AND +logs.success = ").push_bind(success);
    }
}

async fn fetch(readers: &SqlitePool, mut query: QueryBuilder<Sqlite>) -> Result<Vec<RecordedAttempt>, sqlx::Error> {
    query.build().fetch_all(readers).await?.iter().map(row::read).collect()
}

fn column_of(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}
