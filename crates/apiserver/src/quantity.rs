//! Resource quantities (`100m`, `1.5Gi`, `1e3`): parsing, order, and the one way each is written.
//!
//! Source: apimachinery's pkg/api/resource (quantity.go, suffix.go).

use std::cmp::Ordering;

/// A quantity, exact to a billionth. Values beyond what 128 bits hold are capped.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Quantity {
    nanos: i128,
    format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    DecimalSi,
    BinarySi,
    DecimalExponent,
}

const NANO: i128 = 1_000_000_000;
const MALFORMED: &str = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";
const BAD_SUFFIX: &str = "unable to parse quantity's suffix";
const DECIMAL: [(&str, i32); 10] =
    [("n", -9), ("u", -6), ("m", -3), ("", 0), ("k", 3), ("M", 6), ("G", 9), ("T", 12), ("P", 15), ("E", 18)];
const BINARY: [(&str, u32); 6] = [("Ki", 10), ("Mi", 20), ("Gi", 30), ("Ti", 40), ("Pi", 50), ("Ei", 60)];

// === impl Quantity ===

impl Quantity {
    /// Parses what a user wrote.
    ///
    /// # Errors
    /// The API server's text.
    pub(crate) fn parse(text: &str) -> Result<Quantity, &'static str> {
        let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
        let (negative, rest) = match text.as_bytes().first() {
            None => return Err(MALFORMED),
            Some(b'-') => (true, &text[1..]),
            Some(b'+') => (false, &text[1..]),
            Some(_) => (false, text),
        };
        let (whole, rest) = rest.split_at(digits(rest));
        let (fraction, suffix) = match rest.strip_prefix('.') {
            Some(rest) => rest.split_at(digits(rest)),
            None => ("", rest),
        };
        let letters = suffix.bytes().take_while(|byte| b"eEinumkKMGTP".contains(byte)).count();
        let exponent = suffix[letters..].strip_prefix(['-', '+']).unwrap_or(&suffix[letters..]);
        if digits(exponent) != exponent.len() || (whole.is_empty() && fraction.is_empty() && suffix.is_empty() && rest.len() < 2) {
            return Err(MALFORMED);
        }
        let (format, base10, base2) = if let Some((_, exponent)) = DECIMAL.iter().find(|(name, _)| *name == suffix) {
            (Format::DecimalSi, *exponent, 0)
        } else if let Some((_, exponent)) = BINARY.iter().find(|(name, _)| *name == suffix) {
            (Format::BinarySi, 0, *exponent)
        } else {
            let exponent = suffix.strip_prefix(['e', 'E']).and_then(|exponent| exponent.parse::<i32>().ok()).ok_or(BAD_SUFFIX)?;
            (Format::DecimalExponent, exponent, 0)
        };
        // The digits as one number, then scaled to billionths; what is lost below them rounds away from zero.
        let mut value: i128 = 0;
        let mut dropped_digits = 0;
        for digit in whole.bytes().chain(fraction.bytes()) {
            match value.checked_mul(10).and_then(|value| value.checked_add(i128::from(digit - b'0'))) {
                Some(more) if dropped_digits == 0 => value = more,
                _ => dropped_digits += 1,
            }
        }
        let fraction_len = i32::try_from(fraction.len()).unwrap_or(i32::MAX);
        let scale = 9_i32.saturating_add(base10).saturating_sub(fraction_len).saturating_add(dropped_digits);
        let value = value.checked_shl(base2).filter(|shifted| shifted >> base2 == value).unwrap_or(i128::MAX);
        let magnitude = match u32::try_from(scale) {
            Ok(scale) => 10_i128.checked_pow(scale).and_then(|factor| value.checked_mul(factor)),
            Err(_) => match 10_i128.checked_pow(scale.unsigned_abs()) {
                Some(divisor) => Some(value / divisor + i128::from(value % divisor != 0)),
                None => Some(i128::from(value != 0)),
            },
        };
        let magnitude = if value == 0 { 0 } else { magnitude.unwrap_or(i128::MAX) };
        Ok(Quantity { nanos: if negative { -magnitude } else { magnitude }, format })
    }

    /// Rounded up to thousandths, as every amount of a resource is.
    pub(crate) fn round_up_to_milli(mut self) -> Quantity {
        let milli = NANO / 1_000;
        let rest = self.nanos.rem_euclid(milli);
        if rest != 0 {
            self.nanos = self.nanos.saturating_add(if self.nanos > 0 { milli - rest } else { -rest });
        }
        self
    }

    pub(crate) fn is_negative(self) -> bool {
        self.nanos < 0
    }

    pub(crate) fn is_whole(self) -> bool {
        self.nanos % NANO == 0
    }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Quantity) -> bool {
        self.nanos == other.nanos
    }
}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Quantity) -> Option<Ordering> {
        self.nanos.partial_cmp(&other.nanos)
    }
}

impl std::fmt::Display for Quantity {
    /// The canonical form: no more digits than needed, the largest suffix that keeps the number whole.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.nanos == 0 {
            return f.write_str("0");
        }
        let whole = self.nanos / NANO;
        if self.format == Format::BinarySi && self.is_whole() && !(-1023..=1023).contains(&whole) {
            let (mut amount, mut times) = (whole, 0);
            while amount % 1024 == 0 && times < BINARY.len() {
                amount /= 1024;
                times += 1;
            }
            return write!(f, "{amount}{}", times.checked_sub(1).map_or("", |index| BINARY[index].0));
        }
        let (mut amount, mut exponent) = (self.nanos, -9);
        while amount % 1_000 == 0 && exponent < 18 {
            amount /= 1_000;
            exponent += 3;
        }
        match self.format {
            Format::DecimalExponent if exponent == 0 => write!(f, "{amount}"),
            Format::DecimalExponent => write!(f, "{amount}e{exponent}"),
            _ => write!(f, "{amount}{}", DECIMAL.iter().find(|(_, other)| *other == exponent).map_or("", |(name, _)| name)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_have_one_written_form() {
        for (text, canonical) in [
            ("0", "0"),
            ("1000m", "1"),
            ("0.5", "500m"),
            (".5", "500m"),
            ("1024Mi", "1Gi"),
            ("1.5Gi", "1536Mi"),
            ("100Mi", "100Mi"),
            ("1023Ki", "1023Ki"),
            ("0.5Ki", "512"),
            ("1e3", "1e3"),
            ("1E6", "1e6"),
            ("12e0", "12"),
            ("-1", "-1"),
            ("+7", "7"),
            ("1n", "1n"),
            ("0.1n", "1n"),
            ("1000k", "1M"),
            ("1k", "1k"),
            ("010", "10"),
            ("5.", "5"),
            ("0.0001", "100u"),
            ("1Ki", "1Ki"),
            ("1500", "1500"),
            ("0Gi", "0"),
        ] {
            assert_eq!(Quantity::parse(text).map(|quantity| quantity.to_string()), Ok(canonical.to_owned()), "{text}");
        }
        assert_eq!(Quantity::parse("0.1m").expect("parses").round_up_to_milli().to_string(), "1m");
    }

    #[test]
    fn what_is_no_quantity_is_refused() {
        for (text, reason) in
            [("", MALFORMED), ("lots", MALFORMED), ("1 Gi", MALFORMED), ("1Qi", MALFORMED), ("1mm", BAD_SUFFIX), ("1Gi2", BAD_SUFFIX)]
        {
            assert_eq!(Quantity::parse(text).map(|quantity| quantity.to_string()), Err(reason), "{text}");
        }
        for text in [
            "9".repeat(400),
            format!("1e{}", i32::MAX),
            format!("1e-{}", i32::MAX),
            format!("0.{}1", "0".repeat(99)),
            "é".into(),
            ".".into(),
        ] {
            let _ = Quantity::parse(&text).map(|quantity| quantity.to_string());
        }
    }

    #[test]
    fn order_ignores_the_suffix() {
        let parse = |text| Quantity::parse(text).expect("parses");
        assert!(parse("1500m") > parse("1"));
        assert!(parse("1Gi") > parse("1G"));
        assert!(parse("1000m") == parse("1"));
    }
}
