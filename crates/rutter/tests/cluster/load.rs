//! Load: threads that do the same thing over and over, and write down each time that it was not as it has to be.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use kernel::netns::Netns;

use super::until;

/// Between two rounds of one thread. The machine has others to serve, and conntrack remembers each connection for seconds.
const PAUSE: Duration = Duration::from_micros(500);

#[derive(Default)]
pub struct Load {
    stop: Arc<AtomicBool>,
    threads: Vec<Thread>,
}

struct Thread {
    what: &'static str,
    rounds: Arc<AtomicUsize>,
    running: JoinHandle<Tally>,
}

#[derive(Default)]
struct Tally {
    n: usize,
    lost: Vec<String>,
}

// === impl Load ===

impl Load {
    /// One more thread, in `net`. `round` is told its number.
    pub fn add(&mut self, what: &'static str, net: &Netns, mut round: impl FnMut(usize) -> Result<(), String> + Send + 'static) {
        let (stop, path) = (self.stop.clone(), net.path());
        let counted = Arc::new(AtomicUsize::new(0));
        let rounds = counted.clone();
        let running = std::thread::spawn(move || {
            kernel::netns::enter(&path).expect("entering the namespace");
            let mut tally = Tally::default();
            while !stop.load(Ordering::Relaxed) {
                if let Err(lost) = round(tally.n) {
                    tally.lost.push(lost);
                }
                tally.n += 1;
                counted.store(tally.n, Ordering::Relaxed);
                std::thread::sleep(PAUSE);
            }
            tally
        });
        self.threads.push(Thread { what, rounds, running });
    }

    /// Waits until each thread has done `n` more rounds.
    pub fn goes_on_for(&self, n: usize) {
        for thread in &self.threads {
            let aim = thread.rounds.load(Ordering::Relaxed) + n;
            until(thread.what, || (thread.rounds.load(Ordering::Relaxed) >= aim).then_some(()));
        }
    }

    /// Stops all of it.
    ///
    /// # Panics
    /// If anything was lost, or if a thread did nothing at all.
    pub fn end(mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let mut bad = Vec::new();
        for Thread { what, running, .. } in self.threads.drain(..) {
            let tally = running.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            eprintln!("{what}: {} rounds, {} lost", tally.n, tally.lost.len());
            if tally.n == 0 {
                bad.push(format!("{what}: nothing was done"));
            }
            bad.extend(tally.lost.iter().take(5).map(|lost| format!("{what}: {lost}")));
        }
        assert!(bad.is_empty(), "\n{}", bad.join("\n"));
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.running.join();
        }
    }
}
