//! What all pages have in common: the frame, the menu, and the headers that keep a browser from doing more than it should.
//!
//! Owns: the Content-Security-Policy, the menu. Does not own: a page's content.

use askama::Template;
use http::{HeaderValue, StatusCode, header};

use super::assets;
use super::texts::T;
use super::visit::Visit;
use super::{Web, form};
use crate::auth::Scope;
use crate::http::{Reply, reply_bytes};

/// An entry of the menu.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) path: &'static str,
    pub(super) icon: &'static str,
    pub(super) words: &'static str,
    pub(super) place: Place,
}

/// Where an entry of the menu is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// In the bar, always in sight: what is looked at most.
    Bar,
    /// Below the last entry of the bar.
    More,
}

/// The menu. A page that is not there is not in it.
pub(super) const MENU: &[Entry] = &[
    bar("/", "calendar", T.menu_calendar),
    bar("/connections", "link", T.menu_connections),
    bar("/mappings", "arrows", T.menu_mappings),
    bar("/conflicts", "conflict", T.menu_conflicts),
    bar("/notifications", "bell", T.menu_notifications),
    more("/bookings", "clock", T.menu_bookings),
    more("/log", "sync", T.log),
    more("/sharing", "share", T.menu_sharing),
    more("/webhooks", "hook", T.menu_webhooks),
    more("/trash", "trash", T.menu_trash),
    more("/devices", "phone", T.menu_devices),
    more("/account", "person", T.menu_account),
];

const fn bar(path: &'static str, icon: &'static str, words: &'static str) -> Entry {
    Entry { path, icon, words, place: Place::Bar }
}

const fn more(path: &'static str, icon: &'static str, words: &'static str) -> Entry {
    Entry { path, icon, words, place: Place::More }
}

/// One more, for administrators.
const ADMIN: Entry = more("/admin", "gear", T.menu_admin);

/// What the frame of a page needs.
#[derive(Debug, Clone)]
pub(super) struct Shell {
    pub(super) title: String,
    /// The path of the menu's entry that this page belongs to.
    pub(super) at: &'static str,
    pub(super) prefix: String,
    /// For the one script that brings styles of its own.
    pub(super) nonce: String,
    /// The word that every change has to say; empty if nobody is signed in.
    pub(super) word: String,
    pub(super) user: String,
    pub(super) name: String,
    pub(super) menu: Vec<&'static Entry>,
}

impl Shell {
    /// Returns the frame for somebody who is not known.
    pub(super) fn bare(web: &Web, title: &str) -> Shell {
        Shell {
            title: title.to_owned(),
            at: "",
            prefix: web.prefix.clone(),
            nonce: form::Form::new(&[]).once,
            word: String::new(),
            user: String::new(),
            name: String::new(),
            menu: Vec::new(),
        }
    }

    /// Returns the frame of a page of the menu's entry `at`.
    pub(super) fn of(web: &Web, visit: &Visit, at: &'static str, title: &str) -> Shell {
        let mut shell = Shell::bare(web, title);
        if let Some(who) = &visit.who {
            let principal = &who.caller.principal;
            shell.word.clone_from(&who.word);
            shell.user.clone_from(&principal.name);
            let named =
                if principal.display_name.is_empty() { &principal.name } else { &principal.display_name };
            shell.name.clone_from(named);
            shell.menu = MENU.iter().chain(who.caller.may(Scope::Admin).then_some(&ADMIN)).collect();
            shell.at = at;
        }
        shell
    }

    /// Returns the entries of the menu in that place.
    pub(super) fn entries(&self, place: Place) -> impl Iterator<Item = &'static Entry> + '_ {
        self.menu.iter().copied().filter(move |entry| entry.place == place)
    }

    /// Tells whether the page that is open is below the last entry of the bar.
    pub(super) fn within_more(&self) -> bool {
        self.entries(Place::More).any(|entry| entry.path == self.at)
    }

    /// Returns the address of an asset.
    pub(super) fn asset(&self, name: &str) -> String {
        format!("{}{}", self.prefix, assets::path(name))
    }
}

/// Answers with a page.
pub(super) fn page(status: StatusCode, shell: &Shell, template: &impl Template) -> Reply {
    let mut reply = part(status, template);
    // Styles by nonce: the calendar widget brings its own. Scripts come from files of ours only.
    let policy = format!(
        "default-src 'none'; script-src 'self'; style-src 'self' 'nonce-{}'; img-src 'self' data:; font-src 'self' data:; \
         connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
        shell.nonce
    );
    if let Ok(policy) = HeaderValue::from_str(&policy) {
        reply.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    reply
}

/// Answers with a part of a page.
pub(super) fn part(status: StatusCode, template: &impl Template) -> Reply {
    let (status, html) = match template.render() {
        Ok(html) => (status, html),
        Err(error) => {
            tracing::error!("a page could not be written: {error}");
            (StatusCode::INTERNAL_SERVER_ERROR, T.failed_hint.to_owned())
        }
    };
    let mut reply = reply_bytes(status, "text/html; charset=utf-8", html);
    let headers = reply.headers_mut();
    let mut set = |name: header::HeaderName, value: &'static str| {
        headers.insert(name, HeaderValue::from_static(value));
    };
    set(header::CACHE_CONTROL, "private, no-store");
    set(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(header::REFERRER_POLICY, "same-origin");
    set(header::X_FRAME_OPTIONS, "DENY");
    set(header::VARY, "Cookie, HX-Request");
    let none = "default-src 'none'; frame-ancestors 'none'";
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(none));
    reply
}

/// What a page says for a moment.
#[derive(Template)]
#[template(source = "<p class=\"toast bad\">{{ detail }}</p>", ext = "html")]
struct Toast<'a> {
    detail: &'a str,
}

/// Answers that a part of a page could not be done.
pub(super) fn toast(status: StatusCode, detail: &str) -> Reply {
    let mut reply = part(status, &Toast { detail });
    let headers = reply.headers_mut();
    headers.insert("hx-retarget", HeaderValue::from_static("#toasts"));
    headers.insert("hx-reswap", HeaderValue::from_static("beforeend"));
    reply
}
