//! What people read when a demo is there: where it is, and lines to try that work as they stand.
//!
//! Owns: these words. Does not own: that they are true (`webdav-tests/demo.rs` runs them).

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use super::TOKEN;
use super::far::{DEMO, Far, Kind, instant, today};
use super::furnish::Furnished;
use crate::ical::value::{Civil, DAY};

/// Returns all of it.
pub(super) fn all(base: &str, place: &Path, fars: &[Arc<Far>], there: &Furnished) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = write!(
        out,
        "\n\
         Kalends is ready: a year of calendars, and four far sides that change by themselves.\n\
         All of it runs on this machine alone, in {}; with Ctrl-C it is gone.\n\n\
         \x20 page      {base}/  sign in as {DEMO}, password {DEMO}\n\
         \x20 CalDAV    {base}/  the same, in Thunderbird, Apple Calendar, DAVx5, …\n\
         \x20 API       {base}/api/v1  with the token {TOKEN}; docs/api.md\n\n\
         \x20 kept in step                                        what happens there can be scripted at\n",
        place.display()
    );
    for far in fars {
        let what = match far.kind {
            Kind::Google => "Private, both ways",
            Kind::Outlook => "Work, both ways, conflicts are asked about",
            Kind::Caldav => "Choir, from there to here",
            Kind::Cozi => "Family, from here to there",
        };
        let (name, url) = (far.kind.name(), far.url());
        let _ = writeln!(out, "  {name:<14}{what:<44}{url}/_sim/");
    }
    out.push_str("\nTo try, in another terminal:\n");
    for (what, line) in lines(base, fars, there) {
        let _ = write!(out, "\n# {what}\n{line}\n");
    }
    out.push_str("\nCtrl-C ends it.\n");
    out
}

/// Returns what each line does, and the line.
fn lines(base: &str, fars: &[Arc<Far>], there: &Furnished) -> Vec<(&'static str, String)> {
    let api = format!("curl -sS -H 'Authorization: Bearer {TOKEN}'");
    let of = |name: &str| there.calendars.get(name).map(String::as_str).unwrap_or_default();
    let google = fars.iter().find(|far| far.kind == Kind::Google);
    let (google, now) = google.map_or(("", 0), |far| (far.url(), far.now()));
    let (from, to) = &there.between;
    let (uid, slot, work, private) = (&there.uid, &there.slot, of("work"), of("calendar"));
    let tomorrow = (today(now) + 1) * DAY;
    let [day, eight, nine, night] = [0, 20, 21, 24].map(|hour| instant(Civil(tomorrow + hour * 3600)));
    vec![
        ("which calendars there are", format!("{api} {base}/api/v1/calendars")),
        ("one event", format!("{api} {base}/api/v1/calendars/{work}/events/{uid}")),
        ("its story: who wrote it, where it went", format!("{api} {base}/api/v1/events/{uid}/why")),
        (
            "when somebody could be booked",
            format!("{api} '{base}/api/v1/availability?from={from}&to={to}&duration=PT45M'"),
        ),
        (
            "book one of these times; a second time it is taken",
            format!(
                "{api} -H 'Content-Type: application/json' -d '{{\"start\": \"{slot}\", \"duration\": \"PT45M\", \
                 \"service\": \"Haircut\", \"customer\": {{\"name\": \"Ada Example\"}}}}' {base}/api/v1/bookings"
            ),
        ),
        ("the conflict that waits for a decision", format!("{api} '{base}/api/v1/conflicts?status=pending'")),
        (
            "changes as they happen, for a minute",
            format!("{api} -N --max-time 60 {base}/api/v1/changes/stream"),
        ),
        (
            "somebody makes an event at Google …",
            format!(
                "curl -sS -d '{{\"act\": \"create_elsewhere\", \"calendar\": \"primary\", \"object\": {{\"summary\": \
                 \"Surprise party\", \"start\": {{\"dateTime\": \"{eight}\"}}, \"end\": {{\"dateTime\": \"{nine}\"}}}}}}' \
                 {google}/_sim/act"
            ),
        ),
        (
            "… and a moment later it is here",
            format!("{api} '{base}/api/v1/calendars/{private}/events?from={day}&to={night}'"),
        ),
        (
            "the same calendars over CalDAV",
            format!("curl -sS -u {DEMO}:{DEMO} -X PROPFIND -H 'Depth: 1' {base}/dav/calendars/{DEMO}/"),
        ),
        ("a published feed that tells only when somebody is busy", format!("curl -sS {}", there.feed)),
    ]
}
