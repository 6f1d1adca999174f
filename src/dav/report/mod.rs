//! Reports (RFC 3253 §3.6): each is a type that is parsed, run and rendered.
//!
//! Owns: which reports exist where. Does not own: how a response looks (`multistatus`).

use super::{Denied, Kinds, Protocol, Resource, Scope};
use crate::http::Reply;
use crate::xml::{Element, Name};

/// Returns the names of the reports that resources of this kind answer: `supported-report-set` (RFC 3253 §3.1.5).
pub(super) fn supported(kind: Kinds) -> impl Iterator<Item = &'static Name> {
    let _ = kind;
    std::iter::empty()
}

/// Answers a REPORT. `depth` is what the client sent: clients differ, so each report decides what it means.
///
/// # Errors
/// `SupportedReport` if there is no such report here; what the report refuses.
pub(super) async fn serve(
    scope: Scope,
    at: Resource,
    depth: Option<crate::http::Depth>,
    body: Element,
) -> Result<Reply, Denied> {
    let _ = (scope, at, depth);
    Err(Protocol::SupportedReport(body.name.local.into_owned()).into())
}
