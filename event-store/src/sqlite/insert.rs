//! Statements that insert many rows at once.

use std::fmt::Write as _;

/// `INSERT` for at least `rows` rows of `columns`. Parameters that are not bound are NULL, and rows whose first column is
/// NULL are left out: so a few statements, for powers of two, serve all sizes and stay prepared.
pub(super) fn multi_row_insert(table: &str, columns: &str, column_count: usize, rows: usize) -> String {
    let row = format!("({}?)", "?,".repeat(column_count - 1));
    let mut sql = format!("INSERT INTO {table} ({columns}) SELECT * FROM (VALUES {row}");
    for _ in 1..rows.next_power_of_two() {
        // Writing to a string does not fail.
        let _ = write!(sql, ",{row}");
    }
    sql.push_str(") WHERE column1 IS NOT NULL");
    sql
}
