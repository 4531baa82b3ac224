//! Stands between a connection and hyper: gives hyper one checked head at a time, then the bytes
//! of its body and no more, and keeps the time of both and of the answer.
//!
//! A bad head never reaches hyper. A harmless one takes its place, and the refusal is told beside
//! it, so that every refusal is answered in the way of any other request. Nothing here may read
//! ahead of a body: what follows it is another head, to be checked as such.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::body::Bytes;
use memchr::memchr;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until, timeout};
use tokio_util::bytes::{Buf, BytesMut};

use super::bounds::{Bound, Bounds, PART_BYTES};
use super::fields::BodyLength;
use super::gate_state::GateState;
use super::head;
use super::places::Place;
use super::refusal::Refusal;

/// What hyper reads in place of a head that was refused.
const HARMLESS_HEAD: &[u8] = b"GET / HTTP/1.1\r\nHost: refused\r\nConnection: close\r\n\r\n";
/// The same for a head with the method HEAD, whose answer has no body.
const HARMLESS_HEAD_OF_HEAD: &[u8] = b"HEAD / HTTP/1.1\r\nHost: refused\r\nConnection: close\r\n\r\n";
/// The size of one read from the connection.
const READ_BYTES: usize = 8 << 10;
/// How much a client may still send after its connection was closed, and for how long. Without
/// that, its system would discard the answer together with the connection.
const LINGERING_MAX_BYTES: usize = 32 << 20;
const LINGERING_MAX: Duration = Duration::from_secs(5);
/// Between two of its reads.
const LINGERING_IDLE_MAX: Duration = Duration::from_secs(1);

#[derive(Debug)]
enum Phase {
    /// Waits for a head, or receives it. The deadlines are set when the connection first has to be
    /// waited for.
    Head {
        idle_until: Option<Instant>,
        head_until: Option<Instant>,
    },
    /// Gives a head to hyper.
    Passing {
        head: Bytes,
        body: BodyLength,
    },
    Body(BodyProgress),
    /// Reads nothing more, although the client may still be sending.
    Shut,
    /// The client sends nothing more, or has sent nothing that needs an answer.
    Over,
}

#[derive(Debug)]
struct BodyProgress {
    /// `None` if the body is chunked. Hyper finds its end, and the connection closes after it.
    left: Option<u64>,
    part_left: u64,
    part_until: Option<Instant>,
    whole_until: Option<Instant>,
}

const WAITING: Phase = Phase::Head { idle_until: None, head_until: None };

/// An answer that the client does not take.
#[derive(Debug, Default)]
struct Unread {
    until: Option<Instant>,
    taken: u64,
}

pub struct Gate<S> {
    stream: S,
    state: Arc<GateState>,
    place: Arc<Place>,
    bounds: Arc<Bounds>,
    phase: Phase,
    /// What was received and not given to hyper.
    received: BytesMut,
    /// How much of a head was already looked at.
    scanned: usize,
    /// Whether the method of the head is HEAD.
    is_head: bool,
    unread: Unread,
    /// Fires at or before the next deadline. It is rarely set anew, since most deadlines are never
    /// reached.
    alarm: Pin<Box<Sleep>>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Gate<S> {
    pub fn new(stream: S, place: Arc<Place>, bounds: Arc<Bounds>) -> Self {
        let alarm = Box::pin(sleep_until(Instant::now() + bounds.idle));
        let state = Arc::default();
        let (received, unread) = (BytesMut::new(), Unread::default());
        let (scanned, is_head) = (0, false);
        Self { stream, state, place, bounds, phase: WAITING, received, scanned, is_head, unread, alarm }
    }

    pub fn state(&self) -> Arc<GateState> {
        self.state.clone()
    }

    /// Waits for the first head. Returns whether there is something to answer.
    pub async fn first_head(&mut self) -> bool {
        let received = std::future::poll_fn(|context| self.poll_head(context)).await;
        received.is_ok() && !matches!(self.phase, Phase::Over)
    }

    /// Sends the end of the answer, and reads what the client was still sending.
    pub async fn close(mut self) {
        let all_is_read = self.received.is_empty() && matches!(self.phase, Phase::Head { .. } | Phase::Over);
        let place = self.place.clone();
        let closing = async {
            let _ = timeout(LINGERING_MAX, self.stream.shutdown()).await;
            if !all_is_read {
                let _ = timeout(LINGERING_MAX, self.discard()).await;
            }
        };
        tokio::select! {
            // Whoever gave way has no place any more, and must not keep the file.
            () = place.giving_way() => {}
            () = closing => {}
        }
    }

    async fn discard(&mut self) {
        self.received = BytesMut::new();
        // Not part of the future, which exists as long as the connection.
        let mut discarded = vec![0; READ_BYTES];
        let mut left = LINGERING_MAX_BYTES;
        while left > 0 {
            match timeout(LINGERING_IDLE_MAX, self.stream.read(&mut discarded)).await {
                Ok(Ok(0) | Err(_)) | Err(_) => break,
                Ok(Ok(length)) => left = left.saturating_sub(length),
            }
        }
    }

    /// Ready when the phase is no longer `Head`.
    fn poll_head(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.state.watch(false);
        loop {
            if let Some(checked) = self.scan() {
                match checked {
                    Ok((head, body)) => {
                        if body == BodyLength::Chunked {
                            self.state.end();
                        }
                        self.phase = Phase::Passing { head, body };
                    }
                    Err(refusal) => self.refuse(refusal),
                }
                return Poll::Ready(Ok(()));
            }
            if self.place.gave_way(context) {
                self.give_way();
                return Poll::Ready(Ok(()));
            }
            match self.poll_fill(context) {
                Poll::Ready(Ok(0)) => {
                    self.phase = Phase::Over;
                    return Poll::Ready(Ok(()));
                }
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return self.poll_head_time(context),
            }
        }
    }

    fn poll_head_time(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let begun = !self.received.is_empty();
        let Phase::Head { idle_until, head_until } = &mut self.phase else { return Poll::Ready(Ok(())) };
        let until = if begun {
            *head_until.get_or_insert_with(|| Instant::now() + self.bounds.head)
        } else {
            *idle_until.get_or_insert_with(|| Instant::now() + self.bounds.idle)
        };
        ready!(poll_alarm(&mut self.alarm, until, context));
        if begun {
            self.refuse(Refusal::HeadTooSlow);
        } else {
            Bound::Idle.count();
            self.phase = Phase::Over;
        }
        Poll::Ready(Ok(()))
    }

    fn refuse(&mut self, refusal: Refusal) {
        self.state.refuse(refusal);
        let head = if self.is_head { HARMLESS_HEAD_OF_HEAD } else { HARMLESS_HEAD };
        self.phase = Phase::Passing { head: Bytes::from_static(head), body: BodyLength::Bytes(0) };
    }

    fn give_way(&mut self) {
        if self.received.is_empty() {
            Bound::Place.count();
            self.phase = Phase::Over;
        } else {
            self.refuse(Refusal::GaveWay);
        }
    }

    /// Looks for the end of a head in what was received, and checks it.
    fn scan(&mut self) -> Option<Result<(Bytes, BodyLength), Refusal>> {
        // An empty line before the request line is ignored (RFC 9112, section 2.2).
        if self.scanned == 0 && self.received.starts_with(b"\r\n") {
            self.received.advance(2);
        }
        self.is_head = self.received.starts_with(b"HEAD ");
        if self.received.first().is_some_and(|byte| !byte.is_ascii_graphic() && *byte != b'\r') {
            return Some(Err(Refusal::Malformed(
                "The connection does not begin with a request of HTTP/1.1.",
            )));
        }
        while let Some(offset) = memchr(b'\n', &self.received[self.scanned..]) {
            let end = self.scanned + offset + 1;
            if end > self.bounds.head_bytes {
                return Some(Err(head::too_large(&self.bounds)));
            }
            if !self.received[..end].ends_with(b"\r\n") {
                return Some(Err(Refusal::Malformed("A line of the head ends without a carriage return.")));
            }
            let is_empty = offset == 1 && self.scanned > 0;
            self.scanned = end;
            if is_empty {
                self.scanned = 0;
                let head = self.received.split_to(end).freeze();
                return Some(head::check(&head, &self.bounds).map(|body| (head, body)));
            }
        }
        let bounds = &self.bounds;
        if self.scanned == 0 && self.received.len() > bounds.target_bytes + 32 {
            return Some(Err(Refusal::TargetTooLong { max_bytes: bounds.target_bytes }));
        }
        (self.received.len() > bounds.head_bytes).then(|| Err(head::too_large(bounds)))
    }

    fn poll_fill(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        // On the stack, so that a connection that waits holds no buffer.
        let mut space = [const { MaybeUninit::<u8>::uninit() }; READ_BYTES];
        let mut read = ReadBuf::uninit(&mut space);
        ready!(Pin::new(&mut self.stream).poll_read(context, &mut read))?;
        self.received.extend_from_slice(read.filled());
        Poll::Ready(Ok(read.filled().len()))
    }

    fn poll_body(&mut self, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.received.is_empty() {
            if self.place.gave_way(context) {
                return Poll::Ready(Err(self.end_body(Refusal::GaveWay)));
            }
            match self.poll_fill(context)? {
                Poll::Ready(0) => return Poll::Ready(Ok(())),
                Poll::Ready(_) => {}
                Poll::Pending => return self.poll_body_time(context),
            }
        }
        let Phase::Body(body) = &mut self.phase else { return Poll::Ready(Ok(())) };
        let left = body.left.map_or(usize::MAX, |left| usize::try_from(left).unwrap_or(usize::MAX));
        let length = self.received.len().min(buffer.remaining()).min(left);
        buffer.put_slice(&self.received.split_to(length));
        body.advance(length as u64);
        Poll::Ready(Ok(()))
    }

    fn poll_body_time(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Phase::Body(body) = &mut self.phase else { return Poll::Ready(Ok(())) };
        let whole_until = *body.whole_until.get_or_insert_with(|| Instant::now() + self.bounds.body);
        let part_until = *body.part_until.get_or_insert_with(|| Instant::now() + self.bounds.body_part);
        ready!(poll_alarm(&mut self.alarm, whole_until.min(part_until), context));
        Poll::Ready(Err(self.end_body(Refusal::BodyTooSlow)))
    }

    /// Whether the client has closed the connection. If not, the task is woken when it does.
    fn client_left(&mut self, context: &mut Context<'_>) -> bool {
        // What it sends meanwhile is its next request, of which a part is enough.
        while self.received.len() < READ_BYTES {
            match self.poll_fill(context) {
                Poll::Ready(Ok(0) | Err(_)) => return true,
                Poll::Ready(Ok(_)) => {}
                Poll::Pending => return false,
            }
        }
        false
    }

    fn end_body(&mut self, refusal: Refusal) -> io::Error {
        self.state.refuse(refusal);
        self.phase = Phase::Shut;
        io::ErrorKind::TimedOut.into()
    }

    /// Called with what a write to the connection returned.
    fn poll_taken(
        &mut self,
        written: Poll<io::Result<usize>>,
        offered: usize,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        match written {
            Poll::Ready(Ok(length)) => {
                self.unread.taken += length as u64;
                if length == offered || self.unread.taken >= PART_BYTES {
                    self.unread = Unread::default();
                }
                // hyper polls the answer and the connection in one task.
                if self.state.sent(length) {
                    context.waker().wake_by_ref();
                }
                Poll::Ready(Ok(length))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => {
                let until =
                    *self.unread.until.get_or_insert_with(|| Instant::now() + self.bounds.answer_part);
                if !self.place.gave_way(context) {
                    ready!(poll_alarm(&mut self.alarm, until, context));
                    Bound::Answer.count();
                }
                self.phase = Phase::Shut;
                Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
            }
        }
    }
}

impl BodyProgress {
    fn of(body: BodyLength) -> Self {
        let left = match body {
            BodyLength::Bytes(left) => Some(left),
            BodyLength::Chunked => None,
        };
        Self { left, part_left: PART_BYTES, part_until: None, whole_until: None }
    }

    fn advance(&mut self, length: u64) {
        if let Some(left) = &mut self.left {
            *left -= length;
        }
        self.part_left = self.part_left.saturating_sub(length);
        if self.part_left == 0 {
            (self.part_left, self.part_until) = (PART_BYTES, None);
        }
    }
}

/// Ready when `until` has passed.
fn poll_alarm(alarm: &mut Pin<Box<Sleep>>, until: Instant, context: &mut Context<'_>) -> Poll<()> {
    // An earlier alarm is left alone: it fires for nothing, and is then set to the right time.
    if alarm.deadline() > until || alarm.is_elapsed() {
        alarm.as_mut().reset(until);
    }
    loop {
        ready!(alarm.as_mut().poll(context));
        if Instant::now() >= until {
            return Poll::Ready(());
        }
        alarm.as_mut().reset(until);
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Gate<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let gate = self.get_mut();
        loop {
            match &mut gate.phase {
                Phase::Head { .. } => ready!(gate.poll_head(context))?,
                Phase::Passing { head, body } => {
                    let length = head.len().min(buffer.remaining());
                    buffer.put_slice(&head.split_to(length));
                    if head.is_empty() {
                        gate.phase = Phase::Body(BodyProgress::of(*body));
                    }
                    return Poll::Ready(Ok(()));
                }
                Phase::Body(BodyProgress { left: Some(0), .. }) => {
                    gate.phase = if gate.state.is_last() { Phase::Shut } else { WAITING };
                }
                Phase::Body(_) => return gate.poll_body(context, buffer),
                Phase::Shut | Phase::Over => return Poll::Ready(Ok(())),
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Gate<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let gate = self.get_mut();
        let written = Pin::new(&mut gate.stream).poll_write(context, bytes);
        gate.poll_taken(written, bytes.len(), context)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let gate = self.get_mut();
        let offered = slices.iter().map(|slice| slice.len()).sum();
        let written = Pin::new(&mut gate.stream).poll_write_vectored(context, slices);
        gate.poll_taken(written, offered, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let gate = self.get_mut();
        let flushed = Pin::new(&mut gate.stream).poll_flush(context);
        // TLS writes in its flush.
        let flushed = gate.poll_taken(flushed.map_ok(|()| 0), 0, context);
        if gate.state.is_watched() && gate.client_left(context) {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        flushed.map_ok(|_| ())
    }

    /// `close` does this, after hyper has sent everything.
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
