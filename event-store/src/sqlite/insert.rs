//! Statements that insert many rows at once.

use std::fmt::Write as _;
use std::sync::Arc;

/// What cannot be bound.
pub(super) type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A text to be bound: one allocation, where a borrowed one would take two.
pub(super) fn text(text: &str) -> Arc<str> {
    Arc::from(text)
}

/// `INSERT` for at least `rows` rows of `columns`. Parameters that are not bound are NULL, and rows whose first column is
/// NULL are left out: so a few statements, for powers of two, serve all sizes and stay prepared.
pub(super) fn multi_row_insert(table: &str, columns: &str, column_count: usize, rows: usize) -> String {
    let row = format!("({}?)", "?,".repeat(column_count - 1));
    let mut sql = format!("INSERT OR ROLLBACK INTO {table} ({columns}) SELECT * FROM (VALUES {row}");
    for _ in 1..rows.next_power_of_two() {
        // Writing to a string does not fail.
        let _ = write!(sql, ",{row}");
    }
    sql.push_str(") WHERE column1 IS NOT NULL");
    sql
}

/// Octets as lower-case hexadecimal digits, to be bound.
pub(super) fn hex_text(octets: &[u8]) -> Arc<str> {
    let digit = |value: u8| char::from(if value < 10 { b'0' + value } else { b'a' - 10 + value });
    octets.iter().flat_map(|octet| [digit(octet >> 4), digit(octet & 15)]).collect::<String>().into()
}
