//! The server's own view, from the metrics of its operations listener.

use std::time::Duration;

use ureq::Agent;

use crate::failure::Failure;

const VALIDATION: &str = "signalbeam_certificate_validation_duration_seconds_bucket";
const PATIENCE: Duration = Duration::from_secs(10);

/// How long judging client certificates took so far: bounds in seconds, and how many took no longer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Validation(Vec<(f64, f64)>);

impl Validation {
    /// Reads the histogram from the operations listener.
    ///
    /// # Errors
    /// When it is not reached or gives no metrics.
    pub fn fetch(ops_url: &str) -> Result<Self, Failure> {
        let failed = |error: ureq::Error| Failure::system("cannot read the server's metrics (--ops-url)", error);
        let agent: Agent = Agent::config_builder().timeout_global(Some(PATIENCE)).build().into();
        let url = format!("{}/metrics", ops_url.trim_end_matches('/'));
        let text = agent.get(&url).call().and_then(|mut answer| answer.body_mut().read_to_string()).map_err(failed)?;
        Ok(Self::read(&text))
    }

    /// Reads the Prometheus text format.
    fn read(text: &str) -> Self {
        let buckets = text.lines().filter_map(|line| {
            let (bound, count) = line.strip_prefix(VALIDATION)?.strip_prefix("{le=\"")?.split_once("\"} ")?;
            Some((if bound == "+Inf" { f64::INFINITY } else { bound.parse().ok()? }, count.trim().parse().ok()?))
        });
        Self(buckets.collect())
    }

    /// What came after an earlier reading.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let before = |bound: f64| {
            earlier.0.iter().find(|(other, _)| other.total_cmp(&bound).is_eq()).map_or(0.0, |(_, count)| *count)
        };
        Self(self.0.iter().map(|(bound, count)| (*bound, count - before(*bound))).collect())
    }

    /// How many there were.
    pub fn count(&self) -> f64 {
        self.0.last().map_or(0.0, |(_, count)| *count)
    }

    /// The duration that this share does not exceed, interpolated within its bucket as Prometheus does; nothing where there is
    /// none. In the last bucket, which has no end, its beginning.
    pub fn quantile(&self, share: f64) -> Option<Duration> {
        let rank = share * self.count();
        let mut below = (0.0, 0.0);
        for (bound, count) in &self.0 {
            if *count >= rank && *count > 0.0 {
                let part = if *count > below.1 { (rank - below.1) / (count - below.1) } else { 1.0 };
                let seconds = if bound.is_finite() { below.0 + (bound - below.0) * part } else { below.0 };
                return Some(Duration::from_secs_f64(seconds.max(0.0)));
            }
            below = (*bound, *count);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
# TYPE signalbeam_certificate_validation_duration_seconds histogram
signalbeam_certificate_validation_duration_seconds_bucket{le=\"0.001\"} 90
signalbeam_certificate_validation_duration_seconds_bucket{le=\"0.002\"} 100
signalbeam_certificate_validation_duration_seconds_bucket{le=\"+Inf\"} 100
signalbeam_certificate_validation_duration_seconds_sum 0.05
";

    #[test]
    fn a_quantile_is_interpolated_within_its_bucket() {
        let read = Validation::read(TEXT);
        let micros = |share| read.quantile(share).unwrap().as_micros();
        assert_eq!((micros(0.45), micros(0.9), micros(0.95), micros(1.0)), (500, 1000, 1500, 2000));
        assert!((read.count() - 100.0).abs() < f64::EPSILON);
    }

    #[test]
    fn what_was_there_before_does_not_count() {
        let before = Validation::read(&TEXT.replace(" 100", " 90"));
        let since = Validation::read(TEXT).since(&before);
        assert!((since.count() - 10.0).abs() < f64::EPSILON);
        assert_eq!(since.quantile(0.5).unwrap().as_micros(), 1500);
        assert_eq!(before.since(&before).quantile(0.99), None);
        assert_eq!(Validation::default().quantile(0.99), None);
    }

    #[test]
    fn the_endless_bucket_gives_its_beginning() {
        let slow = Validation(vec![(0.001, 0.0), (f64::INFINITY, 5.0)]);
        assert_eq!(slow.quantile(0.99).unwrap(), Duration::from_millis(1));
    }
}
