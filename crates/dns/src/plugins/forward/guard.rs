//! Upstreams that lead back here (`loop`): a question with a name that nobody else knows is sent through each, and whoever sends it
//! back to us is left out until it no longer does.
//!
//! CoreDNS exits on a loop, and a pod that crashes for ever answers not even the cluster's names. Ours goes on without that upstream.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tracing::{error, info};

use super::upstream::Upstream;
use super::{Options, exchange};
use crate::name::{Name, label};
use crate::server::chain::Request;
use crate::server::metrics::Metrics;
use crate::wire::message::Question;
use crate::wire::{CLASS_IN, flag};

/// CoreDNS's probe has this type, which nobody asks for.
const HINFO: u16 = 13;
const EVERY: Duration = Duration::from_secs(30);
const PATIENCE: Duration = Duration::from_secs(2);

/// The names that are under way, of all blocks.
#[derive(Default)]
pub(crate) struct Guard {
    sent: Mutex<HashSet<Name>>,
    back: Mutex<HashSet<Name>>,
}

impl Guard {
    /// Whether this question is one of ours on its way back; remembers it.
    pub(crate) fn came_back(&self, question: &Question) -> bool {
        if question.qtype != HINFO {
            return false;
        }
        let name = question.name.folded();
        let ours = lock(&self.sent).contains(&name);
        if ours {
            lock(&self.back).insert(name);
        }
        ours
    }

    fn send(&self, name: &Name) {
        lock(&self.sent).insert(name.clone());
    }

    /// Ends a probe; tells whether its question came back.
    fn end(&self, name: &Name) -> bool {
        lock(&self.sent).remove(name);
        lock(&self.back).remove(name)
    }
}

fn lock(names: &Mutex<HashSet<Name>>) -> std::sync::MutexGuard<'_, HashSet<Name>> {
    // A name is there or not.
    names.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Probes until the upstreams are gone.
pub(crate) async fn watch(guard: Arc<Guard>, upstreams: Vec<Weak<Upstream>>, zone: Name, options: Options, metrics: Arc<Metrics>) {
    loop {
        for upstream in &upstreams {
            let Some(upstream) = upstream.upgrade() else { return };
            let number = || format!("{:04x}{:04x}{:04x}", exchange::random_u16(), exchange::random_u16(), exchange::random_u16());
            let labels = [number(), number()].iter().filter_map(|text| label(text)).collect::<Vec<_>>().concat();
            let Some(name) = zone.folded().prefixed(&labels) else { return };
            let question = Question { name: name.clone(), qtype: HINFO, qclass: CLASS_IN };
            let request = Request { flags: flag::RD, ..Request::of(question, ([0, 0, 0, 0], 0).into()) };
            guard.send(&name);
            let _ = exchange::ask(&upstream, &request, &options, PATIENCE, &metrics).await;
            let loops = guard.end(&name);
            if loops != upstream.set_looping(loops) {
                match loops {
                    true => {
                        error!(upstream = %upstream.address, "this upstream leads back here: it is left out, the cluster's names go on")
                    }
                    false => info!(upstream = %upstream.address, "this upstream no longer leads back here"),
                }
            }
        }
        tokio::time::sleep(EVERY).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_name_that_is_under_way_is_one_that_came_back() {
        let guard = Guard::default();
        let question = |text: &str, qtype| Question { name: Name::parse(text).expect("a name"), qtype, qclass: CLASS_IN };
        let name = question("1.2.", HINFO).name;
        assert!(!guard.came_back(&question("1.2.", HINFO)), "nothing was sent");
        guard.send(&name);
        assert!(!guard.came_back(&question("1.2.", 1)));
        assert!(!guard.end(&name), "it did not come back");
        guard.send(&name);
        assert!(guard.came_back(&question("1.2.", HINFO)));
        assert!(guard.end(&name));
        assert!(!guard.came_back(&question("1.2.", HINFO)), "it is over");
    }
}
