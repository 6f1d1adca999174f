//! `/users`: accounts, the passwords of their devices, the tokens of their programs, the sessions of their browsers. For
//! administrators.
//!
//! What it does is what the command line does: both ask the guard.

use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::connections::Password;
use super::json::{Call, reply, time};
use super::problem::Problem;
use super::{Api, done, located};
use crate::auth::{AppPassword, Scope, Scopes, Token, password};
use crate::calendar::{Error, NewPrincipal, Refusal, login_name};
use crate::http::Reply;
use crate::http::path::segment;
use crate::store::{Etag, Principal};

/// The most mail addresses of an account.
const EMAILS: usize = 50;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct New {
    name: String,
    display_name: Option<String>,
    emails: Option<Vec<String>>,
    admin: Option<bool>,
    password: Option<Password>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Change {
    display_name: Option<String>,
    emails: Option<Vec<String>>,
    admin: Option<bool>,
    password: Option<Password>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NewAppPassword {
    label: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NewToken {
    label: String,
    scopes: Vec<Scope>,
}

pub(super) async fn list(api: &Api, call: Call) -> Result<Reply, Problem> {
    let page = call.page()?;
    let all = api.house.principals().await?;
    page.reply(all.iter().map(|user| shown(user)).collect())
}

pub(super) async fn one(api: &Api, call: Call) -> Result<Reply, Problem> {
    Ok(reply(StatusCode::OK, &shown(&*user(api, &call).await?)))
}

pub(super) async fn create(api: &Api, call: Call) -> Result<Reply, Problem> {
    let body: New = call.body()?;
    let name = login_name(&body.name).map_err(|why| Problem::invalid("name", sentence(&why)))?;
    let emails = addresses(body.emails)?;
    let password = body.password.map(|given| secret(given, &name)).transpose()?;
    let (password, warning) = password.unwrap_or_default();
    let new = NewPrincipal {
        name,
        display_name: body.display_name.unwrap_or_default(),
        emails: emails.unwrap_or_default(),
        admin: body.admin.unwrap_or(false),
        password,
    };
    let made = api.guard.add_user(new).await?;
    let document = warned(shown(&made), warning);
    Ok(located(reply(StatusCode::CREATED, &document), &api.site, &path(&made.name)))
}

pub(super) async fn change(api: &Api, call: Call) -> Result<Reply, Problem> {
    let body: Change = call.body()?;
    let before = user(api, &call).await?;
    let emails = addresses(body.emails)?;
    let password = body.password.map(|given| secret(given, &before.name)).transpose()?;
    let (password, warning) = password.unwrap_or_default();
    let phc = api.guard.hashed(password).await?;
    // RFC 9110 §13.1.1: what is looked at is what is changed; nobody comes in between.
    let changed = api.guard.change_user(&before.name, |user| {
        call.expect(&etag(user)).map_err(|_| Refusal::Stale)?;
        if let Some(name) = &body.display_name {
            user.display_name = if name.is_empty() { user.name.clone() } else { name.clone() };
        }
        if let Some(emails) = &emails {
            user.emails.clone_from(emails);
        }
        user.admin = body.admin.unwrap_or(user.admin);
        if let Some(phc) = &phc {
            user.password.clone_from(phc);
        }
        Ok(())
    });
    let changed = changed.await?;
    if phc.is_some() {
        // Whoever had the old one is out, in browsers too.
        api.guard.end_sessions(&changed.name, None).await?;
    }
    Ok(reply(StatusCode::OK, &warned(shown(&changed), warning)))
}

pub(super) async fn remove(api: &Api, call: Call) -> Result<Reply, Problem> {
    let before = user(api, &call).await?;
    call.expect(&etag(&before))?;
    api.guard.remove_user(&before.name).await?;
    Ok(done())
}

pub(super) async fn app_passwords(api: &Api, call: Call) -> Result<Reply, Problem> {
    let page = call.page()?;
    let all = api.guard.app_passwords(&user(api, &call).await?.name).await?;
    page.reply(all.iter().map(device).collect())
}

pub(super) async fn add_app_password(api: &Api, call: Call) -> Result<Reply, Problem> {
    let body: NewAppPassword = call.body()?;
    let user = user(api, &call).await?;
    let (made, secret) = api.guard.add_app_password(&user.name, label(&body.label)?).await?;
    let document = with(device(&made), "password", &secret);
    let at = format!("{}/app-passwords/{}", path(&user.name), made.id);
    Ok(located(reply(StatusCode::CREATED, &document), &api.site, &at))
}

pub(super) async fn revoke_app_password(api: &Api, call: Call) -> Result<Reply, Problem> {
    let user = user(api, &call).await?;
    // By its id alone: a label may be that of several.
    let there = api.guard.app_passwords(&user.name).await?;
    let found = there.iter().find(|kept| kept.id == call.part(1)).ok_or(Refusal::Missing)?;
    api.guard.revoke_app_password(&user.name, &found.id).await?;
    Ok(done())
}

pub(super) async fn tokens(api: &Api, call: Call) -> Result<Reply, Problem> {
    let page = call.page()?;
    let all = api.guard.tokens(Some(&user(api, &call).await?.name)).await?;
    page.reply(all.iter().map(program).collect())
}

pub(super) async fn add_token(api: &Api, call: Call) -> Result<Reply, Problem> {
    let body: NewToken = call.body()?;
    if body.scopes.is_empty() {
        return Err(Problem::invalid("scopes", "Name one scope at least."));
    }
    let user = user(api, &call).await?;
    let scopes = Scopes::from(body.scopes);
    let (made, secret) = api.guard.add_token(&user.name, label(&body.label)?, scopes).await?;
    let document = with(program(&made), "token", &secret);
    let at = format!("{}/tokens/{}", path(&user.name), made.id);
    Ok(located(reply(StatusCode::CREATED, &document), &api.site, &at))
}

pub(super) async fn revoke_token(api: &Api, call: Call) -> Result<Reply, Problem> {
    let user = user(api, &call).await?;
    let there = api.guard.tokens(Some(&user.name)).await?;
    let found = there.iter().find(|token| token.id == call.part(1)).ok_or(Refusal::Missing)?;
    api.guard.revoke_token(&user.name, &found.id).await?;
    Ok(done())
}

pub(super) async fn sessions(api: &Api, call: Call) -> Result<Reply, Problem> {
    let page = call.page()?;
    let all = api.guard.sessions(&user(api, &call).await?.name).await?;
    let shown = all.iter().map(|session| {
        json!({
            "id": session.id, "agent": session.agent, "address": session.address,
            "created_at": time(session.created), "seen_at": time(session.seen),
        })
    });
    page.reply(shown.collect())
}

pub(super) async fn end_session(api: &Api, call: Call) -> Result<Reply, Problem> {
    api.guard.end_session(&user(api, &call).await?.name, call.part(1)).await?;
    Ok(done())
}

/// Reads the account that the path names.
async fn user(api: &Api, call: &Call) -> Result<std::sync::Arc<Principal>, Problem> {
    let Ok(name) = login_name(call.id()) else { return Err(Error::from(Refusal::Missing).into()) };
    let found = api.house.principal(&name).await?;
    found.ok_or_else(|| Error::from(Refusal::Missing).into())
}

/// Returns the password and what is weak about it, which is told and not refused, as on the command line.
fn secret(given: Password, name: &str) -> Result<(String, Option<String>), Problem> {
    let password = given.0.reveal().to_owned();
    if password.is_empty() {
        return Err(Problem::invalid("password", "The password is empty."));
    }
    let weakness = password::weakness(&password, name);
    Ok((password, weakness.map(|why| format!("This password is weak: {why}."))))
}

fn label(text: &str) -> Result<&str, Problem> {
    crate::auth::label(text).map_err(|why| Problem::invalid("label", why))
}

fn addresses(given: Option<Vec<String>>) -> Result<Option<Vec<String>>, Problem> {
    let Some(list) = given else { return Ok(None) };
    let good = |text: &String| {
        let parts = text.split_once('@');
        parts.is_some_and(|(user, host)| !user.is_empty() && !host.is_empty() && !host.contains('@'))
            && text.len() <= 254
            && !text
                .chars()
                .any(|c| c.is_whitespace() || c.is_control() || matches!(c, '<' | '>' | ',' | ';'))
    };
    if list.len() > EMAILS || !list.iter().all(good) {
        return Err(Problem::invalid("emails", "Mail addresses are like anna@example.org."));
    }
    Ok(Some(list))
}

fn shown(user: &Principal) -> Value {
    json!({
        "id": user.name,
        "etag": etag(user).0,
        "name": user.name,
        "display_name": user.display_name,
        "emails": user.emails,
        "admin": user.admin,
        "has_password": !user.password.is_empty(),
        "created_at": time(user.created),
    })
}

/// What is kept of an account, its password too, under a digest.
fn etag(user: &Principal) -> Etag {
    Etag::of(&serde_json::to_vec(user).unwrap_or_default())
}

fn device(kept: &AppPassword) -> Value {
    json!({ "id": kept.id, "label": kept.label, "created_at": time(kept.created) })
}

fn program(token: &Token) -> Value {
    json!({
        "id": token.id, "label": token.label, "scopes": token.scopes, "created_at": time(token.created),
    })
}

fn warned(document: Value, warning: Option<String>) -> Value {
    match warning {
        Some(warning) => with(document, "warning", &warning),
        None => document,
    }
}

fn with(mut document: Value, name: &str, text: &str) -> Value {
    if let Some(fields) = document.as_object_mut() {
        fields.insert(name.to_owned(), json!(text));
    }
    document
}

fn path(user: &str) -> String {
    format!("/users/{}", segment(user))
}

/// Begins with a capital, ends with a full stop.
fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|c| c.to_uppercase().to_string()).unwrap_or_default();
    format!("{first}{}.", letters.as_str())
}
