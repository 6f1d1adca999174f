//! Whether a request may go ahead: RFC 9110 §13, the `If` header (RFC 4918 §10.4) and locks (§7).
//!
//! Owns: that conditions on the resource itself are looked at again inside the write, and that without any lock on
//! the server a write pays one look into an empty table. Does not own: how the headers are spelled (`http/condition`).

use http::HeaderMap;

use super::lock::{Lock, any, covering_spot, filed};
use super::place::{Now, Spot};
use super::{Denied, Protocol, Scope};
use crate::calendar::{Refusal, When};
use crate::http::{Conditions, Elsewhere, Href, If, IfCondition, IfList, IfWhat, State, Tag};
use crate::store::{CollectionId, Meta};

/// A place that a request changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Change {
    /// The resource itself.
    Resource(Spot),
    /// A collection with everything in it.
    Tree(CollectionId),
}

/// The conditions of one request, as far as they can be decided before the write.
#[derive(Debug, Default)]
pub(super) struct Gate {
    conditions: Conditions,
    lists: Vec<List>,
    /// Locks on what the request changes, with tokens that it carries: they end with the resource.
    pub(super) held: Vec<Lock>,
}

/// One list of the `If` header: true, if what was known holds and the tags fit the resource at the time of writing.
#[derive(Debug)]
struct List {
    known: bool,
    tags: Vec<(IfCondition, Tag)>,
}

impl Gate {
    /// Reads the headers, evaluates what does not concern the request's own resource, and demands lock tokens.
    ///
    /// # Errors
    /// `Bad` for headers that cannot be read, `Failed` if the `If` header cannot hold, `Locked`.
    pub(super) async fn read(
        scope: &Scope,
        headers: &HeaderMap,
        own: Option<&Href>,
        changes: &[Change],
    ) -> Result<Gate, Denied> {
        let conditions = Conditions::read(headers)?;
        let header = If::read(headers)?;
        let any = any(scope).await?;
        let mut gate = Gate { conditions, lists: Vec::new(), held: Vec::new() };
        if let Some(header) = &header {
            for list in &header.0 {
                gate.lists.push(evaluate(scope, list, own).await?);
            }
            if !gate.lists.iter().any(|list| list.known) {
                return Err(Protocol::Failed.into());
            }
        }
        if any {
            let tokens: Vec<&str> = header.iter().flat_map(If::tokens).collect();
            for change in changes {
                gate.demand(scope, change, &tokens).await?;
            }
        }
        Ok(gate)
    }

    /// Decides for the resource as it is now. Nothing: there is none.
    ///
    /// # Errors
    /// `Stale`.
    pub(super) fn allow(&self, state: Option<State<'_>>) -> Result<(), Refusal> {
        self.conditions.allow(state)?;
        let etag = state.and_then(|state| state.etag);
        let holds = |list: &List| list.known && list.tags.iter().all(|(c, tag)| c.etag_holds(tag, etag));
        match self.lists.is_empty() || self.lists.iter().any(holds) {
            true => Ok(()),
            false => Err(Refusal::Stale),
        }
    }

    /// Returns the conditions as the write wants them.
    pub(super) fn when(&self) -> When<'_> {
        match self.conditions.is_empty() && self.lists.is_empty() {
            true => When::always(),
            false => When::holds(|meta: Option<&Meta>| self.allow(meta.map(State::of))),
        }
    }

    /// Decides for what is at a place.
    ///
    /// # Errors
    /// `Stale`.
    pub(super) fn allow_now(&self, now: &Now) -> Result<(), Refusal> {
        self.allow(match now {
            Now::Free => None,
            Now::Member(meta) => Some(State::of(meta)),
            Now::Collection(at) => Some(State { etag: None, modified: at.collection().modified }),
        })
    }

    /// RFC 4918 §7.5: for each lock's scope that is changed, a token of one of its locks must be there.
    async fn demand(&mut self, scope: &Scope, change: &Change, tokens: &[&str]) -> Result<(), Denied> {
        let me = scope.session.principal.name.as_str();
        let good = |lock: &Lock| lock.principal == me && tokens.contains(&lock.token.as_str());
        let (spot, tree) = match change {
            Change::Resource(spot) => (spot.clone(), None),
            Change::Tree(id) => (Spot::of(*id), Some(*id)),
        };
        let covering = covering_spot(scope, &spot).await?;
        if let Some(first) = covering.first()
            && !covering.iter().any(good)
        {
            return Err(locked(scope, first));
        }
        self.held.extend(covering.into_iter().filter(|lock| lock.is_filed_under(&spot)));
        let mut waiting: Vec<CollectionId> = tree.into_iter().collect();
        while let Some(id) = waiting.pop() {
            let inside = filed(scope, &format!("{}/", id.0)).await?;
            let free = |lock: &Lock| inside.iter().any(|other| other.member == lock.member && good(other));
            if let Some(closed) = inside.iter().find(|lock| !free(lock)) {
                return Err(locked(scope, closed));
            }
            self.held.extend(inside);
            waiting.extend(scope.session.house.store.children(id).await?.iter().map(|child| child.id));
        }
        Ok(())
    }
}

fn locked(scope: &Scope, lock: &Lock) -> Denied {
    Refusal::Locked(format!("{}{}", scope.site.prefix(), lock.root)).into()
}

async fn evaluate(scope: &Scope, list: &IfList, own: Option<&Href>) -> Result<List, Denied> {
    let tagged = match &list.resource {
        None => None,
        Some(url) => match scope.locate(url) {
            Ok(href) => Some(href),
            // RFC 4918 §10.4.4: a resource that is not here has no state.
            Err(Elsewhere::Host | Elsewhere::Path | Elsewhere::Broken) => {
                let known = list.conditions.iter().all(|condition| condition.negated);
                return Ok(List { known, tags: Vec::new() });
            }
        },
    };
    let is_own = tagged.is_none() || tagged.as_ref() == own;
    let href = tagged.as_ref().or(own);
    let (now, locks) = match Spot::find(scope, href).await {
        Ok((spot, now)) => (now, covering_spot(scope, &spot).await?),
        Err(Denied::Error(crate::calendar::Error::Failed(fault))) => return Err(fault.into()),
        Err(_) => (Now::Free, Vec::new()),
    };
    let mut result = List { known: true, tags: Vec::new() };
    for condition in &list.conditions {
        let holds = match &condition.what {
            IfWhat::Token(token) => locks.iter().any(|lock| lock.token == *token) != condition.negated,
            IfWhat::Etag(tag) => {
                if is_own {
                    result.tags.push((condition.clone(), tag.clone()));
                    continue;
                }
                match &now {
                    Now::Member(meta) => condition.etag_holds(tag, Some(&meta.etag.0)),
                    Now::Free | Now::Collection(_) => condition.etag_holds(tag, None),
                }
            }
        };
        result.known &= holds;
    }
    Ok(result)
}
