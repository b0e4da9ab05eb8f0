//! Which names a plugin is asked about, and which of them it hands on where it has no answer: read alike and meant alike by all rooms
//! that have `[ZONE...]` and `fallthrough [ZONE...]`.

use crate::config::directive::{Directive, Mistakes};
use crate::name::Name;

/// For which names a denial goes to the next plugin instead of to the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fallthrough {
    Never,
    Always,
    Zones(Vec<Name>),
}

// === impl Fallthrough ===

impl Fallthrough {
    pub(crate) fn parse(directive: &Directive, mistakes: &mut Mistakes) -> Self {
        match directive.zones(mistakes) {
            none if none.is_empty() => Self::Always,
            zones => Self::Zones(zones),
        }
    }

    pub(crate) fn holds(&self, name: &Name) -> bool {
        match self {
            Self::Never => false,
            Self::Always => true,
            Self::Zones(zones) => zones.iter().any(|zone| name.is_under(zone)),
        }
    }
}

/// The zones that a directive names, or those of its block.
pub(crate) fn zones_or(named: &[Name], block: &[Name]) -> Vec<Name> {
    if named.is_empty() { block.to_vec() } else { named.to_vec() }
}

/// The longest of `zones` that holds the name.
pub(crate) fn longest<'z>(zones: &'z [Name], name: &Name) -> Option<&'z Name> {
    zones.iter().filter(|zone| name.is_under(zone)).max_by_key(|zone| zone.n_labels())
}
