//! The wire's own value types: times, int-or-string, bytes, string maps.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::{Deref, DerefMut};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};

use crate::error::Fault;
use crate::protobuf::{Field, Reader, Wire};

/// A point in time, UTC. JSON writes it in RFC 3339, protobuf as seconds and nanoseconds since 1970.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time {
    pub seconds: i64,
    pub nanos: u32,
}

/// A port's number or its name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum IntOrString {
    Int(i32),
    String(Box<str>),
}

/// Opaque bytes: base64 in JSON, themselves in protobuf. `Debug` shows only their number, since Secrets are made of them.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Bytes(pub Box<[u8]>);

/// A map from strings, as labels and data are. A `null` value reads as the zero value, as Go does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Map<V = Box<str>>(pub BTreeMap<Box<str>, V>);

// === impl Time ===

impl Time {
    /// Parses RFC 3339, with any number of digits of a second and any offset.
    pub fn parse(text: &str) -> Option<Time> {
        let (date, rest) = text.split_at_checked(10)?;
        let rest = rest.strip_prefix(['T', 't', ' '])?;
        let (clock, rest) = rest.split_at_checked(8)?;
        let [year, month, day] = numbers(date, '-', [4, 2, 2])?;
        let [hour, minute, second] = numbers(clock, ':', [2, 2, 2])?;
        if !(1..=12).contains(&month) || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 60 {
            return None;
        }
        let (nanos, offset) = match rest.strip_prefix('.') {
            None => (0, rest),
            Some(rest) => {
                let n_digits = rest.bytes().take_while(u8::is_ascii_digit).count();
                let digits = rest.get(..n_digits.min(9)).filter(|digits| !digits.is_empty())?;
                (format!("{digits:0<9}").parse().ok()?, &rest[n_digits..])
            }
        };
        let offset_minutes = match offset.as_bytes() {
            [b'Z' | b'z'] => 0,
            [sign @ (b'+' | b'-'), _, _, b':', _, _] => {
                let [hours, minutes] = numbers(&offset[1..], ':', [2, 2])?;
                if *sign == b'-' { -(hours * 60 + minutes) } else { hours * 60 + minutes }
            }
            _ => return None,
        };
        let seconds = days_before(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second - offset_minutes * 60;
        Some(Time { seconds, nanos })
    }

    /// The time in the form of a `MicroTime` field: always six digits of a second.
    pub fn to_micro_string(self) -> String {
        let text = self.whole_seconds();
        format!("{text}.{:06}Z", self.nanos / 1_000)
    }

    fn whole_seconds(self) -> String {
        let (year, month, day) = date_of(self.seconds.div_euclid(86_400));
        let second = self.seconds.rem_euclid(86_400);
        format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}", second / 3_600, second / 60 % 60, second % 60)
    }
}

impl From<std::time::SystemTime> for Time {
    /// A clock before 1970 reads as 1970.
    fn from(time: std::time::SystemTime) -> Time {
        let since = time.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Time { seconds: i64::try_from(since.as_secs()).unwrap_or(i64::MAX), nanos: since.subsec_nanos() }
    }
}

impl fmt::Display for Time {
    /// The form of a `Time` field: whole seconds.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}Z", self.whole_seconds())
    }
}

/// Days from 1970-01-01 to a date of the Gregorian calendar (Howard Hinnant's `days_from_civil`).
fn days_before(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// The inverse of [`days_before`]. Years outside 0..=9999 cannot be written, so days are held within them.
fn date_of(days: i64) -> (i64, i64, i64) {
    let days = days.clamp(-719_528, 2_932_896) + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

fn numbers<const N: usize>(text: &str, separator: char, widths: [usize; N]) -> Option<[i64; N]> {
    let mut parts = text.split(separator);
    let mut found = [0; N];
    for (slot, width) in found.iter_mut().zip(widths) {
        let part = parts.next()?;
        if part.len() != width || !part.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        *slot = part.parse().ok()?;
    }
    parts.next().is_none().then_some(found)
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Time, D::Error> {
        let text = <std::borrow::Cow<'_, str>>::deserialize(deserializer)?;
        Time::parse(&text).ok_or_else(|| de::Error::custom(format_args!("not an RFC 3339 time: {text:?}")))
    }
}

impl Field for Time {
    fn merge(&mut self, wire: Wire<'_>) -> Result<(), Fault> {
        for entry in Reader::new(wire.bytes()?) {
            match entry? {
                (1, wire) => self.seconds.merge(wire)?,
                (2, wire) => {
                    let mut nanos = 0_i32;
                    nanos.merge(wire)?;
                    self.nanos = u32::try_from(nanos).unwrap_or(0).min(999_999_999);
                }
                _ => {}
            }
        }
        Ok(())
    }
}

// === impl IntOrString ===

impl Default for IntOrString {
    fn default() -> IntOrString {
        IntOrString::Int(0)
    }
}

impl fmt::Display for IntOrString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            IntOrString::Int(number) => write!(f, "{number}"),
            IntOrString::String(text) => f.write_str(text),
        }
    }
}

impl<'de> Deserialize<'de> for IntOrString {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<IntOrString, D::Error> {
        struct Either;
        impl Visitor<'_> for Either {
            type Value = IntOrString;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a 32-bit integer or a string")
            }
            fn visit_i64<E: de::Error>(self, number: i64) -> Result<IntOrString, E> {
                i32::try_from(number).map(IntOrString::Int).map_err(|_| E::invalid_value(de::Unexpected::Signed(number), &self))
            }
            fn visit_u64<E: de::Error>(self, number: u64) -> Result<IntOrString, E> {
                i32::try_from(number).map(IntOrString::Int).map_err(|_| E::invalid_value(de::Unexpected::Unsigned(number), &self))
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<IntOrString, E> {
                Ok(IntOrString::String(text.into()))
            }
        }
        deserializer.deserialize_any(Either)
    }
}

impl Field for IntOrString {
    fn merge(&mut self, wire: Wire<'_>) -> Result<(), Fault> {
        let (mut is_string, mut int, mut string) = (0_i32, 0_i32, Box::<str>::default());
        for entry in Reader::new(wire.bytes()?) {
            match entry? {
                (1, wire) => is_string.merge(wire)?,
                (2, wire) => int.merge(wire)?,
                (3, wire) => string.merge(wire)?,
                _ => {}
            }
        }
        *self = if is_string == 1 { IntOrString::String(string) } else { IntOrString::Int(int) };
        Ok(())
    }
}

// === impl Bytes ===

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl Deref for Bytes {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
        let text = <std::borrow::Cow<'_, str>>::deserialize(deserializer)?;
        // Folded YAML leaves line ends inside; Go's decoder skips them as well.
        let text: String = text.chars().filter(|c| !matches!(c, '\r' | '\n')).collect();
        // The error of the decoder tells a byte and its place, never more of the secret.
        let bytes = STANDARD.decode(text).map_err(|error| de::Error::custom(format_args!("not base64: {error}")))?;
        Ok(Bytes(bytes.into()))
    }
}

impl Field for Bytes {
    fn merge(&mut self, wire: Wire<'_>) -> Result<(), Fault> {
        self.0 = wire.bytes()?.into();
        Ok(())
    }
}

// === impl Map ===

impl<V> Default for Map<V> {
    fn default() -> Map<V> {
        Map(BTreeMap::new())
    }
}

impl<V> Deref for Map<V> {
    type Target = BTreeMap<Box<str>, V>;
    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl<V> DerefMut for Map<V> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}

impl<'a, V> IntoIterator for &'a Map<V> {
    type Item = (&'a Box<str>, &'a V);
    type IntoIter = std::collections::btree_map::Iter<'a, Box<str>, V>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

impl<'de, V: Default + Deserialize<'de>> Deserialize<'de> for Map<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Map<V>, D::Error> {
        struct Entries<V>(std::marker::PhantomData<V>);
        impl<'de, V: Default + Deserialize<'de>> Visitor<'de> for Entries<V> {
            type Value = Map<V>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Map<V>, A::Error> {
                let mut map = BTreeMap::new();
                while let Some((key, value)) = access.next_entry::<Box<str>, Option<V>>()? {
                    map.insert(key, value.unwrap_or_default());
                }
                Ok(Map(map))
            }
        }
        deserializer.deserialize_map(Entries(std::marker::PhantomData))
    }
}

impl<V: Default + Field> Field for Map<V> {
    fn merge(&mut self, wire: Wire<'_>) -> Result<(), Fault> {
        let (mut key, mut value) = (Box::<str>::default(), V::default());
        for entry in Reader::new(wire.bytes()?) {
            match entry? {
                (1, wire) => key.merge(wire)?,
                (2, wire) => value.merge(wire).map_err(|fault| fault.inside(&format!("[{key}]")))?,
                _ => {}
            }
        }
        self.0.insert(key, value);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
