//! URL ↔ resource: the only place where paths are built and parsed.
//!
//! Owns: the shape of the tree under `/dav/`, percent-encoding, the base URL and its prefix, sync-tokens as URIs.
//! Does not own: whether anything is there (`dav/resource`).

use std::fmt::Write;
use std::sync::Arc;

use crate::store::{Collection, Head, Name, Rev, Timestamp};

/// What a path names, whether or not it exists. Percent-encoding is undone: `@` and `%40` are the same.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Href {
    /// `/`
    Root,
    /// `/.well-known/caldav` (RFC 6764 §5).
    WellKnown,
    /// `/remote.php/dav`, which GNOME Online Accounts insists on.
    Decoy,
    /// `/dav/`
    Context,
    /// `/dav/principals/` and, as Apple's clients guess it, `/principals/`.
    Principals,
    /// `/dav/principals/USER/`
    Principal(Name),
    /// `/dav/calendars/`
    Calendars,
    /// `/dav/calendars/USER/`
    Home(Name),
    /// `/dav/calendars/USER/NAME/`
    Calendar(Name, Name),
    /// `/dav/calendars/USER/NAME/OBJECT`
    Object(Name, Name, Name),
    /// `/dav/files/`
    FilesRoot,
    /// `/dav/files/USER/…`: a collection or a file.
    Files(Name, Vec<Name>),
}

impl Href {
    /// Reads a path as it was sent, without the base URL's prefix. Doubled slashes count once; a final slash does
    /// not matter. Nothing: no resource can have this path.
    pub fn parse(path: &str) -> Option<Href> {
        let mut parts = path.split('/').filter(|part| !part.is_empty());
        let Some(first) = parts.next() else { return Some(Href::Root) };
        match first {
            "dav" => {}
            "principals" => return parts.next().is_none().then_some(Href::Principals),
            ".well-known" => {
                return (parts.next() == Some("caldav") && parts.next().is_none()).then_some(Href::WellKnown);
            }
            "remote.php" => return (parts.next()? == "dav").then_some(Href::Decoy),
            _ => return None,
        }
        let Some(branch) = parts.next() else { return Some(Href::Context) };
        let mut names = parts.enumerate().map(|(i, part)| if i == 0 { user(part) } else { decode(part) });
        match branch {
            "principals" => match (names.next(), names.next()) {
                (None, _) => Some(Href::Principals),
                (Some(user), None) => Some(Href::Principal(user?)),
                _ => None,
            },
            "calendars" => match (names.next(), names.next(), names.next(), names.next()) {
                (None, ..) => Some(Href::Calendars),
                (Some(user), None, ..) => Some(Href::Home(user?)),
                (Some(user), Some(calendar), None, _) => Some(Href::Calendar(user?, calendar?)),
                (Some(user), Some(calendar), Some(object), None) => {
                    Some(Href::Object(user?, calendar?, object?))
                }
                _ => None,
            },
            "files" => match names.next() {
                None => Some(Href::FilesRoot),
                Some(user) => Some(Href::Files(user?, names.collect::<Option<Vec<Name>>>()?)),
            },
            _ => None,
        }
    }

    /// Tells whether a segment of the path cannot be a name: too long, not UTF-8, a control character, a slash.
    pub fn has_bad_name(path: &str) -> bool {
        path.split('/').filter(|part| !part.is_empty()).any(|part| decode(part).is_none())
    }

    /// Returns the resource that holds this one and its name there, where both are named by clients.
    pub fn parent(&self) -> Option<(Href, &Name)> {
        match self {
            Href::Calendar(user, calendar) => Some((Href::Home(user.clone()), calendar)),
            Href::Object(user, calendar, object) => {
                Some((Href::Calendar(user.clone(), calendar.clone()), object))
            }
            Href::Files(user, path) => {
                let (last, rest) = path.split_last()?;
                Some((Href::Files(user.clone(), rest.to_vec()), last))
            }
            Href::Root | Href::WellKnown | Href::Decoy | Href::Context | Href::Principals => None,
            Href::Principal(_) | Href::Calendars | Href::Home(_) | Href::FilesRoot => None,
        }
    }

    /// Returns the member of that name, if this can have members that clients name.
    pub fn member(&self, name: &Name) -> Option<Href> {
        match self {
            Href::Home(user) => Some(Href::Calendar(user.clone(), name.clone())),
            Href::Calendar(user, calendar) => {
                Some(Href::Object(user.clone(), calendar.clone(), name.clone()))
            }
            Href::Files(user, path) => {
                let mut path = path.clone();
                path.push(name.clone());
                Some(Href::Files(user.clone(), path))
            }
            _ => None,
        }
    }

    /// Writes the canonical path. Collections and principals end in a slash, because Apple's and other clients fail
    /// otherwise; whether a path under `/dav/files/` is a collection only the resource knows: see [`collection_path`].
    fn write(&self, out: &mut String) {
        let mut nested = |branch: &str, names: &[&Name]| {
            out.push_str("/dav/");
            out.push_str(branch);
            for name in names {
                out.push('/');
                encode(name.as_str(), out);
            }
        };
        match self {
            Href::Root => {}
            Href::WellKnown => out.push_str("/.well-known/caldav"),
            Href::Decoy => out.push_str("/remote.php/dav"),
            Href::Context => out.push_str("/dav"),
            Href::Principals => nested("principals", &[]),
            Href::Principal(user) => nested("principals", &[user]),
            Href::Calendars => nested("calendars", &[]),
            Href::Home(user) => nested("calendars", &[user]),
            Href::Calendar(user, calendar) => nested("calendars", &[user, calendar]),
            Href::Object(user, calendar, object) => nested("calendars", &[user, calendar, object]),
            Href::FilesRoot => nested("files", &[]),
            Href::Files(user, path) => {
                nested("files", &[user]);
                for name in path {
                    out.push('/');
                    encode(name.as_str(), out);
                }
            }
        }
        let slash = match self {
            Href::Files(_, path) => path.is_empty(),
            Href::Object(..) | Href::WellKnown => false,
            _ => true,
        };
        if slash {
            out.push('/');
        }
    }
}

/// Appends the slash that a collection's path ends in.
pub fn collection_path(mut path: String) -> String {
    if !path.ends_with('/') {
        path.push('/');
    }
    path
}

/// Appends a percent-encoded segment: everything but RFC 3986 §2.3's unreserved characters is encoded, `@` too (iCal
/// needs it so), so that each resource has exactly one spelling.
pub fn encode(segment: &str, out: &mut String) {
    for byte in segment.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
}

fn decode(segment: &str) -> Option<Name> {
    let text = percent_encoding::percent_decode_str(segment).decode_utf8().ok()?;
    Name::new(text)
}

/// Login names are lower case; people type them as they like.
fn user(segment: &str) -> Option<Name> {
    let name = decode(segment)?;
    match name.as_str().chars().any(char::is_uppercase) {
        true => Name::new(name.as_str().to_lowercase()),
        false => Some(name),
    }
}

/// Where the server is found from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Site {
    /// Scheme, host and port.
    origin: String,
    /// Host without port, lower case.
    host: String,
    /// Path before `/dav/`, without a final slash; usually empty.
    prefix: String,
}

/// Why a URL that a client sent names nothing here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Elsewhere {
    /// It is on another host (RFC 4918 §9.8.5: 502).
    Host,
    /// It is here, but no resource can have this path.
    Path,
    /// It is no URL.
    Broken,
}

impl Site {
    /// Reads `server.base_url`.
    ///
    /// # Errors
    /// A sentence if it is no http or https URL with a host.
    pub fn new(base_url: &str) -> Result<Site, String> {
        let url = url::Url::parse(base_url).map_err(|error| format!("{base_url:?} is not a URL: {error}"))?;
        let host = url.host_str().ok_or_else(|| format!("{base_url:?} has no host"))?.to_lowercase();
        if !matches!(url.scheme(), "http" | "https") {
            return Err(format!("{base_url:?} is neither http nor https"));
        }
        Ok(Site {
            origin: url.origin().ascii_serialization(),
            host,
            prefix: url.path().trim_end_matches('/').to_owned(),
        })
    }

    /// Returns the path of the resource as it is sent to clients.
    pub fn path(&self, href: &Href) -> String {
        let mut out = String::with_capacity(self.prefix.len() + 64);
        out.push_str(&self.prefix);
        href.write(&mut out);
        out
    }

    /// Returns the whole URL of the resource.
    pub fn url(&self, href: &Href) -> String {
        let mut out = String::with_capacity(self.origin.len() + self.prefix.len() + 64);
        out.push_str(&self.origin);
        out.push_str(&self.prefix);
        href.write(&mut out);
        out
    }

    /// Returns the address of something of ours by its path, which begins with a slash.
    pub fn absolute(&self, path: &str) -> String {
        format!("{}{}{path}", self.origin, self.prefix)
    }

    /// Returns the path before `/dav/`.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Reads a URL or path that a client sent in a header or a body: absolute, or an absolute path, with or without
    /// the prefix. `hosts` are names that the
    /// request itself was sent to, which no base URL knows; scheme and port are not compared, since proxies change both
    /// (Radicale 3.5.10, 3.6.1 broke there).
    ///
    /// # Errors
    /// When it names no resource of this server.
    pub fn locate(&self, text: &str, hosts: &[Option<Arc<str>>]) -> Result<Href, Elsewhere> {
        let text = text.trim();
        let path = match text.split_once("://") {
            Some((scheme, rest)) if !scheme.contains('/') => {
                let (authority, path) = match rest.find('/') {
                    Some(at) => rest.split_at(at),
                    None => (rest, "/"),
                };
                let name = host_name(authority);
                if name != self.host && !hosts.iter().flatten().any(|host| host_name(host) == name) {
                    return Err(Elsewhere::Host);
                }
                path
            }
            _ if text.starts_with('/') => text,
            _ => return Err(Elsewhere::Broken),
        };
        let path = path.split(['?', '#']).next().unwrap_or_default();
        let inner =
            path.strip_prefix(self.prefix.as_str()).filter(|rest| rest.is_empty() || rest.starts_with('/'));
        Href::parse(inner.unwrap_or(path)).ok_or(Elsewhere::Path)
    }
}

/// Returns an authority's host, lower case, without user and port.
fn host_name(authority: &str) -> String {
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let end = match host.strip_prefix('[') {
        Some(_) => host.find(']').map_or(host.len(), |at| at + 1),
        None => host.find(':').unwrap_or(host.len()),
    };
    host.get(..end).unwrap_or(host).to_lowercase()
}

/// Where a client stands in a collection's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// The number of the last change that it knows.
    pub rev: Rev,
    /// When that change was made.
    pub at: Timestamp,
}

impl From<Head> for Position {
    fn from(head: Head) -> Position {
        Position { rev: head.rev, at: head.at }
    }
}

/// Returns a position as a sync-token: an absolute URI (RFC 6578 §4), the same after restart, restore and a change of
/// the base URL.
///
/// Two times are part of it, because numbers alone can lie: when the collection was made, since they begin anew
/// in a new store; when the last change was made, since they go on from an older one in a store that was set back to a
/// backup.
pub fn sync_token(collection: &Collection, position: Position) -> String {
    let Position { rev, at } = position;
    format!("urn:kalends:sync:{}-{:x}:{}-{:x}", collection.id.0, collection.created.0, rev.0, at.0)
}

/// Reads a sync-token of this collection back. Nothing: it is none.
pub fn read_sync_token(text: &str, collection: &Collection) -> Option<Position> {
    let (_, position) = text.trim().rsplit_once(':')?;
    let (rev, at) = position.split_once('-')?;
    let position = Position { rev: Rev(rev.parse().ok()?), at: Timestamp(i64::from_str_radix(at, 16).ok()?) };
    // Compared as it would be written: there is one spelling.
    (text.trim() == sync_token(collection, position)).then_some(position)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use super::*;
    use crate::store::{CollectionId, Kind, Properties};

    fn check(path: &str, canonical: &str) {
        let site = Site::new("https://cal.example.org/").unwrap();
        let href = Href::parse(path);
        let got = href.as_ref().map_or(String::from("-"), |href| site.path(href));
        assert_eq!(got, canonical, "{path} read as {href:?}");
        if let Some(href) = href {
            assert_eq!(Href::parse(&got), Some(href), "{got} reads back");
        }
    }

    #[test]
    fn paths() {
        for (path, canonical) in [
            ("/", "/"),
            ("", "/"),
            ("/.well-known/caldav", "/.well-known/caldav"),
            ("/.well-known/carddav", "-"),
            ("/remote.php/dav/files/x", "/remote.php/dav/"),
            ("/dav", "/dav/"),
            ("/principals/", "/dav/principals/"),
            ("/dav/principals/anna", "/dav/principals/anna/"),
            ("/dav/principals/anna/x", "-"),
            ("/dav/calendars", "/dav/calendars/"),
            ("/dav/calendars/anna", "/dav/calendars/anna/"),
            ("/dav/calendars/Anna/Work", "/dav/calendars/anna/Work/"),
            // one spelling out, every spelling in.
            ("/dav/calendars/anna@example.org/", "/dav/calendars/anna%40example.org/"),
            ("/dav/calendars/anna%40example.org/", "/dav/calendars/anna%40example.org/"),
            ("//dav//calendars/a/b/c.ics", "/dav/calendars/a/b/c.ics"),
            ("/dav/calendars/a/b/c+d e%2Bf%2bg.ics", "/dav/calendars/a/b/c%2Bd%20e%2Bf%2Bg.ics"),
            ("/dav/calendars/a/b/ü[1]'.ics", "/dav/calendars/a/b/%C3%BC%5B1%5D%27.ics"),
            ("/dav/calendars/a/b/c/d", "-"),
            ("/dav/calendars/a/..", "-"),
            ("/dav/calendars/a/b%2Fc", "-"),
            ("/dav/calendars/a/%FF", "-"),
            ("/dav/files/a", "/dav/files/a/"),
            ("/dav/files/a/b/c d/", "/dav/files/a/b/c%20d"),
            ("/dav/other", "-"),
            ("/other", "-"),
        ] {
            check(path, canonical);
        }
    }

    #[test]
    fn urls_of_clients() {
        let site = Site::new("https://cal.example.org/kalends/").unwrap();
        let home = Ok(Href::Home(Name::new("a b").unwrap()));
        for (text, expected) in [
            ("https://cal.example.org/kalends/dav/calendars/a%20b/", home.clone()),
            ("http://CAL.example.org:5232/kalends/dav/calendars/a%20b", home.clone()),
            ("http://inner:8008/dav/calendars/a b/?x#y", home.clone()),
            ("/kalends/dav/calendars/a%20b/", home.clone()),
            ("/dav/calendars/a%20b/", home),
            ("https://other.example.org/dav/", Err(Elsewhere::Host)),
            ("/elsewhere", Err(Elsewhere::Path)),
            ("dav/", Err(Elsewhere::Broken)),
        ] {
            assert_eq!(site.locate(text, &[None, Some("inner:8008".into())]), expected, "{text}");
        }
        assert_eq!(site.path(&Href::Context), "/kalends/dav/");
        assert_eq!(site.url(&Href::Context), "https://cal.example.org/kalends/dav/");
    }

    #[test]
    fn tokens() {
        let made = |id: u64, at: i64| Collection {
            id: CollectionId(id),
            parent: CollectionId::HOMES,
            name: Name::new("c").unwrap(),
            owner: "anna".into(),
            kind: Kind::Calendar,
            components: Vec::new(),
            properties: Properties::default(),
            created: Timestamp(at),
            modified: Timestamp(at),
        };
        let collection = made(17, 1_780_000_000_000);
        let position = Position { rev: Rev(4), at: Timestamp(1_780_000_001_234) };
        let token = sync_token(&collection, position);
        assert_eq!(read_sync_token(&token, &collection), Some(position));
        assert_eq!(read_sync_token(&format!(" {token}\n"), &collection), Some(position));
        assert_eq!(read_sync_token(&token, &made(18, 1_780_000_000_000)), None, "another collection");
        assert_eq!(read_sync_token(&token, &made(17, 1_780_000_000_001)), None, "another store");
        let (stem, _) = token.rsplit_once(':').unwrap();
        for end in ["", "4", "4-", "+4-1", "04-1", "4-01", "4-+1", "-1-1", "x-1", "99999999999999999999-1"] {
            assert_eq!(read_sync_token(&format!("{stem}:{end}"), &collection), None, "{end}");
        }
        for bad in ["", "17", "urn:kalends:sync:17", "http://x/sync/17:4"] {
            assert_eq!(read_sync_token(bad, &collection), None, "{bad}");
        }
    }
}
