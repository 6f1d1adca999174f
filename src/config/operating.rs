//! The options `compat.*`, `mail.*`, `metrics.*` and `log.*`: further paths, and what whoever runs the server is told.
//!
//! Owns: their names and defaults. Does not own: what they do.

use std::path::Path;
use std::time::Duration;

use super::values::{duration, first_line, items, parsed, word};
use super::{LogFormat, Setting};
use crate::auth::grant::Secret;

/// How notices go out by mail.
#[derive(Debug, Clone)]
pub struct Mail {
    /// `mail.smtp_url`; nothing: no mail.
    pub smtp_url: Option<Secret>,
    /// `mail.from`.
    pub from: Option<String>,
    /// `mail.gather`.
    pub gather: Duration,
}

impl Default for Mail {
    fn default() -> Mail {
        Mail { smtp_url: None, from: None, gather: Duration::from_secs(60) }
    }
}

/// Every one of them, in the order of the example.
pub(super) const SETTINGS: &[Setting] = &[
    Setting {
        key: "compat.gnome",
        default: "true",
        example: "",
        doc: "Answer OPTIONS on /remote.php/dav: GNOME Online Accounts wants to see files there before it looks for\n\
              calendars.",
        set: |config, text| parsed(text, "true or false", &mut config.decoy),
    },
    Setting {
        key: "compat.routes",
        default: "[]",
        example: "",
        doc: "Paths that other documents use for what /api/v1 has, as further names for the same: marketplace, hub, plan,\n\
              microservice, feed. docs/compat.md lists them.",
        set: |config, text| {
            config.compat = items(text).map(str::parse).collect::<Result<_, _>>()?;
            Ok(())
        },
    },
    Setting {
        key: "mail.smtp_url",
        default: "",
        example: "\"smtps://user:password@mail.example.org\"",
        doc: "The mail server through which people get their notices; without it no mail is sent. smtps:// is TLS from the\n\
              beginning, smtp:// STARTTLS (port 587), which the server has to offer; on this machine itself it is plain,\n\
              unless the address ends in ?tls=starttls. Authorities of your own: bridge.ca_file. Better in a file:\n\
              smtp_url_file.",
        set: |config, text| {
            config.mail.smtp_url = Some(Secret::new(text.trim()));
            Ok(())
        },
    },
    Setting {
        key: "mail.smtp_url_file",
        default: "",
        example: "\"/etc/kalends.smtp\"",
        doc: "The file that holds it, alone on the first line.",
        set: |config, text| {
            config.mail.smtp_url = Some(Secret::new(first_line(Path::new(text))?));
            Ok(())
        },
    },
    Setting {
        key: "mail.from",
        default: "",
        example: "\"Kalends <kalends@example.org>\"",
        doc: "Who sends them.",
        set: |config, text| {
            config.mail.from = Some(text.to_owned());
            Ok(())
        },
    },
    Setting {
        key: "mail.gather",
        default: "\"1 min\"",
        example: "",
        doc: "How long notices are gathered, so that many make one mail.",
        set: |config, text| {
            config.mail.gather = duration(text)?;
            Ok(())
        },
    },
    Setting {
        key: "metrics.listen",
        default: "",
        example: "\"127.0.0.1:9464\"",
        doc: "Address and port where /metrics is read without a token, and nothing else: keep it to yourself. Without it\n\
              /metrics is on the main address, for a token with the scope admin.",
        set: |config, text| {
            let mut at = config.listen;
            parsed(text, "an address with a port like 127.0.0.1:9464", &mut at)?;
            config.metrics_listen = Some(at);
            Ok(())
        },
    },
    Setting {
        key: "log.format",
        default: "\"text\"",
        example: "",
        doc: "How log lines look, on standard error: text or json.",
        set: |config, text| {
            let words = [("text", LogFormat::Text), ("json", LogFormat::Json)];
            word(text, &words, &mut config.log_format)
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
