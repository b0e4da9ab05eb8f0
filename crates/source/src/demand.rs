//! Demand: kinds that are followed only while somebody asks for them, since they are many or rarely there.
//!
//! Owns what is asked for and the answer that the views hold it. Must not know who asks, nor how a kind is followed.

use std::sync::Arc;

use api::{Kind, Object as _};
use client::Scope;
use tokio::sync::watch;

use crate::task::{Listing, Listings};

/// Which of these kinds are followed. All else follows from the command.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OnDemand {
    pub pods: Pods,
    /// For `multicluster` of a Corefile.
    pub service_imports: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Pods {
    #[default]
    Nobodys,
    /// For who asks a server of that node.
    OfNode(Box<str>),
    /// For `pods verified` of a Corefile.
    All,
}

/// How much of a kind is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) scope: Scope,
    /// As of an interest.
    pub(crate) required: bool,
}

/// Changes what is followed, at any time.
#[derive(Clone, Debug)]
pub struct Demand {
    /// `None`: the origin reads everything at all times.
    asked: Option<Arc<watch::Sender<OnDemand>>>,
    listings: watch::Receiver<Listings>,
}

/// A kind that is asked for may not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{kind} cannot be followed: {why}")]
pub struct Refused {
    pub kind: &'static str,
    pub why: Box<str>,
}

// === impl OnDemand ===

impl OnDemand {
    pub const NOTHING: Self = Self { pods: Pods::Nobodys, service_imports: false };
    pub const EVERYTHING: Self = Self { pods: Pods::All, service_imports: true };

    /// Each of these kinds, with how much of it is asked for, if it is.
    pub(crate) fn kinds(&self) -> [(Kind, Option<Asked>); 2] {
        let all = |required| Asked { scope: Scope::default(), required };
        let pods = match &self.pods {
            Pods::Nobodys => None,
            // Without them fewer questions are answered in one round trip, and no name is denied.
            Pods::OfNode(node) => {
                let scope = Scope { fields: format!("spec.nodeName={node}"), ..Scope::default() };
                Some(Asked { scope, required: false })
            }
            Pods::All => Some(all(true)),
        };
        [(api::ServiceImport::KIND, self.service_imports.then(|| all(false))), (api::Pod::KIND, pods)]
    }
}

// === impl Demand ===

impl Demand {
    pub(crate) fn new(asked: Option<Arc<watch::Sender<OnDemand>>>, listings: watch::Receiver<Listings>) -> Self {
        Self { asked, listings }
    }

    /// Follows these kinds from now on and no others of [`OnDemand`]. Done when the views that are published hold all of them, and none of
    /// the others; what is asked for stays so if nobody waits for that.
    ///
    /// # Errors
    /// A required kind that the API server does not let us read. It goes on being tried until it is no longer asked for.
    pub async fn follow(&self, wanted: OnDemand) -> Result<(), Refused> {
        let Some(asked) = &self.asked else { return Ok(()) };
        asked.send_if_modified(|asked| std::mem::replace(asked, wanted.clone()) != wanted);
        let mut listings = self.listings.clone();
        for (kind, asked) in wanted.kinds() {
            let scope = asked.map(|asked| asked.scope);
            let is_as_wanted = |listings: &Listings| listings.get(kind.plural).map(|(scope, _)| scope) == scope.as_ref();
            // The task that tells ends with the process, and then nothing is waited for any more.
            let Ok(listings) = listings.wait_for(is_as_wanted).await else { return Ok(()) };
            if let Some((_, Listing::Refused(why))) = listings.get(kind.plural) {
                return Err(Refused { kind: kind.plural, why: why.clone() });
            }
        }
        Ok(())
    }
}
