//! The tokens of programs: what each may, made once, revoked.

use askama::Template;
use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::json;

use super::users::{path, users};
use super::{AT, Tabs};
use crate::http::Reply;
use crate::web::Web;
use crate::web::ask::{Wish, encoded};
use crate::web::form::Form;
use crate::web::shell::{Shell, page};
use crate::web::texts::T;
use crate::web::texts::admin::T as W;
use crate::web::visit::{Stop, Visit};

const FIELDS: &[&str] = &["user", "label", "scopes"];

/// What a token may carry, in plain words.
const SCOPES: [(&str, &str); 5] = [
    ("read", T.scope_read),
    ("events", T.scope_events),
    ("bookings", T.scope_bookings),
    ("bridges", T.scope_bridges),
    ("admin", T.scope_admin),
];

/// A token, as the API tells it.
#[derive(Debug, Deserialize)]
pub(super) struct Token {
    pub(super) id: String,
    pub(super) label: String,
    pub(super) scopes: Vec<String>,
    pub(super) created_at: String,
    /// Told once.
    token: Option<String>,
}

/// Returns those of an account.
pub(super) async fn of(web: &Web, visit: &Visit, user: &str) -> Result<Vec<Token>, Stop> {
    web.list(visit, &format!("{}/tokens", path(user)), 500).await
}

struct Row {
    user: String,
    /// The path of whose it is.
    at: String,
    t: Token,
}

#[derive(Template)]
#[template(path = "admin_tokens.html")]
struct List {
    s: Shell,
    tabs: Tabs,
    f: Form,
    scopes: [(&'static str, &'static str); 5],
    users: Vec<String>,
    rows: Vec<Row>,
}

async fn list(web: &Web, visit: &Visit, status: StatusCode, f: Form) -> Result<Reply, Stop> {
    let users: Vec<String> = users(web, visit).await?.into_iter().map(|user| user.name).collect();
    let mut rows = Vec::new();
    for user in &users {
        let own = of(web, visit, user).await?;
        rows.extend(own.into_iter().map(|t| Row { user: user.clone(), at: encoded(user), t }));
    }
    let s = Shell::of(web, visit, AT, T.admin_tokens);
    let shown = List { s, tabs: Tabs::at("/admin/tokens"), f, scopes: SCOPES, users, rows };
    Ok(page(status, &shown.s, &shown))
}

/// All of them, and a form for another one.
pub(in crate::web) async fn show(web: &Web, visit: Visit) -> Result<Reply, Stop> {
    let mut f = Form::new(FIELDS);
    f.set("user", visit.parameter("user").unwrap_or(visit.user()?));
    f.set("scopes.read", "on");
    list(web, &visit, StatusCode::OK, f).await
}

#[derive(Template)]
#[template(path = "admin_token.html")]
struct Made {
    s: Shell,
    tabs: Tabs,
    label: String,
    user: String,
    scopes: String,
    token: String,
    address: String,
}

/// Makes one, and shows it this once.
pub(in crate::web) async fn create(web: &Web, visit: Visit) -> Result<Reply, Stop> {
    let mut f = Form::sent(&visit, FIELDS);
    let chosen = |(name, _): &(&'static str, &str)| f.is(format!("scopes.{name}"), "on").then_some(*name);
    let scopes: Vec<&str> = SCOPES.iter().filter_map(chosen).collect();
    let user = f.value("user").to_owned();
    let wish = Wish::of(json!({ "label": f.value("label"), "scopes": scopes })).once(&visit);
    let answer = web.ask(&visit, Method::POST, &format!("{}/tokens", path(&user)), wish).await?;
    let status = answer.status;
    if status == StatusCode::NOT_FOUND {
        f.refuse("user", T.no_such_user);
        return list(web, &visit, StatusCode::UNPROCESSABLE_ENTITY, f).await;
    }
    if status.is_client_error() {
        answer.or_told(&mut f);
        return list(web, &visit, status, f).await;
    }
    let made: Token = answer.read()?;
    let shown = Made {
        s: Shell::of(web, &visit, AT, &made.label),
        tabs: Tabs::at("/admin/tokens"),
        scopes: made.scopes.join(", "),
        token: made.token.unwrap_or_default(),
        label: made.label,
        user,
        address: web.address(&visit.headers),
    };
    Ok(page(StatusCode::OK, &shown.s, &shown))
}

/// Revokes one.
pub(in crate::web) async fn revoke(web: &Web, visit: Visit) -> Result<Reply, Stop> {
    let at = format!("{}/tokens/{}", path(visit.id()), encoded(visit.part(1)));
    web.ask(&visit, Method::DELETE, &at, Wish::default()).await?.good()?;
    Ok(web.go("/admin/tokens"))
}
