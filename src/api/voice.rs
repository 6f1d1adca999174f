//! The words of webhooks: what happened, as the routes of this door show it.

use serde_json::{Value, json};

use super::versions::by;
use super::{Api, bookings, conflicts, events, runs};
use crate::bridge::record::{Mapping, Run, RunStatus, load, mapping_key};
use crate::bridge::{BridgeError, Cause, NoticeKind, Notices};
use crate::calendar::booking::Booked;
use crate::calendar::{Error, Session};
use crate::store::{CollectionId, Fault, Fut, Meta, Op, Origin};
use crate::webhook::{Fact, Matter, Voice};

/// So many runs or conflicts are looked through after a start.
const MOST: usize = 100_000;

/// Says what failed; nothing of it was asked for by anybody.
fn failed(error: BridgeError) -> Fault {
    match error {
        BridgeError::Failed(fault) => fault,
        other => Fault::Broken(format!("a webhook cannot read what it tells of: {other:?}")),
    }
}

/// Returns what was found, or nothing.
fn found<T>(answer: Result<T, BridgeError>) -> Result<Option<T>, Fault> {
    match answer {
        Ok(found) => Ok(Some(found)),
        Err(BridgeError::Missing) => Ok(None),
        Err(error) => Err(failed(error)),
    }
}

impl Api {
    async fn session_of(&self, owner: &str) -> Result<Option<Session>, Fault> {
        let principal = self.house.principal(owner).await?;
        Ok(principal.map(|principal| self.house.session(principal, Origin::System)))
    }

    fn notices<'a>(&'a self, owner: &'a str) -> Notices<'a> {
        Notices { store: &*self.house.store, owner, now: self.house.clock.now() }
    }

    async fn calendar_of(&self, mapping: &str) -> Result<Option<u64>, Fault> {
        let mapping: Option<Mapping> = load(&*self.house.store, &mapping_key(mapping)).await?;
        Ok(mapping.map(|mapping| mapping.collection.0))
    }

    async fn ended(&self, run: Run) -> Result<Option<Fact>, Fault> {
        let Some(at) = run.ended else { return Ok(None) };
        let kind = match run.status {
            RunStatus::Running => return Ok(None),
            RunStatus::Success | RunStatus::PartialFailure => "sync.completed",
            RunStatus::Failed | RunStatus::Deferred => "sync.failed",
        };
        let calendar = self.calendar_of(&run.mapping).await?;
        let id = calendar.map(|id| id.to_string());
        let data = json!({ "calendar": id, "run": runs::shown(&run), "events": run.wrote });
        Ok(Some(Fact { kind, at, calendar, data }))
    }
}

impl Voice for Api {
    fn event<'a>(
        &'a self,
        owner: &'a str,
        calendar: CollectionId,
        name: &'a str,
    ) -> Fut<'a, Result<Option<(Meta, Value)>, Fault>> {
        Box::pin(async move {
            let Some(session) = self.session_of(owner).await? else { return Ok(None) };
            events::told(self, session, calendar, name).await.map_err(|error| match error {
                Error::Failed(fault) => fault,
                Error::Refused(refusal) => Fault::Broken(format!("an event cannot be told: {refusal:?}")),
            })
        })
    }

    fn booking(&self, booked: &Booked) -> Value {
        bookings::document(booked)
    }

    fn by(&self, origin: &Origin) -> String {
        by(origin)
    }

    fn all<'a>(&'a self, matter: Matter, owner: &'a str) -> Fut<'a, Result<Vec<String>, Fault>> {
        Box::pin(async move {
            match matter {
                Matter::Conflict => {
                    let all = self.bridge.conflicts(owner, None, MOST).await.map_err(failed)?;
                    Ok(all.into_iter().map(|conflict| conflict.id).collect())
                }
                Matter::Run => {
                    let all = self.bridge.runs(owner, None, MOST).await.map_err(failed)?;
                    let ended = all.into_iter().filter(|run| run.ended.is_some());
                    Ok(ended.map(|run| run.id).collect())
                }
            }
        })
    }

    fn one<'a>(
        &'a self,
        matter: Matter,
        owner: &'a str,
        id: &'a str,
    ) -> Fut<'a, Result<Option<Fact>, Fault>> {
        Box::pin(async move {
            match matter {
                Matter::Conflict => {
                    let Some(conflict) = found(self.bridge.conflict(owner, id).await)? else {
                        return Ok(None);
                    };
                    let calendar = self.calendar_of(&conflict.mapping).await?;
                    let data = json!({
                        "calendar": calendar.map(|id| id.to_string()),
                        "conflict": conflicts::shown(&conflict),
                    });
                    Ok(Some(Fact { kind: "conflict.created", at: conflict.detected, calendar, data }))
                }
                Matter::Run => match found(self.bridge.run(owner, id).await)? {
                    Some(run) => self.ended(run).await,
                    None => Ok(None),
                },
            }
        })
    }

    fn owner<'a>(&'a self, mapping: &'a str) -> Fut<'a, Result<Option<String>, Fault>> {
        Box::pin(async move {
            let mapping: Option<Mapping> = load(&*self.house.store, &mapping_key(mapping)).await?;
            Ok(mapping.map(|mapping| mapping.owner))
        })
    }

    fn notice<'a>(
        &'a self,
        owner: &'a str,
        hook: &'a str,
        sentence: Option<String>,
    ) -> Fut<'a, Result<Vec<Op>, Fault>> {
        Box::pin(async move {
            let cause = Cause { kind: NoticeKind::WebhookPaused, subject: hook, detail: "" };
            let notices = self.notices(owner);
            let op = match sentence {
                Some(sentence) => notices.raise(cause, sentence, &[("webhook", hook)]).await?,
                None => notices.resolve(cause).await?,
            };
            Ok(op.into_iter().collect())
        })
    }

    fn forget<'a>(&'a self, owner: &'a str, hook: &'a str) -> Fut<'a, Result<Vec<Op>, Fault>> {
        Box::pin(async move { self.notices(owner).forget(hook).await })
    }
}
