//! Durations as Go writes them: `1h30m`, `1.5s`, `100ms`.

use std::time::Duration;

/// `None` if it is not one, or is negative.
pub(super) fn parse(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    if text.is_empty() {
        return None;
    }
    let (mut rest, mut total) = (text, 0.0);
    while !rest.is_empty() {
        let number = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let unit_end = rest[number..].find(|c: char| c.is_ascii_digit() || c == '.').map_or(rest.len(), |n| number + n);
        let seconds = match &rest[number..unit_end] {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" | "μs" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        total += rest[..number].parse::<f64>().ok()? * seconds;
        rest = &rest[unit_end..];
    }
    Duration::try_from_secs_f64(total).ok()
}

/// As Go's `Duration.String` writes it: `1h2m3.5s`, `100ms`, `0s`.
pub(super) fn text(duration: Duration) -> String {
    // The largest unit that leaves no fraction of it below one, of those below a second.
    let below = [(1_000_000, "ms"), (1_000, "µs"), (1, "ns")].into_iter().find(|(nanos, _)| duration.as_nanos() >= *nanos);
    let seconds = duration.as_secs();
    let of_seconds = || decimal(u128::from(seconds % 60) * 1_000_000_000 + u128::from(duration.subsec_nanos()), 1_000_000_000, "s");
    match (seconds, below) {
        (0, None) => "0s".to_owned(),
        (0, Some((nanos, unit))) => decimal(duration.as_nanos(), nanos, unit),
        (1..60, _) => of_seconds(),
        (60..3600, _) => format!("{}m{}", seconds / 60, of_seconds()),
        _ => format!("{}h{}m{}", seconds / 3600, seconds / 60 % 60, of_seconds()),
    }
}

/// `nanos` in a unit of so many, without zeros at the end.
fn decimal(nanos: u128, of_unit: u128, unit: &str) -> String {
    let digits = of_unit.ilog10() as usize;
    match nanos % of_unit {
        0 => format!("{}{unit}", nanos / of_unit),
        rest => format!("{}.{}{unit}", nanos / of_unit, format!("{rest:0digits$}").trim_end_matches('0')),
    }
}
