//! The options `metrics.*` and `log.*`: what whoever runs the server is told.
//!
//! Owns: their names and defaults. Does not own: what is told.

use super::values::parsed;
use super::{LogFormat, Setting};

/// Every one of them, in the order of the example.
pub(super) const SETTINGS: &[Setting] = &[
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
