//! What the configuration is, for whoever administers the server: each option with its value and where it was said.
//!
//! Owns: that no secret is among it. Does not own: the options (`config`), who may read it (`api`).

use std::collections::BTreeMap;

use url::Url;

use super::{Config, Setting, settings};
use crate::api::{Configured, Source};

/// Options whose value nobody is shown; a file that holds one is named.
const SECRETS: [&str; 3] =
    ["mail.smtp_url", "providers.google.client_secret", "providers.outlook.client_secret"];
/// Secrets that the environment alone can say.
const VARIABLES: [(&str, &str); 2] = [
    ("API_KEY", "A first token with the scope admin."),
    (
        "ENCRYPTION_KEY",
        "The key that seals the passwords and tokens of providers, instead of secrets.key_file.",
    ),
];

/// What was said of options: the value, unless it is a secret, and where.
#[derive(Debug, Clone, Default)]
pub struct Given(BTreeMap<&'static str, (Source, Option<String>)>);

impl Given {
    /// Notes that it was said; the last word counts.
    pub(super) fn note(&mut self, key: &'static str, text: &str, source: Source) {
        self.0.insert(key, (source, Some(text.to_owned()).filter(|text| open(key, text))));
    }
}

/// Tells whether a value can be shown.
fn open(key: &str, text: &str) -> bool {
    let secret = SECRETS.contains(&key) || VARIABLES.iter().any(|(name, _)| *name == key);
    !secret && !Url::parse(text).is_ok_and(|url| url.password().is_some())
}

impl Config {
    /// Returns every option as it is.
    pub fn told(&self) -> Vec<Configured> {
        let own = settings().map(|setting| self.told_of(setting));
        let variables = VARIABLES.iter().filter_map(|(name, about)| {
            let (source, _) = self.given.0.get(name)?;
            let (key, about) = ((*name).to_owned(), (*about).to_owned());
            Some(Configured { key, value: None, default: None, source: *source, secret: true, about })
        });
        own.chain(variables).collect()
    }

    fn told_of(&self, setting: &Setting) -> Configured {
        let default = Some(plain(setting.default)).filter(|text| !text.is_empty());
        let given = self.given.0.get(setting.key);
        Configured {
            key: setting.key.to_owned(),
            value: given.map_or(default.clone(), |(_, text)| text.clone()),
            default,
            source: given.map_or(Source::Default, |(source, _)| *source),
            secret: SECRETS.contains(&setting.key) || given.is_some_and(|(_, text)| text.is_none()),
            about: setting.doc.replace('\n', " "),
        }
    }
}

/// Returns a default without the marks that the file has around it.
fn plain(text: &str) -> String {
    text.chars().filter(|c| !matches!(c, '"' | '[' | ']')).collect::<String>().trim().to_owned()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use super::*;

    fn config() -> Config {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("k.toml");
        let text = "[mail]\nsmtp_url = \"smtps://anna:hidden-one@mail.example.org\"\n[server]\nconnections = 7\n\
                    [providers.google]\nclient_id = \"mine\"\nclient_secret = \"hidden-two\"\n";
        std::fs::write(&file, text).unwrap();
        let variables = [
            ("API_KEY", "hidden-four-hidden-four"),
            ("KALENDS_SERVER__CONNECTIONS", "9"),
            ("BASE_URL", "https://a.example"),
        ];
        let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
        Config::load(Some(&file), variables).unwrap().0
    }

    // Issue 5: configuration with locked values
    #[test]
    fn each_option_is_told_with_where_it_comes_from() {
        let mut config = config();
        config.set("server.listen", "127.0.0.1:9").unwrap();
        let told = config.told();
        let of = |key: &str| {
            let one = told.iter().find(|one| one.key == key).unwrap();
            (one.value.as_deref(), one.source, one.secret)
        };
        assert_eq!(of("server.connections"), (Some("9"), Source::Environment, false));
        assert_eq!(of("server.base_url"), (Some("https://a.example"), Source::Environment, false));
        assert_eq!(of("server.listen"), (Some("127.0.0.1:9"), Source::Command, false));
        assert_eq!(of("providers.google.client_id"), (Some("mine"), Source::File, false));
        assert_eq!(of("retention.trash"), (Some("30 d"), Source::Default, false));
        assert_eq!(of("server.trusted_proxies").0, None);
        assert_eq!(of("mail.smtp_url"), (None, Source::File, true));
        assert_eq!(of("API_KEY"), (None, Source::Environment, true));
        assert_eq!(told.len(), settings().count() + 1);
    }

    #[test]
    fn no_secret_is_told_or_kept_to_be_told() {
        let mut config = config();
        let url = "https://anna:hidden-three@example.org/";
        config.given.note("providers.google.api_base", url, Source::File);
        for text in [format!("{:?}", config.told()), format!("{:?}", config.given)] {
            assert!(!text.contains("hidden"), "{text}");
        }
        // Whoever adds an option that is a secret adds it here, too.
        let secret =
            |key: &str| ["secret", "password", "smtp_url", "token"].iter().any(|word| key.contains(word));
        let open =
            |key: &str| key.ends_with("_file") || key.ends_with("token_url") || key.starts_with("secrets.");
        let named: Vec<&str> = settings().map(|s| s.key).filter(|key| secret(key) && !open(key)).collect();
        assert_eq!(named, SECRETS);
    }
}
