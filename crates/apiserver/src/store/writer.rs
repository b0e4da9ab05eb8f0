//! The one thread that writes: runs what waits, commits it as one group, then lets the world know.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::{mpsc, watch};

use super::Visible;
use super::disk::{Disk, Row};
use super::txn::{Change, Txn, Working};
use crate::refusal::Refusal;

/// A write. Says whether what it did is to be kept, and how to tell who asked once that is durable.
pub(super) type Command = Box<dyn FnOnce(&mut Txn<'_>) -> (bool, Acknowledge) + Send>;
pub(super) type Acknowledge = Box<dyn FnOnce(Result<(), Refusal>) + Send>;

/// Writes that share one sync of the disk. More would make the first of them wait for long.
const MAX_GROUP: usize = 256;

pub(super) struct Writer {
    disk: Disk,
    working: Working,
    visible: Arc<RwLock<Visible>>,
    changed: Arc<[watch::Sender<u64>]>,
}

impl Writer {
    pub(super) fn new(disk: Disk, working: Working, visible: Arc<RwLock<Visible>>, changed: Arc<[watch::Sender<u64>]>) -> Writer {
        Writer { disk, working, visible, changed }
    }

    /// Until every sender is gone.
    pub(super) fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        let mut waiting = Vec::with_capacity(MAX_GROUP);
        while commands.blocking_recv_many(&mut waiting, MAX_GROUP) > 0 {
            self.group(waiting.drain(..));
        }
    }

    fn group(&mut self, commands: impl Iterator<Item = Command>) {
        let before = self.working.savepoint(0);
        let mut changes = Vec::new();
        let acknowledges: Vec<Acknowledge> = commands.filter_map(|command| self.one(command, &mut changes)).collect();
        let durable = match self.commit(&changes) {
            Ok(()) => {
                self.publish(changes);
                Ok(())
            }
            Err(error) => {
                tracing::error!(store = self.disk.path(), %error, "writes were lost, and refused");
                let revision = self.working.revision;
                self.working.roll_back(before, &mut changes);
                // Whether the disk has them is not known: never again.
                self.working.revision = revision;
                Err(Refusal::internal(format!("the store cannot write: {error}")))
            }
        };
        for acknowledge in acknowledges {
            acknowledge(durable.clone());
        }
    }

    /// None: the write panicked, which its sender learns from its channel.
    fn one(&mut self, command: Command, changes: &mut Vec<Change>) -> Option<Acknowledge> {
        let before = self.working.savepoint(changes.len());
        let mut txn = Txn { working: &mut self.working, changes, discard: false };
        let done = std::panic::catch_unwind(AssertUnwindSafe(|| {
            let (keep, acknowledge) = command(&mut txn);
            (keep && !txn.discard, acknowledge)
        }));
        match done {
            Ok((true, acknowledge)) => Some(acknowledge),
            Ok((false, acknowledge)) => {
                self.working.roll_back(before, changes);
                Some(acknowledge)
            }
            Err(_) => {
                self.working.roll_back(before, changes);
                None
            }
        }
    }

    fn commit(&self, changes: &[Change]) -> rusqlite::Result<()> {
        if changes.is_empty() {
            return Ok(());
        }
        let rows = changes.iter().map(|change| Row {
            collection: &self.working.names[change.collection.0],
            key: &change.key,
            object: (!change.event.deleted).then(|| (change.event.revision, &*change.event.now.json)),
        });
        self.disk.commit(rows, self.working.revision)
    }

    fn publish(&self, changes: Vec<Change>) {
        let mut touched: Vec<usize> = changes.iter().map(|change| change.collection.0).collect();
        touched.sort_unstable();
        touched.dedup();
        {
            let mut visible = self.visible.write().unwrap_or_else(PoisonError::into_inner);
            visible.revision = self.working.revision;
            for change in changes {
                visible.collections[change.collection.0].remember(change.event);
            }
            // The writer's own maps: readers share their nodes.
            for at in &touched {
                visible.collections[*at].objects = self.working.collections[*at].clone();
            }
        }
        for at in touched {
            self.changed[at].send_replace(self.working.revision);
        }
    }
}
