//! Verifies a store: what is derived is derived again and compared.
//!
//! Owns: what accounts must have, what the store cannot know: the index of an iCalendar text.
//! Does not own: how the store looks at itself (`store`). Changes nothing unless it is asked to repair.

use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Value, json};

use super::{Line, Wire};
use crate::calendar::{House, index_of};
use crate::store::{CollectionId, Fault, Index, Kind, Recompute};

/// Verifies everything; with `repair`, makes the indexes anew first.
pub(super) async fn check(house: &Arc<House>, repair: bool, wire: &Wire) -> Result<Value, String> {
    house.store.health().await.map_err(sentence)?;
    let unread: Arc<Mutex<Vec<String>>> = Arc::default();
    let recompute = recompute(Arc::clone(&unread));
    let repaired = if repair { house.store.rebuild(recompute.clone()).await.map_err(sentence)? } else { 0 };
    unread.lock().unwrap_or_else(PoisonError::into_inner).clear();
    let verified = house.store.verify(Some(recompute)).await.map_err(sentence)?;
    let mut wrong = verified.flaws;
    wrong.append(&mut unread.lock().unwrap_or_else(PoisonError::into_inner));
    let users = house.principals().await.map_err(sentence)?;
    for user in &users {
        for (parent, what) in
            [(CollectionId::HOMES, "calendar home"), (CollectionId::FILES, "folder of files")]
        {
            if house.store.child(parent, &user.name).await.map_err(sentence)?.is_none() {
                wrong.push(format!("The account {} has no {what}.", user.name));
            }
        }
    }
    for (parent, what) in [(CollectionId::HOMES, "calendar home"), (CollectionId::FILES, "folder of files")] {
        for root in house.store.children(parent).await.map_err(sentence)? {
            if !users.iter().any(|user| user.name == root.owner) {
                wrong.push(format!("The {what} {} belongs to no account.", root.name));
            }
        }
    }
    wrong.extend(house.verify_trash().await.map_err(sentence)?);
    for what in &wrong {
        wire.send(Line::Item { item: json!(what) }).await?;
    }
    Ok(json!({
        "users": users.len(), "collections": verified.collections, "objects": verified.objects,
        "bytes": verified.bytes, "repaired": repaired,
    }))
}

fn sentence(fault: Fault) -> String {
    fault.to_string()
}

/// Returns how an index follows from an object; what cannot be read is put into words.
fn recompute(unread: Arc<Mutex<Vec<String>>>) -> Recompute {
    Arc::new(move |collection, object| {
        if collection.kind != Kind::Calendar {
            return Some(Index::default());
        }
        match index_of(object.bytes.clone()) {
            Ok(index) => Some(index),
            Err(problem) => {
                let mut unread = unread.lock().unwrap_or_else(PoisonError::into_inner);
                let (owner, calendar, name) = (&collection.owner, &collection.name, &object.meta.name);
                unread.push(format!("{owner}/{calendar}/{name} is no calendar object: {}", problem.reason));
                None
            }
        }
    })
}
