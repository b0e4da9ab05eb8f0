//! Names and identities that the server makes up.

use aws_lc_rs::rand;

/// What generated names are made of: no vowels, so no words. Source: apimachinery's pkg/util/rand.
const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// A name longer than 63 bytes is no DNS label; five are random.
const MAX_BASE: usize = 58;

/// `base` and five random characters.
pub(crate) fn generate(base: &str) -> String {
    let mut name = head(base, MAX_BASE).to_owned();
    name.extend((0..5).map(|_| char::from(ALPHABET[below(ALPHABET.len() as u32) as usize])));
    name
}

/// The start of a text, at most `max` bytes of it and no character cut in two.
pub(crate) fn head(text: &str, max: usize) -> &str {
    let end = (0..=max.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    &text[..end.unwrap_or_default()]
}

/// A version 4 UUID (RFC 9562).
pub(crate) fn uid() -> String {
    let mut bytes = random::<16>();
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex = |range: std::ops::Range<usize>| bytes[range].iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    [hex(0..4), hex(4..6), hex(6..8), hex(8..10), hex(10..16)].join("-")
}

/// A random number below `bound`. The bias of the modulo is without consequence here.
pub(crate) fn below(bound: u32) -> u32 {
    (u64::from_be_bytes(random()) % u64::from(bound.max(1))) as u32
}

pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    rand::fill(&mut bytes).expect("BUG: the system has no random numbers");
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_names_are_labels_however_long_the_base_is() {
        assert_eq!(generate("web-").len(), 9);
        let name = generate(&"é".repeat(60));
        assert!(name.len() <= 63, "{name}");
    }

    #[test]
    fn identities_are_random_uuids() {
        let uid = uid();
        assert_eq!((uid.len(), &uid[14..15]), (36, "4"));
        assert_ne!(uid, super::uid());
    }
}
