//! Following a kind: list once, watch, resume, and list again only when the server has forgotten where we were.
//!
//! Source: the rules of client-go's reflector and of kubernetes.io "API concepts" (watch, 410 Gone, bookmarks).

use std::time::Duration;

use api::watch::{self, Frames};
use api::{DecodeError, Object, ObjectMeta};
use http_body_util::BodyExt;
use runtime::Backoff;
use runtime::backoff::spread;
use tokio::sync::mpsc::Sender;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tracing::{debug, info, warn};

use crate::outage::Answers;
use crate::{Client, Error, Freshness, Scope};

/// What became of the objects that are followed. `T` is what the follower makes of each object.
#[derive(Debug)]
pub enum Event<T> {
    /// These are all that exist: what is not among them is gone. Those that cannot be read are told apart.
    Restarted {
        objects: Vec<T>,
        broken: Vec<DecodeError>,
    },
    Applied(T),
    Deleted(Key),
    /// An object changed into something that cannot be read. Its last readable state is the best there is.
    Broken(DecodeError),
    /// The server does not let us follow this kind. Told once; asked again ever more slowly, and `Restarted` follows when it does.
    Absent(Absence),
}

/// Which object; the namespace is empty for kinds without.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    pub namespace: Box<str>,
    pub name: Box<str>,
}

/// Why a kind cannot be followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Absence {
    /// The server has no such kind (404): there are no objects of it.
    NotServed,
    /// Permissions are lacking (403), and this is the server's sentence about them. Objects may exist; what is held goes stale.
    Forbidden(Box<str>),
}

/// How patient a follower is. The default is what a cluster bears.
#[derive(Debug, Clone)]
pub struct Pace {
    /// Before a list that the server forced on us or did not finish. Starts at 0.8 s and ends at 30 s as client-go's does.
    pub retry: Backoff,
    /// Before a watch that broke goes on.
    pub resume: Backoff,
    /// While the server cannot be reached or refuses: between one follower's question and the next one's. All that follow one server take
    /// turns, and the first that is answered calls the others. Little is asked for that, so it ends at 0.8 s: a server that comes back is
    /// found within that.
    pub turn: Backoff,
    /// While the kind is absent.
    pub absent: Backoff,
    /// Objects per page.
    pub limit: u32,
}

/// A server may ask us to wait; not for longer than this.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(60);
/// For so long a 403 may mean a server that is starting and has not read its RBAC rules yet.
const LOADING: Duration = Duration::from_secs(30);
/// A watch that lives this long was a success, even if nothing happened.
const LIVED: Duration = Duration::from_secs(10);
/// Watches end by themselves after 5 to 10 minutes, at random, so that clients spread over several servers again.
const MIN_WATCH: Duration = Duration::from_secs(300);
/// Grace for the server to end a watch that it was asked to end.
const GRACE: Duration = Duration::from_secs(15);
/// A server that sends bookmarks does so every minute; two and a half without any frame mean a dead connection.
const SILENCE: Duration = Duration::from_secs(150);
/// How often a list is begun again because its pages expired, before everything is asked for at once.
const MAX_PAGED_ATTEMPTS: u32 = 3;

/// Follows the objects of a kind in a scope until the receiver of `events` is dropped.
///
/// `lower` sees each object once and decides what is kept of it, so that a long list never is in memory as the wire has it. A slow
/// receiver holds up only this follower; the server may then end the watch, which resumes where it was.
pub async fn follow<K: Object, T>(
    client: Client,
    scope: Scope,
    pace: Pace,
    freshness: Freshness,
    lower: impl FnMut(K) -> T,
    events: Sender<Event<T>>,
) {
    let receiver = events.clone();
    let mut follower = Follower {
        answers: client.outage.answers(),
        client,
        scope,
        limit: pace.limit,
        retry: pace.retry,
        resume: pace.resume,
        turn: pace.turn,
        absent: pace.absent,
        freshness,
        lower,
        events,
        told: None,
        forbidden: Forbidden::default(),
        n_failures: 0,
        failed_with: None,
        has_bookmarks: false,
        opened: None,
    };
    let forever = async {
        loop {
            follower.list_and_watch::<K>().await;
        }
    };
    tokio::select! {
        () = receiver.closed() => {}
        () = forever => {}
    }
}

struct Follower<T, F> {
    client: Client,
    /// Of other followers since our last question.
    answers: Answers,
    scope: Scope,
    limit: u32,
    /// Starts anew only by what a watch brings: lists that work and watches that do not must not alternate fast.
    retry: Backoff,
    /// Starts anew as `retry` does.
    resume: Backoff,
    /// Starts anew once a watch opens.
    turn: Backoff,
    /// As `turn`.
    absent: Backoff,
    freshness: Freshness,
    lower: F,
    events: Sender<Event<T>>,
    /// The absence that was told, so that it is told once.
    told: Option<Absence>,
    forbidden: Forbidden,
    n_failures: u32,
    /// The code of the failure before, where it was a refusal.
    failed_with: Option<i32>,
    has_bookmarks: bool,
    /// When the server accepted the watch that runs.
    opened: Option<Instant>,
}

/// Whether a 403 is to be believed.
#[derive(Clone, Copy, Default)]
struct Forbidden {
    /// A watch opened before, or there was known to be no such kind. Else nothing speaks against a 403.
    was_answered: bool,
    /// Since when it is refused, if it is.
    since: Option<Instant>,
}

// === impl Follower ===

impl<T, F> Follower<T, F> {
    /// Returns when a new list is due.
    async fn list_and_watch<K: Object>(&mut self)
    where
        F: FnMut(K) -> T,
    {
        self.answers.forget();
        let mut version = match self.list::<K>().await {
            Ok((version, restarted)) => {
                self.n_failures = 0;
                self.freshness.listed();
                self.send(restarted).await;
                version
            }
            Err(error) => return self.wait_after::<K>(&error, "list").await,
        };
        loop {
            self.answers.forget();
            let ended = self.watch::<K>(&mut version).await;
            self.freshness.lost();
            let opened = self.opened.take();
            let lived = opened.is_some_and(|opened| opened.elapsed() > LIVED);
            if lived {
                self.was_successful();
            }
            match ended {
                Ok(()) if lived => {}
                // A server that hangs up at once is not asked again at once.
                Ok(()) => sleep(self.retry.delay()).await,
                Err(error) if error.needs_new_list() => {
                    info!(kind = %K::KIND, %error, "listing anew");
                    // Many clients learn this in the same moment.
                    return sleep(spread(self.retry.delay())).await;
                }
                Err(error) if opened.is_some() => {
                    debug!(kind = %K::KIND, %error, "a watch broke");
                    sleep(self.resume.delay()).await;
                }
                // The list finds out whether the kind is gone.
                Err(error) if error.code() == Some(404) => return,
                // Permissions may come back with other contents; where one may list but not watch, this becomes polling.
                Err(error) if error.code() == Some(403) && !self.forbidden.is_doubtful() => {
                    return self.wait_after::<K>(&error, "watch").await;
                }
                Err(error) => self.wait_after::<K>(&error, "watch").await,
            }
        }
    }

    /// All pages, and the version to watch from.
    async fn list<K: Object>(&mut self) -> Result<(Box<str>, Event<T>), Error>
    where
        F: FnMut(K) -> T,
    {
        let mut attempt = 1;
        let (mut objects, mut broken) = (Vec::new(), Vec::new());
        let mut token: Box<str> = "".into();
        loop {
            let limit = if attempt > MAX_PAGED_ATTEMPTS { 0 } else { self.limit };
            match self.client.page::<K>(&self.scope, limit, &token).await {
                Ok(page) => {
                    for item in page.items {
                        match item {
                            Ok(object) => objects.push((self.lower)(object)),
                            Err(error) => broken.push(error),
                        }
                    }
                    token = page.meta.continue_token;
                    if token.is_empty() {
                        return Ok((page.meta.resource_version, Event::Restarted { objects, broken }));
                    }
                }
                // The snapshot that the pages are cut from is gone; pages of two snapshots do not make one list.
                Err(error) if error.code() == Some(410) && !token.is_empty() => {
                    debug!(kind = %K::KIND, attempt, "the pages of a list expired");
                    attempt += 1;
                    objects.clear();
                    broken.clear();
                    token = "".into();
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// One watch from `version` on, which moves along with what arrives.
    async fn watch<K: Object>(&mut self, version: &mut Box<str>) -> Result<(), Error>
    where
        F: FnMut(K) -> T,
    {
        let lifetime = MIN_WATCH + spread(MIN_WATCH);
        let (encoding, mut body) = self.client.watch::<K>(&self.scope, version, lifetime.as_secs()).await?;
        self.client.outage.end();
        self.freshness.current();
        let opened = Instant::now();
        self.opened = Some(opened);
        self.told = None;
        self.forbidden = Forbidden::not();
        self.turn.reset();
        self.absent.reset();
        self.n_failures = 0;
        let mut frames = Frames::new(encoding);
        loop {
            let silence = if self.has_bookmarks { SILENCE } else { lifetime + GRACE };
            let bytes = match timeout_at(opened + lifetime + GRACE, timeout(silence, body.frame())).await {
                Err(_) | Ok(Err(_)) => return Err(Error::Timeout(silence)),
                Ok(Ok(None)) => return Ok(()),
                Ok(Ok(Some(Err(error)))) => return Err(Error::Transport(crate::request::chain(&error))),
                Ok(Ok(Some(Ok(frame)))) => frame.into_data().unwrap_or_default(),
            };
            frames.feed(&bytes);
            while let Some(frame) = frames.next_frame().map_err(|error| Error::Unreadable(error.to_string()))? {
                let event = match watch::Event::<K>::decode(encoding, frame) {
                    Ok(watch::Event::Error(status)) => {
                        return Err(Error::Refused { status: Box::new(status), retry_after: None });
                    }
                    Ok(watch::Event::Bookmark { resource_version, .. }) => {
                        self.has_bookmarks = true;
                        *version = resource_version;
                        None
                    }
                    Ok(watch::Event::Added(object) | watch::Event::Modified(object)) => {
                        *version = object.meta().resource_version.clone();
                        Some(Event::Applied((self.lower)(object)))
                    }
                    Ok(watch::Event::Deleted(object)) => {
                        *version = object.meta().resource_version.clone();
                        Some(Event::Deleted(Key::of(object.meta())))
                    }
                    Err(error) => Some(Event::Broken(error)),
                };
                self.was_successful();
                if let Some(event) = event {
                    self.send(event).await;
                }
            }
        }
    }

    /// Tells an absence once; logs the first of a row of other failures, and those unlike the one before; waits.
    async fn wait_after<K: Object>(&mut self, error: &Error, verb: &str) {
        let absence = match error {
            Error::Refused { status, .. } if status.code == 403 && !self.forbidden.is_doubtful() => {
                Absence::Forbidden(status.message.clone())
            }
            // 405: a kind that exists but has no such verb.
            Error::Refused { status, .. } if matches!(status.code, 404 | 405) => {
                self.forbidden = Forbidden::not();
                self.n_failures = 0;
                Absence::NotServed
            }
            _ => {
                self.n_failures += 1;
                // A server that was out of reach and now refuses our credentials is another trouble.
                if self.n_failures == 1 || self.failed_with != error.code() {
                    warn!(kind = %K::KIND, verb, %error, "the API server does not answer, trying again");
                } else {
                    debug!(kind = %K::KIND, verb, %error, n_failures = self.n_failures, "still no answer");
                }
                self.failed_with = error.code();
                let least = error.retry_after().unwrap_or_default().min(MAX_RETRY_AFTER);
                if verb == "list" && error.is_dear() {
                    sleep(self.retry.delay().max(least)).await;
                } else {
                    tokio::join!(sleep(least), self.client.outage.turn(self.turn.delay(), &mut self.answers));
                }
                return;
            }
        };
        if self.told.as_ref() != Some(&absence) {
            self.told = Some(absence.clone());
            self.send(Event::Absent(absence)).await;
        }
        if self.forbidden.is_new() {
            self.client.outage.turn(self.turn.delay(), &mut self.answers).await;
        } else {
            sleep(self.absent.delay()).await;
        }
    }

    fn was_successful(&mut self) {
        self.retry.reset();
        self.resume.reset();
    }

    /// Fails only once nobody listens, and then `follow` is about to end.
    async fn send(&self, event: Event<T>) {
        let _ = self.events.send(event).await;
    }
}

// === impl Forbidden ===

impl Forbidden {
    fn not() -> Self {
        Self { was_answered: true, since: None }
    }

    /// Notes a 403; whether it is not believed.
    fn is_doubtful(&mut self) -> bool {
        self.since.get_or_insert_with(Instant::now);
        self.was_answered && self.is_new()
    }

    /// Whether it may pass by itself.
    fn is_new(&self) -> bool {
        self.since.is_some_and(|since| since.elapsed() < LOADING)
    }
}

// === impl Key ===

impl Key {
    pub fn of(meta: &ObjectMeta) -> Key {
        Key { namespace: meta.namespace.clone(), name: meta.name.clone() }
    }
}

// === impl Pace ===

impl Default for Pace {
    fn default() -> Pace {
        Pace {
            retry: Backoff::new(Duration::from_millis(800), Duration::from_secs(30)),
            resume: Backoff::new(Duration::from_millis(200), Duration::from_secs(5)),
            turn: Backoff::new(Duration::from_millis(200), Duration::from_millis(800)),
            absent: Backoff::new(Duration::from_secs(1), Duration::from_secs(60)),
            limit: 500,
        }
    }
}

#[cfg(test)]
mod tests;
