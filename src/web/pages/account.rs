//! One's own account: the browsers that are signed in, and signing them out.

use askama::Template;
use http::StatusCode;

use crate::auth::session::Session;
use crate::http::Reply;
use crate::store::Timestamp;
use crate::web::Web;
use crate::web::shell::{Shell, page};
use crate::web::texts::T;
use crate::web::visit::{Stop, Visit};

struct Row {
    id: String,
    browser: String,
    address: String,
    seen: String,
    this: bool,
}

#[derive(Template)]
#[template(path = "account.html")]
struct Account {
    s: Shell,
    emails: String,
    admin: bool,
    address: String,
    sessions: Vec<Row>,
}

fn moment(at: Timestamp) -> String {
    jiff::Timestamp::from_millisecond(at.0).map_or_else(|_| String::new(), |at| at.to_string())
}

/// Returns what a browser's own words say of it, shortly.
pub(in crate::web) fn browser(agent: &str) -> String {
    let of = |names: &[(&str, &str)]| {
        names.iter().find(|(mark, _)| agent.contains(mark)).map(|(_, name)| (*name).to_owned())
    };
    let program = of(&[
        ("Edg/", "Edge"),
        ("OPR/", "Opera"),
        ("Firefox/", "Firefox"),
        ("Chrome/", "Chrome"),
        ("Safari/", "Safari"),
    ]);
    let system = of(&[
        ("iPhone", "iPhone"),
        ("iPad", "iPad"),
        ("Android", "Android"),
        ("Windows", "Windows"),
        ("Mac OS", "macOS"),
        ("Linux", "Linux"),
    ]);
    match (program, system) {
        (Some(program), Some(system)) => format!("{program}, {system}"),
        (Some(one), None) | (None, Some(one)) => one,
        (None, None) => T.unknown_browser.to_owned(),
    }
}

/// The page.
pub(in crate::web) async fn show(web: &Web, visit: Visit) -> Result<Reply, Stop> {
    let who = visit.member()?;
    let row = |session: Session| Row {
        this: session.id == who.session.id,
        browser: browser(&session.agent),
        seen: moment(session.seen),
        address: session.address,
        id: session.id,
    };
    let sessions = web.guard.sessions(visit.user()?).await?.into_iter().map(row).collect();
    let shown = Account {
        s: Shell::of(web, &visit, "/account", T.menu_account),
        emails: who.caller.principal.emails.join(", "),
        admin: who.caller.principal.admin,
        address: web.address(&visit.headers),
        sessions,
    };
    Ok(page(StatusCode::OK, &shown.s, &shown))
}

/// Signs one browser out.
pub(in crate::web) async fn end(web: &Web, visit: Visit) -> Result<Reply, Stop> {
    web.guard.end_session(visit.user()?, visit.id()).await?;
    Ok(web.go("/account"))
}

/// Signs all other browsers out.
pub(in crate::web) async fn end_others(web: &Web, visit: Visit) -> Result<Reply, Stop> {
    let who = visit.member()?;
    web.guard.end_sessions(&who.session.user, Some(&who.session.id)).await?;
    Ok(web.go("/account"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn browsers_are_named_as_people_name_them() {
        let chrome = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/148.0.0.0 Safari/537.36";
        assert_eq!(browser(chrome), "Chrome, Linux");
        assert_eq!(
            browser("Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) Version/18.0 Safari/604.1"),
            "Safari, iPhone"
        );
        assert_eq!(browser("curl/8"), T.unknown_browser);
    }
}
