//! Where far sides are and as whom they are spoken to, as whoever runs the server has set it.
//!
//! Owns: `Providers`, which addresses of ours a far side can reach, where people may be sent back to. Does not own: the
//! options' names (`config`), calls.

use std::net::IpAddr;

use url::{Host, Url};

use super::record::Kind;
use crate::auth::oauth::Endpoints;
use crate::http::fetch::public;

/// Whether an interface that is not official is offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CoziState {
    /// It is.
    On,
    /// It is, with a word of warning.
    #[default]
    Beta,
    /// It is not.
    Off,
}

/// The far sides that have places of their own.
#[derive(Debug, Clone)]
pub struct Providers {
    /// Google.
    pub google: Endpoints,
    /// Microsoft.
    pub outlook: Endpoints,
    /// Where Apple's calendars are.
    pub icloud: String,
    /// Where Cozi is.
    pub cozi: String,
    /// Whether Cozi is offered.
    pub cozi_state: CoziState,
}

/// Apple's own place.
const ICLOUD: &str = "https://caldav.icloud.com/";
/// Cozi's own place.
const COZI: &str = "https://rest.cozi.com/";

impl Default for Providers {
    fn default() -> Providers {
        Providers {
            google: Endpoints::google(),
            outlook: Endpoints::microsoft(),
            icloud: ICLOUD.into(),
            cozi: COZI.into(),
            cozi_state: CoziState::default(),
        }
    }
}

impl Providers {
    /// Returns the addresses that were set to something else than the far sides' own.
    pub fn chosen(&self) -> Vec<Url> {
        let mut all = self.google.chosen();
        all.extend(self.outlook.chosen());
        for (set, own) in [(&self.icloud, ICLOUD), (&self.cozi, COZI)] {
            all.extend(Url::parse(set).ok().filter(|_| set != own));
        }
        all
    }

    /// Returns as whom tokens are fetched; nothing: accounts of that kind need none.
    pub(super) fn endpoints(&self, kind: Kind) -> Option<&Endpoints> {
        match kind {
            Kind::Google => Some(&self.google),
            Kind::Outlook => Some(&self.outlook),
            Kind::Caldav | Kind::Icloud | Kind::Cozi | Kind::Ics => None,
        }
    }
}

/// The address under which clients and far sides reach this server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Base(Url);

impl Base {
    /// Reads it; nothing: it is none.
    pub(super) fn read(text: &str) -> Option<Base> {
        let mut url = Url::parse(text).ok()?;
        if !url.path().ends_with('/') {
            let path = format!("{}/", url.path());
            url.set_path(&path);
        }
        Some(Base(url))
    }

    /// Returns an address below it.
    pub(super) fn below(&self, path: &str) -> Option<Url> {
        self.0.join(path.trim_start_matches('/')).ok()
    }

    /// S3-049: people come back over https, or stay on their own machine.
    pub(super) fn is_safe(&self) -> bool {
        self.0.scheme() == "https" || is_loopback(&self.0)
    }

    /// Tells whether that far side can send us notifications: over https at a public address, or both on one machine.
    pub(super) fn reachable_from(&self, api: &str) -> bool {
        if is_loopback(&self.0) {
            return Url::parse(api).is_ok_and(|api| is_loopback(&api));
        }
        self.0.scheme() == "https"
            && match self.0.host() {
                Some(Host::Ipv4(ip)) => public(IpAddr::V4(ip)),
                Some(Host::Ipv6(ip)) => public(IpAddr::V6(ip)),
                // A name without a dot is one of a network, not of the Internet (RFC 6762 for `.local`).
                Some(Host::Domain(name)) => {
                    let name = name.trim_end_matches('.');
                    name.contains('.')
                        && ![".local", ".internal", ".localhost", ".lan", ".home.arpa"]
                            .iter()
                            .any(|end| name.ends_with(end))
                }
                None => false,
            }
    }

    /// Returns where a person goes back to: a path, or an address below ours. Nothing: it would lead elsewhere.
    pub(super) fn return_to(&self, wish: &str) -> Option<Url> {
        let plain = wish.bytes().all(|b| b.is_ascii_graphic() && b != b'\\') && wish.len() <= 2000;
        let path = wish.starts_with('/') && !wish.starts_with("//");
        if !plain || !(path || wish.starts_with(self.0.as_str())) {
            return None;
        }
        // A path may be given as it stands in the browser, with the prefix of a proxy, or below ours.
        let url = if path && !wish.starts_with(self.0.path()) {
            self.below(wish)?
        } else {
            self.0.join(wish).ok()?
        };
        let same = url.origin() == self.0.origin() && url.path().starts_with(self.0.path());
        (same && url.username().is_empty() && url.password().is_none()).then_some(url)
    }
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn people_are_sent_back_to_our_own_pages_only() {
        let base = Base::read("https://cal.example.org/k").unwrap();
        for (wish, want) in [
            ("/settings?tab=1", Some("https://cal.example.org/k/settings?tab=1")),
            ("/k/settings", Some("https://cal.example.org/k/settings")),
            ("https://cal.example.org/k/x", Some("https://cal.example.org/k/x")),
            ("//evil.example/", None),
            ("/\\evil.example/", None),
            ("https://evil.example/", None),
            ("https://cal.example.org.evil.example/k/", None),
            ("https://cal.example.org/other", None),
            ("https://cal.example.org/k/../other", None),
            ("/k/../../x", None),
            ("javascript:alert(1)", None),
            ("/a\r\nSet-Cookie: x", None),
            ("settings", None),
            ("", None),
        ] {
            assert_eq!(base.return_to(wish).as_ref().map(Url::as_str), want, "{wish}");
        }
        let plain = Base::read("http://127.0.0.1:8008").unwrap();
        assert_eq!(plain.return_to("/done").unwrap().as_str(), "http://127.0.0.1:8008/done");
        assert_eq!(plain.return_to("//evil.example"), None);
    }

    // S3-047, S3-049
    #[test]
    fn far_sides_reach_public_addresses_over_https() {
        let google = "https://www.googleapis.com/";
        for (base, api, want) in [
            ("https://cal.example.org", google, true),
            ("http://cal.example.org", google, false),
            ("https://192.168.1.5", google, false),
            ("https://localhost:8443", google, false),
            ("https://nas", google, false),
            ("https://nas.local/", google, false),
            ("https://1.1.1.1/", google, true),
            ("http://127.0.0.1:8008", "http://127.0.0.1:9000/", true),
            ("http://127.0.0.1:8008", google, false),
        ] {
            assert_eq!(Base::read(base).unwrap().reachable_from(api), want, "{base}");
        }
        assert!(Base::read("http://localhost:8008").unwrap().is_safe());
        assert!(!Base::read("http://cal.example.org").unwrap().is_safe());
    }
}
