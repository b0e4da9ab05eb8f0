//! Equal questions in the air: the first asks, the others wait for its answer.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use super::exchange::room;
use crate::server::chain::Request;
use crate::wire::message::{Message, Question};

#[derive(Default)]
pub(crate) struct Flights {
    /// Bounded by the number of tasks that wait here.
    air: Mutex<HashMap<Flight, Landing>>,
}

/// What makes questions equal.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Flight {
    question: Question,
    flags: u16,
    dnssec_ok: bool,
    tcp: bool,
    room: u16,
    options: Vec<(u16, Vec<u8>)>,
}

type Landing = watch::Receiver<Option<Arc<Message>>>;

/// Takes the flight off the table, however its future ends.
struct Aloft<'a> {
    flights: &'a Flights,
    flight: Flight,
}

impl Flights {
    /// The answer of `ask`, or of an equal question that asked before.
    pub(crate) async fn join<F: Future<Output = Message>>(&self, request: &Request, ask: impl Fn() -> F) -> Arc<Message> {
        let question = Question { name: request.question.name.folded(), ..request.question };
        let flight = Flight {
            question,
            flags: request.flags,
            dnssec_ok: request.dnssec_ok,
            tcp: request.tcp,
            room: room(request),
            options: request.options.clone(),
        };
        loop {
            let (lands, mut landing) = match self.board(&flight) {
                Ok(lands) => (lands, None),
                Err(landing) => (watch::Sender::new(None), Some(landing)),
            };
            if let Some(landing) = &mut landing {
                // An error says that the one who asked was stopped: the next takes its place.
                if let Ok(landed) = landing.wait_for(Option::is_some).await
                    && let Some(answer) = &*landed
                {
                    return answer.clone();
                }
                continue;
            }
            let aloft = Aloft { flights: self, flight };
            let answer = Arc::new(ask().await);
            drop(aloft);
            lands.send_replace(Some(answer.clone()));
            return answer;
        }
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.air.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    fn board(&self, flight: &Flight) -> Result<watch::Sender<Option<Arc<Message>>>, Landing> {
        let mut air = self.air.lock().unwrap_or_else(PoisonError::into_inner);
        match air.get(flight) {
            Some(landing) if landing.has_changed().is_ok() => Err(landing.clone()),
            _ => {
                let (lands, landing) = watch::channel(None);
                air.insert(flight.clone(), landing);
                Ok(lands)
            }
        }
    }
}

impl Drop for Aloft<'_> {
    fn drop(&mut self) {
        self.flights.air.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.flight);
    }
}
