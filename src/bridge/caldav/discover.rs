//! From what a person typed to the places where calendars are (RFC 6764, RFC 5397, RFC 4791 §6.2.1).

use url::Url;

use super::wire::{Multistatus, Row, Wire, host, may_see_credentials};
use crate::bridge::provider::{RemoteCalendar, RemoteId, Trouble};
use crate::http::dns::{Dns, Srv};
use crate::xml::{Writer, apple, caldav, dav};

/// How many of the places that DNS names are tried.
const PLACES: usize = 3;

/// What discovery found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    /// Collections with calendars in them, or one calendar itself.
    pub(super) homes: Vec<Url>,
}

impl Wire {
    /// Finds the account's calendars, beginning with the address that was given.
    pub(super) async fn discover(&self) -> Result<Found, Trouble> {
        let mut tries = vec![self.home.clone()];
        let at_root = self.home.path().trim_matches('/').is_empty();
        if let Ok(well_known) = self.home.join("/.well-known/caldav") {
            tries.insert(usize::from(!at_root), well_known);
        }
        if !at_root {
            tries.extend(self.home.join("/").ok());
        }
        let mut last = None;
        for url in tries {
            match self.discover_at(&url).await {
                Ok(Some(found)) => return Ok(found),
                Ok(None) => {}
                // Some servers close the connection, or answer anything at all, at the well-known address.
                Err(trouble @ (Trouble::Unauthorised(_) | Trouble::Slow(_) | Trouble::Budget(..))) => {
                    return Err(trouble);
                }
                Err(trouble) => last = last.or(Some(trouble)),
            }
        }
        if self.is_domain() {
            match self.discover_by_dns(self.fetch.dns()).await {
                Ok(Some(found)) => return Ok(found),
                Ok(None) => {}
                Err(trouble @ (Trouble::Unauthorised(_) | Trouble::Slow(_) | Trouble::Budget(..))) => {
                    return Err(trouble);
                }
                Err(trouble) => last = Some(trouble),
            }
        }
        Err(match last {
            Some(trouble @ Trouble::Unreachable(_)) => trouble,
            Some(Trouble::Refused(why)) => Trouble::Refused(why),
            _ => Trouble::Refused(format!(
                "No calendars were found on {}. Give the address that its help names for CalDAV, or that of a calendar.",
                host(&self.home)
            )),
        })
    }

    /// Tells whether no more than a domain was given.
    fn is_domain(&self) -> bool {
        let dotted = self.home.domain().is_some_and(|domain| domain.trim_end_matches('.').contains('.'));
        let bare = self.home.path() == "/" && self.home.query().is_none() && self.home.port().is_none();
        dotted && bare && self.home.scheme() == "https"
    }

    /// RFC 6764 §6, by the domain's records of services over TLS only.
    async fn discover_by_dns(&self, dns: &Dns) -> Result<Option<Found>, Trouble> {
        let name = format!("_caldavs._tcp.{}", host(&self.home).trim_end_matches('.'));
        let places = dns.srv(&name).await;
        if places.is_empty() {
            return Ok(None);
        }
        let path = path(&dns.txt(&name).await);
        let urls = places.iter().take(PLACES).flat_map(|place| addresses(place, path.as_deref()));
        let mut why: Vec<String> = Vec::new();
        for url in urls {
            // Whoever answers for DNS could name any host: the password stays within the domain that was typed in.
            if !may_see_credentials(&self.home, &url) {
                why.push(format!(
                    "The DNS records of {} name {url} for CalDAV, which is another server; the password was not sent \
                     there. Give that address if it is the right one.",
                    host(&self.home)
                ));
                continue;
            }
            match self.discover_at(&url).await {
                Ok(Some(found)) => return Ok(Some(found)),
                Ok(None) => {}
                Err(trouble @ (Trouble::Unauthorised(_) | Trouble::Slow(_) | Trouble::Budget(..))) => {
                    return Err(trouble);
                }
                Err(trouble) => why.push(trouble.to_string()),
            }
        }
        // Each place has its own reason; which of them matters only a person can tell.
        why.dedup();
        if why.is_empty() { Ok(None) } else { Err(Trouble::Refused(why.join(" "))) }
    }

    async fn discover_at(&self, url: &Url) -> Result<Option<Found>, Trouble> {
        let first = self.ask(url).await?;
        let Some(row) = own(&first) else { return Ok(None) };
        if row.is_calendar() {
            return Ok(Some(Found { homes: vec![first.url] }));
        }
        let homes = self.homes(row, &first.url);
        if !homes.is_empty() {
            return Ok(Some(Found { homes }));
        }
        let principal = row
            .property(&dav("current-user-principal"))
            .or_else(|| row.property(&dav("principal-URL")))
            .and_then(|p| p.child(&dav("href")))
            .and_then(|href| self.place(&first.url, &href.text()));
        let Some(principal) = principal else { return Ok(None) };
        let second = self.ask(&principal).await?;
        let homes = own(&second).map(|row| self.homes(row, &second.url)).unwrap_or_default();
        Ok((!homes.is_empty()).then_some(Found { homes }))
    }

    async fn ask(&self, url: &Url) -> Result<Multistatus, Trouble> {
        let names = [
            dav("resourcetype"),
            dav("current-user-principal"),
            dav("principal-URL"),
            caldav("calendar-home-set"),
        ];
        self.multistatus("PROPFIND", url, "0", propfind(&names)).await
    }

    fn homes(&self, row: &Row, base: &Url) -> Vec<Url> {
        let set = row.property(&caldav("calendar-home-set"));
        let hrefs = set.into_iter().flat_map(|set| set.elements().filter(|e| e.name == dav("href")));
        hrefs.filter_map(|href| self.place(base, &href.text())).collect()
    }

    /// Reads an address in an answer. A server behind a proxy may not know by which name it is called: an address without
    /// encryption on a host to which the password does not go means the same path where we are.
    fn place(&self, base: &Url, href: &str) -> Option<Url> {
        let url = base.join(href.trim()).ok()?;
        if url.scheme() == "http" && !may_see_credentials(&self.home, &url) {
            return base.join(url.path()).ok();
        }
        Some(url)
    }

    /// Lists the calendars in a home; the home may be a calendar itself.
    pub(super) async fn calendars_in(&self, home: &Url) -> Result<Vec<RemoteCalendar>, Trouble> {
        let names = [
            dav("resourcetype"),
            dav("displayname"),
            dav("current-user-privilege-set"),
            caldav("supported-calendar-component-set"),
            apple("calendar-color"),
        ];
        let itself = self.multistatus("PROPFIND", home, "0", propfind(&names)).await?;
        if let Some(row) = own(&itself).filter(|row| row.is_calendar()) {
            return Ok(vec![remote_calendar(row, itself.url.clone())]);
        }
        let all = self.multistatus("PROPFIND", home, "1", propfind(&names)).await?;
        let calendars = all.rows.iter().filter(|row| row.is_calendar());
        Ok(calendars.filter_map(|row| Some(remote_calendar(row, all.url.join(&row.path).ok()?))).collect())
    }
}

fn remote_calendar(row: &Row, mut url: Url) -> RemoteCalendar {
    // One calendar has one id, however its address was spelled.
    if !url.path().ends_with('/') {
        let path = format!("{}/", url.path());
        url.set_path(&path);
    }
    let components = row
        .property(&caldav("supported-calendar-component-set"))
        .map(|set| set.elements().filter_map(|c| c.attribute("name")).map(str::to_ascii_uppercase).collect())
        .unwrap_or_default();
    // RFC 3744 §5.4; a server without access control tells nothing, and then one may try.
    let writable = row.property(&dav("current-user-privilege-set")).is_none_or(|set| {
        set.elements()
            .flat_map(|p| p.elements())
            .any(|p| ["all", "write", "write-content", "bind"].iter().any(|name| p.name == dav(name)))
    });
    let last = url.path().trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    let name = row.text(&dav("displayname")).unwrap_or_else(|| super::wire::decoded(last));
    let color = row.text(&apple("calendar-color"));
    RemoteCalendar { id: RemoteId(url.into()), name, color, primary: false, writable, components }
}

/// Returns the path among the strings of a TXT record (RFC 6764 §4).
fn path(strings: &[String]) -> Option<String> {
    let mut pairs = strings.iter().filter_map(|text| text.split_once('='));
    let (_, path) = pairs.find(|(key, _)| key.eq_ignore_ascii_case("path"))?;
    path.starts_with('/').then(|| path.to_owned())
}

/// Returns where to ask at a place that DNS names: at its path, if one is said, then at the well-known one.
fn addresses(place: &Srv, path: Option<&str>) -> Vec<Url> {
    let Ok(mut url) = Url::parse(&format!("https://{}:{}/", place.target, place.port)) else {
        return Vec::new();
    };
    path.into_iter()
        .chain(["/.well-known/caldav"])
        .map(|path| {
            url.set_path(path);
            url.clone()
        })
        .collect()
}

/// Returns the row about the asked resource itself: the only one of Depth 0.
fn own(answer: &Multistatus) -> Option<&Row> {
    answer.rows.first()
}

/// Returns the body of a PROPFIND for these properties.
pub(super) fn propfind(names: &[crate::xml::Name]) -> Vec<u8> {
    let mut body = Writer::document();
    body.open(&dav("propfind"));
    body.open(&dav("prop"));
    for name in names {
        body.empty(name);
    }
    body.close();
    body.close();
    body.take()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use tokio::net::UdpSocket;

    use super::super::wire::Credentials;
    use super::*;
    use crate::auth::grant::Secret;
    use crate::http::fetch::{Fetch, Private, Timeouts};

    fn wire(home: &str) -> Wire {
        let fetch = Fetch::new(Private::Refused, Timeouts::default()).unwrap();
        let credentials = Credentials { username: "anna".into(), password: Secret::new("geheim") };
        Wire { fetch, credentials, home: Url::parse(home).unwrap() }
    }

    #[test]
    fn only_a_bare_domain_is_looked_up() {
        assert!(wire("https://example.org/").is_domain());
        for other in [
            "http://example.org/",
            "https://example.org:8443/",
            "https://example.org/dav/",
            "https://192.0.2.1/",
            "https://[2001:db8::1]/",
            "https://localhost/",
        ] {
            assert!(!wire(other).is_domain(), "{other}");
        }
    }

    #[test]
    fn a_path_in_dns_cannot_lead_to_another_host() {
        let place = Srv { priority: 0, weight: 0, port: 8443, target: "dav.example.org".into() };
        let shown = |strings: &[&str]| {
            let strings: Vec<String> = strings.iter().map(|&s| s.to_owned()).collect();
            addresses(&place, path(&strings).as_deref()).iter().map(Url::to_string).collect::<Vec<_>>()
        };
        let well_known = "https://dav.example.org:8443/.well-known/caldav";
        assert_eq!(shown(&["x=1", "Path=/dav/"]), ["https://dav.example.org:8443/dav/", well_known]);
        assert_eq!(
            shown(&["path=//evil.example/"]),
            ["https://dav.example.org:8443//evil.example/", well_known]
        );
        for strings in [&["path=https://evil.example/"][..], &["path="], &["path"], &[]] {
            assert_eq!(shown(strings), [well_known], "{strings:?}");
        }
    }

    #[tokio::test]
    async fn the_password_does_not_follow_dns_to_another_domain() {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let dns = Dns::at(vec![socket.local_addr().unwrap()]);
        tokio::spawn(async move {
            let mut buffer = [0; 512];
            while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
                let mut answer = buffer[..length].to_vec();
                answer[2] = 0x81;
                // SRV, not TXT.
                if answer[length - 3] == 33 {
                    answer[7] = 1;
                    answer.extend_from_slice(b"\xc0\x0c\0\x21\0\x01\0\0\0\x3c\0\x12");
                    answer.extend_from_slice(b"\0\0\0\0\x01\xbb\x03dav\x04evil\x01x\0");
                }
                socket.send_to(&answer, from).await.unwrap();
            }
        });
        let wire = wire("https://example.org/");
        let said = wire.discover_by_dns(&dns).await;
        let Err(Trouble::Refused(why)) = said else { panic!("{said:?}") };
        assert!(why.contains("https://dav.evil.x/") && why.contains("the password was not sent"), "{why}");
        assert_eq!(wire.fetch.calls(), 0);
    }
}
