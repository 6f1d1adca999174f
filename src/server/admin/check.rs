//! Verifies a store through the trait alone: what is derived is derived again and compared.
//!
//! Owns: what must agree. Changes nothing: what is wrong is told, in plain words, with the place.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::{Line, Wire};
use crate::calendar::{House, index_of};
use crate::store::{
    Change, ChangesError, Collection, CollectionId, Etag, Fault, Kind, Meta, Name, Rev, What,
};

/// Reports through the wire while it goes.
struct Report<'a> {
    wire: &'a Wire,
    wrong: u64,
    collections: u64,
    objects: u64,
}

impl Report<'_> {
    async fn wrong(&mut self, place: &str, what: String) -> Result<(), String> {
        self.wrong += 1;
        self.wire.send(Line::Item { item: json!({ "place": place, "what": what }) }).await
    }
}

/// Verifies everything.
pub(super) async fn check(house: &Arc<House>, wire: &Wire) -> Result<Value, String> {
    house.store.health().await.map_err(sentence)?;
    let mut report = Report { wire, wrong: 0, collections: 0, objects: 0 };
    let users = house.principals().await.map_err(sentence)?;
    for user in &users {
        for (parent, what) in
            [(CollectionId::HOMES, "calendar home"), (CollectionId::FILES, "folder of files")]
        {
            if house.store.child(parent, &user.name).await.map_err(sentence)?.is_none() {
                report.wrong(&user.name, format!("the account has no {what}")).await?;
            }
        }
    }
    let mut waiting = Vec::new();
    for (parent, path) in [(CollectionId::HOMES, "/dav/calendars/"), (CollectionId::FILES, "/dav/files/")] {
        for root in house.store.children(parent).await.map_err(sentence)? {
            if !users.iter().any(|user| user.name == root.owner) {
                report.wrong(&format!("{path}{}/", root.name), "it belongs to no account".into()).await?;
            }
            waiting.push((format!("{path}{}/", root.name), root));
        }
    }
    while let Some((path, collection)) = waiting.pop() {
        let children = house.store.children(collection.id).await.map_err(sentence)?;
        one(house, &path, &collection, &children, &mut report).await?;
        waiting.extend(children.into_iter().map(|child| (format!("{path}{}/", child.name), child)));
    }
    Ok(json!({
        "users": users.len(), "collections": report.collections, "objects": report.objects, "wrong": report.wrong,
    }))
}

fn sentence(fault: Fault) -> String {
    fault.to_string()
}

/// Verifies one collection: objects against their index, the log against the objects, the sums against both.
async fn one(
    house: &Arc<House>,
    path: &str,
    collection: &Collection,
    children: &[Arc<Collection>],
    report: &mut Report<'_>,
) -> Result<(), String> {
    report.collections += 1;
    let before = house.store.head(collection.id).await.map_err(sentence)?;
    let log = log(house, collection.id, before.horizon).await?;
    let (mut count, mut bytes) = (0u64, 0u64);
    let mut after: Option<String> = None;
    loop {
        let page = house.store.list(collection.id, after.as_deref(), 256).await.map_err(sentence)?;
        let Some(last) = page.last() else { break };
        after = Some(last.name.to_string());
        for meta in &page {
            count += 1;
            bytes += meta.size;
            for what in object(house, collection, meta, &log).await? {
                report.wrong(&format!("{path}{}", meta.name), what).await?;
            }
        }
    }
    report.objects += count;
    for (name, change) in &log {
        let there = children.iter().any(|child| child.name == *name)
            || house.store.meta(collection.id, name.as_str()).await.map_err(sentence)?.is_some();
        if there == (change.what == What::Deleted) {
            let what = format!("the log says {:?} at {}, which is not so", change.what, change.rev);
            report.wrong(&format!("{path}{name}"), what).await?;
        }
    }
    let head = house.store.head(collection.id).await.map_err(sentence)?;
    // Written to meanwhile: the sums belong to another moment.
    if head.rev == before.rev && (head.objects, head.bytes) != (count, bytes) {
        let what = format!(
            "it holds {count} objects of {bytes} bytes together, but says {} of {}",
            head.objects, head.bytes
        );
        report.wrong(path, what).await?;
    }
    Ok(())
}

/// Returns the newest row of every member.
async fn log(house: &Arc<House>, id: CollectionId, horizon: Rev) -> Result<HashMap<Name, Change>, String> {
    let mut newest: HashMap<Name, Change> = HashMap::new();
    let mut since = horizon;
    loop {
        let page = match house.store.changes(id, since, 1024).await {
            Ok(page) => page,
            Err(ChangesError::Expired) => return Err("a log cannot be read from its own horizon".into()),
            Err(ChangesError::Fault(fault)) => return Err(fault.to_string()),
        };
        let Some(last) = page.items.last() else { return Ok(newest) };
        since = last.rev;
        let more = page.more;
        for change in page.items {
            if let Some(name) = change.name.clone() {
                newest.insert(name, change);
            }
        }
        if !more {
            return Ok(newest);
        }
    }
}

/// Returns what is wrong with one object.
async fn object(
    house: &Arc<House>,
    collection: &Collection,
    meta: &Meta,
    log: &HashMap<Name, Change>,
) -> Result<Vec<String>, String> {
    let mut wrong = Vec::new();
    let Some(object) = house.store.object(collection.id, meta.name.as_str()).await.map_err(sentence)? else {
        // Removed since it was listed, if it is gone from the list as well.
        if house.store.meta(collection.id, meta.name.as_str()).await.map_err(sentence)?.is_some() {
            wrong.push("its bytes are missing".into());
        }
        return Ok(wrong);
    };
    let meta = &object.meta;
    if meta.size != object.bytes.len() as u64 {
        wrong.push(format!("it has {} bytes, but says {}", object.bytes.len(), meta.size));
    }
    if meta.etag != Etag::of(&object.bytes) {
        wrong.push("its etag is not that of its bytes".into());
    }
    if let Some(change) = log.get(&meta.name)
        && change.rev < meta.rev
        && house.store.head(collection.id).await.map_err(sentence)?.rev == change.rev
    {
        wrong.push("its last change is not in the log".into());
    }
    if collection.kind != Kind::Calendar {
        return Ok(wrong);
    }
    match index_of(object.bytes.clone()) {
        Err(problem) => wrong.push(format!("it is no calendar object: {}", problem.reason)),
        Ok(index) => {
            if index != meta.index {
                wrong.push(format!("its index is {:?}, but should be {index:?}", meta.index));
            }
            if let Some(uid) = &index.uid {
                let name = house.store.by_uid(collection.id, uid).await.map_err(sentence)?;
                if name.as_ref() != Some(&meta.name) {
                    wrong.push(format!("its UID {uid:?} leads to {name:?}"));
                }
            }
        }
    }
    Ok(wrong)
}
