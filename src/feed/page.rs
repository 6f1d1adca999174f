//! A feed as a page: what takes place in the next weeks, for somebody without a calendar program.
//!
//! Owns: the page. No script, nothing from elsewhere; a title is text, whatever it holds.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use bytes::Bytes;

use super::link::Scope;
use crate::http::escaped;
use crate::ical::Ical;
use crate::ical::series::{Series, TimeRange};
use crate::ical::value::Civil;
use crate::ical::zone::Zone;

/// Instances of one object on the page.
const MOST: usize = 200;

/// One line.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Line {
    start: i64,
    end: i64,
    all_day: bool,
    title: String,
    place: String,
}

/// A page in the making.
#[derive(Debug)]
pub(super) struct Page {
    scope: Scope,
    lines: Vec<Line>,
}

impl Page {
    pub(super) fn new(scope: Scope) -> Page {
        Page { scope, lines: Vec::new() }
    }

    pub(super) fn add(&mut self, bytes: &Bytes, range: TimeRange, floating: &Zone) {
        let Ok(ical) = Ical::parse(bytes.clone()) else { return };
        let Some(calendar) = ical.calendar() else { return };
        for instance in Series::of(&ical).instances(range, floating, MOST).list {
            let Some(event) = calendar.components().nth(instance.component) else { continue };
            let word = |name: &str| event.property(name).map(|p| p.raw().trim().to_ascii_uppercase());
            let hidden = self.scope == Scope::Busy || word("CLASS").is_some_and(|class| class != "PUBLIC");
            let free = word("TRANSP").as_deref() == Some("TRANSPARENT");
            if word("STATUS").as_deref() == Some("CANCELLED") || (self.scope == Scope::Busy && free) {
                continue;
            }
            let text =
                |name: &str| event.property(name).map(|p| p.text()).filter(|_| !hidden).unwrap_or_default();
            let title = if hidden { "Busy".to_owned() } else { text("SUMMARY") };
            self.lines.push(Line {
                start: instance.start,
                end: instance.end,
                all_day: instance.all_day(),
                title: if title.is_empty() { "(no title)".to_owned() } else { title },
                place: text("LOCATION"),
            });
        }
    }

    /// Writes it; times are those of the zone.
    pub(super) fn finish(mut self, name: &str, url: &str, zone: &Zone) -> String {
        self.lines.sort();
        let mut days: BTreeMap<i64, Vec<&Line>> = BTreeMap::new();
        for line in &self.lines {
            let civil = if line.all_day { Civil(line.start) } else { zone.to_civil(line.start) };
            days.entry(civil.days()).or_default().push(line);
        }
        let mut body = String::new();
        // Writing to a String cannot fail.
        for (day, lines) in &days {
            let _ = write!(body, "<h2>{}</h2>\n<ul>\n", date(*day));
            for line in lines {
                let when = match line.all_day {
                    true => "all day".to_owned(),
                    false => {
                        format!("{}–{}", clock(zone.to_civil(line.start)), clock(zone.to_civil(line.end)))
                    }
                };
                let place = match line.place.is_empty() {
                    true => String::new(),
                    false => format!(" <span>{}</span>", escaped(&line.place)),
                };
                let _ = writeln!(body, "<li><time>{when}</time> {}{place}</li>", escaped(&line.title));
            }
            body.push_str("</ul>\n");
        }
        if body.is_empty() {
            body.push_str("<p>Nothing takes place in the next 60 days.</p>\n");
        }
        let webcal = match url.split_once("://") {
            Some((_, rest)) => format!("webcal://{rest}"),
            None => url.to_owned(),
        };
        format!(
            "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>{name}</title>\n\
             <meta name=\"viewport\" content=\"width=device-width\">\n<meta name=\"color-scheme\" content=\"light dark\">\n\
             <style>body{{font:1rem/1.5 system-ui,sans-serif;max-width:40rem;margin:2rem auto;padding:0 1rem}}\
             h2{{font-size:1rem;margin:1.5rem 0 .25rem}}ul{{list-style:none;padding:0;margin:0}}\
             li{{padding:.25rem 0;border-top:1px solid #8884}}time{{display:inline-block;min-width:8rem;opacity:.75}}\
             span{{opacity:.75}}</style>\n<h1>{name}</h1>\n<p><a href=\"{webcal}\">Subscribe</a> · \
             <a href=\"{url}\">calendar file</a> · times in {zone}</p>\n{body}</html>\n",
            name = escaped(name),
            webcal = escaped(&webcal),
            url = escaped(url),
            zone = escaped(zone.name().unwrap_or("local time")),
        )
    }
}

fn clock(civil: Civil) -> String {
    let (hour, minute, _) = civil.time();
    format!("{hour:02}:{minute:02}")
}

fn date(days: i64) -> String {
    const NAMES: [&str; 7] = ["Thursday", "Friday", "Saturday", "Sunday", "Monday", "Tuesday", "Wednesday"];
    let (year, month, day) = Civil(days * 86_400).date();
    let name = usize::try_from(days.rem_euclid(7)).ok().and_then(|at| NAMES.get(at)).unwrap_or(&"");
    format!("{name}, {year:04}-{month:02}-{day:02}")
}
