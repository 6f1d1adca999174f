//! Accounts: who has one, and making another.

use askama::Template;
use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{AT, Tabs};
use crate::http::Reply;
use crate::web::Web;
use crate::web::ask::{Wish, encoded};
use crate::web::form::Form;
use crate::web::shell::{Shell, page};
use crate::web::texts::T;
use crate::web::texts::admin::T as W;
use crate::web::visit::{Stop, Visit};

const FIELDS: &[&str] = &["name", "display_name", "emails", "admin", "password", "again"];
/// As many accounts are shown; the command line lists all.
const MOST: usize = 1000;

/// An account, as the API tells it.
#[derive(Debug, Deserialize)]
pub(super) struct User {
    pub(super) etag: String,
    pub(super) name: String,
    pub(super) display_name: String,
    pub(super) emails: Vec<String>,
    pub(super) admin: bool,
    pub(super) has_password: bool,
    pub(super) created_at: String,
    /// What is weak about the password that was just set.
    pub(super) warning: Option<String>,
}

impl User {
    fn at(&self) -> String {
        path(&self.name)
    }
}

/// Returns the accounts.
pub(super) async fn users(web: &Web, visit: &Visit) -> Result<Vec<User>, Stop> {
    web.list(visit, "/users", MOST).await
}

/// Returns the path of an account, here and in the API alike below its prefix.
pub(super) fn path(name: &str) -> String {
    format!("/users/{}", encoded(name))
}

/// Returns the addresses that were typed, with blanks, commas or lines between them.
pub(super) fn addresses(text: &str) -> Vec<&str> {
    text.split([',', ';', ' ', '\n']).map(str::trim).filter(|one| !one.is_empty()).collect()
}

/// Says at its field when the two are not the same; nothing is asked of the API then.
pub(super) fn agree(visit: &Visit, f: &mut Form) {
    if visit.typed("password") != visit.typed("again") {
        f.refuse("again", T.password_differs);
    }
}

#[derive(Template)]
#[template(path = "admin_users.html")]
struct List {
    s: Shell,
    tabs: Tabs,
    users: Vec<User>,
    removed: bool,
}

/// The list.
pub(in crate::web) async fn show(web: &Web, visit: Visit) -> Result<Reply, Stop> {
    let shown = List {
        s: Shell::of(web, &visit, AT, T.admin_users),
        tabs: Tabs::at("/admin/users"),
        users: users(web, &visit).await?,
        removed: visit.parameter("said") == Some("removed"),
    };
    Ok(page(StatusCode::OK, &shown.s, &shown))
}

#[derive(Template)]
#[template(path = "admin_new_user.html")]
struct New {
    s: Shell,
    tabs: Tabs,
    f: Form,
}

fn form(web: &Web, visit: &Visit, status: StatusCode, f: Form) -> Reply {
    let s = Shell::of(web, visit, AT, T.new_user);
    let shown = New { s, tabs: Tabs::at("/admin/users"), f };
    page(status, &shown.s, &shown)
}

/// The form for a new one.
pub(in crate::web) async fn new(web: &Web, visit: Visit) -> Result<Reply, Stop> {
    Ok(form(web, &visit, StatusCode::OK, Form::new(FIELDS)))
}

/// Makes an account.
pub(in crate::web) async fn create(web: &Web, visit: Visit) -> Result<Reply, Stop> {
    let mut f = Form::sent(&visit, FIELDS);
    agree(&visit, &mut f);
    if f.refused() {
        return Ok(form(web, &visit, StatusCode::UNPROCESSABLE_ENTITY, f));
    }
    let mut body = Map::new();
    body.insert("name".into(), json!(f.value("name")));
    body.insert("display_name".into(), json!(f.value("display_name")));
    body.insert("emails".into(), json!(addresses(f.value("emails"))));
    body.insert("admin".into(), json!(f.is("admin", "on")));
    if !visit.typed("password").is_empty() {
        body.insert("password".into(), json!(visit.typed("password")));
    }
    let answer = web.ask(&visit, Method::POST, "/users", Wish::of(Value::Object(body)).once(&visit)).await?;
    let status = answer.status;
    if status.is_client_error() {
        answer.or_told(&mut f);
        return Ok(form(web, &visit, status, f));
    }
    let made: User = answer.read()?;
    let said = if made.warning.is_some() { "weak" } else { "made" };
    Ok(web.go(&format!("/admin{}?said={said}", path(&made.name))))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_typed_in_any_way() {
        assert_eq!(
            addresses(" a@b.example,c@d.example\n e@f.example ;"),
            ["a@b.example", "c@d.example", "e@f.example"]
        );
        assert!(addresses(" ").is_empty());
    }
}
