//! Equal questions in the air: the first asks, the others wait for its answer.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use super::exchange::room;
use crate::server::chain::Request;
use crate::wire::message::{Message, Question};

#[derive(Default)]
pub(crate) struct Flights {
    /// Who waits for each flight beside the one who asks. Bounded by the number of tasks that there are.
    air: Mutex<HashMap<Arc<Flight>, Vec<Lands>>>,
}

type Lands = oneshot::Sender<Arc<Message>>;

/// What makes questions equal.
#[derive(PartialEq, Eq, Hash)]
struct Flight {
    question: Question,
    flags: u16,
    dnssec_ok: bool,
    tcp: bool,
    room: u16,
    options: Vec<(u16, Vec<u8>)>,
}

/// Takes the flight off the table, however its future ends, and tells those who wait for it: what came of it, or that nothing comes.
struct Aloft<'a> {
    flights: &'a Flights,
    flight: Arc<Flight>,
    answer: Option<Arc<Message>>,
}

impl Flights {
    /// The answer of `ask`, or of an equal question that asked before.
    pub(crate) async fn join<F: Future<Output = Message>>(&self, request: &Request, ask: impl Fn() -> F) -> Arc<Message> {
        let question = Question { name: request.question.name.folded(), ..request.question };
        let flight = Arc::new(Flight {
            question,
            flags: request.flags,
            dnssec_ok: request.dnssec_ok,
            tcp: request.tcp,
            room: room(request),
            options: request.options.clone(),
        });
        while let Some(landing) = self.board(&flight) {
            // An error says that the one who asked was stopped: somebody takes its place.
            if let Ok(answer) = landing.await {
                return answer;
            }
        }
        let mut aloft = Aloft { flights: self, flight, answer: None };
        let answer = Arc::new(ask().await);
        aloft.answer = Some(answer.clone());
        answer
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.air().len()
    }

    /// Waits for the flight if there is one; otherwise it is the caller's to fly.
    fn board(&self, flight: &Arc<Flight>) -> Option<oneshot::Receiver<Arc<Message>>> {
        match self.air().entry(flight.clone()) {
            Entry::Occupied(mut waiting) => {
                let (lands, landing) = oneshot::channel();
                waiting.get_mut().push(lands);
                Some(landing)
            }
            Entry::Vacant(free) => {
                free.insert(Vec::new());
                None
            }
        }
    }

    fn air(&self) -> MutexGuard<'_, HashMap<Arc<Flight>, Vec<Lands>>> {
        self.air.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Aloft<'_> {
    fn drop(&mut self) {
        let waiting = self.flights.air().remove(&self.flight).unwrap_or_default();
        if let Some(answer) = &self.answer {
            for lands in waiting {
                let _ = lands.send(answer.clone());
            }
        }
    }
}
