//! The block's own names are never kept, as they are always fresh; but a cache's longest TTL holds for them as well: `cache 30` is what
//! people write so that no client remembers anything for longer.

use super::Options;
use crate::name::Name;
use crate::plugins::Spec;
use crate::plugins::scope::zones_or;
use crate::server::chain::{Answering, Next, Plugin, Request};
use crate::wire::message::Message;
use crate::wire::{Query, flag, rtype};

/// Stands in front of what answers for the block itself.
pub(crate) struct Cap {
    /// In lower case.
    zones: Vec<Name>,
    /// Seconds, of answers and of denials.
    most: [u32; 2],
    /// Names of the cluster have shorter ones in any case.
    passes: bool,
}

impl Cap {
    /// `None` where nothing of the block has a TTL that is too long.
    pub(crate) fn new(options: &Options, plugins: &[Spec], block: &[Name]) -> Option<Self> {
        let most = [&options.success, &options.denial].map(|kind| u32::try_from(kind.most.as_secs()).unwrap_or(u32::MAX));
        let least = most[0].min(most[1]);
        let (mut any, mut passes) = (false, true);
        for plugin in plugins {
            match plugin {
                Spec::Kubernetes(options) => passes = options.ttl_secs <= most[0],
                Spec::Hosts(options) => any |= options.ttl_secs > least,
                Spec::K8sExternal(options) => any |= options.ttl_secs > least,
                // What their records say shows when they are made.
                Spec::Template(_) => any = true,
                _ => {}
            }
        }
        let zones = zones_or(&options.zones, block).iter().map(Name::folded).collect();
        (any || !passes).then_some(Self { zones, most, passes })
    }

    fn cap(&self, answer: &mut Message) {
        let denial = answer.answers.is_empty();
        // Denials of the cluster's names leave by the fast path, whose answers have to be the same: `denial 9984 5` is no reason to take
        // all of its questions off that.
        if denial && answer.by == "kubernetes" {
            return;
        }
        let most = self.most[usize::from(denial)];
        for record in answer.answers.iter_mut().chain(&mut answer.authorities).chain(&mut answer.additionals) {
            record.ttl = record.ttl.min(most);
        }
    }
}

impl Plugin for Cap {
    fn name(&self) -> &'static str {
        "cache"
    }

    fn knows_class(&self, _class: u16) -> bool {
        true
    }

    fn answer<'a>(&'a self, request: &'a Request, next: Next<'a>) -> Answering<'a> {
        let question = &request.question;
        if rtype::is_transfer(question.qtype) || !self.zones.iter().any(|zone| question.name.is_under(zone)) {
            return next.run(request);
        }
        Box::pin(async move {
            let mut answer = next.run(request).await;
            if answer.flags & flag::AA != 0 {
                self.cap(&mut answer);
            }
            answer
        })
    }

    fn passes(&self, query: &Query<'_>) -> bool {
        self.passes || !self.zones.iter().any(|zone| query.name.above(zone.wire(), zone.n_labels()).is_some())
    }
}
