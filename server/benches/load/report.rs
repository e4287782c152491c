//! The lines that are printed.

use crate::phases::Figure;

/// Prints one line a phase, with the ratio to the first.
#[derive(Default)]
pub(crate) struct Report {
    base: Option<f64>,
}

impl Report {
    pub(crate) fn line(&mut self, what: &str, figure: &Figure) {
        let ratio = figure.per_second / *self.base.get_or_insert(figure.per_second);
        println!(
            "{what:<52} {:>9.0}/s  ratio {ratio:.2}  p50 {:>7.2} ms  p99 {:>7.2} ms  errors {}",
            figure.per_second, figure.p50_ms, figure.p99_ms, figure.errors
        );
    }
}

pub(crate) fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}
