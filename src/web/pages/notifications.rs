//! What people are told without having asked.

use askama::Template;
use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::http::Reply;
use crate::web::Web;
use crate::web::ask::{Wish, encoded};
use crate::web::shell::{Shell, page, part};
use crate::web::texts::T;
use crate::web::visit::{Stop, Visit};

const AT: &str = "/notifications";

#[derive(Debug, Deserialize)]
struct Notice {
    id: String,
    sentence: String,
    open: bool,
    raised_at: String,
    read_at: Option<String>,
    #[serde(default)]
    links: Map<String, Value>,
}

impl Notice {
    /// Returns the page that it is about.
    fn leads_to(&self) -> String {
        let of = |name: &str| self.links.get(name).and_then(Value::as_str);
        let below = |path: &str| path.split("/api/v1").nth(1).unwrap_or(path).to_owned();
        ["conflict", "mapping", "connection"].iter().find_map(|name| of(name)).map(below).unwrap_or_default()
    }
}

#[derive(Template)]
#[template(path = "notifications.html")]
struct List {
    s: Shell,
    notices: Vec<Notice>,
    unread: bool,
}

/// The list.
pub(in crate::web) async fn show(web: &Web, visit: Visit) -> Result<Reply, Stop> {
    let notices: Vec<Notice> = web.list(&visit, AT, 100).await?;
    let unread = notices.iter().any(|notice| notice.read_at.is_none());
    let shown = List { s: Shell::of(web, &visit, AT, T.menu_notifications), notices, unread };
    Ok(page(StatusCode::OK, &shown.s, &shown))
}

#[derive(Template)]
#[template(
    source = "{% if count > 0 %}<span class=\"count\">{{ count }}<span class=\"visually-hidden\"> {{ words }}</span></span>{% endif %}",
    ext = "html"
)]
struct Count {
    count: usize,
    words: &'static str,
}

/// How many wait to be read: every page asks for it.
pub(in crate::web) async fn count(web: &Web, visit: Visit) -> Result<Reply, Stop> {
    let unread: Vec<Value> = web.list(&visit, &format!("{AT}?unread=true"), 100).await?;
    Ok(part(StatusCode::OK, &Count { count: unread.len(), words: T.unread }))
}

/// Marks one as read, or all.
pub(in crate::web) async fn read(web: &Web, visit: Visit) -> Result<Reply, Stop> {
    let path = match visit.field("id") {
        "" => format!("{AT}/read-all"),
        id => format!("{AT}/{}/read", encoded(id)),
    };
    web.ask(&visit, Method::POST, &path, Wish::default()).await?.good()?;
    Ok(web.go(AT))
}
