//! Responses → XML, streamed: 207 Multi-Status (RFC 4918 §13).
//!
//! Owns: how a response looks, and that an answer is never cut off in a way that looks whole: what fails before the
//! first piece is a 5xx, what fails later breaks the connection. The producer of an answer is polled by the
//! body itself, so there is no task, no channel and at most one piece (32 KiB and one response) in memory.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::StatusCode;
use http_body::Frame;

use super::Scope;
use super::precondition::Denied;
use super::property::{Asked, Want, write_all, write_names};
use super::resource::Resource;
use crate::http::{Body, BodyError, Reply, reply_stream, reply_xml};
use crate::xml::{Name, Writer, dav};

/// How many bytes are gathered before they are sent.
const PIECE: usize = 32 << 10;

const RESPONSE: Name = dav("response");
const HREF: Name = dav("href");
const PROPSTAT: Name = dav("propstat");
const PROP: Name = dav("prop");
const STATUS: Name = dav("status");

/// An answer in the making.
#[derive(Debug)]
pub struct Multistatus {
    w: Writer,
    scope: Scope,
    slot: Slot,
    missing: Vec<usize>,
    begun: bool,
}

#[derive(Debug, Clone, Default)]
struct Slot(Arc<Mutex<Option<Bytes>>>);

impl Slot {
    fn take(&self) -> Option<Bytes> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn put(&self, piece: Bytes) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(piece);
    }

    fn is_empty(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_none()
    }
}

impl Multistatus {
    /// Runs the producer and returns the answer: whole if it fits one piece, else streamed while the producer goes on.
    ///
    /// # Errors
    /// What the producer reports before the first piece is full.
    pub async fn answer<P, F>(scope: Scope, produce: P) -> Result<Reply, Denied>
    where
        P: FnOnce(Multistatus) -> F,
        F: Future<Output = Result<Multistatus, Denied>> + Send + 'static,
    {
        let slot = Slot::default();
        let mut w = Writer::document();
        w.open(&dav("multistatus"));
        let multistatus = Multistatus { w, scope, slot: slot.clone(), missing: Vec::new(), begun: false };
        let mut stream = Stream { producer: Some(Box::pin(produce(multistatus))), slot };
        let first = poll_fn(|cx| stream.poll_piece(cx)).await;
        match first {
            None => Ok(reply_xml(StatusCode::MULTI_STATUS, Vec::new())),
            Some(Err(denied)) => Err(denied),
            Some(Ok(piece)) if stream.producer.is_none() => Ok(reply_xml(StatusCode::MULTI_STATUS, piece)),
            Some(Ok(piece)) => {
                stream.slot.put(piece);
                Ok(reply_stream(StatusCode::MULTI_STATUS, Body::new(stream)))
            }
        }
    }

    /// Returns the context of the request.
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// Returns the writer, for elements that have no method here.
    pub fn writer(&mut self) -> &mut Writer {
        &mut self.w
    }

    /// Gives what has been gathered to the connection if it is enough, and waits until it has been taken. Call it
    /// after each response.
    pub async fn room(&mut self) {
        if self.w.len() < PIECE {
            return;
        }
        self.begun = true;
        self.slot.put(Bytes::from(self.w.take()));
        let slot = self.slot.clone();
        // Whoever takes the piece polls this future again, so no waker is needed.
        poll_fn(move |_| if slot.is_empty() { Poll::Ready(()) } else { Poll::Pending }).await;
    }

    /// Tells whether the first piece is on its way, so that the whole cannot be refused any more.
    pub fn begun(&self) -> bool {
        self.begun
    }

    /// Writes the response of a resource.
    pub fn resource(&mut self, resource: &Resource, want: &Want) {
        self.resource_with(resource, want, |_, _| None);
    }

    /// Writes the response of a resource. `extra` is asked first for each property that is wanted by name: `Some(true)`
    /// if it wrote the element, `Some(false)` if the resource has none, nothing if it knows no such property.
    pub fn resource_with(
        &mut self,
        resource: &Resource,
        want: &Want,
        mut extra: impl FnMut(&Asked, &mut Writer) -> Option<bool>,
    ) {
        self.w.open(&RESPONSE);
        self.w.leaf(&HREF, &resource.path);
        self.w.open(&PROPSTAT);
        self.w.open(&PROP);
        self.missing.clear();
        let start = self.w.len();
        let named: &[Asked] = match want {
            Want::These(asked) => asked,
            Want::All(include) => {
                write_all(resource, &self.scope, &mut self.w);
                include
            }
            Want::Names => {
                write_names(resource, &self.scope, &mut self.w);
                &[]
            }
        };
        for (i, asked) in named.iter().enumerate() {
            if matches!(want, Want::All(_)) && asked.property.is_none_or(|p| p.allprop) {
                continue;
            }
            let found = match extra(asked, &mut self.w) {
                Some(found) => found,
                None => asked.write(resource, &self.scope, &mut self.w),
            };
            if !found {
                self.missing.push(i);
            }
        }
        let nothing = self.w.len() == start;
        let missing = std::mem::take(&mut self.missing);
        // RFC 8144 §2.1: minimal leaves the 404s out, but a response must hold something.
        let tell_missing = !missing.is_empty() && !self.scope.minimal;
        if nothing && tell_missing {
            for asked in missing.iter().filter_map(|i| named.get(*i)) {
                self.w.empty(&asked.name);
            }
            self.propstat_end("HTTP/1.1 404 Not Found");
        } else {
            self.propstat_end("HTTP/1.1 200 OK");
            if tell_missing {
                self.w.open(&PROPSTAT);
                self.w.open(&PROP);
                for asked in missing.iter().filter_map(|i| named.get(*i)) {
                    self.w.empty(&asked.name);
                }
                self.propstat_end("HTTP/1.1 404 Not Found");
            }
        }
        self.missing = missing;
        self.w.close();
    }

    fn propstat_end(&mut self, status: &str) {
        self.w.close();
        self.w.leaf(&STATUS, status);
        self.w.close();
    }

    /// Writes a response that is a status alone (RFC 6578 §3.5.2: a member that is gone is a 404 without propstat).
    pub fn status(&mut self, path: &str, status: StatusCode) {
        self.w.open(&RESPONSE);
        self.w.leaf(&HREF, path);
        self.w.leaf(&STATUS, &status_line(status));
        self.w.close();
    }

    /// Writes a response that tells why this one resource is refused.
    pub fn denied(&mut self, path: &str, denied: &Denied) {
        let explained = denied.explain(path);
        self.w.open(&RESPONSE);
        self.w.leaf(&HREF, path);
        self.w.leaf(&STATUS, &status_line(explained.status));
        explained.write(path, &mut self.w);
        self.w.close();
    }

    /// Writes the sync-token that ends a `sync-collection` (RFC 6578 §6.4). Call it last.
    pub fn sync_token(&mut self, token: &str) {
        self.w.leaf(&dav("sync-token"), token);
    }
}

/// Returns a status as `D:status` holds it.
pub fn status_line(status: StatusCode) -> String {
    format!("HTTP/1.1 {} {}", status.as_u16(), status.canonical_reason().unwrap_or("Unknown"))
}

type Producer = Pin<Box<dyn Future<Output = Result<Multistatus, Denied>> + Send>>;

/// The body of a streamed answer.
struct Stream {
    producer: Option<Producer>,
    slot: Slot,
}

impl Stream {
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Denied>>> {
        if let Some(piece) = self.slot.take() {
            return Poll::Ready(Some(Ok(piece)));
        }
        let Some(producer) = &mut self.producer else { return Poll::Ready(None) };
        match producer.as_mut().poll(cx) {
            Poll::Ready(Ok(mut multistatus)) => {
                self.producer = None;
                multistatus.w.close();
                Poll::Ready(Some(Ok(Bytes::from(multistatus.w.take()))))
            }
            Poll::Ready(Err(denied)) => {
                self.producer = None;
                Poll::Ready(Some(Err(denied)))
            }
            Poll::Pending => match self.slot.take() {
                Some(piece) => Poll::Ready(Some(Ok(piece))),
                None => Poll::Pending,
            },
        }
    }
}

impl http_body::Body for Stream {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.get_mut().poll_piece(cx).map(|piece| {
            piece.map(|piece| {
                piece.map(Frame::data).map_err(|denied| {
                    tracing::error!(?denied, "an answer broke off");
                    BodyError::from("the answer could not be completed")
                })
            })
        })
    }

    fn is_end_stream(&self) -> bool {
        self.producer.is_none() && self.slot.is_empty()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;
    use crate::calendar::Refusal;
    use crate::dav::testing::scope;
    use crate::store::Fault;

    async fn many(mut multistatus: Multistatus, count: usize) -> Multistatus {
        for i in 0..count {
            multistatus.status(&format!("/dav/{i}"), StatusCode::NOT_FOUND);
            multistatus.room().await;
        }
        multistatus
    }

    #[tokio::test]
    async fn a_short_answer_has_a_length() {
        let reply = Multistatus::answer(scope().await, |m| async { Ok(many(m, 3).await) }).await.unwrap();
        assert_eq!(reply.status(), StatusCode::MULTI_STATUS);
        assert!(http_body::Body::size_hint(reply.body()).exact().is_some());
        let text = reply.into_body().collect().await.unwrap().to_bytes();
        let text = std::str::from_utf8(&text).unwrap();
        let document = roxmltree::Document::parse(text).unwrap();
        assert_eq!(document.descendants().filter(|n| n.has_tag_name(("DAV:", "response"))).count(), 3);
    }

    #[tokio::test]
    async fn a_long_answer_comes_in_pieces_and_whole() {
        let reply = Multistatus::answer(scope().await, |m| async {
            let mut m = many(m, 20_000).await;
            m.sync_token("urn:x");
            Ok(m)
        });
        let mut body = reply.await.unwrap().into_body();
        let (mut pieces, mut text) = (0, Vec::new());
        while let Some(frame) = body.frame().await {
            let data = frame.unwrap().into_data().unwrap();
            assert!(data.len() < 2 * PIECE);
            pieces += 1;
            text.extend_from_slice(&data);
        }
        assert!(pieces > 20, "{pieces}");
        let text = String::from_utf8(text).unwrap();
        let options = roxmltree::ParsingOptions { nodes_limit: 200_000, ..Default::default() };
        let document = roxmltree::Document::parse_with_options(&text, options).unwrap();
        assert_eq!(document.root_element().children().count(), 20_001);
    }

    // an answer that fails on the way never looks whole.
    #[tokio::test]
    async fn a_failure_before_the_first_piece_is_a_status_and_a_later_one_breaks_off() {
        let broken = || Denied::from(Fault::Broken("test".into()));
        let early = Multistatus::answer(scope().await, |m| async move {
            many(m, 3).await;
            Err(broken())
        });
        assert_eq!(early.await.unwrap_err().explain("/").status, StatusCode::INTERNAL_SERVER_ERROR);
        let late = Multistatus::answer(scope().await, |m| async move {
            many(m, 5_000).await;
            Err(broken())
        });
        let reply = late.await.unwrap();
        assert_eq!(reply.status(), StatusCode::MULTI_STATUS);
        assert!(reply.into_body().collect().await.is_err());
    }

    #[tokio::test]
    async fn a_refusal_inside_names_its_precondition() {
        let reply = Multistatus::answer(scope().await, |mut m| async {
            m.denied("/dav/x", &Refusal::TokenExpired.into());
            Ok(m)
        });
        let text = reply.await.unwrap().into_body().collect().await.unwrap().to_bytes();
        let text = String::from_utf8(text.to_vec()).unwrap();
        assert!(text.contains("<D:status>HTTP/1.1 403 Forbidden</D:status>"), "{text}");
        assert!(text.contains("<D:error><D:valid-sync-token/></D:error><D:responsedescription>"), "{text}");
    }
}
