//! `kalends calendar`.

use std::collections::{HashMap, HashSet};
use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use clap::Subcommand;
use serde_json::Value;

use super::account::confirmed;
use super::import::{self, Source};
use super::{ask, show};
use crate::config::Config;
use crate::server::admin::{Line, NewCalendar, Octets, Op, begin};

/// Calendars
#[derive(Debug, Subcommand)]
pub(super) enum Calendar {
    /// List calendars
    #[command(after_help = "Example:\n  kalends calendar list anna --json")]
    List {
        /// Login name; without it, of all accounts
        user: Option<String>,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Make a calendar
    #[command(after_help = "Example:\n  kalends calendar add anna work --title \"Work\" --color '#3366cc'")]
    Add {
        /// Login name
        user: String,
        /// Its name in the URL
        name: String,
        /// Its name shown to people
        #[arg(long, value_name = "TEXT")]
        title: Option<String>,
        /// Its colour, #RRGGBB
        #[arg(long, value_name = "COLOR", value_parser = color)]
        color: Option<String>,
        /// What it may hold: VEVENT, VTODO, VJOURNAL
        #[arg(long = "component", value_name = "NAME", default_value = "VEVENT", value_delimiter = ',',
              value_parser = ["VEVENT", "VTODO", "VJOURNAL"], ignore_case = true)]
        components: Vec<String>,
    },
    /// Remove a calendar with everything in it
    #[command(after_help = "Example:\n  kalends calendar remove anna work --yes")]
    Remove {
        /// Login name
        user: String,
        /// Its name in the URL
        name: String,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// Write a calendar to files: one .ics file an object into a folder, or all into one file that ends in .ics
    #[command(after_help = "Examples:\n  kalends calendar export anna calendar ./anna-calendar\n\
                            \x20 kalends calendar export anna calendar anna.ics")]
    Export {
        /// Login name
        user: String,
        /// The calendar's name in the URL
        name: String,
        /// A new or empty folder, or a file that ends in .ics
        to: PathBuf,
    },
    /// Read calendars from an .ics file, a folder of them or a Radicale storage folder
    ///
    /// An event that is there already (the same UID) is replaced if it differs. Nobody is sent any mail.
    #[command(after_help = "Examples:\n  kalends calendar import anna holidays.ics --calendar holidays\n\
                            \x20 kalends calendar import anna /var/lib/radicale/collections --dry-run")]
    Import {
        /// Login name
        user: String,
        /// An .ics file, a folder of them, or a Radicale storage folder, whose calendars become calendars here
        from: PathBuf,
        /// Into which calendar; made if it is missing [default: events into `calendar`, tasks into `tasks`]
        #[arg(long, value_name = "NAME")]
        calendar: Option<String>,
        /// Only say what would happen
        #[arg(long)]
        dry_run: bool,
        /// Say it as JSON
        #[arg(long)]
        json: bool,
    },
}

impl Calendar {
    pub(super) async fn run(self, config: &Config) -> Result<(), String> {
        match self {
            Calendar::List { user, json } => {
                let (items, _) = ask(config, Op::CalendarList { user }).await?;
                show::list(&items, &["user", "name", "title", "components", "objects", "path"], json);
                Ok(())
            }
            Calendar::Add { user, name, title, color, components } => {
                let components = components.iter().map(|name| name.to_uppercase()).collect();
                let calendar = NewCalendar { name, title, color, description: None, components };
                let (_, made) = ask(config, Op::CalendarAdd { user, calendar }).await?;
                say!("Calendar {} added.", made.get("path").and_then(Value::as_str).unwrap_or_default());
                Ok(())
            }
            Calendar::Remove { user, name, yes } => {
                if !yes
                    && !confirmed(&format!("Remove the calendar {name} of {user} with everything in it?"))?
                {
                    return Err("nothing was removed".into());
                }
                ask(config, Op::CalendarRemove { user, name: name.clone() }).await?;
                say!("Calendar {name} removed.");
                Ok(())
            }
            Calendar::Export { user, name, to } => export(config, user, name, &to).await,
            Calendar::Import { user, from, calendar, dry_run, json } => {
                let sources = import::sources(&from, &user, calendar)?;
                read_in(config, user, sources, dry_run, json).await
            }
        }
    }
}

fn color(text: &str) -> Result<String, String> {
    let digits = text.strip_prefix('#').unwrap_or_default();
    if matches!(digits.len(), 6 | 8) && digits.chars().all(|c| c.is_ascii_hexdigit()) {
        Ok(text.to_owned())
    } else {
        Err("a colour is written like #3366cc".into())
    }
}

/// Shows how far a long command is, on a terminal.
pub(super) struct Progress {
    shown: bool,
    count: u64,
}

impl Progress {
    pub(super) fn new() -> Progress {
        Progress { shown: std::io::stderr().is_terminal(), count: 0 }
    }

    pub(super) fn step(&mut self, what: &str) {
        self.count += 1;
        if self.shown && self.count.is_multiple_of(100) {
            eprint!("\r{} {what} ", self.count);
            let _ = std::io::stderr().flush();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.shown && self.count >= 100 {
            eprint!("\r\x1b[K");
        }
    }
}

/// Reads files and sends their objects, while what was refused comes back.
async fn read_in(
    config: &Config,
    user: String,
    sources: Vec<Source>,
    dry_run: bool,
    json: bool,
) -> Result<(), String> {
    let mut wire = begin(config, Op::CalendarImport { user, dry_run }).await?;
    let to = wire.to.clone();
    // Reading and splitting block; the channel keeps them from running ahead.
    let reading = tokio::task::spawn_blocking(move || -> Vec<(String, String)> {
        let mut progress = Progress::new();
        let mut refused = Vec::new();
        let mut gone = false;
        for source in sources {
            let mut send = |line| gone = gone || to.blocking_send(line).is_err();
            if let Some(calendar) = source.make.clone() {
                send(Line::Calendar { calendar });
            }
            let split = source.objects(|calendar, name, place, bytes| {
                progress.step("objects");
                send(Line::Object { calendar, name, source: place, data: Octets(bytes) });
            });
            refused.extend(split);
            if gone {
                break;
            }
        }
        let _ = to.blocking_send(Line::End);
        refused
    });
    let mut refused = Vec::new();
    let outcome = loop {
        match wire.from.recv().await {
            Some(Line::Item { item }) => {
                let text =
                    |field: &str| item.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
                refused.push((text("source"), text("why")));
            }
            Some(Line::Done { outcome }) => break outcome,
            Some(Line::Failed { why }) => return Err(why),
            Some(_) => return Err("the server answered with something else".into()),
            None => return Err("the server stopped; what was read so far is stored".into()),
        }
    };
    let unread = reading.await.map_err(|error| format!("reading failed: {error}"))?;
    refused.extend(unread);
    summary(&outcome, &refused, dry_run, json);
    if refused.is_empty() {
        Ok(())
    } else {
        Err(format!("{} could not be read in, see above", refused.len()))
    }
}

fn summary(outcome: &Value, refused: &[(String, String)], dry_run: bool, json: bool) {
    let count = |field: &str| outcome.get(field).and_then(Value::as_u64).unwrap_or_default();
    if json {
        let refused: Vec<Value> =
            refused.iter().map(|(source, why)| serde_json::json!({ "source": source, "why": why })).collect();
        let value = serde_json::json!({
            "dry_run": dry_run, "calendars": count("calendars"), "added": count("added"),
            "updated": count("updated"), "unchanged": count("unchanged"), "refused": refused,
        });
        say!("{}", serde_json::to_string_pretty(&value).unwrap_or_default());
        return;
    }
    for (source, why) in refused {
        eprintln!("{source}: {why}");
    }
    let would = if dry_run { "Would be: " } else { "" };
    say!(
        "{would}{} added, {} updated, {} unchanged, {} refused, {} calendars made.",
        count("added"),
        count("updated"),
        count("unchanged"),
        refused.len(),
        count("calendars"),
    );
}

/// Writes the objects that come.
async fn export(config: &Config, user: String, name: String, to: &Path) -> Result<(), String> {
    let merged = to.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("ics"));
    let mut out = if merged { Out::Merged(Merged::create(to)?) } else { Out::Folder(Folder::create(to)?) };
    let mut wire = begin(config, Op::CalendarExport { user, name }).await?;
    let mut progress = Progress::new();
    loop {
        match wire.from.recv().await {
            Some(Line::Object { name, data, .. }) => {
                progress.step("objects");
                match &mut out {
                    Out::Merged(file) => file.add(data.0)?,
                    Out::Folder(folder) => folder.add(&name, &data.0)?,
                }
            }
            Some(Line::Done { outcome }) => {
                drop(progress);
                if let Out::Merged(file) = out {
                    file.finish()?;
                }
                let count = outcome.get("objects").and_then(Value::as_u64).unwrap_or_default();
                say!("{count} objects written to {}.", to.display());
                return Ok(());
            }
            Some(Line::Failed { why }) => return Err(why),
            Some(_) => return Err("the server answered with something else".into()),
            None => return Err("the server stopped before all was written".into()),
        }
    }
}

enum Out {
    Folder(Folder),
    Merged(Merged),
}

fn told(path: &Path) -> impl Fn(std::io::Error) -> String + '_ {
    move |error| format!("{}: {error}", path.display())
}

/// One file an object.
struct Folder {
    path: PathBuf,
    /// Names that are taken, in lower case: on some file systems `A.ics` would overwrite `a.ics`.
    taken: HashSet<String>,
}

impl Folder {
    fn create(path: &Path) -> Result<Folder, String> {
        std::fs::create_dir_all(path).map_err(told(path))?;
        if std::fs::read_dir(path).map_err(told(path))?.next().is_some() {
            return Err(format!("{} is not empty; choose a new folder", path.display()));
        }
        Ok(Folder { path: path.to_owned(), taken: HashSet::new() })
    }

    fn add(&mut self, name: &str, bytes: &[u8]) -> Result<(), String> {
        let stem = name.strip_suffix(".ics").unwrap_or(name).trim_start_matches('.');
        // Room for a number and the suffix within the 255 bytes of a file name.
        let mut end = stem.len().min(200);
        while !stem.is_char_boundary(end) {
            end -= 1;
        }
        let stem = stem.get(..end).unwrap_or_default();
        let mut file = format!("{stem}.ics");
        let mut number = 1;
        while !self.taken.insert(file.to_lowercase()) {
            number += 1;
            file = format!("{stem}~{number}.ics");
        }
        let path = self.path.join(file);
        std::fs::write(&path, bytes).map_err(told(&path))
    }
}

/// Everything in one stream. An object whose zone is defined in another way than an earlier one's of the same name
/// keeps a VCALENDAR of its own (RFC 5545 §3.4: a stream may hold several).
struct Merged {
    path: PathBuf,
    file: std::io::BufWriter<std::fs::File>,
    zones: HashMap<String, Bytes>,
    apart: Vec<Bytes>,
}

impl Merged {
    fn create(path: &Path) -> Result<Merged, String> {
        let file = std::fs::File::create_new(path).map_err(told(path))?;
        let mut file = std::io::BufWriter::new(file);
        let head = format!(
            "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//Kalends//{}//EN\r\n",
            env!("CARGO_PKG_VERSION")
        );
        file.write_all(head.as_bytes()).map_err(told(path))?;
        Ok(Merged { path: path.to_owned(), file, zones: HashMap::new(), apart: Vec::new() })
    }

    fn add(&mut self, bytes: Bytes) -> Result<(), String> {
        let parts = import::parts(&bytes)?;
        let clash =
            parts.zones.iter().any(|(id, zone)| self.zones.get(id).is_some_and(|known| known != zone));
        if clash {
            self.apart.push(bytes);
            return Ok(());
        }
        for (id, zone) in parts.zones {
            if let std::collections::hash_map::Entry::Vacant(free) = self.zones.entry(id) {
                write_component(&mut self.file, &zone).map_err(told(&self.path))?;
                free.insert(zone);
            }
        }
        for component in parts.components {
            write_component(&mut self.file, &component).map_err(told(&self.path))?;
        }
        Ok(())
    }

    fn finish(mut self) -> Result<(), String> {
        let path = &self.path;
        self.file.write_all(b"END:VCALENDAR\r\n").map_err(told(path))?;
        for object in &self.apart {
            write_component(&mut self.file, object).map_err(told(path))?;
        }
        self.file.flush().and_then(|()| self.file.get_ref().sync_all()).map_err(told(path))
    }
}

/// Writes lines that surely end.
fn write_component(out: &mut impl std::io::Write, bytes: &[u8]) -> std::io::Result<()> {
    out.write_all(bytes)?;
    if bytes.ends_with(b"\n") { Ok(()) } else { out.write_all(b"\r\n") }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use super::*;
    use crate::ical::Ical;

    //
    #[test]
    fn names_that_differ_only_in_case_all_survive() {
        let place = tempfile::tempdir().unwrap();
        let mut folder = Folder::create(&place.path().join("out")).unwrap();
        for (name, bytes) in [("Team.ics", "1"), ("team.ics", "2"), ("TEAM.ics", "3"), (".ics", "4")] {
            folder.add(name, bytes.as_bytes()).unwrap();
        }
        let mut found: Vec<(String, String)> = std::fs::read_dir(place.path().join("out"))
            .unwrap()
            .map(|entry| entry.unwrap())
            .map(|entry| {
                (
                    entry.file_name().to_string_lossy().to_lowercase(),
                    std::fs::read_to_string(entry.path()).unwrap(),
                )
            })
            .collect();
        found.sort();
        let want = [(".ics", "4"), ("team.ics", "1"), ("team~2.ics", "2"), ("team~3.ics", "3")];
        assert_eq!(found, want.map(|(name, text)| (name.to_owned(), text.to_owned())));
        assert!(Folder::create(&place.path().join("out")).is_err());
    }

    #[test]
    fn a_merged_file_has_each_zone_once_and_keeps_clashing_ones_apart() {
        let zone = |offset: &str| {
            format!(
                "BEGIN:VTIMEZONE\r\nTZID:Here\r\nBEGIN:STANDARD\r\nDTSTART:19700101T000000\r\n\
                 TZOFFSETFROM:{offset}\r\nTZOFFSETTO:{offset}\r\nEND:STANDARD\r\nEND:VTIMEZONE\r\n"
            )
        };
        let object = |uid: &str, offset: &str| {
            Bytes::from(format!(
                "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:x\r\n{}BEGIN:VEVENT\r\nUID:{uid}\r\n\
                 DTSTART;TZID=Here:20260101T000000\r\nX-ODD;P=\"a;b\":kept\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n",
                zone(offset)
            ))
        };
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("all.ics");
        let mut merged = Merged::create(&path).unwrap();
        for (uid, offset) in [("1", "+0100"), ("2", "+0100"), ("3", "+0200")] {
            merged.add(object(uid, offset)).unwrap();
        }
        merged.finish().unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.matches("BEGIN:VTIMEZONE").count(), 2, "{text}");
        assert_eq!(text.matches("BEGIN:VCALENDAR").count(), 2, "{text}");
        let ical = Ical::parse(text.into_bytes()).unwrap();
        assert_eq!(ical.roots().map(|root| root.named("VEVENT").count()).collect::<Vec<_>>(), [2, 1]);
    }
}
