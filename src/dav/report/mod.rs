//! Reports (RFC 3253 §3.6): each is a type that is parsed, run and rendered.
//!
//! Owns: which reports exist where; the same table fills `supported-report-set` and finds who answers.
//! Does not own: how a response looks (`multistatus`), what matches a filter (`ical`), who may see what (`calendar`).

mod asking;
mod calendar_multiget;
mod calendar_query;
mod data;
mod expand_property;
mod filter;
mod free_busy_query;
mod principals;
mod range;
mod sync_collection;

use std::future::Future;
use std::pin::Pin;

use super::{Denied, Kinds, Protocol, Resource, Scope};
use crate::calendar::Refusal;
use crate::http::{Depth, Reply};
use crate::xml::{Element, Name};

/// A report: a body that has been understood.
trait Report: Sized + Send + 'static {
    /// The name of its body's root element.
    const NAME: Name;
    /// The resources that answer it.
    const ON: Kinds;

    /// Reads the body. What is returned is valid from then on.
    ///
    /// # Errors
    /// The precondition that the body fails.
    fn parse(body: &Element, scope: &Scope) -> Result<Self, Denied>;

    /// Answers. `depth` is what the client sent: clients differ, so each report decides what it means.
    ///
    /// # Errors
    /// What is refused or fails before the first piece of the answer.
    fn run(
        self,
        scope: Scope,
        at: Resource,
        depth: Option<Depth>,
    ) -> impl Future<Output = Result<Reply, Denied>> + Send;
}

type Answer = Pin<Box<dyn Future<Output = Result<Reply, Denied>> + Send>>;

/// One line of the table.
struct Entry {
    name: Name,
    on: Kinds,
    answer: fn(Scope, Resource, Option<Depth>, Element) -> Answer,
}

const fn entry<R: Report>() -> Entry {
    Entry {
        name: R::NAME,
        on: R::ON,
        answer: |scope, at, depth, body| {
            Box::pin(async move {
                let report = R::parse(&body, &scope)?;
                drop(body);
                report.run(scope, at, depth).await
            })
        },
    }
}

static TABLE: [Entry; 10] = [
    entry::<calendar_query::CalendarQuery>(),
    entry::<calendar_multiget::CalendarMultiget>(),
    entry::<free_busy_query::FreeBusyQuery>(),
    entry::<sync_collection::SyncCollection>(),
    entry::<expand_property::ExpandProperty>(),
    entry::<principals::PrincipalMatch>(),
    entry::<principals::PrincipalPropertySearch>(),
    entry::<principals::PrincipalSearchPropertySet>(),
    entry::<principals::AclPrincipalPropSet>(),
    entry::<principals::CalendarserverPrincipalSearch>(),
];

/// Returns the names of the reports that resources of this kind answer: `supported-report-set` (RFC 3253 §3.1.5).
pub(super) fn supported(kind: Kinds) -> impl Iterator<Item = &'static Name> {
    TABLE.iter().filter(move |entry| entry.on.has(kind)).map(|entry| &entry.name)
}

/// Answers a REPORT.
///
/// # Errors
/// `SupportedReport` if there is no such report here (RFC 3253 §3.6); what the report refuses.
pub(super) async fn serve(
    scope: Scope,
    at: Resource,
    depth: Option<Depth>,
    body: Element,
) -> Result<Reply, Denied> {
    let found = TABLE.iter().find(|entry| entry.name == body.name && entry.on.has(at.kind()));
    let Some(entry) = found else {
        return Err(Protocol::SupportedReport(body.name.local.into_owned()).into());
    };
    (entry.answer)(scope, at, depth, body).await
}

/// A body that is no such report, in a sentence.
fn bad(why: impl Into<String>) -> Denied {
    Refusal::Bad(why.into()).into()
}
