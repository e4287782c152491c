//! Lists in pages, by the rows' own order instead of by an offset: no page shifts while rows are added.

use signalbeam_domain::TenantId;
use sqlx::sqlite::{SqliteExecutor, SqliteRow};
use sqlx::{Encode, QueryBuilder, Sqlite, SqlitePool, Type};

use super::cursor::Cursor;
use crate::columns::ReadError;

/// One page of a list, and where the next one continues.
#[derive(Debug, Clone, PartialEq)]
pub struct Listed<T> {
    /// The rows.
    pub items: Vec<T>,
    /// Where the next page continues; `None` on the last one.
    pub next: Option<Cursor>,
}

/// A row that knows where it stands in its list.
pub(super) trait Listable: Sized {
    fn from_row(row: &SqliteRow) -> Result<Self, ReadError>;

    fn cursor(&self) -> Cursor;
}

/// A query that grows condition by condition.
pub(super) struct Listing(QueryBuilder<Sqlite>);

impl Listing {
    /// `select` ends with its first condition.
    pub(super) fn new(select: &'static str) -> Self {
        Self(QueryBuilder::new(select))
    }

    /// Adds `AND {condition}{value}`.
    pub(super) fn and<T>(&mut self, condition: &'static str, value: T)
    where
        T: 'static + Encode<'static, Sqlite> + Type<Sqlite> + Send,
    {
        self.0.push(" AND ").push(condition).push_bind(value);
    }

    /// Adds `AND {condition}`.
    pub(super) fn and_that(&mut self, condition: &'static str) {
        self.0.push(" AND ").push(condition);
    }

    /// Adds `AND {column} IN (...)`, unless there are no values.
    pub(super) fn and_one_of(&mut self, column: &'static str, values: impl Iterator<Item = String>) {
        let values: Vec<_> = values.map(serde_json::Value::from).collect();
        if !values.is_empty() {
            let json = serde_json::Value::from(values).to_string();
            self.0.push(" AND ").push(column).push(" IN (SELECT value FROM json_each(").push_bind(json).push("))");
        }
    }

    /// Adds what follows as it stands.
    pub(super) fn push(&mut self, sql: &'static str) {
        self.0.push(sql);
    }

    /// Adds the caller's confinement and the tenant that it asks for.
    pub(super) fn and_tenants(&mut self, confined_to: Option<TenantId>, asked_for: Option<TenantId>) {
        for tenant in [confined_to, asked_for].into_iter().flatten() {
            self.and("tenant_id = ", tenant.to_string());
        }
    }

    /// The first row.
    pub(super) async fn one<'c, T: Listable>(
        mut self,
        executor: impl SqliteExecutor<'c>,
    ) -> Result<Option<T>, ReadError> {
        let found = self.0.build().fetch_optional(executor).await?;
        found.as_ref().map(T::from_row).transpose()
    }

    /// The page behind `after`, newest first; `order` names the columns of the cursor as `(moment, id)`.
    pub(super) async fn page<T: Listable>(
        mut self,
        pool: &SqlitePool,
        order: (&'static str, &'static str),
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<Listed<T>, ReadError> {
        let (moment, id) = order;
        let query = &mut self.0;
        if let Some(after) = after {
            query.push(" AND (").push(moment).push(", ").push(id).push(") < (").push_bind(after.at.to_string());
            query.push(", ").push_bind(after.id.as_hyphenated().to_string()).push(")");
        }
        query.push(" ORDER BY ").push(moment).push(" DESC, ").push(id).push(" DESC LIMIT ");
        // One more than asked for tells whether there is another page.
        query.push_bind(i64::try_from(limit).unwrap_or(i64::MAX).saturating_add(1));
        let rows = query.build().fetch_all(pool).await?;
        let items = rows.iter().take(limit).map(T::from_row).collect::<Result<Vec<_>, _>>()?;
        let next = if rows.len() > limit { items.last().map(T::cursor) } else { None };
        Ok(Listed { items, next })
    }
}
