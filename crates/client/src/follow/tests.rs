//! When a follower asks, in time that stands still unless everybody waits. The server is in memory.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use api::Service;
use bytes::Bytes;
use hyper::body::Frame;
use hyper::{Request, Response};
use kube_client::client::Body;
use tokio::sync::mpsc;
use tower::BoxError;

use super::*;
use crate::Origin;

const LIST: &str = r#"{"kind":"ServiceList","metadata":{"resourceVersion":"10"},"items":[]}"#;
const EXPIRED: &str = r#"{"type":"ERROR","object":{"kind":"Status","code":410,"reason":"Expired","message":"too old"}}"#;

/// What the server does with every request.
#[derive(Clone, Copy, PartialEq)]
enum Mood {
    Serves,
    /// Connections are refused.
    Away,
    Refuses {
        code: u16,
        retry_after: Option<&'static str>,
    },
}

struct State {
    mood: Mood,
    /// When what was asked for.
    asked: Vec<(Instant, &'static str)>,
    watches: Vec<mpsc::UnboundedSender<Result<Bytes, BoxError>>>,
}

/// A server and those who follow it.
#[derive(Clone)]
struct Rig(Arc<Mutex<State>>);

/// A body as the server writes it.
struct Written(mpsc::UnboundedReceiver<Result<Bytes, BoxError>>);

// === impl Rig ===

impl Rig {
    /// Has `n` kinds followed from a server in that mood.
    fn start(mood: Mood, n: usize) -> Rig {
        let rig = Rig(Arc::new(Mutex::new(State { mood, asked: Vec::new(), watches: Vec::new() })));
        let server = rig.clone();
        let inner = tower::service_fn(move |request: Request<Body>| std::future::ready(server.answer(&request)));
        let client = Client::over(kube_client::Client::new(inner, "default"), "".into(), "default".to_owned(), Origin::InCluster);
        for _ in 0..n {
            let (events, mut receiver) = mpsc::channel(4);
            tokio::spawn(async move { while receiver.recv().await.is_some() {} });
            tokio::spawn(follow(client.clone(), Scope::default(), Pace::default(), Freshness::default(), |_: Service| (), events));
        }
        rig
    }

    fn answer(&self, request: &Request<Body>) -> Result<Response<Written>, BoxError> {
        let mut state = self.0.lock().expect("no panic");
        let is_watch = request.uri().query().is_some_and(|query| query.starts_with("watch"));
        state.asked.push((Instant::now(), if is_watch { "watch" } else { "list" }));
        let mut response = Response::builder().header("content-type", "application/json");
        let (writer, written) = mpsc::unbounded_channel();
        match state.mood {
            Mood::Away => return Err("connection refused".into()),
            Mood::Refuses { code, retry_after } => {
                response = response.status(code);
                if let Some(seconds) = retry_after {
                    response = response.header("retry-after", seconds);
                }
            }
            Mood::Serves if is_watch => state.watches.push(writer),
            Mood::Serves => writer.send(Ok(LIST.into()))?,
        }
        Ok(response.body(Written(written))?)
    }

    /// From now on the server is in that mood; what was asked for so far is forgotten.
    fn turns(&self, mood: Mood) {
        let mut state = self.0.lock().expect("no panic");
        state.mood = mood;
        state.asked.clear();
        if mood == Mood::Away {
            state.watches.drain(..).for_each(|watch| _ = watch.send(Err("connection reset".into())));
        }
    }

    fn forgets(&self) {
        let mut state = self.0.lock().expect("no panic");
        state.asked.clear();
        state.watches.drain(..).for_each(|watch| _ = watch.send(Ok(format!("{EXPIRED}\n").into())));
    }

    fn n_watches(&self) -> usize {
        self.0.lock().expect("no panic").watches.len()
    }

    /// How long it takes until `n` watches are open.
    async fn watched(&self, n: usize) -> Duration {
        let began = Instant::now();
        while self.n_watches() < n {
            sleep(Duration::from_millis(1)).await;
        }
        began.elapsed()
    }

    fn asked(&self, what: &str) -> Vec<Instant> {
        let state = self.0.lock().expect("no panic");
        state.asked.iter().filter(|(_, asked)| *asked == what).map(|(at, _)| *at).collect()
    }
}

// === impl Written ===

impl hyper::body::Body for Written {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.0.poll_recv(cx).map(|written| Some(written?.map(Frame::data)))
    }
}

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn a_server_that_was_away_is_found_within_a_second_by_all_and_nothing_is_listed() {
    for away in [2, 20, 600] {
        let rig = Rig::start(Mood::Serves, 4);
        rig.watched(4).await;
        sleep(60 * SECOND).await;
        rig.turns(Mood::Away);
        sleep(away * SECOND).await;
        let asked = rig.asked("watch").len();
        // 0.6 s is the shortest turn; each watch broke, and was tried once at once.
        assert!(asked <= 8 + away as usize * 10 / 6, "{asked} questions in {away} s");
        rig.turns(Mood::Serves);
        let took = rig.watched(4).await;
        assert!(took <= SECOND + Duration::from_millis(10), "{took:?} after {away} s");
        assert_eq!((rig.asked("watch").len(), rig.asked("list").len()), (4, 0), "after {away} s");
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_starts_is_found_within_a_second_of_its_readiness() {
    for starting in [Mood::Away, Mood::Refuses { code: 403, retry_after: None }, Mood::Refuses { code: 503, retry_after: None }] {
        let rig = Rig::start(starting, 4);
        sleep(10 * SECOND).await;
        assert!(rig.asked("list").len() < 25, "{} lists while it starts", rig.asked("list").len());
        rig.turns(Mood::Serves);
        let took = rig.watched(4).await;
        assert!(took <= SECOND + Duration::from_millis(10), "{took:?}");
        assert_eq!(rig.asked("list").len(), 4);
    }
}

#[tokio::test(start_paused = true)]
async fn who_may_not_follow_asks_ever_more_slowly_once_a_starting_server_would_know() {
    let rig = Rig::start(Mood::Refuses { code: 403, retry_after: None }, 1);
    sleep(600 * SECOND).await;
    let late = rig.asked("list").windows(2).map(|pair| pair[1] - pair[0]).next_back().expect("several");
    assert!(late >= 45 * SECOND, "{late:?}");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_asks_to_be_left_alone_is() {
    let rig = Rig::start(Mood::Refuses { code: 429, retry_after: Some("7") }, 3);
    sleep(70 * SECOND).await;
    assert!(rig.asked("list").len() <= 30, "{} lists", rig.asked("list").len());
}

#[tokio::test(start_paused = true)]
async fn a_list_that_costs_the_server_much_is_not_repeated_as_a_cheap_question_is() {
    let rig = Rig::start(Mood::Refuses { code: 504, retry_after: None }, 1);
    sleep(60 * SECOND).await;
    assert!(rig.asked("list").len() <= 8, "{} lists", rig.asked("list").len());
}

#[tokio::test(start_paused = true)]
async fn those_whose_version_is_forgotten_list_once_each_and_not_in_the_same_moment() {
    let rig = Rig::start(Mood::Serves, 8);
    rig.watched(8).await;
    rig.forgets();
    rig.watched(8).await;
    let mut lists = rig.asked("list");
    assert_eq!(lists.len(), 8);
    lists.dedup();
    assert!(lists.len() > 1, "all at once");
}
