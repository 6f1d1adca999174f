//! What can be configured: every option once, with its type, its default and what it does.
//!
//! Owns: the table of options, reading the file and the environment, `config.example.toml` (generated from the table; a
//! test compares). Order: defaults < file < environment < flags. Does not own: what an option does.

mod bridging;
mod limits;
mod operating;
mod providers;
mod told;
mod values;

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};
use url::Url;

pub use self::limits::Requests;
pub use self::operating::Mail;
pub use self::told::Given;
use self::values::{duration, first_line, items, parsed};
use crate::api::Source;
use crate::auth::grant::Secret;
use crate::bridge::pace::Schedule;
use crate::bridge::record::{Direction, Reach};
use crate::bridge::{Detect, MassDelete, Providers, Rates, Settings};
use crate::calendar::Limits;
use crate::http::dns::Dns;
use crate::http::fetch::{Network, Private};
use crate::server::compat::Set;

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// A complete configuration. The default one needs nothing.
#[derive(Debug, Clone)]
pub struct Config {
    /// `server.listen`.
    pub listen: SocketAddr,
    /// `server.base_url`.
    pub base_url: Option<Url>,
    /// `server.trusted_proxies`.
    pub trusted_proxies: Vec<Network>,
    /// `server.connections`.
    pub connections: usize,
    /// `feeds.*`.
    pub published: Feeds,
    /// `compat.gnome`: whether `OPTIONS /remote.php/dav` is answered.
    pub decoy: bool,
    /// `compat.routes`: other documents' paths that are known.
    pub compat: Vec<Set>,
    /// `store.url`: the directory of the sled store.
    pub store: PathBuf,
    /// `limits.*`.
    pub limits: Limits,
    /// `limits.requests_per_minute`, `…_unknown`, `…_dav`.
    pub requests: Requests,
    /// `secrets.key_file`; nothing: `key` in the store's directory.
    pub key_file: Option<PathBuf>,
    /// `ENCRYPTION_KEY`: the key itself, 64 hexadecimal digits.
    pub encryption_key: Option<Secret>,
    /// `API_KEY`: a first token with the scope `admin`.
    pub api_key: Option<Secret>,
    /// `bridge.allow_private`: which private addresses the bridge may call.
    pub allow_private: Private,
    /// `bridge.ca_file`: what is in it.
    pub authorities: Vec<u8>,
    /// `bridge.name_servers`.
    pub dns: Dns,
    /// `bridge.poll_interval`, `bridge.poll_interval_*`, `bridge.retry_schedule`.
    pub schedule: Schedule,
    /// `bridge.window_past`.
    pub window_past: Reach,
    /// `bridge.window_future`.
    pub window_future: Reach,
    /// `bridge.full_resync_at`: seconds of the day.
    pub full_resync_at: u32,
    /// `limits.calls_per_minute.*`, `limits.calls_per_day.*`.
    pub rates: Rates,
    /// `bridge.detect_overlap`.
    pub detect_overlap: Detect,
    /// `bridge.mass_delete_limit`.
    pub mass_delete_limit: usize,
    /// `limits.manual_sync`: passes that one person may ask for in an hour; nothing: ten, and programs any number.
    pub manual_sync: Option<u32>,
    /// `bridge.default_direction`.
    pub default_direction: Direction,
    /// `bridge.mapping_limit`; nothing: any number.
    pub mapping_limit: Option<usize>,
    /// `bridge.primary_only`.
    pub primary_only: bool,
    /// `bridge.feeds`.
    pub feeds: bool,
    /// `bridge.match_confidence`.
    pub match_confidence: f64,
    /// `bridge.calendar_color`.
    pub calendar_color: String,
    /// `providers.*`.
    pub providers: Providers,
    /// `retention.changes`.
    pub keep_changes: Duration,
    /// `retention.versions`.
    pub keep_versions: Duration,
    /// `retention.runs`.
    pub keep_runs: Duration,
    /// `mail.*`.
    pub mail: Mail,
    /// `metrics.listen`.
    pub metrics_listen: Option<SocketAddr>,
    /// `log.format`.
    pub log_format: LogFormat,
    /// `log.level`.
    pub log_level: String,
    /// What was said, and where.
    pub given: Given,
}

/// How published feeds are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Feeds {
    /// `feeds.refresh_interval`.
    pub refresh: Duration,
    /// `feeds.alarms`.
    pub alarms: bool,
    /// `feeds.x_wr_refresh`.
    pub x_wr_refresh: bool,
}

impl Default for Feeds {
    fn default() -> Feeds {
        Feeds { refresh: Duration::from_secs(15 * 60), alarms: true, x_wr_refresh: false }
    }
}

impl Default for Config {
    fn default() -> Config {
        Config {
            listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8008),
            base_url: None,
            trusted_proxies: Vec::new(),
            connections: 4096,
            published: Feeds::default(),
            decoy: true,
            compat: Vec::new(),
            store: PathBuf::from("./kalends-data"),
            limits: Limits::default(),
            requests: Requests::default(),
            key_file: None,
            encryption_key: None,
            api_key: None,
            allow_private: Private::Refused,
            authorities: Vec::new(),
            dns: Dns::system(),
            schedule: Schedule::default(),
            window_past: Settings::default().window_past,
            window_future: Settings::default().window_future,
            full_resync_at: Settings::default().full_resync_at,
            rates: Rates::default(),
            detect_overlap: Detect::Off,
            mass_delete_limit: MassDelete::default().objects,
            manual_sync: None,
            default_direction: Settings::default().default_direction,
            mapping_limit: None,
            primary_only: false,
            feeds: true,
            match_confidence: Settings::default().match_confidence,
            calendar_color: Settings::default().calendar_color,
            providers: Providers::default(),
            keep_changes: Duration::from_secs(400 * 86_400),
            keep_versions: Duration::from_secs(90 * 86_400),
            keep_runs: Settings::default().keep_runs,
            mail: Mail::default(),
            metrics_listen: None,
            log_format: LogFormat::Text,
            log_level: "info".into(),
            given: Given::default(),
        }
    }
}

/// One option.
pub struct Setting {
    /// Its key, `section.name`.
    pub key: &'static str,
    /// Its default as it is written in the file; empty: none.
    default: &'static str,
    /// An example for an option that has no default.
    example: &'static str,
    /// What it does, for `config.example.toml`.
    doc: &'static str,
    set: fn(&mut Config, &str) -> Result<(), String>,
}

/// Every option, in the order of the example.
pub const SETTINGS: &[Setting] = &[
    Setting {
        key: "server.listen",
        default: "\"127.0.0.1:8008\"",
        example: "",
        doc: "Address and port to listen on. Put a reverse proxy with TLS in front before opening it to a network:\n\
              passwords travel with every request.",
        set: |config, text| parsed(text, "an address with a port like 127.0.0.1:8008", &mut config.listen),
    },
    Setting {
        key: "server.base_url",
        default: "",
        example: "\"https://cal.example.org\"",
        doc: "The URL that clients use, as they see it: behind a proxy its https address, with a path prefix if there\n\
              is one. Default: http:// and the address listened on.",
        set: |config, text| {
            let url = Url::parse(text).map_err(|error| format!("{text:?} is no URL: {error}"))?;
            let plain =
                matches!(url.scheme(), "http" | "https") && url.query().is_none() && url.fragment().is_none();
            if !plain || !url.username().is_empty() {
                return Err(format!("{text:?} is no URL like https://cal.example.org/prefix"));
            }
            config.base_url = Some(url);
            Ok(())
        },
    },
    Setting {
        key: "server.trusted_proxies",
        default: "[]",
        example: "",
        doc: "Addresses or ranges of reverse proxies whose X-Forwarded-For is believed.",
        set: |config, text| {
            config.trusted_proxies = items(text).map(str::parse).collect::<Result<_, _>>()?;
            Ok(())
        },
    },
    Setting {
        key: "server.connections",
        default: "4096",
        example: "",
        doc: "Connections served at a time; further ones wait.",
        set: |config, text| match text.parse() {
            Ok(number) if (1..=1_000_000).contains(&number) => {
                config.connections = number;
                Ok(())
            }
            _ => Err(format!("{text:?} is no number from 1 to 1000000")),
        },
    },
    Setting {
        key: "store.url",
        default: "\"sled:./kalends-data\"",
        example: "",
        doc: "Where everything is kept: sled: and a directory, which is made if it is missing.",
        set: |config, text| {
            let path = text.strip_prefix("sled:").map(|path| path.strip_prefix("//").unwrap_or(path));
            match path.filter(|path| !path.is_empty()) {
                Some(path) => {
                    config.store = PathBuf::from(path);
                    Ok(())
                }
                None => Err(format!(
                    "{text:?} is no store; write sled: and a directory, as in sled:./kalends-data"
                )),
            }
        },
    },
    Setting {
        key: "secrets.key_file",
        default: "",
        example: "\"/etc/kalends.key\"",
        doc: "The key that seals the passwords and tokens of providers at rest. Made on first start, readable by its\n\
              owner alone. Default: the file key in the store's directory. Keep a copy apart from backups: without it the\n\
              sealed passwords must be typed again.",
        set: |config, text| {
            config.key_file = Some(PathBuf::from(text));
            Ok(())
        },
    },
    Setting {
        key: "retention.changes",
        default: "\"400 d\"",
        example: "",
        doc: "How long deletions are remembered for clients that have not synced since. A client that was away longer\n\
              reads everything anew.",
        set: |config, text| {
            config.keep_changes = duration(text)?;
            Ok(())
        },
    },
    Setting {
        key: "retention.trash",
        default: "\"30 d\"",
        example: "",
        doc: "How long deleted events and calendars can be brought back.",
        set: |config, text| {
            config.limits.keep_trash = duration(text)?;
            Ok(())
        },
    },
    Setting {
        key: "retention.versions",
        default: "\"90 d\"",
        example: "",
        doc: "How long the former versions of changed and deleted events are kept, to be looked at and restored.",
        set: |config, text| {
            config.keep_versions = duration(text)?;
            Ok(())
        },
    },
    Setting {
        key: "retention.runs",
        default: "\"90 d\"",
        example: "",
        doc: "How long the log of a bridge's runs is kept.",
        set: |config, text| {
            config.keep_runs = duration(text)?;
            Ok(())
        },
    },
    Setting {
        key: "feeds.refresh_interval",
        default: "\"15 min\"",
        example: "",
        doc: "How often subscribers of published feeds are asked to look (REFRESH-INTERVAL, X-PUBLISHED-TTL).",
        set: |config, text| {
            config.published.refresh = duration(text)?;
            Ok(())
        },
    },
    Setting {
        key: "feeds.alarms",
        default: "true",
        example: "",
        doc: "Whether a published feed shows reminders, where it does not say otherwise itself.",
        set: |config, text| parsed(text, "true or false", &mut config.published.alarms),
    },
    Setting {
        key: "feeds.x_wr_refresh",
        default: "false",
        example: "",
        doc: "Whether feeds say it as X-WR-REFRESH too, as in X-WR-REFRESH:15min. No reader is known to heed that name.",
        set: |config, text| parsed(text, "true or false", &mut config.published.x_wr_refresh),
    },
];

/// Variables that other programs' documents use for an option of ours.
const ALIASES: [&str; 12] = [
    "BASE_URL",
    "API_KEY",
    "ENCRYPTION_KEY",
    "GOOGLE_CLIENT_ID",
    "GOOGLE_CLIENT_SECRET",
    "GOOGLE_REDIRECT_URI",
    "GOOGLE_CALENDAR_CLIENT_ID",
    "GOOGLE_CALENDAR_CLIENT_SECRET",
    "GOOGLE_CALENDAR_REDIRECT_URI",
    "MICROSOFT_CLIENT_ID",
    "MICROSOFT_CLIENT_SECRET",
    "MICROSOFT_REDIRECT_URI",
];

/// Returns every option, in the order of the example.
fn settings() -> impl Iterator<Item = &'static Setting> {
    SETTINGS
        .iter()
        .chain(operating::SETTINGS)
        .chain(limits::SETTINGS)
        .chain(bridging::SETTINGS)
        .chain(providers::SETTINGS)
}

/// What begins the name of a variable: `KALENDS_SERVER__LISTEN` is `server.listen`.
const VARIABLE: &str = "KALENDS_";

impl Config {
    /// Reads the file, if one is named, or `kalends.toml` here, if there is one; then the environment.
    /// Returns the configuration with lines for the log.
    ///
    /// # Errors
    /// A sentence that names the file, the line and the nearest valid key.
    pub fn load(
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<(Config, Vec<String>), String> {
        let mut config = Config::default();
        let mut notes = Vec::new();
        let usual = Path::new("kalends.toml");
        if let Some(path) = file.or_else(|| usual.is_file().then_some(usual)) {
            let text = std::fs::read_to_string(path)
                .map_err(|error| format!("{}: cannot be read: {error}", path.display()))?;
            config.read(&text).map_err(|(line, why)| format!("{}:{line}: {why}", path.display()))?;
            notes.push(format!("configuration from {}", path.display()));
        }
        config.environment(environment, &mut notes)?;
        Ok((config, notes))
    }

    /// Sets one option by its key.
    ///
    /// # Errors
    /// A sentence.
    pub fn set(&mut self, key: &str, text: &str) -> Result<(), String> {
        self.give(key, text, Source::Command)
    }

    /// Sets one option, as it was said there.
    fn give(&mut self, key: &str, text: &str, source: Source) -> Result<(), String> {
        let Some(setting) = settings().find(|setting| setting.key == key) else { return Err(unknown(key)) };
        (setting.set)(self, text).map_err(|why| format!("{key}: {why}"))?;
        self.given.note(setting.key, text, source);
        Ok(())
    }

    /// Reads the text of a file.
    ///
    /// # Errors
    /// The line, and a sentence.
    pub fn read(&mut self, text: &str) -> Result<(), (usize, String)> {
        let line = |at: usize| text.get(..at).unwrap_or(text).matches('\n').count() + 1;
        let table = DeTable::parse(text)
            .map_err(|error| (error.span().map_or(1, |span| line(span.start)), error.message().to_owned()))?;
        self.table("", table.get_ref(), &line)
    }

    fn table(
        &mut self,
        section: &str,
        table: &DeTable<'_>,
        line: &dyn Fn(usize) -> usize,
    ) -> Result<(), (usize, String)> {
        for (name, value) in table {
            let at = line(name.span().start);
            let key = if section.is_empty() {
                name.get_ref().to_string()
            } else {
                format!("{section}.{}", name.get_ref())
            };
            match value.get_ref() {
                DeValue::Table(inner) => {
                    let known =
                        settings().any(|s| s.key.strip_prefix(&*key).is_some_and(|r| r.starts_with('.')));
                    if !known {
                        return Err((at, unknown(&key)));
                    }
                    self.table(&key, inner, line)?;
                }
                _ => {
                    let text = plain(value)
                        .ok_or_else(|| (at, format!("{key}: this is no text, number or list")))?;
                    self.give(&key, &text, Source::File).map_err(|why| (at, why))?;
                }
            }
        }
        Ok(())
    }

    fn environment(
        &mut self,
        variables: impl IntoIterator<Item = (String, String)>,
        notes: &mut Vec<String>,
    ) -> Result<(), String> {
        // Ours after the aliases, so that they win.
        let (ours, others): (Vec<_>, Vec<_>) =
            variables.into_iter().partition(|(name, _)| name.starts_with(VARIABLE));
        for (name, value) in others {
            let (alias, from_file) =
                name.strip_suffix("_FILE").map_or((&*name, false), |alias| (alias, true));
            if !ALIASES.contains(&alias) || value.is_empty() {
                continue;
            }
            let value = match from_file {
                true => first_line(Path::new(&value)).map_err(|why| format!("{name}: {why}"))?,
                false => value,
            };
            self.alias(alias, value).map_err(|why| format!("environment variable {name}: {why}"))?;
            notes.push(format!("{alias} taken from the environment variable {name}"));
        }
        for (name, value) in ours {
            let key = name.trim_start_matches(VARIABLE).to_lowercase().replace("__", ".");
            // Other programs' variables begin like ours, too; a forgotten underscore must not pass silently.
            if !key.contains('.') {
                if let Some(meant) = settings().find(|setting| setting.key.replace('.', "_") == key) {
                    let right = meant.key.to_uppercase().replace('.', "__");
                    return Err(format!("environment variable {name}: did you mean {VARIABLE}{right}?"));
                }
                continue;
            }
            self.give(&key, &value, Source::Environment)
                .map_err(|why| format!("environment variable {name}: {why}"))?;
        }
        Ok(())
    }

    fn alias(&mut self, name: &str, value: String) -> Result<(), String> {
        let mut set = |key: &str| self.give(key, &value, Source::Environment);
        match name {
            "BASE_URL" => set("server.base_url")?,
            "GOOGLE_CLIENT_ID" | "GOOGLE_CALENDAR_CLIENT_ID" => {
                set("providers.google.client_id")?;
            }
            "GOOGLE_CLIENT_SECRET" | "GOOGLE_CALENDAR_CLIENT_SECRET" => {
                set("providers.google.client_secret")?;
            }
            "GOOGLE_REDIRECT_URI" | "GOOGLE_CALENDAR_REDIRECT_URI" => {
                set("providers.google.redirect_uri")?;
            }
            "MICROSOFT_CLIENT_ID" => set("providers.outlook.client_id")?,
            "MICROSOFT_CLIENT_SECRET" => set("providers.outlook.client_secret")?,
            "MICROSOFT_REDIRECT_URI" => set("providers.outlook.redirect_uri")?,
            "ENCRYPTION_KEY" => {
                if value.len() != 64 || !value.chars().all(|c| c.is_ascii_hexdigit()) {
                    return Err("a key is 64 hexadecimal digits; `openssl rand -hex 32` makes one".into());
                }
                self.encryption_key = Some(Secret::new(value));
                self.given.note("ENCRYPTION_KEY", "", Source::Environment);
            }
            _ if value.len() < 16 => return Err("a key shorter than 16 characters can be guessed".into()),
            _ => {
                self.api_key = Some(Secret::new(value));
                self.given.note("API_KEY", "", Source::Environment);
            }
        }
        Ok(())
    }

    /// Returns the file with the key that seals what far sides entrusted to us.
    pub fn key_path(&self) -> PathBuf {
        self.key_file.clone().unwrap_or_else(|| self.store.join("key"))
    }

    /// Returns the directory of everything that is kept.
    pub fn data_dir(&self) -> &Path {
        &self.store
    }
}

/// Returns `config.example.toml`.
pub fn example() -> String {
    let mut text = String::from(
        "# Every option of Kalends with its default. Nothing of this is needed: without a file Kalends runs on the defaults.\n\
         # Read from the file named by --config, else from kalends.toml in the working directory. A variable of the\n\
         # environment wins over the file: server.listen is KALENDS_SERVER__LISTEN (two underscores for the dot).\n\
         # BASE_URL stands for server.base_url; API_KEY is a first token with the scope admin; GOOGLE_CLIENT_ID,\n\
         # GOOGLE_CLIENT_SECRET, GOOGLE_REDIRECT_URI (also as GOOGLE_CALENDAR_...), MICROSOFT_CLIENT_ID,\n\
         # MICROSOFT_CLIENT_SECRET and MICROSOFT_REDIRECT_URI stand for those of providers.google and providers.outlook.\n",
    );
    let mut section = "";
    for setting in settings() {
        let (group, name) = setting.key.split_once('.').unwrap_or(("", setting.key));
        if group != section {
            let _ = write!(text, "\n[{group}]\n");
            section = group;
        }
        text.push('\n');
        for line in setting.doc.lines() {
            let _ = writeln!(text, "# {line}");
        }
        let value = if setting.default.is_empty() { setting.example } else { setting.default };
        let _ = writeln!(text, "#{name} = {value}");
    }
    text
}

fn unknown(key: &str) -> String {
    let near = settings()
        .map(|setting| (strsim::jaro_winkler(key, setting.key), setting.key))
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .filter(|(likeness, _)| *likeness > 0.7);
    match near {
        Some((_, near)) => format!("there is no option {key:?}; did you mean {near:?}?"),
        None => format!("there is no option {key:?}; config.example.toml lists all"),
    }
}

/// Returns a value as text; a list as its items with commas.
fn plain(value: &Spanned<DeValue<'_>>) -> Option<String> {
    match value.get_ref() {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) => Some(number.to_string()),
        DeValue::Float(number) => Some(number.to_string()),
        DeValue::Boolean(yes) => Some(yes.to_string()),
        DeValue::Array(items) => {
            items.iter().map(plain).collect::<Option<Vec<_>>>().map(|items| items.join(","))
        }
        _ => None,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use super::*;

    fn env(pairs: &[(&str, &str)]) -> Result<(Config, Vec<String>), String> {
        Config::load(None, pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
    }

    #[test]
    fn the_example_is_up_to_date_and_says_the_defaults() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config.example.toml");
        if std::env::var_os("KALENDS_WRITE").is_some() {
            std::fs::write(&path, example()).unwrap();
        }
        assert_eq!(
            std::fs::read_to_string(&path).unwrap(),
            example(),
            "write it anew: KALENDS_WRITE=1 cargo test config"
        );
        // Every default, uncommented, is accepted and changes nothing.
        let mut config = Config::default();
        let without: Vec<String> = settings()
            .filter(|setting| setting.default.is_empty())
            .map(|setting| format!("{} = ", setting.key.split_once('.').unwrap().1))
            .collect();
        let text: String = example()
            .lines()
            .map(|line| line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')).unwrap_or(line))
            .filter(|line| !without.iter().any(|name| line.starts_with(name.as_str())))
            .map(|line| format!("{line}\n"))
            .collect();
        config.read(&text).unwrap();
        // Where a value comes from is not the value.
        config.given = Given::default();
        assert_eq!(format!("{config:?}"), format!("{:?}", Config::default()));
    }

    #[test]
    fn a_wrong_line_is_named_with_the_nearest_key() {
        for (text, want) in [
            (
                "[server]\nlistn = \"x\"",
                "2: there is no option \"server.listn\"; did you mean \"server.listen\"?",
            ),
            ("\n[sever]\nlisten = 1", "2: there is no option \"sever\"; did you mean \"server.listen\"?"),
            (
                "server.listen = 8008",
                "1: server.listen: \"8008\" is not an address with a port like 127.0.0.1:8008",
            ),
            ("limits.quota = \"much\"", "1: limits.quota: \"much\" is no size like 10 MiB"),
            ("log.format = \"xml\"", "1: log.format: \"xml\" is none of text, json"),
            (
                "store.url = \"mysql:x\"",
                "1: store.url: \"mysql:x\" is no store; write sled: and a directory, as in sled:./kalends-data",
            ),
            ("zzz = 1", "1: there is no option \"zzz\"; config.example.toml lists all"),
            ("a = [1", "1: "),
            (
                "server.base_url = \"ftp://x\"",
                "1: server.base_url: \"ftp://x\" is no URL like https://cal.example.org/prefix",
            ),
        ] {
            let (line, why) = Config::default().read(text).unwrap_err();
            let got = format!("{line}: {why}");
            assert!(got.starts_with(want), "{text:?}\n{got}\n{want}");
        }
    }

    // S4-027, E35: defaults, then the file, then the environment
    #[test]
    fn the_environment_wins_over_the_file_and_the_aliases() {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("k.toml");
        std::fs::write(
            &file,
            "[server]\nlisten = \"127.0.0.1:1\"\ntrusted_proxies = [\"10.0.0.0/8\", \"::1\"]\n",
        )
        .unwrap();
        let variables = [
            ("KALENDS_SERVER__LISTEN", "127.0.0.1:2"),
            ("KALENDS_STORE__URL", "sled:/var/lib/kalends/db"),
            ("KALENDS_SERVER__BASE_URL", "https://a.example"),
            ("BASE_URL", "https://b.example"),
            ("API_KEY", "0123456789abcdef0123"),
            ("KALENDS_SHARED", "/somewhere"),
            ("HOME", "/root"),
        ];
        let variables = variables.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned()));
        let (config, notes) = Config::load(Some(&file), variables).unwrap();
        assert_eq!(config.listen.port(), 2);
        assert_eq!(config.store, Path::new("/var/lib/kalends/db"));
        assert_eq!(config.base_url.unwrap().as_str(), "https://a.example/");
        assert_eq!(config.trusted_proxies.len(), 2);
        assert_eq!(config.api_key.unwrap().reveal(), "0123456789abcdef0123");
        assert!(!notes.iter().any(|note| note.contains("0123456789abcdef0123")), "{notes:?}");
        assert_eq!(notes.len(), 3, "{notes:?}");
    }

    #[test]
    fn wrong_variables_are_named() {
        for (name, value, want) in [
            ("KALENDS_SERVER__LISTN", "x", "environment variable KALENDS_SERVER__LISTN: there is no option"),
            (
                "KALENDS_SERVER_LISTEN",
                "x",
                "environment variable KALENDS_SERVER_LISTEN: did you mean KALENDS_SERVER__LISTEN?",
            ),
            ("ENCRYPTION_KEY", "abc", "environment variable ENCRYPTION_KEY: a key is 64 hexadecimal digits"),
            ("API_KEY", "short", "environment variable API_KEY: a key shorter"),
            ("API_KEY_FILE", "/nowhere/at/all", "API_KEY_FILE: /nowhere/at/all: "),
        ] {
            let why = env(&[(name, value)]).unwrap_err();
            assert!(why.starts_with(want), "{why}");
        }
    }

    #[test]
    fn a_file_that_is_missing_is_an_error() {
        let why = Config::load(Some(Path::new("/nowhere/kalends.toml")), []).unwrap_err();
        assert!(why.starts_with("/nowhere/kalends.toml: cannot be read"), "{why}");
    }

    // E2, E20, E24, S2-089, S3-089, S3-098: how often is looked if nobody says
    #[test]
    fn times_and_lists() {
        let mut config = Config::default();
        let minutes = |time: Duration| time.as_secs() / 60;
        let paces = &config.schedule;
        let paces = [paces.poll, paces.caldav, paces.cozi, paces.feed].map(minutes);
        assert_eq!((paces, config.full_resync_at), ([15, 10, 30, 60], 3 * 3600));
        config.set("bridge.match_confidence", "0.9").unwrap();
        assert!((config.match_confidence - 0.9).abs() < 1e-9);
        config.set("bridge.retry_schedule", "30 s, 2min,1h").unwrap();
        assert_eq!(config.schedule.retry, [30, 120, 3600].map(Duration::from_secs));
        config.set("bridge.window_past", "all").unwrap();
        config.set("bridge.window_future", "90 d").unwrap();
        config.set("bridge.full_resync_at", "23:30").unwrap();
        assert_eq!((config.window_past, config.window_future), (Reach::All, Reach::Days(90)));
        assert_eq!(config.full_resync_at, 23 * 3600 + 1800);
        config.set("bridge.allow_private", "10.0.0.0/8,fd00::/8").unwrap();
        assert!(matches!(&config.allow_private, Private::Within(networks) if networks.len() == 2));
        for (key, text) in [
            ("bridge.poll_interval", "1 s"),
            ("bridge.poll_interval_ics", "soon"),
            ("bridge.match_confidence", "0.4"),
            ("bridge.match_confidence", "sure"),
            ("bridge.window_past", "ever"),
            ("bridge.full_resync_at", "24:00"),
            ("bridge.full_resync_at", "3"),
            ("retention.changes", "5 y"),
        ] {
            assert!(config.set(key, text).is_err(), "{key} {text}");
        }
    }
}
