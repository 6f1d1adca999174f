//! `kalends backup` and `kalends restore`.

use std::fs::{File, OpenOptions};
use std::io::{IsTerminal as _, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::Value;

use crate::config::Config;
use crate::server::admin::{Line, Op, begin, running};
use crate::store::{Options, Sled, dump};

/// Write everything into one file, while the server runs
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  kalends backup /srv/backup/kalends-$(date +%F).dump\n\n\
                        One consistent moment: accounts, calendars, files, logs. Writing goes on meanwhile.\n\
                        The key that seals providers' passwords is not in it: keep a copy of that file apart.")]
pub(super) struct Backup {
    /// A new file, or - for standard output
    file: PathBuf,
}

impl Backup {
    pub(super) async fn run(self, config: &Config) -> Result<(), String> {
        if !config.data_dir().is_dir() {
            return Err(format!("there is no store in {} yet", config.data_dir().display()));
        }
        let standard = self.file.as_os_str() == "-";
        let told = |error: std::io::Error| format!("{}: {error}", self.file.display());
        if !standard && self.file.exists() {
            return Err(format!("{} is there already; choose a new name", self.file.display()));
        }
        // Under its name only when it is whole.
        let beside = beside(&self.file);
        let mut out: Box<dyn Write> = match standard {
            true if std::io::stdout().is_terminal() => {
                return Err("a backup is nothing for a terminal".into());
            }
            true => Box::new(std::io::stdout().lock()),
            false => Box::new(private(&beside).map_err(told)?),
        };
        let written = receive(config, &mut out).await;
        let finished = match written {
            Ok(outcome) => out.flush().map_err(told).map(|()| outcome),
            Err(why) => Err(why),
        };
        drop(out);
        if standard {
            return finished.map(|outcome| said(&outcome, &self.file));
        }
        let durable = finished.and_then(|outcome| {
            let file = File::open(&beside).map_err(told)?;
            file.sync_all().map_err(told)?;
            // A backup that cannot be read is none: look before saying so.
            dump::check(&file).map_err(|error| format!("the backup came out wrong: {error}"))?;
            std::fs::rename(&beside, &self.file).map_err(told)?;
            let folder = self.file.parent().filter(|folder| !folder.as_os_str().is_empty());
            File::open(folder.unwrap_or(Path::new(".")))
                .and_then(|folder| folder.sync_all())
                .map_err(told)?;
            Ok(outcome)
        });
        match durable {
            Ok(outcome) => {
                said(&outcome, &self.file);
                Ok(())
            }
            Err(why) => {
                let _ = std::fs::remove_file(&beside);
                Err(why)
            }
        }
    }
}

/// A file that only its owner reads: it holds everybody's calendars.
fn private(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)
}

fn beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".part");
    path.with_file_name(name)
}

async fn receive(config: &Config, out: &mut Box<dyn Write>) -> Result<Value, String> {
    let mut wire = begin(config, Op::Backup).await?;
    loop {
        match wire.from.recv().await {
            Some(Line::Chunk { data }) => {
                out.write_all(&data.0).map_err(|error| format!("the backup cannot be written: {error}"))?;
            }
            Some(Line::Done { outcome }) => return Ok(outcome),
            Some(Line::Failed { why }) => return Err(why),
            Some(_) => return Err("the server answered with something else".into()),
            None => return Err("the server stopped before the backup was whole".into()),
        }
    }
}

fn said(outcome: &Value, file: &Path) {
    let count = |field: &str| outcome.get(field).and_then(Value::as_u64).unwrap_or_default();
    eprintln!(
        "{} collections with {} objects and {} log rows, {} records in {}.",
        count("collections"),
        count("objects"),
        count("changes"),
        count("records"),
        file.display()
    );
}

/// Make a store from a backup, where there is none yet
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  systemctl stop kalends && mv /var/lib/kalends/db /var/lib/kalends/db.old\n\
                        \x20 kalends --config /etc/kalends.toml restore /srv/backup/kalends-2026-11-01.dump\n\n\
                        Into the place that store.url names, which must be empty. All of it or nothing. Clients go on\n\
                        where that state was: their sync-tokens stay valid."
)]
pub(super) struct Restore {
    /// A file that `kalends backup` wrote
    file: PathBuf,
}

impl Restore {
    pub(super) async fn run(self, config: &Config) -> Result<(), String> {
        let place = config.data_dir().to_owned();
        if running(config).await? {
            return Err(format!(
                "a server runs on {}; stop it and move that directory away first",
                place.display()
            ));
        }
        let file = self.file.clone();
        let told = move |error: std::io::Error| format!("{}: {error}", file.display());
        let from = File::open(&self.file).map_err(told)?;
        let restored =
            tokio::task::spawn_blocking(move || Sled::restore(&place, &Options::default(), from)).await;
        let summary = restored
            .map_err(|error| format!("restoring failed: {error}"))?
            .map_err(|error| format!("{}: {error}", self.file.display()))?;
        say!(
            "{} collections with {} objects and {} records restored to {}.",
            summary.collections,
            summary.objects,
            summary.records,
            config.data_dir().display()
        );
        if config.encryption_key.is_none() && !config.key_path().exists() {
            say!("If providers are connected, put the old key file back to {}.", config.key_path().display());
        }
        Ok(())
    }
}
