//! What a mode is: rules from a view, and nothing else.

use std::time::Instant;

use model::NodeView;

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

    /// Removes everything this mode has in the kernel.
    fn cleanup(&mut self) -> Result<(), ApplyError>;
}

/// What one sync did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    pub n_rules: usize,
    pub n_elements: usize,
    pub n_transactions: usize,
    /// When something is due that must not happen earlier, such as the second step of a shrink.
    pub again_at: Option<Instant>,
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
            again_at: [self.again_at, other.again_at].into_iter().flatten().min(),
        }
    }
}
