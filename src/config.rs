//! What can be configured: every option once, with its type, its default and what it does.
//!
//! Owns: the table of options, reading the file and the environment, `config.example.toml` (generated from the table; a
//! test compares). Order: defaults < file < environment < flags. Does not own: what an option does.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};
use url::Url;

use crate::auth::grant::Secret;
use crate::bridge::pace::Schedule;
use crate::bridge::{MassDelete, Settings};
use crate::calendar::Limits;
use crate::http::fetch::{Network, Private};

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
    /// `compat.gnome`: whether `OPTIONS /remote.php/dav` is answered.
    pub decoy: bool,
    /// `store.url`: the directory of the sled store.
    pub store: PathBuf,
    /// `limits.*`.
    pub limits: Limits,
    /// `secrets.key_file`; nothing: `key` in the store's directory.
    pub key_file: Option<PathBuf>,
    /// `ENCRYPTION_KEY`: the key itself, 64 hexadecimal digits.
    pub encryption_key: Option<Secret>,
    /// `API_KEY`: a first token with the scope `admin`.
    pub api_key: Option<Secret>,
    /// `bridge.allow_private`: which private addresses the bridge may call.
    pub allow_private: Private,
    /// `bridge.poll_interval`, `bridge.retry_schedule`.
    pub schedule: Schedule,
    /// `bridge.mass_delete_limit`.
    pub mass_delete_limit: usize,
    /// `retention.changes`.
    pub keep_changes: Duration,
    /// `retention.versions`.
    pub keep_versions: Duration,
    /// `retention.runs`.
    pub keep_runs: Duration,
    /// `log.format`.
    pub log_format: LogFormat,
    /// `log.level`.
    pub log_level: String,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8008),
            base_url: None,
            trusted_proxies: Vec::new(),
            connections: 4096,
            decoy: true,
            store: PathBuf::from("./kalends-data"),
            limits: Limits::default(),
            key_file: None,
            encryption_key: None,
            api_key: None,
            allow_private: Private::Refused,
            schedule: Schedule::default(),
            mass_delete_limit: MassDelete::default().objects,
            keep_changes: Duration::from_secs(400 * 86_400),
            keep_versions: Duration::from_secs(90 * 86_400),
            keep_runs: Settings::default().keep_runs,
            log_format: LogFormat::Text,
            log_level: "info".into(),
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
        key: "limits.object_size",
        default: "\"10 MiB\"",
        example: "",
        doc: "The largest calendar object (an event with its changes and attachments within).",
        set: |config, text| size(text, &mut config.limits.object_size),
    },
    Setting {
        key: "limits.file_size",
        default: "\"64 MiB\"",
        example: "",
        doc: "The largest file below /dav/files/.",
        set: |config, text| size(text, &mut config.limits.file_size),
    },
    Setting {
        key: "limits.objects",
        default: "200000",
        example: "",
        doc: "The most objects in one calendar or folder.",
        set: |config, text| parsed(text, "a number", &mut config.limits.objects),
    },
    Setting {
        key: "limits.instances",
        default: "100000",
        example: "",
        doc: "The most instances of repeating events that one answer may hold.",
        set: |config, text| parsed(text, "a number", &mut config.limits.instances),
    },
    Setting {
        key: "limits.quota",
        default: "\"10 GiB\"",
        example: "",
        doc: "What one account may store.",
        set: |config, text| size(text, &mut config.limits.quota),
    },
    Setting {
        key: "bridge.poll_interval",
        default: "\"10 min\"",
        example: "",
        doc: "How often a bridged calendar is looked at on the far side; up to a quarter more or less, so that not\n\
              all are asked at once. Changes made here go out at once.",
        set: |config, text| {
            let interval = duration(text)?;
            if !(60..=86_400).contains(&interval.as_secs()) {
                return Err(format!("{text:?} is not between 1 min and 24 h"));
            }
            config.schedule.poll = interval;
            Ok(())
        },
    },
    Setting {
        key: "bridge.retry_schedule",
        default: "[\"1 min\", \"5 min\", \"15 min\"]",
        example: "",
        doc: "After the first, second … failure in a row, before the next attempt; after that, once a day.",
        set: |config, text| {
            config.schedule.retry = items(text).map(duration).collect::<Result<_, _>>()?;
            Ok(())
        },
    },
    Setting {
        key: "bridge.mass_delete_limit",
        default: "20",
        example: "",
        doc: "A far side on which more objects than this, and more than 30 % of a calendar, are missing at once: nothing\n\
              is deleted here until somebody says that it is meant.",
        set: |config, text| parsed(text, "a number", &mut config.mass_delete_limit),
    },
    Setting {
        key: "bridge.allow_private",
        default: "false",
        example: "",
        doc: "Whether connected accounts may be on private addresses: true, false, or a list of networks such as\n\
              [\"192.168.1.0/24\"]. With false nobody can reach a neighbour of this server through it.",
        set: |config, text| {
            config.allow_private = match text {
                "true" => Private::Allowed,
                "false" => Private::Refused,
                list => Private::Within(items(list).map(str::parse).collect::<Result<_, _>>()?),
            };
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
        key: "compat.gnome",
        default: "true",
        example: "",
        doc: "Answer OPTIONS on /remote.php/dav: GNOME Online Accounts wants to see files there before it looks for\n\
              calendars.",
        set: |config, text| parsed(text, "true or false", &mut config.decoy),
    },
    Setting {
        key: "log.format",
        default: "\"text\"",
        example: "",
        doc: "How log lines look, on standard error: text or json.",
        set: |config, text| {
            config.log_format = match text {
                "text" => LogFormat::Text,
                "json" => LogFormat::Json,
                _ => return Err(format!("{text:?} is neither text nor json")),
            };
            Ok(())
        },
    },
    Setting {
        key: "log.level",
        default: "\"info\"",
        example: "",
        doc: "What is logged: error, warn, info, debug (every request) or trace; also for single parts, as in\n\
              \"info,kalends::auth=debug\".",
        set: |config, text| {
            tracing_subscriber::EnvFilter::try_new(text)
                .map_err(|_| format!("{text:?} is no log level; try error, warn, info, debug or trace"))?;
            config.log_level = text.to_owned();
            Ok(())
        },
    },
];

/// Variables that other programs' documents use for an option of ours.
const ALIASES: [&str; 3] = ["BASE_URL", "API_KEY", "ENCRYPTION_KEY"];

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
        if let Some(setting) = SETTINGS.iter().find(|setting| setting.key == key) {
            return (setting.set)(self, text).map_err(|why| format!("{key}: {why}"));
        }
        Err(unknown(key))
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
                    let known = SETTINGS
                        .iter()
                        .any(|s| s.key.strip_prefix(&*key).is_some_and(|r| r.starts_with('.')));
                    if !known {
                        return Err((at, unknown(&key)));
                    }
                    self.table(&key, inner, line)?;
                }
                _ => {
                    let text = plain(value)
                        .ok_or_else(|| (at, format!("{key}: this is no text, number or list")))?;
                    self.set(&key, &text).map_err(|why| (at, why))?;
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
                if let Some(meant) = SETTINGS.iter().find(|setting| setting.key.replace('.', "_") == key) {
                    let right = meant.key.to_uppercase().replace('.', "__");
                    return Err(format!("environment variable {name}: did you mean {VARIABLE}{right}?"));
                }
                continue;
            }
            self.set(&key, &value).map_err(|why| format!("environment variable {name}: {why}"))?;
        }
        Ok(())
    }

    fn alias(&mut self, name: &str, value: String) -> Result<(), String> {
        match name {
            "BASE_URL" => self.set("server.base_url", &value)?,
            "ENCRYPTION_KEY" => {
                if value.len() != 64 || !value.chars().all(|c| c.is_ascii_hexdigit()) {
                    return Err("a key is 64 hexadecimal digits; `openssl rand -hex 32` makes one".into());
                }
                self.encryption_key = Some(Secret::new(value));
            }
            _ if value.len() < 16 => return Err("a key shorter than 16 characters can be guessed".into()),
            _ => self.api_key = Some(Secret::new(value)),
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
         # BASE_URL stands for server.base_url; API_KEY is a first token with the scope admin.\n",
    );
    let mut section = "";
    for setting in SETTINGS {
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
    let near = SETTINGS
        .iter()
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

fn parsed<T: std::str::FromStr>(text: &str, what: &str, into: &mut T) -> Result<(), String> {
    *into = text.trim().replace('_', "").parse().map_err(|_| format!("{text:?} is not {what}"))?;
    Ok(())
}

/// Reads a secret that stands alone in a file.
fn first_line(path: &Path) -> Result<String, String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(text.lines().next().unwrap_or_default().trim().to_owned())
}

/// Returns the items of a list.
fn items(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|item| !item.is_empty())
}

/// Reads `15 min`, `90s`, `400 d`.
fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = number_and_unit(text);
    let factor: u64 = match &*unit.to_lowercase() {
        "s" | "sec" | "seconds" => 1,
        "m" | "min" | "minutes" => 60,
        "h" | "hours" => 3_600,
        "d" | "days" => 86_400,
        _ => 0,
    };
    match number.parse::<u64>().ok().and_then(|number| number.checked_mul(factor)) {
        Some(seconds) if seconds > 0 => Ok(Duration::from_secs(seconds)),
        _ => Err(format!("{text:?} is no time like 15 min or 400 d")),
    }
}

/// Reads `10 MiB`, `10MB`, `1048576`.
fn size(text: &str, into: &mut u64) -> Result<(), String> {
    let (number, unit) = number_and_unit(text);
    let factor: u64 = match &*unit.to_lowercase() {
        "" | "b" => 1,
        "k" | "kib" => 1 << 10,
        "m" | "mib" => 1 << 20,
        "g" | "gib" => 1 << 30,
        "t" | "tib" => 1 << 40,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        _ => 0,
    };
    match number.parse::<u64>().ok().and_then(|number| number.checked_mul(factor)) {
        Some(bytes) if bytes > 0 => {
            *into = bytes;
            Ok(())
        }
        _ => Err(format!("{text:?} is no size like 10 MiB")),
    }
}

fn number_and_unit(text: &str) -> (String, &str) {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '_').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    (number.replace('_', ""), unit.trim())
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
        let text: String = example()
            .lines()
            .map(|line| line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')).unwrap_or(line))
            .filter(|line| !line.contains("https://cal.example.org") && !line.contains("/etc/kalends.key"))
            .map(|line| format!("{line}\n"))
            .collect();
        config.read(&text).unwrap();
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
            ("log.format = \"xml\"", "1: log.format: \"xml\" is neither text nor json"),
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

    #[test]
    fn times_and_lists() {
        let mut config = Config::default();
        config.set("bridge.retry_schedule", "30 s, 2min,1h").unwrap();
        assert_eq!(config.schedule.retry, [30, 120, 3600].map(Duration::from_secs));
        config.set("bridge.allow_private", "10.0.0.0/8,fd00::/8").unwrap();
        assert!(matches!(&config.allow_private, Private::Within(networks) if networks.len() == 2));
        for (key, text) in
            [("bridge.poll_interval", "1 s"), ("bridge.poll_interval", "soon"), ("retention.changes", "5 y")]
        {
            assert!(config.set(key, text).is_err(), "{key} {text}");
        }
    }

    #[test]
    fn sizes() {
        for (text, want) in [
            ("10 MiB", Some(10 << 20)),
            ("10MB", Some(10_000_000)),
            ("1_024", Some(1024)),
            ("0", None),
            ("x", None),
            ("5 XB", None),
        ] {
            let mut bytes = 0;
            assert_eq!(size(text, &mut bytes).ok().map(|()| bytes), want, "{text}");
        }
    }
}
