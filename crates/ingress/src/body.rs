//! Bodies on their way through: counted, limited and timed, never gathered.

use std::cell::Cell;
use std::future::Future as _;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::time::{Instant, Sleep};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What a client sends, on its way upstream.
pub(crate) enum RequestBody {
    Empty,
    Stream(Inbound),
}

/// What becomes of a streamed request body, for those who wait for the upstream's answer.
#[derive(Clone)]
pub(crate) struct Progress(Option<Rc<(Cell<State>, Cell<u64>)>>);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum State {
    #[default]
    Flowing,
    Done,
    /// More than the limit: 413.
    TooLarge,
    /// The client sent nothing for too long: 408.
    TooSlow,
    /// The client broke off, or its framing is broken: 400.
    Broken,
}

pub(crate) struct Inbound {
    inner: Timed,
    left: u64,
    progress: Progress,
}

/// A body that has to go on within a time after each pause. The timer exists only while somebody really waits.
pub(crate) struct Timed {
    inner: Incoming,
    pause: Duration,
    timer: Option<Pin<Box<Sleep>>>,
}

/// What a client gets.
pub(crate) enum ResponseBody {
    /// Our own, all at once.
    Page(Option<Bytes>),
    Relay {
        inner: Timed,
        done: Box<dyn Done>,
    },
}

/// Told how a response body goes; dropped before `finished` it was given up.
pub(crate) trait Done {
    fn sent(&mut self, bytes: usize);
    fn finished(&mut self);
}

#[derive(Debug, thiserror::Error)]
enum BodyError {
    #[error("the body is larger than allowed")]
    TooLarge,
    #[error("nothing came for {0:?}")]
    Paused(Duration),
}

// === impl Progress ===

impl Progress {
    pub(crate) fn get(&self) -> State {
        self.0.as_ref().map_or(State::Done, |known| known.0.get())
    }

    /// How much of the body went on.
    pub(crate) fn bytes(&self) -> u64 {
        self.0.as_ref().map_or(0, |known| known.1.get())
    }

    fn set(&self, state: State) {
        if let Some(known) = &self.0 {
            known.0.set(state);
        }
    }

    fn add(&self, bytes: u64) {
        if let Some(known) = &self.0 {
            known.1.set(known.1.get() + bytes);
        }
    }
}

// === impl RequestBody ===

impl RequestBody {
    /// `limit`: 0 for none.
    pub(crate) fn new(body: Incoming, limit: u64, pause: Duration) -> (Self, Progress) {
        if body.is_end_stream() {
            return (RequestBody::Empty, Progress(None));
        }
        let progress = Progress(Some(Rc::default()));
        let left = if limit == 0 { u64::MAX } else { limit };
        let inner = Timed { inner: body, pause, timer: None };
        (RequestBody::Stream(Inbound { inner, left, progress: progress.clone() }), progress)
    }

    pub(crate) fn is_empty(&self) -> bool {
        matches!(self, RequestBody::Empty)
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self.get_mut() {
            RequestBody::Empty => Poll::Ready(None),
            RequestBody::Stream(inbound) => inbound.poll(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            RequestBody::Empty => true,
            RequestBody::Stream(inbound) => inbound.inner.inner.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            RequestBody::Empty => SizeHint::with_exact(0),
            RequestBody::Stream(inbound) => inbound.inner.inner.size_hint(),
        }
    }
}

// === impl Inbound ===

impl Inbound {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let set = |state| self.progress.set(state);
        match ready!(self.inner.poll(cx)) {
            None => {
                set(State::Done);
                Poll::Ready(None)
            }
            Some(Ok(frame)) => {
                let n = frame.data_ref().map_or(0, Bytes::len) as u64;
                if n > self.left {
                    set(State::TooLarge);
                    return Poll::Ready(Some(Err(BodyError::TooLarge.into())));
                }
                self.left -= n;
                self.progress.add(n);
                if self.inner.inner.is_end_stream() {
                    set(State::Done);
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Some(Err(error)) => {
                set(if error.is::<BodyError>() { State::TooSlow } else { State::Broken });
                Poll::Ready(Some(Err(error)))
            }
        }
    }
}

// === impl Timed ===

impl Timed {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.inner).poll_frame(cx) {
            self.timer = None;
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        let pause = self.pause;
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(Instant::now() + pause)));
        ready!(timer.as_mut().poll(cx));
        Poll::Ready(Some(Err(BodyError::Paused(pause).into())))
    }
}

// === impl ResponseBody ===

impl ResponseBody {
    pub(crate) fn page(bytes: impl Into<Bytes>) -> Self {
        ResponseBody::Page(Some(bytes.into()).filter(|bytes| !bytes.is_empty()))
    }

    /// An upstream's body. One that has nothing to send is finished at once: nobody will ask it for a frame.
    pub(crate) fn relay(inner: Incoming, pause: Duration, mut done: Box<dyn Done>) -> Self {
        if inner.is_end_stream() {
            done.finished();
            return ResponseBody::Page(None);
        }
        ResponseBody::Relay { inner: Timed { inner, pause, timer: None }, done }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self.get_mut() {
            ResponseBody::Page(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            ResponseBody::Relay { inner, done } => {
                let frame = ready!(inner.poll(cx));
                match &frame {
                    Some(Ok(frame)) => done.sent(frame.data_ref().map_or(0, Bytes::len)),
                    Some(Err(_)) => return Poll::Ready(frame),
                    None => {}
                }
                if frame.is_none() || inner.inner.is_end_stream() {
                    done.finished();
                }
                Poll::Ready(frame)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            ResponseBody::Page(bytes) => bytes.is_none(),
            ResponseBody::Relay { inner, .. } => inner.inner.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            ResponseBody::Page(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            ResponseBody::Relay { inner, .. } => inner.inner.size_hint(),
        }
    }
}
