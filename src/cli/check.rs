//! `kalends check` and `kalends dns`.

use clap::Args;
use serde_json::Value;

use super::ask;
use crate::config::Config;
use crate::server::admin::Op;

/// Verify the configuration and the store
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  kalends check --config /etc/kalends.toml\n\n\
                        Reads every object and compares it with its index and the logs. Changes nothing without --repair.\n\
                        Exit code 1 if anything is wrong.")]
pub(super) struct Check {
    /// Make all indexes anew from the objects first
    #[arg(long)]
    repair: bool,
    /// As JSON
    #[arg(long)]
    json: bool,
}

impl Check {
    pub(super) async fn run(self, config: &Config) -> Result<(), String> {
        if !config.data_dir().is_dir() {
            return Err(format!("there is no store in {} yet", config.data_dir().display()));
        }
        let (items, outcome) = ask(config, Op::Check { repair: self.repair }).await?;
        let count = |field: &str| outcome.get(field).and_then(Value::as_u64).unwrap_or_default();
        if self.json {
            let all = serde_json::json!({ "wrong": items, "users": count("users"), "collections": count("collections"),
                                          "objects": count("objects") });
            say!("{}", serde_json::to_string_pretty(&all).unwrap_or_default());
        } else {
            for item in &items {
                say!("{}", item.as_str().unwrap_or_default());
            }
            say!(
                "{} accounts, {} collections, {} objects read; {} wrong.",
                count("users"),
                count("collections"),
                count("objects"),
                items.len()
            );
        }
        if items.is_empty() { Ok(()) } else { Err(format!("{} things are wrong, see above", items.len())) }
    }
}

/// Seal the providers' passwords and tokens under a new key
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  kalends rotate-key\n\nThe key file holds the new key afterwards; copy it \
                        to where you keep the old one. Safe to interrupt and to run again."
)]
pub(super) struct RotateKey {}

impl RotateKey {
    pub(super) async fn run(self, config: &Config) -> Result<(), String> {
        let (_, outcome) = ask(config, Op::RotateKey).await?;
        let sealed = outcome.get("sealed").and_then(Value::as_u64).unwrap_or_default();
        say!("{sealed} secrets sealed under a new key in {}.", config.key_path().display());
        Ok(())
    }
}

/// Print the DNS records that let clients find the server by a mail address
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  kalends dns example.org\n\nRFC 6764: clients look these up when a person types \
                        anna@example.org."
)]
pub(super) struct Dns {
    /// The domain of the mail addresses [default: the host of server.base_url]
    domain: Option<String>,
}

impl Dns {
    pub(super) fn run(self, config: &Config) -> Result<(), String> {
        let missing = "set server.base_url to the address that clients use; the records name its host";
        let url = config.base_url.as_ref().ok_or(missing)?;
        let host = url.domain().ok_or("server.base_url has an address instead of a host name")?;
        let domain = self.domain.as_deref().unwrap_or(host);
        let (service, other) = match url.scheme() {
            "https" => ("_caldavs", "_caldav"),
            _ => ("_caldav", "_caldavs"),
        };
        let port = url.port_or_known_default().unwrap_or(443);
        say!("{service}._tcp.{domain}. 3600 IN SRV 0 1 {port} {host}.");
        say!("{service}._tcp.{domain}. 3600 IN TXT \"path={}/dav/\"", url.path().trim_end_matches('/'));
        say!("{other}._tcp.{domain}. 3600 IN SRV 0 0 0 .");
        Ok(())
    }
}
