//! The lists of a household: shopping and things to do.
//!
//! Owns: what Cozi does with them, as clients have seen it. Does not own: who asks (`mod`). No bridge uses them; clients do.

use http::Method;
use serde_json::{Map, Value, json};

use super::error;
use super::store::uuid;
use crate::sim::{Answer, Dice, Request};

/// What a list may say of itself when it is written.
const LIST: &[&str] = &["externalIds", "title", "items", "notes", "listId", "version", "owner", "listType"];
/// What an item may.
const ITEM: &[&str] =
    &["itemId", "text", "status", "itemType", "position", "version", "notes", "owner", "dueDate"];

/// All of them, in their order.
#[derive(Debug, Default)]
pub(super) struct Lists(Vec<List>);

#[derive(Debug)]
struct List {
    id: String,
    kind: String,
    title: String,
    version: i64,
    items: Vec<Item>,
}

#[derive(Debug)]
struct Item {
    id: String,
    text: String,
    complete: bool,
    version: i64,
}

/// Why a request is not carried out.
struct No(u16, &'static str);

type Told = Result<Answer, No>;

impl Lists {
    /// Answers a request whose path is `…/list/` and then this.
    pub(super) fn answer(
        &mut self,
        method: &Method,
        rest: &[&str],
        request: &Request,
        dice: &Dice,
    ) -> Answer {
        let rest: Vec<&str> = rest.iter().copied().filter(|part| !part.is_empty()).collect();
        let body = request.json().unwrap_or_default();
        let told = match (method.as_str(), rest.as_slice()) {
            ("GET", []) => Ok(Answer::json(200, &self.all(request.parameter("list_type")))),
            ("POST", []) => self.add(&body, dice),
            ("DELETE", [id]) => self.remove(id),
            ("PUT", [id]) => self.replace(id, &body, dice),
            ("PATCH", [id]) => self.strike(id, &body),
            ("POST", [id, "item"]) => self.add_item(id, &body, dice),
            ("PUT", [id, "item", item]) => self.edit_item(id, item, &body),
            ("DELETE", [id, "item", item]) => self.remove_item(id, item),
            _ => Err(No(404, "not found")),
        };
        told.unwrap_or_else(|No(status, why)| error(status, why))
    }

    fn all(&self, kind: Option<&str>) -> Value {
        self.0.iter().filter(|list| kind.is_none_or(|kind| list.kind == kind)).map(List::shown).collect()
    }

    fn find(&mut self, id: &str) -> Result<&mut List, No> {
        self.0.iter_mut().find(|list| list.id == id).ok_or(No(404, "no such list"))
    }

    fn add(&mut self, body: &Value, dice: &Dice) -> Told {
        let said = only(body, LIST)?;
        let kind = kind(said)?.ok_or(No(400, "listType is missing"))?;
        let title = text(said, "title")?.ok_or(No(400, "title is missing"))?;
        let list = List { id: uuid(dice), kind, title, version: 1, items: Vec::new() };
        let shown = list.shown();
        self.0.push(list);
        Ok(Answer::json(200, &shown).wrote(1))
    }

    fn remove(&mut self, id: &str) -> Told {
        self.find(id)?;
        self.0.retain(|list| list.id != id);
        Ok(nothing().wrote(1))
    }

    /// A title alone leaves the items as they are; items replace all that there are.
    fn replace(&mut self, id: &str, body: &Value, dice: &Dice) -> Told {
        let said = only(body, LIST)?;
        let (title, kind) = (text(said, "title")?, kind(said)?);
        let items = match said.get("items") {
            None | Some(Value::Null) => None,
            Some(Value::Array(items)) => Some(read(items, dice)?),
            Some(_) => return Err(No(400, "items is no list")),
        };
        let list = self.find(id)?;
        if said.get("version").and_then(Value::as_i64).is_some_and(|version| version != list.version) {
            return Err(No(409, "the list has changed"));
        }
        list.version += 1;
        list.title = title.unwrap_or_else(|| std::mem::take(&mut list.title));
        list.kind = kind.unwrap_or_else(|| std::mem::take(&mut list.kind));
        list.items = items.unwrap_or_else(|| std::mem::take(&mut list.items));
        Ok(Answer::json(200, &list.shown()).wrote(1))
    }

    /// `{"operations": [{"op": "remove", "path": "/items/ID"}]}`; an item that is not there is not missed.
    fn strike(&mut self, id: &str, body: &Value) -> Told {
        let operations = only(body, &["operations"])?.get("operations").and_then(Value::as_array);
        let operations = operations.ok_or(No(400, "operations is no list"))?;
        let mut struck = Vec::new();
        for operation in operations {
            let operation = only(operation, &["op", "path"])?;
            let path =
                operation.get("path").and_then(Value::as_str).and_then(|path| path.strip_prefix("/items/"));
            match (operation.get("op").and_then(Value::as_str), path) {
                (Some("remove"), Some(item)) => struck.push(item.to_owned()),
                _ => return Err(No(400, "the operation is none")),
            }
        }
        let list = self.find(id)?;
        list.version += 1;
        list.items.retain(|item| !struck.contains(&item.id));
        Ok(Answer::json(200, &list.shown()).wrote(1))
    }

    fn add_item(&mut self, id: &str, body: &Value, dice: &Dice) -> Told {
        let said = only(body, ITEM)?;
        let text = text(said, "text")?.ok_or(No(400, "text is missing"))?;
        let at = said.get("position").and_then(Value::as_u64).unwrap_or(0);
        let list = self.find(id)?;
        let item = Item { id: uuid(dice), text, complete: false, version: 1 };
        let shown = item.shown();
        list.version += 1;
        let at = usize::try_from(at).unwrap_or(usize::MAX).min(list.items.len());
        list.items.insert(at, item);
        Ok(Answer::json(200, &shown).wrote(1))
    }

    fn edit_item(&mut self, id: &str, item: &str, body: &Value) -> Told {
        let said = only(body, ITEM)?;
        let (text, complete) = (text(said, "text")?, status(said)?);
        let list = self.find(id)?;
        let item = list.items.iter_mut().find(|one| one.id == item).ok_or(No(404, "no such item"))?;
        item.version += 1;
        item.text = text.unwrap_or_else(|| std::mem::take(&mut item.text));
        item.complete = complete.unwrap_or(item.complete);
        let shown = item.shown();
        list.version += 1;
        Ok(Answer::json(200, &shown).wrote(1))
    }

    fn remove_item(&mut self, id: &str, item: &str) -> Told {
        let list = self.find(id)?;
        list.items.retain(|one| one.id != item);
        list.version += 1;
        Ok(nothing().wrote(1))
    }
}

impl List {
    fn shown(&self) -> Value {
        let items: Vec<Value> = self.items.iter().map(Item::shown).collect();
        json!({
            "listId": self.id, "listType": self.kind, "title": self.title, "version": self.version,
            "items": items, "notes": null, "owner": null,
        })
    }
}

impl Item {
    /// A text in capitals is the head of a section.
    fn shown(&self) -> Value {
        let head = self.text.chars().any(char::is_uppercase) && !self.text.chars().any(char::is_lowercase);
        json!({
            "itemId": self.id, "text": self.text, "status": if self.complete { "complete" } else { "incomplete" },
            "itemType": if head { Some("header") } else { None }, "version": self.version, "notes": null, "owner": null,
        })
    }
}

/// Success without a word, which still calls itself JSON.
fn nothing() -> Answer {
    Answer::empty(204).with("content-type", "application/json")
}

fn read(items: &[Value], dice: &Dice) -> Result<Vec<Item>, No> {
    let item = |item: &Value| {
        let said = only(item, ITEM)?;
        let id = said.get("itemId").and_then(Value::as_str).map_or_else(|| uuid(dice), str::to_owned);
        let text = text(said, "text")?.ok_or(No(400, "text is missing"))?;
        let version = said.get("version").and_then(Value::as_i64).unwrap_or(0) + 1;
        Ok(Item { id, text, complete: status(said)?.unwrap_or(false), version })
    };
    items.iter().map(item).collect()
}

fn only<'a>(body: &'a Value, known: &[&str]) -> Result<&'a Map<String, Value>, No> {
    let object = body.as_object().ok_or(No(400, "an object is expected"))?;
    match object.keys().all(|key| known.contains(&key.as_str())) {
        true => Ok(object),
        false => Err(No(400, "unknown member")),
    }
}

/// White space around a text is dropped.
fn text(said: &Map<String, Value>, name: &str) -> Result<Option<String>, No> {
    match said.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if !text.trim().is_empty() => Ok(Some(text.trim().to_owned())),
        Some(_) => Err(No(400, "a text is expected")),
    }
}

fn kind(said: &Map<String, Value>) -> Result<Option<String>, No> {
    match said.get("listType").map(Value::as_str) {
        None => Ok(None),
        Some(Some(kind @ ("shopping" | "todo"))) => Ok(Some(kind.to_owned())),
        Some(_) => Err(No(400, "listType is shopping or todo")),
    }
}

fn status(said: &Map<String, Value>) -> Result<Option<bool>, No> {
    match said.get("status").map(Value::as_str) {
        None => Ok(None),
        Some(Some("complete")) => Ok(Some(true)),
        Some(Some("incomplete")) => Ok(Some(false)),
        Some(_) => Err(No(400, "status is complete or incomplete")),
    }
}
