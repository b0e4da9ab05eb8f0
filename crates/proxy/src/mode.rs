//! What a mode is: rules from a view, and nothing else.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use model::node::NodeKey;
use model::{Issue, NodeView};

/// One way to make the kernel do what a view says. Used by one thread.
///
/// The driver owns pacing, retries, health and metrics.
pub trait Mode {
    /// Makes the kernel hold the rules of `view`.
    ///
    /// `last` is the view that the kernel holds by now, and the work is that of the difference. `None`: assume nothing, read the
    /// kernel back and apply the difference; never flush and refill under live traffic. Called with equal views when
    /// [`Applied::again_at`] has come.
    fn sync(&mut self, view: &NodeView, last: Option<&NodeView>) -> Result<Applied, ApplyError>;

    /// Whether the kernel still holds what was programmed, as far as that is cheap to see. `false` asks for a full sync.
    fn intact(&mut self) -> Result<bool, ApplyError> {
        Ok(true)
    }

    /// What this mode finds wrong with Services that changed since it was last asked, in one family each; an empty list says that
    /// nothing is wrong any more. Objects that are simply bad were told by others before.
    fn take_issues(&mut self) -> BTreeMap<NodeKey, Vec<Issue>> {
        BTreeMap::new()
    }

    /// Removes everything this mode has in the kernel.
    fn cleanup(&mut self) -> Result<(), ApplyError>;
}

/// What one sync did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    pub n_rules: usize,
    pub n_elements: usize,
    pub n_transactions: usize,
    /// How long each family took, as in [`model::Family::BOTH`]; `None`: there was nothing to do in it.
    pub took: [Option<Duration>; 2],
    /// When something is due that must not happen earlier, such as the second step of a shrink.
    pub again_at: Option<Instant>,
}

/// Something that the kernel holds other than it should.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// `ip rutter`.
    pub table: String,
    /// Which part of it: `map services`, `chain pick-2`.
    pub part: String,
    /// What is there, and what should be.
    pub words: String,
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "table {}, {}: {}", self.table, self.part, self.words)
    }
}

#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    #[error(transparent)]
    Nft(#[from] kernel::nft::CommitError),
}

impl Applied {
    pub(crate) fn and(self, other: Applied) -> Applied {
        Applied {
            n_rules: self.n_rules + other.n_rules,
            n_elements: self.n_elements + other.n_elements,
            n_transactions: self.n_transactions + other.n_transactions,
            took: std::array::from_fn(|i| match (self.took[i], other.took[i]) {
                (Some(one), Some(two)) => Some(one + two),
                (one, two) => one.or(two),
            }),
            again_at: [self.again_at, other.again_at].into_iter().flatten().min(),
        }
    }
}
