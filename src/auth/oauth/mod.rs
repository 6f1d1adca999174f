//! OAuth 2.0 as a client: asking people for their consent on a far side, and keeping the tokens fresh.
//!
//! Owns: the authorization request with PKCE, the token endpoint and what its answers mean, giving a consent back, whose
//! account it is, which scopes are needed. Does not own: where tokens are kept and who may use them (`bridge`).
//!
//! RFC 6749, RFC 7636 (PKCE), RFC 7009 (revocation), and what the two vendors made of them.

mod client;
mod grant;

use url::Url;

pub use client::{Client, Denial};
pub use grant::{Grant, Pkce, digest, random_text};

use super::grant::Secret;

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

    /// Returns the option whose client id and secret are meant.
    fn section(self) -> &'static str {
        match self {
            Vendor::Google => "providers.google",
            Vendor::Microsoft => "providers.outlook",
        }
    }

    /// Returns what consent is asked for. No more than is needed (E8): the events, the list of calendars, whose it is.
    fn scopes(self) -> &'static [&'static str] {
        match self {
            Vendor::Google => &[
                "https://www.googleapis.com/auth/calendar.events",
                "https://www.googleapis.com/auth/calendar.calendarlist.readonly",
                "https://www.googleapis.com/auth/userinfo.email",
            ],
            Vendor::Microsoft => &["offline_access", "User.Read", "Calendars.ReadWrite"],
        }
    }

    /// Returns what the bridge cannot do without: what it is for, and the scopes any of which gives it, by their last path
    /// segment in lower case. Vendors answer with scopes in other spellings than they were asked for.
    fn needs(self) -> &'static [(&'static str, &'static [&'static str])] {
        match self {
            Vendor::Google => &[
                ("see and change your events", &["calendar.events", "calendar"]),
                (
                    "see the list of your calendars",
                    &[
                        "calendar.calendarlist.readonly",
                        "calendar.calendarlist",
                        "calendar.readonly",
                        "calendar",
                    ],
                ),
            ],
            Vendor::Microsoft => {
                &[("see and change your events", &["calendars.readwrite", "calendars.readwrite.shared"])]
            }
        }
    }
}
