//! Bytes in and out of one connection, with limits on how slow they may be.
//!
//! Owns: the write limit of a socket, the pace of a request body, reading the rest of a body that nobody wanted.
//! Does not own: the limit on a request's head (hyper's `header_read_timeout`), how large a body may be (the doors).

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};

use crate::http::BodyError;

/// A client that takes nothing for this long is gone.
const STALLED: Duration = Duration::from_secs(60);
/// A body that sends nothing for this long is over.
const SILENT: Duration = Duration::from_secs(20);
/// A body may be this late, and beyond that must have come at `PACE` bytes a second on average.
const LATE: Duration = Duration::from_secs(30);
const PACE: u64 = 1024;
/// How much of an unwanted body is read so that the answer arrives and the connection can be used again.
const UNWANTED: u64 = 16 << 20;
const UNWANTED_FOR: Duration = Duration::from_secs(5);

/// A socket that gives up on a client that stops reading.
pub(super) struct Socket {
    stream: TcpStream,
    stalled: Option<Pin<Box<Sleep>>>,
}

impl Socket {
    pub(super) fn new(stream: TcpStream) -> Socket {
        Socket { stream, stalled: None }
    }

    fn watched<T>(&mut self, cx: &mut Context<'_>, poll: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if poll.is_ready() {
            self.stalled = None;
            return poll;
        }
        let sleep = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(STALLED)));
        ready!(sleep.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client reads no more")))
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.watched(cx, poll)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.watched(cx, poll)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// A request body that must keep coming. What a door leaves unread is read away after the answer, within limits:
/// a client that is still sending would otherwise see a reset connection instead of its 401 or 413.
pub(super) struct Paced {
    incoming: Option<Incoming>,
    timer: Pin<Box<Sleep>>,
    begun: Instant,
    received: u64,
    /// The client waits for `100 Continue`: what was not asked for will not come (RFC 9110 §10.1.1).
    asks_first: bool,
}

impl Paced {
    pub(super) fn new(incoming: Incoming, asks_first: bool) -> Paced {
        let begun = Instant::now();
        let timer = Box::pin(tokio::time::sleep_until(begun + SILENT));
        Paced { incoming: Some(incoming), timer, begun, received: 0, asks_first }
    }
}

impl Body for Paced {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        let Some(incoming) = &mut this.incoming else { return Poll::Ready(None) };
        match Pin::new(incoming).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                this.received += frame.data_ref().map_or(0, |data| data.len() as u64);
                let allowed = this.begun + LATE + Duration::from_secs(this.received / PACE);
                this.timer.as_mut().reset(allowed.min(Instant::now() + SILENT));
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => {
                this.incoming = None;
                Poll::Ready(Some(Err(error.into())))
            }
            Poll::Ready(None) => {
                this.incoming = None;
                Poll::Ready(None)
            }
            Poll::Pending => {
                ready!(this.timer.as_mut().poll(cx));
                this.incoming = None;
                let late = io::Error::new(io::ErrorKind::TimedOut, "the body came too slowly");
                Poll::Ready(Some(Err(late.into())))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

impl Drop for Paced {
    fn drop(&mut self) {
        let Some(mut rest) = self.incoming.take().filter(|rest| !rest.is_end_stream()) else { return };
        if self.asks_first && self.received == 0 {
            return;
        }
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        runtime.spawn(tokio::time::timeout(UNWANTED_FOR, async move {
            let mut left = UNWANTED;
            while let Some(Ok(frame)) = rest.frame().await {
                let Some(less) = left.checked_sub(frame.data_ref().map_or(0, |data| data.len() as u64))
                else {
                    return;
                };
                left = less;
            }
        }));
    }
}
