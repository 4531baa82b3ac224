//! Bodies of requests as they arrive, and of answers as they leave.
//!
//! A small body is received whole before anyone is asked to answer, so that a slow one occupies
//! nothing but its connection.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures::stream;
use http_body_util::BodyExt;
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::mpsc;
use tokio_util::bytes::BytesMut;
use tokio_util::io::StreamReader;

use super::gate_state::GateState;
use super::refusal::Refusal;

/// A body up to this size is received before the request is answered.
const RECEIVED_WHOLE_MAX_BYTES: u64 = 64 << 10;
/// A streamed answer is sent in parts of at most this size. Two of them are in memory while the
/// client does not take them.
pub const ANSWER_PART_BYTES: usize = 4 << 10;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum BodyError {
    #[error("the body is too large")]
    TooLarge,
    #[error("the connection closed before the body was complete")]
    CutOff,
    #[error("the body did not arrive in time")]
    TooSlow,
    /// The connection gave way to another.
    #[error("the connection was needed for others")]
    GaveWay,
}

#[derive(Debug)]
pub enum ReceivedBody {
    Whole(Bytes),
    Arriving(Arriving),
}

/// A large body, of which the first bytes may be here.
#[derive(Debug)]
pub struct Arriving {
    begun: Bytes,
    rest: Incoming,
    gate: Arc<GateState>,
}

impl ReceivedBody {
    pub fn empty() -> Self {
        Self::Whole(Bytes::new())
    }

    /// Receives a small body whole. Of a large one, or one that does not say its size, at most the
    /// first part.
    pub(super) async fn receive(rest: Incoming, gate: Arc<GateState>) -> Result<Self, Refusal> {
        let announced_bytes = rest.size_hint().exact();
        let mut arriving = Arriving { begun: Bytes::new(), rest, gate };
        match announced_bytes {
            Some(0) => return Ok(Self::empty()),
            Some(bytes) if bytes > RECEIVED_WHOLE_MAX_BYTES => return Ok(Self::Arriving(arriving)),
            _ => {}
        }
        let mut begun = BytesMut::new();
        loop {
            match arriving.next().await {
                // Nearly always all of it at once, which needs no copy.
                Ok(Some(part)) if begun.is_empty() && announced_bytes == Some(part.len() as u64) => {
                    return Ok(Self::Whole(part));
                }
                Ok(Some(part)) => begun.extend_from_slice(&part),
                Ok(None) => return Ok(Self::Whole(begun.freeze())),
                Err(error) => return Err(arriving.gate.refusal().unwrap_or(refusal_of(error))),
            }
            if begun.len() as u64 > RECEIVED_WHOLE_MAX_BYTES {
                arriving.begun = begun.freeze();
                return Ok(Self::Arriving(arriving));
            }
        }
    }

    /// Reads the whole body into memory.
    pub async fn read(self, bytes_max: usize) -> Result<Bytes, BodyError> {
        match self {
            Self::Whole(bytes) if bytes.len() > bytes_max => Err(BodyError::TooLarge),
            Self::Whole(bytes) => Ok(bytes),
            Self::Arriving(mut arriving) => {
                let mut all = BytesMut::new();
                while let Some(part) = arriving.next().await? {
                    if all.len() + part.len() > bytes_max {
                        return Err(BodyError::TooLarge);
                    }
                    all.extend_from_slice(&part);
                }
                Ok(all.freeze())
            }
        }
    }

    /// Reads the body piece by piece, at most so many bytes. Errors hold a [`BodyError`].
    pub fn into_reader(self, bytes_max: u64) -> impl AsyncRead + Send {
        let parts = match self {
            Self::Whole(bytes) => (bytes, None),
            Self::Arriving(arriving) => (Bytes::new(), Some(arriving)),
        };
        let parts = stream::try_unfold(parts, |(whole, mut arriving)| async {
            if !whole.is_empty() {
                return Ok(Some((whole, (Bytes::new(), arriving))));
            }
            let part = match &mut arriving {
                Some(arriving) => arriving.next().await.map_err(io::Error::other)?,
                None => None,
            };
            Ok::<_, io::Error>(part.map(|part| (part, (Bytes::new(), arriving))))
        });
        StreamReader::new(Box::pin(parts)).take(bytes_max)
    }
}

impl Arriving {
    async fn next(&mut self) -> Result<Option<Bytes>, BodyError> {
        if !self.begun.is_empty() {
            return Ok(Some(std::mem::take(&mut self.begun)));
        }
        loop {
            match self.rest.frame().await {
                None => return Ok(None),
                // Trailers mean nothing to this server.
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(part) if part.is_empty() => {}
                    Ok(part) => return Ok(Some(part)),
                    Err(_trailers) => {}
                },
                Some(Err(_)) => {
                    return Err(match self.gate.refusal() {
                        Some(Refusal::BodyTooSlow) => BodyError::TooSlow,
                        Some(Refusal::GaveWay) => BodyError::GaveWay,
                        _ => BodyError::CutOff,
                    });
                }
            }
        }
    }
}

fn refusal_of(error: BodyError) -> Refusal {
    match error {
        BodyError::TooSlow => Refusal::BodyTooSlow,
        BodyError::GaveWay => Refusal::GaveWay,
        BodyError::CutOff | BodyError::TooLarge => {
            Refusal::Malformed("The connection closed before the body was complete.")
        }
    }
}

/// The body of an answer.
#[derive(Debug)]
pub enum AnswerBody {
    Whole(Option<Bytes>),
    Streamed(mpsc::Receiver<io::Result<Bytes>>),
    /// Of an answer to HEAD, or that nothing has changed: its length is that of the body which is
    /// not sent.
    Withheld,
}

impl AnswerBody {
    /// Whether it is sent while it is made, as events are.
    pub fn is_streamed(&self) -> bool {
        matches!(self, Self::Streamed(_))
    }

    pub fn whole(bytes: Bytes) -> Self {
        Self::Whole(Some(bytes).filter(|bytes| !bytes.is_empty()))
    }
}

/// A body that gives its next part once the connection has taken the last one, so that an answer
/// that nobody takes occupies little.
#[derive(Debug)]
pub(super) struct PacedBody {
    pub body: AnswerBody,
    pub gate: Arc<GateState>,
}

impl Body for PacedBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let Self { body, gate } = self.get_mut();
        match body {
            AnswerBody::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            AnswerBody::Streamed(_) if !gate.may_send() => Poll::Pending,
            AnswerBody::Streamed(parts) => {
                let part = ready!(parts.poll_recv(context)).transpose()?;
                gate.sends(part.as_ref().map_or(0, Bytes::len));
                Poll::Ready(part.map(|part| Ok(Frame::data(part))))
            }
            AnswerBody::Withheld => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.body, AnswerBody::Whole(None))
    }

    fn size_hint(&self) -> SizeHint {
        match &self.body {
            AnswerBody::Whole(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            AnswerBody::Streamed(_) | AnswerBody::Withheld => SizeHint::default(),
        }
    }
}
