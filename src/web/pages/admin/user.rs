//! One account: its names, its password, what it is signed in with, and taking it away.

use askama::Template;
use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::json;

use super::users::{User, addresses, agree, path};
use super::{AT, Tabs, tokens};
use crate::http::Reply;
use crate::web::Web;
use crate::web::ask::{Wish, encoded};
use crate::web::form::Form;
use crate::web::pages::account::browser;
use crate::web::pages::devices::{Device, passwords};
use crate::web::shell::{Shell, page};
use crate::web::texts::T;
use crate::web::texts::admin::T as W;
use crate::web::visit::{Stop, Visit};

const FIELDS: &[&str] = &["display_name", "emails", "admin", "etag", "password", "again", "confirm"];

/// A browser that is signed in, as the API tells it.
#[derive(Debug, Deserialize)]
struct Browser {
    id: String,
    agent: String,
    address: String,
    seen_at: String,
}

impl Browser {
    fn name(&self) -> String {
        browser(&self.agent)
    }
}

#[derive(Template)]
#[template(path = "admin_user.html")]
struct One {
    s: Shell,
    tabs: Tabs,
    f: Form,
    u: User,
    path: String,
    tokens_at: String,
    devices: Vec<Device>,
    tokens: Vec<tokens::Token>,
    browsers: Vec<Browser>,
    /// What is said on top, and its tone.
    said: Option<(String, &'static str)>,
    own: bool,
}

/// Fills in what is kept of the account.
fn fill(f: &mut Form, u: &User) {
    f.set("display_name", &u.display_name);
    f.set("emails", u.emails.join(", "));
    f.set("admin", if u.admin { "on" } else { "" });
    f.set("etag", &u.etag);
}

async fn shown(
    web: &Web,
    visit: &Visit,
    status: StatusCode,
    f: Option<Form>,
    said: Option<(String, &'static str)>,
) -> Result<Reply, Stop> {
    let u: User = web.read(visit, &path(visit.id())).await?;
    let f = f.unwrap_or_else(|| {
        let mut f = Form::new(FIELDS);
        fill(&mut f, &u);
        f
    });
    let at = path(&u.name);
    let shown = One {
        s: Shell::of(web, visit, AT, &u.name),
        tabs: Tabs::at("/admin/users"),
        f,
        devices: web.list(visit, &passwords(&u.name), 500).await?,
        tokens: tokens::of(web, visit, &u.name).await?,
        browsers: web.list(visit, &format!("{at}/sessions"), 500).await?,
        said,
        own: visit.user()? == u.name,
        path: format!("/admin{at}"),
        tokens_at: format!("/admin/tokens/{}", encoded(&u.name)),
        u,
    };
    Ok(page(status, &shown.s, &shown))
}

/// The account.
pub(in crate::web) async fn show(web: &Web, visit: Visit) -> Result<Reply, Stop> {
    let said = match visit.parameter("said") {
        Some("made") => Some((T.user_made.to_owned(), "good")),
        Some("weak") => Some((T.user_made_weak.to_owned(), "warn")),
        Some("saved") => Some((T.saved.to_owned(), "good")),
        _ => None,
    };
    shown(web, &visit, StatusCode::OK, None, said).await
}

/// Changes names, addresses and the role.
pub(in crate::web) async fn change(web: &Web, visit: Visit) -> Result<Reply, Stop> {
    let mut f = Form::sent(&visit, FIELDS);
    let body = json!({
        "display_name": f.value("display_name"),
        "emails": addresses(f.value("emails")),
        "admin": f.is("admin", "on"),
    });
    let wish = Wish::of(body).only_if(f.value("etag"));
    let at = path(visit.id());
    let answer = web.ask(&visit, Method::PATCH, &at, wish).await?;
    if answer.status == StatusCode::NOT_FOUND {
        return Err(Stop::Missing);
    }
    if answer.or_told(&mut f).is_none() {
        return shown(web, &visit, StatusCode::UNPROCESSABLE_ENTITY, Some(f), None).await;
    }
    Ok(web.go(&format!("/admin{at}?said=saved")))
}

/// Sets another password. Whoever had the old one is out.
pub(in crate::web) async fn password(web: &Web, visit: Visit) -> Result<Reply, Stop> {
    let mut f = Form::sent(&visit, FIELDS);
    agree(&visit, &mut f);
    let mut said = None;
    if !f.refused() {
        let wish = Wish::of(json!({ "password": visit.typed("password") }));
        let answer = web.ask(&visit, Method::PATCH, &path(visit.id()), wish).await?;
        if answer.status == StatusCode::NOT_FOUND {
            return Err(Stop::Missing);
        }
        said = answer.or_told(&mut f);
    }
    let Some(changed) = said else {
        // The other form of the page shows what is kept.
        fill(&mut f, &web.read(&visit, &path(visit.id())).await?);
        return shown(web, &visit, StatusCode::UNPROCESSABLE_ENTITY, Some(f), None).await;
    };
    if visit.user()? == visit.id() {
        // One's own browser is out, too.
        return Err(Stop::SignIn(AT.to_owned()));
    }
    let warning = changed.get("warning").and_then(serde_json::Value::as_str);
    let said = match warning {
        Some(why) => (format!("{} {why}", T.password_set), "warn"),
        None => (T.password_set.to_owned(), "good"),
    };
    shown(web, &visit, StatusCode::OK, None, Some(said)).await
}

/// Takes an account away for good, if its name was typed.
pub(in crate::web) async fn remove(web: &Web, visit: Visit) -> Result<Reply, Stop> {
    let at = path(visit.id());
    let u: User = web.read(&visit, &at).await?;
    let mut f = Form::sent(&visit, FIELDS);
    if f.value("confirm") == u.name {
        let answer = web.ask(&visit, Method::DELETE, &at, Wish::default()).await?;
        if answer.or_told(&mut f).is_some() {
            return Ok(web.go("/admin/users?said=removed"));
        }
    } else {
        f.refuse("confirm", T.type_name);
    }
    fill(&mut f, &u);
    shown(web, &visit, StatusCode::UNPROCESSABLE_ENTITY, Some(f), None).await
}

/// Revokes the password of a device.
pub(in crate::web) async fn revoke(web: &Web, visit: Visit) -> Result<Reply, Stop> {
    let at = format!("{}/{}", passwords(visit.id()), encoded(visit.part(1)));
    web.ask(&visit, Method::DELETE, &at, Wish::default()).await?.good()?;
    Ok(web.go(&format!("/admin{}", path(visit.id()))))
}

/// Signs a browser out.
pub(in crate::web) async fn end_session(web: &Web, visit: Visit) -> Result<Reply, Stop> {
    let at = path(visit.id());
    let session = format!("{at}/sessions/{}", encoded(visit.part(1)));
    web.ask(&visit, Method::DELETE, &session, Wish::default()).await?.good()?;
    Ok(web.go(&format!("/admin{at}")))
}
