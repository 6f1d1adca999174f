//! Devices: a password for each, steps for each client, a code to take a picture of, a profile for Apple's.
//!
//! A profile is fetched by a phone that is not signed in: once, within a few
//! minutes, under an address that nobody can guess; it is kept in memory only.

use std::sync::{Mutex, PoisonError};

use askama::Template;
use http::{HeaderValue, Method, StatusCode, header};
use qrcodegen::{QrCode, QrCodeEcc};
use serde::Deserialize;
use serde_json::json;

use crate::http::{Reply, escaped, reply_bytes};
use crate::store::Timestamp;
use crate::web::Web;
use crate::web::ask::{Wish, encoded};
use crate::web::form::Form;
use crate::web::shell::{Shell, page};
use crate::web::texts::T;
use crate::web::visit::{Stop, Visit};

const AT: &str = "/devices";
const FIELDS: &[&str] = &["label"];
/// A profile waits for its phone so long.
const WAITS: i64 = 15 * 60 * 1000;
/// And so many wait at a time, of one account and of all.
const OWN: usize = 10;
const MOST: usize = 1000;

struct Profile {
    code: String,
    until: Timestamp,
    user: String,
    label: String,
    password: String,
    address: String,
}

/// Profiles that wait for a phone.
#[derive(Default)]
pub(in crate::web) struct Profiles(Mutex<Vec<Profile>>);

impl std::fmt::Debug for Profiles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Profiles")
    }
}

impl Profiles {
    fn keep(&self, profile: Profile, now: Timestamp) {
        let mut list = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        list.retain(|one| one.until > now);
        // Whoever makes many pushes out their own first.
        let own = list.iter().filter(|one| one.user == profile.user).count();
        let oldest = list.iter().position(|one| own < OWN || one.user == profile.user);
        if own >= OWN || list.len() >= MOST {
            list.remove(oldest.unwrap_or(0));
        }
        list.push(profile);
    }

    /// Returns the profile of this code, which is worth nothing afterwards.
    fn take(&self, code: &str, now: Timestamp) -> Option<Profile> {
        let mut list = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        list.retain(|one| one.until > now);
        let at = list.iter().position(|one| one.code == code)?;
        Some(list.remove(at))
    }
}

/// The password of a device, as the API tells it.
#[derive(Debug, Deserialize)]
pub(in crate::web) struct Device {
    pub(in crate::web) id: String,
    pub(in crate::web) label: String,
    pub(in crate::web) created_at: String,
    /// Told once.
    password: Option<String>,
}

/// Returns where an account's passwords of devices are.
pub(in crate::web) fn passwords(user: &str) -> String {
    format!("/users/{}/app-passwords", encoded(user))
}

/// Returns the devices of whoever is signed in.
pub(in crate::web) async fn devices(web: &Web, visit: &Visit) -> Result<Vec<Device>, Stop> {
    web.list(visit, &passwords(visit.user()?), 500).await
}

#[derive(Template)]
#[template(path = "devices.html")]
struct List {
    s: Shell,
    f: Form,
    rows: Vec<Device>,
    address: String,
}

/// Returns the code for a text as a drawing.
pub(in crate::web) fn drawing(text: &str) -> String {
    use std::fmt::Write as _;
    let Ok(code) = QrCode::encode_text(text, QrCodeEcc::Medium) else { return String::new() };
    let size = code.size();
    let mut path = String::new();
    for y in 0..size {
        for x in 0..size {
            if code.get_module(x, y) {
                let _ = write!(path, "M{x} {y}h1v1h-1z");
            }
        }
    }
    path
}

/// Returns how wide the drawing of a text is.
pub(in crate::web) fn size(text: &str) -> i32 {
    QrCode::encode_text(text, QrCodeEcc::Medium).map_or(1, |code| code.size())
}

async fn list(web: &Web, visit: &Visit, status: StatusCode, f: Form) -> Result<Reply, Stop> {
    let rows = devices(web, visit).await?;
    let s = Shell::of(web, visit, AT, T.menu_devices);
    let shown = List { s, f, rows, address: web.address(&visit.headers) };
    Ok(page(status, &shown.s, &shown))
}

/// The list.
pub(in crate::web) async fn show(web: &Web, visit: Visit) -> Result<Reply, Stop> {
    list(web, &visit, StatusCode::OK, Form::new(FIELDS)).await
}

#[derive(Template)]
#[template(path = "device.html")]
struct Made {
    s: Shell,
    label: String,
    password: String,
    address: String,
    /// Without the scheme: what Apple asks for.
    server: String,
    profile: String,
    code: String,
    size: i32,
    davx5: String,
}

/// Makes a password for a device, and shows it this once.
pub(in crate::web) async fn add(web: &Web, visit: Visit) -> Result<Reply, Stop> {
    let mut f = Form::sent(&visit, FIELDS);
    let user = visit.user()?;
    let wish = Wish::of(json!({ "label": f.value("label") })).once(&visit);
    let answer = web.ask(&visit, Method::POST, &passwords(user), wish).await?;
    if answer.status.is_client_error() {
        let status = answer.status;
        answer.or_told(&mut f);
        return list(web, &visit, status, f).await;
    }
    let Device { label, password, .. } = answer.read()?;
    let password = password.unwrap_or_default();
    let address = web.address(&visit.headers);
    let now = web.guard.house().clock.now();
    let code = Form::new(&[]).once;
    let profile = format!("{address}/devices/profile/{code}");
    web.profiles.keep(
        Profile {
            code,
            until: Timestamp(now.0.saturating_add(WAITS)),
            user: user.to_owned(),
            label: label.clone(),
            password: password.clone(),
            address: address.clone(),
        },
        now,
    );
    let server = address.split_once("://").map_or(address.as_str(), |(_, rest)| rest).to_owned();
    let shown = Made {
        s: Shell::of(web, &visit, AT, &label),
        davx5: format!("davx5://{user}@{server}/"),
        code: drawing(&profile),
        size: size(&profile),
        label,
        password,
        server,
        address,
        profile,
    };
    Ok(page(StatusCode::OK, &shown.s, &shown))
}

/// Revokes the password of a device.
pub(in crate::web) async fn revoke(web: &Web, visit: Visit) -> Result<Reply, Stop> {
    let path = format!("{}/{}", passwords(visit.user()?), encoded(visit.id()));
    web.ask(&visit, Method::DELETE, &path, Wish::default()).await?.good()?;
    Ok(web.go(AT))
}

/// The profile, for the phone that took a picture of the code; once.
pub(in crate::web) async fn profile(web: &Web, visit: Visit) -> Result<Reply, Stop> {
    let now = web.guard.house().clock.now();
    let Some(profile) = web.profiles.take(visit.id(), now) else { return Err(Stop::Missing) };
    let mut reply = reply_bytes(StatusCode::OK, "application/x-apple-aspen-config", apple(&profile));
    let headers = reply.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    let named = HeaderValue::from_static("attachment; filename=\"kalends.mobileconfig\"");
    headers.insert(header::CONTENT_DISPOSITION, named);
    Ok(reply)
}

/// Writes a profile as Apple's devices read it: Configuration Profile Reference, `com.apple.caldav.account`.
fn apple(profile: &Profile) -> String {
    let url = url::Url::parse(&profile.address).ok();
    let host = url.as_ref().and_then(url::Url::host_str).unwrap_or_default();
    let port = url.as_ref().and_then(url::Url::port_or_known_default).unwrap_or(443);
    let tls = profile.address.starts_with("https:");
    let below = url.as_ref().map_or("", |url| url.path().trim_end_matches('/'));
    let mut name = String::new();
    crate::http::encode(&profile.user, &mut name);
    let id = crate::auth::oauth::digest(&format!("{}{}", profile.address, profile.code));
    let part = |from: usize, to: usize| id.get(from..to).unwrap_or_default().to_owned();
    let uuid = |from: usize| {
        format!(
            "{}-{}-{}-{}-{}",
            part(from, from + 8),
            part(from + 8, from + 12),
            part(from + 12, from + 16),
            part(from + 16, from + 20),
            part(from + 20, from + 32)
        )
    };
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <!DOCTYPE plist PUBLIC \"-//Apple//DTD PLIST 1.0//EN\" \"http://www.apple.com/DTDs/PropertyList-1.0.dtd\">\n\
         <plist version=\"1.0\"><dict>\n\
         <key>PayloadContent</key><array><dict>\n\
         <key>CalDAVAccountDescription</key><string>Kalends</string>\n\
         <key>CalDAVHostName</key><string>{host}</string>\n\
         <key>CalDAVPort</key><integer>{port}</integer>\n\
         <key>CalDAVUseSSL</key><{tls}/>\n\
         <key>CalDAVPrincipalURL</key><string>{below}/dav/principals/{name}/</string>\n\
         <key>CalDAVUsername</key><string>{user}</string>\n\
         <key>CalDAVPassword</key><string>{password}</string>\n\
         <key>PayloadType</key><string>com.apple.caldav.account</string>\n\
         <key>PayloadIdentifier</key><string>kalends.{first}.caldav</string>\n\
         <key>PayloadUUID</key><string>{second}</string>\n\
         <key>PayloadDisplayName</key><string>Kalends</string>\n\
         <key>PayloadVersion</key><integer>1</integer>\n\
         </dict></array>\n\
         <key>PayloadDisplayName</key><string>Kalends: {label}</string>\n\
         <key>PayloadIdentifier</key><string>kalends.{first}</string>\n\
         <key>PayloadType</key><string>Configuration</string>\n\
         <key>PayloadUUID</key><string>{first}</string>\n\
         <key>PayloadVersion</key><integer>1</integer>\n\
         </dict></plist>\n",
        host = escaped(host),
        user = escaped(&profile.user),
        password = escaped(&profile.password),
        label = escaped(&profile.label),
        first = uuid(0),
        second = uuid(32),
    )
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use super::*;

    fn profile(code: &str, until: i64) -> Profile {
        Profile {
            code: code.into(),
            until: Timestamp(until),
            user: "anna".into(),
            label: "<phone>".into(),
            password: "abcd-efgh".into(),
            address: "https://cal.example.org/k".into(),
        }
    }

    #[test]
    fn a_profile_is_given_once_and_not_too_late() {
        let profiles = Profiles::default();
        profiles.keep(profile("a", 10), Timestamp(0));
        profiles.keep(profile("b", 10), Timestamp(0));
        assert!(profiles.take("a", Timestamp(5)).is_some());
        assert!(profiles.take("a", Timestamp(5)).is_none());
        assert!(profiles.take("b", Timestamp(10)).is_none());
        profiles.keep(Profile { user: "bert".into(), ..profile("bert's", 10) }, Timestamp(0));
        for code in 0..=OWN {
            profiles.keep(profile(&code.to_string(), 10), Timestamp(0));
        }
        assert!(profiles.take("0", Timestamp(1)).is_none(), "the oldest of one's own makes room");
        assert!(
            profiles.take("1", Timestamp(1)).is_some() && profiles.take("bert's", Timestamp(1)).is_some()
        );
    }

    #[test]
    fn apples_profile_names_the_account() {
        let text = apple(&profile("a", 1));
        let document = roxmltree::Document::parse_with_options(
            &text,
            roxmltree::ParsingOptions { allow_dtd: true, ..Default::default() },
        )
        .unwrap();
        let value = |key: &str| {
            let key = document.descendants().find(|node| node.text() == Some(key)).unwrap();
            let value = key.next_sibling_element().unwrap();
            value.text().unwrap_or(value.tag_name().name()).to_owned()
        };
        assert_eq!(value("CalDAVHostName"), "cal.example.org");
        assert_eq!((value("CalDAVPort"), value("CalDAVUseSSL")), ("443".into(), "true".into()));
        assert_eq!(value("CalDAVPrincipalURL"), "/k/dav/principals/anna/");
        assert_eq!((value("CalDAVUsername"), value("CalDAVPassword")), ("anna".into(), "abcd-efgh".into()));
        assert!(text.contains("&lt;phone&gt;"));
    }

    #[test]
    fn a_code_is_a_drawing() {
        assert!(drawing("https://cal.example.org/").starts_with("M0 0h1v1h-1z"));
        assert!(size("https://cal.example.org/") >= 21);
    }
}
