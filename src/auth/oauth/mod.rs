//! OAuth 2.0 as a client: asking people for their consent on a far side, and keeping the tokens fresh.
//!
//! Owns: the authorization request with PKCE, the token endpoint and what its answers mean, giving a consent back, whose
//! account it is, which scopes are needed, the cookie of the browser that asked. Does not own: where tokens are kept and who may use them (`bridge`).
//!
//! RFC 6749, RFC 7636 (PKCE), RFC 7009 (revocation), and what the two vendors made of them.

mod browser;
mod client;
mod grant;

use serde::{Deserialize, Serialize};
use url::Url;

pub use browser::{brought, forgotten, handed};
pub use client::{Client, Denial};
pub use grant::{Grant, Pkce, digest, is_random_text, random_text};

use super::grant::Secret;
use crate::store::Timestamp;

/// What a consent is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Access {
    /// To look at calendars.
    Read,
    /// To change them as well.
    #[default]
    Write,
}

/// Who gives out the tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Vendor {
    /// Google.
    Google,
    /// Microsoft's identity platform, version 2.
    Microsoft,
}

/// As whom and where a vendor is spoken to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoints {
    /// Who.
    pub vendor: Vendor,
    /// As whom; empty: not set up, never called.
    pub client_id: String,
    /// With which secret.
    pub client_secret: Option<Secret>,
    /// Where the interface is that the tokens are for.
    pub api_base: String,
    /// Where people are asked.
    pub auth_url: String,
    /// Where tokens are given out.
    pub token_url: String,
    /// Where they are given back; empty: nowhere.
    pub revoke_url: String,
    /// Where people come back to, if that is not below the server's own address; it has to lead there all the same.
    pub redirect: Option<String>,
}

impl Endpoints {
    /// Returns Google's own places, without a client.
    pub fn google() -> Endpoints {
        Endpoints {
            vendor: Vendor::Google,
            client_id: String::new(),
            client_secret: None,
            api_base: "https://www.googleapis.com/".into(),
            auth_url: "https://accounts.google.com/o/oauth2/v2/auth".into(),
            token_url: "https://oauth2.googleapis.com/token".into(),
            revoke_url: "https://oauth2.googleapis.com/revoke".into(),
            redirect: None,
        }
    }

    /// Returns Microsoft's own places, without a client.
    pub fn microsoft() -> Endpoints {
        Endpoints {
            vendor: Vendor::Microsoft,
            client_id: String::new(),
            client_secret: None,
            api_base: "https://graph.microsoft.com/v1.0".into(),
            auth_url: "https://login.microsoftonline.com/common/oauth2/v2.0/authorize".into(),
            token_url: "https://login.microsoftonline.com/common/oauth2/v2.0/token".into(),
            // None is documented: what was entrusted is forgotten here.
            revoke_url: String::new(),
            redirect: None,
        }
    }

    /// Tells whether there is a client to speak as.
    pub fn configured(&self) -> bool {
        !self.client_id.is_empty()
    }

    /// Returns the addresses that are not the vendor's own.
    pub fn chosen(&self) -> Vec<Url> {
        let own = match self.vendor {
            Vendor::Google => Endpoints::google(),
            Vendor::Microsoft => Endpoints::microsoft(),
        };
        let ours = [&self.api_base, &self.auth_url, &self.token_url, &self.revoke_url];
        let theirs = [&own.api_base, &own.auth_url, &own.token_url, &own.revoke_url];
        ours.into_iter()
            .zip(theirs)
            .filter(|(a, b)| a != b)
            .filter_map(|(url, _)| Url::parse(url).ok())
            .collect()
    }
}

impl Vendor {
    /// Returns what people call it.
    pub fn name(self) -> &'static str {
        match self {
            Vendor::Google => "Google",
            Vendor::Microsoft => "Microsoft",
        }
    }

    /// Returns where people come back to, below the server's own address.
    pub fn callback(self) -> &'static str {
        match self {
            Vendor::Google => "oauth/google/callback",
            Vendor::Microsoft => "oauth/outlook/callback",
        }
    }

    /// Returns where notifications are sent to, below the server's own address.
    pub fn hook(self) -> &'static str {
        match self {
            Vendor::Google => "hooks/google",
            Vendor::Microsoft => "hooks/outlook",
        }
    }

    /// Says why a consent ends so early, if that is how this server is registered over there; with a space before it.
    pub fn ends_early(self, given: Timestamp, ended: Timestamp) -> Option<&'static str> {
        const HOUR: i64 = 3_600_000;
        let lasted = ended.0.saturating_sub(given.0);
        match self {
            Vendor::Google if (7 * 24 * HOUR - HOUR..8 * 24 * HOUR).contains(&lasted) => Some(
                " Google ends every consent after seven days while the project that this server is registered with is in \
                 Testing: whoever runs the server can publish it.",
            ),
            Vendor::Microsoft if (24 * HOUR - HOUR / 4..26 * HOUR).contains(&lasted) => Some(
                " Microsoft ends every consent after a day where a server is registered as a single-page application: \
                 whoever runs this one has to register it as Web.",
            ),
            Vendor::Google | Vendor::Microsoft => None,
        }
    }

    /// Returns the option whose client id and secret are meant.
    fn section(self) -> &'static str {
        match self {
            Vendor::Google => "providers.google",
            Vendor::Microsoft => "providers.outlook",
        }
    }

    /// Returns what consent is asked for. No more than is needed (E8): the events, the list of calendars, whose it is.
    fn scopes(self, access: Access) -> &'static [&'static str] {
        match (self, access) {
            (Vendor::Google, Access::Write) => &[
                "https://www.googleapis.com/auth/calendar.events",
                "https://www.googleapis.com/auth/calendar.calendarlist.readonly",
                "https://www.googleapis.com/auth/userinfo.email",
            ],
            (Vendor::Google, Access::Read) => &[
                "https://www.googleapis.com/auth/calendar.events.readonly",
                "https://www.googleapis.com/auth/calendar.calendarlist.readonly",
                "https://www.googleapis.com/auth/userinfo.email",
            ],
            (Vendor::Microsoft, Access::Write) => &["offline_access", "User.Read", "Calendars.ReadWrite"],
            (Vendor::Microsoft, Access::Read) => &["offline_access", "User.Read", "Calendars.Read"],
        }
    }

    /// Returns what the bridge cannot do without: what it is for, and the scopes any of which gives it, by their last path
    /// segment in lower case. Vendors answer with scopes in other spellings than they were asked for.
    fn needs(self, access: Access) -> &'static [(&'static str, &'static [&'static str])] {
        const LIST: (&str, &[&str]) = (
            "see the list of your calendars",
            &["calendar.calendarlist.readonly", "calendar.calendarlist", "calendar.readonly", "calendar"],
        );
        const CHANGE: &str = "see and change your events";
        const SEE: &str = "see your events";
        match (self, access) {
            (Vendor::Google, Access::Write) => &[(CHANGE, &["calendar.events", "calendar"]), LIST],
            (Vendor::Google, Access::Read) => &[
                (SEE, &["calendar.events.readonly", "calendar.events", "calendar.readonly", "calendar"]),
                LIST,
            ],
            (Vendor::Microsoft, Access::Write) => {
                &[(CHANGE, &["calendars.readwrite", "calendars.readwrite.shared"])]
            }
            (Vendor::Microsoft, Access::Read) => &[(
                SEE,
                &[
                    "calendars.read",
                    "calendars.read.shared",
                    "calendars.readwrite",
                    "calendars.readwrite.shared",
                ],
            )],
        }
    }
}
