//! Points in time as texts: the formats that logs and Kubernetes share, in UTC.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

/// `24/Nov/2026:18:14:20 +0000`, as nginx and Apache log it.
pub struct CommonLog(pub SystemTime);

/// `2026-11-24T18:14:20Z`, as Kubernetes writes it (RFC 3339).
pub struct Rfc3339(pub SystemTime);

/// `2026-11-24T18:14:20.000000001Z`, as container logs have it.
pub struct Rfc3339Nanos(pub SystemTime);

struct Civil {
    year: i64,
    month: u8,
    day: u8,
    hour: u8,
    minute: u8,
    second: u8,
}

const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

impl fmt::Display for CommonLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Civil { year, month, day, hour, minute, second } = Civil::of(self.0);
        let month = MONTHS[usize::from(month - 1)];
        write!(f, "{day:02}/{month}/{year:04}:{hour:02}:{minute:02}:{second:02} +0000")
    }
}

impl fmt::Display for Rfc3339 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Civil { year, month, day, hour, minute, second } = Civil::of(self.0);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
    }
}

impl fmt::Display for Rfc3339Nanos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Civil { year, month, day, hour, minute, second } = Civil::of(self.0);
        let nanos = self.0.duration_since(UNIX_EPOCH).map_or(0, |since| since.subsec_nanos());
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{nanos:09}Z")
    }
}

// === impl Civil ===

impl Civil {
    /// The proleptic Gregorian calendar; times before 1970 count as 1970.
    ///
    /// Source: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", `civil_from_days`.
    fn of(time: SystemTime) -> Self {
        let secs = time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let (days, secs) = ((secs / 86_400) as i64, secs % 86_400);
        let shifted = days + 719_468;
        let era = shifted / 146_097;
        let day_of_era = shifted % 146_097;
        let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * day_of_year + 2) / 153;
        let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
        Self {
            year: era * 400 + year_of_era + i64::from(month <= 2),
            month: month as u8,
            day: (day_of_year - (153 * month_from_march + 2) / 5 + 1) as u8,
            hour: (secs / 3_600) as u8,
            minute: (secs / 60 % 60) as u8,
            second: (secs % 60) as u8,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn times_read_as_logs_and_kubernetes_write_them() {
        let at = |secs| UNIX_EPOCH + Duration::from_secs(secs);
        assert_eq!(Rfc3339(at(0)).to_string(), "1970-01-01T00:00:00Z");
        assert_eq!(Rfc3339(at(951_782_399)).to_string(), "2000-02-28T23:59:59Z");
        assert_eq!(Rfc3339(at(951_782_400)).to_string(), "2000-02-29T00:00:00Z");
        assert_eq!(CommonLog(at(1_795_544_060)).to_string(), "24/Nov/2026:18:14:20 +0000");
    }
}
