//! Octets that mostly are few: kept in place up to [`INLINE`], so that reading them is no further step through memory. At a cluster's
//! size each step is a cache miss, and those are what an answer costs.

use std::ops::Deref;

/// An endpoint's label made from an IPv4 address, or one address with its SRV row, fits.
const INLINE: usize = 22;

#[derive(Debug)]
pub(crate) enum Short {
    Few(u8, [u8; INLINE]),
    Many(Box<[u8]>),
}

impl From<&[u8]> for Short {
    fn from(octets: &[u8]) -> Self {
        let mut few = [0; INLINE];
        match few.get_mut(..octets.len()) {
            Some(room) => {
                room.copy_from_slice(octets);
                Self::Few(octets.len() as u8, few)
            }
            None => Self::Many(octets.into()),
        }
    }
}

impl Default for Short {
    fn default() -> Self {
        Self::Few(0, [0; INLINE])
    }
}

impl Deref for Short {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Few(length, few) => &few[..usize::from(*length)],
            Self::Many(octets) => octets,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_in_comes_out_whatever_its_length() {
        for length in [0, 1, INLINE - 1, INLINE, INLINE + 1, 1_000] {
            let octets: Vec<u8> = (0..length).map(|n| n as u8).collect();
            assert_eq!(*Short::from(octets.as_slice()), *octets);
        }
        assert!(size_of::<Short>() <= 24, "as small as a Vec");
    }
}
