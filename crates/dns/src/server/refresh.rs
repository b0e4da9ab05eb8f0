//! Questions that a cache has on its own account: before an answer that is much asked for runs out, and behind one that was served stale.
//!
//! They go by a bounded queue to tasks of their own; where that is full, the next who asks tries again.

use std::sync::{Arc, Weak};

use tokio::sync::{Semaphore, mpsc};

use super::Block;
use super::chain::{Next, Request};
use crate::plugins::cache::Refresher;

/// Questions that wait, and that are asked at once.
const MAX_WAITING: usize = 1_024;
const MAX_TASKS: usize = 64;

#[derive(Clone)]
pub(crate) struct Refreshes(mpsc::Sender<Refresh>);

/// The queue as one cache sees it.
struct OfCache {
    queue: mpsc::Sender<Refresh>,
    block: Weak<Block>,
    at: usize,
}

struct Refresh {
    block: Weak<Block>,
    at: usize,
    request: Request,
}

impl Refreshes {
    /// Starts the task that asks; it ends with the last of those who send. Must be called in a tokio runtime.
    pub(crate) fn start() -> Self {
        let (queue, mut waiting) = mpsc::channel::<Refresh>(MAX_WAITING);
        tokio::spawn(async move {
            let free = Arc::new(Semaphore::new(MAX_TASKS));
            while let Some(refresh) = waiting.recv().await {
                let permit = free.clone().acquire_owned().await.expect("BUG: the semaphore was closed");
                tokio::spawn(async move {
                    let _permit = permit;
                    refresh.run().await;
                });
            }
        });
        Self(queue)
    }

    /// A queue that takes nothing.
    pub(crate) fn nowhere() -> Self {
        Self(mpsc::channel(1).0)
    }

    /// For the cache at this place among the block's plugins.
    pub(crate) fn of(&self, block: &Weak<Block>, at: usize) -> Box<dyn Refresher> {
        Box::new(OfCache { queue: self.0.clone(), block: block.clone(), at })
    }
}

impl Refresher for OfCache {
    fn ask(&self, request: Request) -> bool {
        let request = Request { refresh: true, ..request };
        self.queue.try_send(Refresh { block: self.block.clone(), at: self.at, request }).is_ok()
    }
}

impl Refresh {
    async fn run(self) {
        // A block that a changed Corefile took away needs no answer any more.
        let Some(block) = self.block.upgrade() else { return };
        if let Some((cache, behind)) = block.plugins.get(self.at..).and_then(<[_]>::split_first) {
            cache.answer(&self.request, Next::of(behind)).await;
        }
    }
}
