//! Signing in and out, and the address itself: what is there depends on who opens it.

use askama::Template;
use http::{StatusCode, header};

use super::setup;
use crate::auth::Denied;
use crate::auth::session::{forgotten, handed};
use crate::http::Reply;
use crate::store::Principal;
use crate::web::form::Form;
use crate::web::shell::{Shell, page};
use crate::web::texts::T;
use crate::web::visit::{Stop, Visit, local};
use crate::web::{Web, agent};

const FIELDS: &[&str] = &["user", "password", "next"];

#[derive(Template)]
#[template(path = "sign_in.html")]
struct SignIn {
    s: Shell,
    f: Form,
    /// What calendar programs are given.
    address: String,
    /// The server is meant to be opened there; a browser keeps no session of its here.
    elsewhere: Option<String>,
}

/// The address of the server.
pub(in crate::web) async fn home(web: &Web, visit: Visit) -> Result<Reply, Stop> {
    if visit.who.is_some() {
        return super::calendar::show(web, visit).await;
    }
    if web.first.open(web).await? {
        return setup::waiting(web, &visit);
    }
    Ok(shown(web, &visit, StatusCode::OK, Form::new(FIELDS)))
}

/// The form.
pub(in crate::web) async fn show(web: &Web, visit: Visit) -> Result<Reply, Stop> {
    let next = local(visit.parameter("next").unwrap_or("/"));
    if visit.who.is_some() {
        return Ok(web.go(next));
    }
    let mut form = Form::new(FIELDS);
    form.set("next", next);
    Ok(shown(web, &visit, StatusCode::OK, form))
}

fn shown(web: &Web, visit: &Visit, status: StatusCode, f: Form) -> Reply {
    let s = Shell::bare(web, T.sign_in);
    let shown = SignIn { s, f, address: web.address(&visit.headers), elsewhere: web.elsewhere(visit) };
    page(status, &shown.s, &shown)
}

/// Somebody wants in.
pub(in crate::web) async fn enter(web: &Web, visit: Visit) -> Result<Reply, Stop> {
    let mut form = Form::sent(&visit, FIELDS);
    let denied = match web.guard.sign_in(visit.field("user"), visit.typed("password"), visit.peer).await {
        Ok(caller) => {
            let next = local(visit.field("next")).to_owned();
            return begin(web, &visit, &caller.principal, &next).await;
        }
        Err(denied) => denied,
    };
    let (status, why) = match denied {
        Denied::Missing | Denied::Wrong => (StatusCode::UNPROCESSABLE_ENTITY, T.wrong_password),
        Denied::Slow(_) => (StatusCode::TOO_MANY_REQUESTS, T.too_many_tries),
        Denied::Busy => (StatusCode::SERVICE_UNAVAILABLE, T.busy),
        Denied::Fault(fault) => return Err(fault.into()),
    };
    form.refuse("", why);
    Ok(shown(web, &visit, status, form))
}

/// Begins a session and goes on.
pub(in crate::web) async fn begin(
    web: &Web,
    visit: &Visit,
    principal: &Principal,
    next: &str,
) -> Result<Reply, Stop> {
    // A browser has one session at a time: the one that it brought ends.
    if let Some(who) = &visit.who {
        end(web, &who.session.user, &who.session.id).await?;
    }
    let (agent, address) = agent(visit);
    let secret = web.guard.begin_session(principal, agent, address).await?;
    let mut reply = web.go(next);
    if let Some(cookie) = handed(&secret, &web.base) {
        reply.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    Ok(reply)
}

async fn end(web: &Web, user: &str, id: &str) -> Result<(), Stop> {
    match web.guard.end_session(user, id).await.map_err(Stop::from) {
        // Somebody else ended it.
        Ok(()) | Err(Stop::Missing) => Ok(()),
        Err(stop) => Err(stop),
    }
}

/// Somebody wants out.
pub(in crate::web) async fn leave(web: &Web, visit: Visit) -> Result<Reply, Stop> {
    let who = visit.member()?;
    end(web, &who.session.user, &who.session.id).await?;
    let mut reply = web.go("/sign-in");
    if let Some(cookie) = forgotten(&web.base) {
        reply.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    Ok(reply)
}
