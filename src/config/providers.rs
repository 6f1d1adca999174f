//! The options `providers.*`: as whom and where far sides are spoken to.
//!
//! Owns: their names and defaults. Does not own: what is done with them (`bridge`, `auth::oauth`).

use std::path::Path;

use url::{Host, Url};

use super::Setting;
use super::values::{first_line, word};
use crate::auth::grant::Secret;
use crate::bridge::CoziState;

/// Every one of them, in the order of the example.
pub(super) const SETTINGS: &[Setting] = &[
    Setting {
        key: "providers.google.client_id",
        default: "",
        example: "\"1234-abcd.apps.googleusercontent.com\"",
        doc: "Google Calendar: the OAuth client of this server, from the Google Cloud console (docs/connections.md says how).\n\
              Without one, nobody can connect a Google account and Google is never called.",
        set: |config, text| name(text, &mut config.providers.google.client_id),
    },
    Setting {
        key: "providers.google.client_secret",
        default: "",
        example: "\"GOCSPX-...\"",
        doc: "Its secret; better in a file: client_secret_file.",
        set: |config, text| secret(text, &mut config.providers.google.client_secret),
    },
    Setting {
        key: "providers.google.client_secret_file",
        default: "",
        example: "\"/etc/kalends.google\"",
        doc: "The file that holds its secret, alone on the first line.",
        set: |config, text| secret_file(text, &mut config.providers.google.client_secret),
    },
    Setting {
        key: "providers.google.api_base",
        default: "\"https://www.googleapis.com/\"",
        example: "",
        doc: "Where Google is; a simulator can stand in.",
        set: |config, text| place(text, &mut config.providers.google.api_base),
    },
    Setting {
        key: "providers.google.auth_url",
        default: "\"https://accounts.google.com/o/oauth2/v2/auth\"",
        example: "",
        doc: "Where people are asked for their consent.",
        set: |config, text| place(text, &mut config.providers.google.auth_url),
    },
    Setting {
        key: "providers.google.token_url",
        default: "\"https://oauth2.googleapis.com/token\"",
        example: "",
        doc: "Where tokens are given out.",
        set: |config, text| place(text, &mut config.providers.google.token_url),
    },
    Setting {
        key: "providers.google.revoke_url",
        default: "\"https://oauth2.googleapis.com/revoke\"",
        example: "",
        doc: "Where a consent is given back when an account is disconnected.",
        set: |config, text| place(text, &mut config.providers.google.revoke_url),
    },
    Setting {
        key: "providers.google.redirect_uri",
        default: "",
        example: "\"https://www.example.org/google/callback\"",
        doc: "Where people come back to after their consent, as it is registered with Google. Default: /oauth/google/callback\n\
              below server.base_url. Whatever is there has to send the browser on to that address, with the query as it is.",
        set: |config, text| back(text, &mut config.providers.google.redirect),
    },
    Setting {
        key: "providers.outlook.client_id",
        default: "",
        example: "\"11111111-2222-3333-4444-555555555555\"",
        doc: "Outlook and Microsoft 365: the application that is registered for this server in Microsoft Entra\n\
              (docs/connections.md says how). Without one, nobody can connect such an account and Microsoft is never called.",
        set: |config, text| name(text, &mut config.providers.outlook.client_id),
    },
    Setting {
        key: "providers.outlook.client_secret",
        default: "",
        example: "\"abc8Q~...\"",
        doc: "Its secret; better in a file: client_secret_file.",
        set: |config, text| secret(text, &mut config.providers.outlook.client_secret),
    },
    Setting {
        key: "providers.outlook.client_secret_file",
        default: "",
        example: "\"/etc/kalends.outlook\"",
        doc: "The file that holds its secret, alone on the first line.",
        set: |config, text| secret_file(text, &mut config.providers.outlook.client_secret),
    },
    Setting {
        key: "providers.outlook.api_base",
        default: "\"https://graph.microsoft.com/v1.0\"",
        example: "",
        doc: "Where Microsoft Graph is; national clouds have other places, and a simulator can stand in.",
        set: |config, text| place(text, &mut config.providers.outlook.api_base),
    },
    Setting {
        key: "providers.outlook.auth_url",
        default: "\"https://login.microsoftonline.com/common/oauth2/v2.0/authorize\"",
        example: "",
        doc: "Where people are asked for their consent. `common` stands for any work, school or personal account; put\n\
              `consumers`, `organizations` or a tenant's id in its place, here and in token_url, to admit only those.",
        set: |config, text| place(text, &mut config.providers.outlook.auth_url),
    },
    Setting {
        key: "providers.outlook.token_url",
        default: "\"https://login.microsoftonline.com/common/oauth2/v2.0/token\"",
        example: "",
        doc: "Where tokens are given out.",
        set: |config, text| place(text, &mut config.providers.outlook.token_url),
    },
    Setting {
        key: "providers.outlook.revoke_url",
        default: "",
        example: "\"https://login.example.org/revoke\"",
        doc: "Where a consent is given back (RFC 7009). Microsoft has no such place: tokens are forgotten here.",
        set: |config, text| place(text, &mut config.providers.outlook.revoke_url),
    },
    Setting {
        key: "providers.outlook.redirect_uri",
        default: "",
        example: "\"https://www.example.org/outlook/callback\"",
        doc: "Where people come back to after their consent, as it is registered with Microsoft. Default:\n\
              /oauth/outlook/callback below server.base_url.",
        set: |config, text| back(text, &mut config.providers.outlook.redirect),
    },
    Setting {
        key: "providers.icloud.url",
        default: "\"https://caldav.icloud.com/\"",
        example: "",
        doc: "Where iCloud's calendars are.",
        set: |config, text| place(text, &mut config.providers.icloud),
    },
    Setting {
        key: "providers.cozi.api_base",
        default: "\"https://rest.cozi.com/\"",
        example: "",
        doc: "Where Cozi is.",
        set: |config, text| place(text, &mut config.providers.cozi),
    },
    Setting {
        key: "providers.cozi.state",
        default: "\"beta\"",
        example: "",
        doc: "Whether Cozi accounts can be connected: on, beta (with a word of warning) or off. Cozi offers no official\n\
              interface: it can change or close at any time.",
        set: |config, text| {
            let words = [("on", CoziState::On), ("beta", CoziState::Beta), ("off", CoziState::Off)];
            word(text, &words, &mut config.providers.cozi_state)
        },
    },
];

/// Reads the address of a far side. It may be plain http only where that stays on this machine or in its network.
fn place(text: &str, into: &mut String) -> Result<(), String> {
    let bad = || format!("{text:?} is no address like https://api.example.org/");
    let url = Url::parse(text.trim()).map_err(|_| bad())?;
    let plain = url.username().is_empty() && url.password().is_none() && url.fragment().is_none();
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none_or(str::is_empty) || !plain {
        return Err(bad());
    }
    *into = text.trim().to_owned();
    Ok(())
}

/// S3-049: over https, or on this machine.
fn back(text: &str, into: &mut Option<String>) -> Result<(), String> {
    let mut address = String::new();
    place(text, &mut address)?;
    let url = Url::parse(&address).map_err(|why| why.to_string())?;
    let local = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    };
    if url.scheme() != "https" && !local {
        return Err(format!("{text:?} is not https"));
    }
    *into = Some(address);
    Ok(())
}

fn name(text: &str, into: &mut String) -> Result<(), String> {
    if text.trim().is_empty() || !text.trim().bytes().all(|b| b.is_ascii_graphic()) {
        return Err("this is no client id".into());
    }
    text.trim().clone_into(into);
    Ok(())
}

/// What was written is never repeated: it is a secret.
fn secret(text: &str, into: &mut Option<Secret>) -> Result<(), String> {
    if text.trim().is_empty() || text.chars().any(char::is_control) {
        return Err("this is no client secret".into());
    }
    *into = Some(Secret::new(text.trim()));
    Ok(())
}

fn secret_file(text: &str, into: &mut Option<Secret>) -> Result<(), String> {
    secret(&first_line(Path::new(text))?, into).map_err(|_| format!("{text}: its first line is no secret"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use crate::config::Config;

    // S1-030, S2-051, S3-050, S4-027, S1-072, S1-073 and E11: the documents' names are read too, each with one line that does not
    // tell the value
    #[test]
    fn clients_come_from_the_file_from_files_and_from_the_environment() {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("secret");
        std::fs::write(&file, "from-a-file\n").unwrap();
        let variables = [
            ("GOOGLE_CLIENT_ID", "g-id"),
            ("GOOGLE_CLIENT_SECRET", "g-secret"),
            ("MICROSOFT_CLIENT_ID", "m-id"),
            ("MICROSOFT_CLIENT_SECRET_FILE", file.to_str().unwrap()),
            ("MICROSOFT_REDIRECT_URI", "https://www.example.org/outlook"),
            ("KALENDS_PROVIDERS__GOOGLE__CLIENT_ID", "ours"),
            ("GOOGLE_CALENDAR_REDIRECT_URI", "http://localhost:3000/oauth/google/callback"),
        ];
        let variables = variables.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned()));
        let (config, notes) = Config::load(None, variables).unwrap();
        assert_eq!(config.providers.google.client_id, "ours");
        assert_eq!(config.providers.google.client_secret.as_ref().unwrap().reveal(), "g-secret");
        assert_eq!(config.providers.outlook.client_id, "m-id");
        assert_eq!(config.providers.outlook.client_secret.as_ref().unwrap().reveal(), "from-a-file");
        assert_eq!(
            config.providers.google.redirect.as_deref(),
            Some("http://localhost:3000/oauth/google/callback")
        );
        assert_eq!(config.providers.outlook.redirect.as_deref(), Some("https://www.example.org/outlook"));
        assert_eq!(notes.len(), 6, "{notes:?}");
        for secret in ["g-secret", "from-a-file"] {
            assert!(!notes.iter().any(|note| note.contains(secret)), "{notes:?}");
            assert!(!format!("{config:?}").contains(secret));
        }
        // Any Microsoft account, or one organisation's only; version 1.0 of Graph.
        let outlook = &Config::default().providers.outlook;
        assert!(outlook.api_base.ends_with("graph.microsoft.com/v1.0"), "{}", outlook.api_base);
        assert!(outlook.auth_url.contains("/common/") && outlook.token_url.contains("/common/"));
        let tenant = "https://login.microsoftonline.com/1b2c/oauth2/v2.0/token";
        let mut config = Config::default();
        config.read(&format!("[providers.outlook]\ntoken_url = \"{tenant}\"")).unwrap();
        assert_eq!(config.providers.outlook.token_url, tenant);
        let mut config = Config::default();
        config.read("[providers.google]\nclient_id = \"x\"\n[providers.cozi]\nstate = \"off\"").unwrap();
        assert_eq!(config.providers.google.client_id, "x");
        for (key, bad) in [
            ("providers.google.token_url", "ftp://x/"),
            ("providers.google.token_url", "https://a:b@x/"),
            ("providers.cozi.state", "maybe"),
            ("providers.google.client_id", "a b"),
            ("providers.google.redirect_uri", "http://www.example.org/back"),
            ("providers.outlook.redirect_uri", "/back"),
        ] {
            assert!(config.set(key, bad).is_err(), "{key} {bad}");
        }
        let why = config.set("providers.google.client_secret", "gehe\nim").unwrap_err();
        assert!(!why.contains("gehe"), "{why}");
    }
}
