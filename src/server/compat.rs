//! Paths that other documents use for what the API has: one table of equals (`compat.routes`, `docs/compat.md`).
//!
//! Owns: from their method and path to ours. Does not own: any answer; bodies and answers are those of the native routes.

use http::Method;

use crate::http::Request;

/// A set of aliases, named after what they come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Set {
    /// `/calendar/connections…`, `/webhooks/…`.
    Marketplace,
    /// `/calendar-sync/…`.
    Hub,
    /// `/api/calendar/…`, `/api/webhooks/…`, `/api/cron/…`.
    Plan,
    /// `/caldav/…`, `/mappings`, `/sync`.
    Microservice,
    /// `/calendar/ics/…`.
    Feed,
}

impl std::str::FromStr for Set {
    type Err = String;

    fn from_str(text: &str) -> Result<Set, String> {
        Ok(match text {
            "marketplace" => Set::Marketplace,
            "hub" => Set::Hub,
            "plan" => Set::Plan,
            "microservice" => Set::Microservice,
            "feed" => Set::Feed,
            _ => {
                let sets = "marketplace, hub, plan, microservice and feed";
                return Err(format!("{text:?} is no set of routes; there are {sets}"));
            }
        })
    }
}

/// One alias; `{}` stands for one segment, the same on both sides.
pub struct Alias {
    /// The set that it belongs to.
    pub set: Set,
    /// The method as it comes.
    pub method: Method,
    /// The path as it comes.
    pub path: &'static str,
    /// The method of the native route.
    pub as_method: Method,
    /// The path of the native route, with what its query begins with.
    pub as_path: &'static str,
}

macro_rules! aliases {
    ($($set:ident $method:ident $path:literal => $as_method:ident $as_path:literal;)*) => {
        /// Every alias.
        pub static ALIASES: &[Alias] = &[
            $(Alias {
                set: Set::$set,
                method: Method::$method,
                path: $path,
                as_method: Method::$as_method,
                as_path: $as_path,
            },)*
        ];
    };
}

aliases! {
    Marketplace GET "/calendar/connections" => GET "/api/v1/connections";
    Marketplace POST "/calendar/connections/google" => POST "/api/v1/connections/google";
    Marketplace GET "/calendar/connections/google/callback" => GET "/oauth/google/callback";
    Marketplace POST "/calendar/connections/apple" => POST "/api/v1/connections/icloud";
    Marketplace POST "/calendar/connections/outlook" => POST "/api/v1/connections/outlook";
    Marketplace GET "/calendar/connections/outlook/callback" => GET "/oauth/outlook/callback";
    Marketplace DELETE "/calendar/connections/{}" => DELETE "/api/v1/connections/{}";
    Marketplace POST "/calendar/connections/{}/sync" => POST "/api/v1/connections/{}/sync";
    Marketplace POST "/webhooks/google-calendar" => POST "/hooks/google";
    Marketplace POST "/webhooks/outlook-calendar" => POST "/hooks/outlook";
    Hub GET "/calendar-sync/calendars" => GET "/api/v1/mappings";
    Hub POST "/calendar-sync/connect/google" => POST "/api/v1/connections/google";
    Hub GET "/calendar-sync/connect/google/callback" => GET "/oauth/google/callback";
    Hub POST "/calendar-sync/connect/icloud" => POST "/api/v1/connections/icloud";
    Hub POST "/calendar-sync/connect/outlook" => POST "/api/v1/connections/outlook";
    Hub GET "/calendar-sync/connect/outlook/callback" => GET "/oauth/outlook/callback";
    Hub GET "/calendar-sync/{}/available" => GET "/api/v1/connections/{}/calendars";
    Hub POST "/calendar-sync/{}/select" => POST "/api/v1/mappings";
    Hub DELETE "/calendar-sync/calendars/{}" => DELETE "/api/v1/mappings/{}";
    Hub POST "/calendar-sync/calendars/{}/sync" => POST "/api/v1/mappings/{}/sync";
    Hub GET "/calendar-sync/calendars/{}/status" => GET "/api/v1/mappings/{}";
    Hub GET "/calendar-sync/conflicts" => GET "/api/v1/conflicts?status=pending";
    Hub POST "/calendar-sync/conflicts/{}/resolve" => POST "/api/v1/conflicts/{}/resolve";
    Plan POST "/api/calendar/connect/google" => POST "/api/v1/connections/google";
    Plan POST "/api/calendar/connect/apple" => POST "/api/v1/connections/icloud";
    Plan POST "/api/calendar/connect/cozi" => POST "/api/v1/connections/cozi";
    Plan GET "/api/calendar/callback/google" => GET "/oauth/google/callback";
    Plan DELETE "/api/calendar/disconnect/{}" => DELETE "/api/v1/connections/{}";
    Plan GET "/api/calendar/connections" => GET "/api/v1/connections";
    Plan POST "/api/webhooks/google-calendar" => POST "/hooks/google";
    Plan GET "/api/cron/calendar-sync" => POST "/api/v1/sync";
    Plan GET "/api/cron/renew-calendar-webhooks" => POST "/api/v1/connections/renew";
    Microservice POST "/caldav/accounts" => POST "/api/v1/connections/caldav";
    Microservice GET "/caldav/calendars" => GET "/api/v1/connections/caldav/calendars";
    Microservice GET "/mappings" => GET "/api/v1/mappings";
    Microservice POST "/mappings" => POST "/api/v1/mappings";
    Microservice POST "/sync" => POST "/api/v1/sync";
    Feed GET "/calendar/ics/{}" => GET "/feeds/{}";
}

/// Returns the request as our own routes know it, if it is for one of the aliases that are switched on.
pub(super) fn translated(sets: &[Set], mut request: Request) -> Request {
    // Some of these paths are those of pages as well: who looks with a browser means the page.
    let accepts = request.header("accept").unwrap_or_default();
    if !request.headers.contains_key(http::header::AUTHORIZATION) && accepts.contains("text/html") {
        return request;
    }
    // HEAD is GET without a body, here as everywhere.
    let head = request.method == Method::HEAD;
    let method = if head { &Method::GET } else { &request.method };
    let found = ALIASES.iter().filter(|alias| sets.contains(&alias.set) && alias.method == *method);
    let found = found.filter_map(|alias| Some((alias, captured(alias.path, &request.path)?)));
    // A path that is spelled out goes before one with a name in it.
    let Some((alias, segment)) = found.min_by_key(|(_, segment)| segment.is_some()) else { return request };
    let path = alias.as_path.replace("{}", segment.unwrap_or_default());
    let (path, query) = path.split_once('?').map_or((&*path, None), |(path, query)| (path, Some(query)));
    request.query = match (query, request.query.take()) {
        (Some(ours), Some(theirs)) => Some(format!("{ours}&{theirs}")),
        (ours, theirs) => theirs.or_else(|| ours.map(str::to_owned)),
    };
    let path = path.to_owned();
    if !head {
        request.method = alias.as_method.clone();
    }
    request.path = path;
    request
}

/// Returns what stands for the `{}`, if the path is the alias'.
fn captured<'a>(alias: &str, path: &'a str) -> Option<Option<&'a str>> {
    let path = path.strip_suffix('/').unwrap_or(path);
    let Some((before, after)) = alias.split_once("{}") else {
        return (alias == path).then_some(None);
    };
    let segment = path.strip_prefix(before)?.strip_suffix(after)?;
    (!segment.is_empty() && !segment.contains('/')).then_some(Some(segment))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_told_apart() {
        assert_eq!(captured("/a/{}/sync", "/a/7/sync"), Some(Some("7")));
        assert_eq!(captured("/a/{}", "/a/7/"), Some(Some("7")));
        assert_eq!(captured("/a", "/a"), Some(None));
        for other in ["/a/7/sync/x", "/a//sync", "/a/7/8/sync", "/a/sync", "/b"] {
            assert_eq!(captured("/a/{}/sync", other), None, "{other}");
        }
    }

    /// The rows of `docs/compat.md`: their method and path, and ours.
    #[test]
    fn the_page_about_the_aliases_names_all_of_them() {
        let page = include_str!("../../docs/compat.md");
        let mut told: Vec<String> = Vec::new();
        let mut set = String::new();
        for line in page.lines() {
            if let Some(name) = line.strip_prefix("## `").and_then(|rest| rest.strip_suffix('`')) {
                name.clone_into(&mut set);
            }
            let cells: Vec<&str> = line.split('`').collect();
            if line.starts_with("| `") {
                told.push(format!("{set} {} => {}", cells[1], cells[3]));
            }
        }
        let plain = |path: &str| {
            path.replace("/{}", "/ID").replace("ics/ID", "ics/NAME.ics").replace("feeds/ID", "feeds/NAME.ics")
        };
        let mut there: Vec<String> = ALIASES
            .iter()
            .map(|alias| {
                let set = format!("{:?}", alias.set).to_lowercase();
                let (from, to) = (plain(alias.path), plain(alias.as_path));
                format!("{set} {} {from} => {} {to}", alias.method, alias.as_method)
            })
            .collect();
        told.sort();
        there.sort();
        assert_eq!(told, there);
    }
}
