//! Values as they are written: numbers, lists, times, sizes, secrets in files.
//!
//! Owns: reading them, saying what was expected. Does not own: which option has which.

use std::path::Path;
use std::time::Duration;

use crate::bridge::record::Reach;

pub(super) fn parsed<T: std::str::FromStr>(text: &str, what: &str, into: &mut T) -> Result<(), String> {
    *into = text.trim().replace('_', "").parse().map_err(|_| format!("{text:?} is not {what}"))?;
    Ok(())
}

/// Reads one of a few words.
pub(super) fn word<T: Copy>(text: &str, words: &[(&str, T)], into: &mut T) -> Result<(), String> {
    match words.iter().find(|(word, _)| *word == text) {
        Some((_, value)) => {
            *into = *value;
            Ok(())
        }
        None => {
            let all: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            Err(format!("{text:?} is none of {}", all.join(", ")))
        }
    }
}

/// Reads a number of calls, which cannot be none.
pub(super) fn calls<T: std::str::FromStr + PartialOrd + From<u32>>(
    text: &str,
    into: &mut T,
) -> Result<(), String> {
    match text.trim().replace('_', "").parse::<T>() {
        Ok(number) if number >= T::from(1) => {
            *into = number;
            Ok(())
        }
        _ => Err(format!("{text:?} is no number of calls, which is 1 or more")),
    }
}

/// Reads a secret that stands alone in a file.
pub(super) fn first_line(path: &Path) -> Result<String, String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(text.lines().next().unwrap_or_default().trim().to_owned())
}

/// Returns the items of a list.
pub(super) fn items(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|item| !item.is_empty())
}

/// Reads `15 min`, `90s`, `400 d`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
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

/// Reads how often a far side is looked at.
pub(super) fn interval(text: &str, into: &mut Duration) -> Result<(), String> {
    let interval = duration(text)?;
    if !(60..=86_400).contains(&interval.as_secs()) {
        return Err(format!("{text:?} is not between 1 min and 24 h"));
    }
    *into = interval;
    Ok(())
}

/// Reads `30 d` or `all`.
pub(super) fn reach(text: &str, into: &mut Reach) -> Result<(), String> {
    *into = match text.trim().to_lowercase().as_str() {
        "all" => Reach::All,
        days => {
            let days = duration(days).map_err(|_| format!("{text:?} is neither a time like 30 d nor all"))?;
            Reach::Days(u32::try_from(days.as_secs().div_ceil(86_400)).unwrap_or(u32::MAX))
        }
    };
    Ok(())
}

/// Reads `03:00`.
pub(super) fn time_of_day(text: &str, into: &mut u32) -> Result<(), String> {
    let parts = text.trim().split_once(':').and_then(|(h, m)| Some((h.parse().ok()?, m.parse().ok()?)));
    match parts {
        Some((hours @ 0..=23_u32, minutes @ 0..=59_u32)) => {
            *into = hours * 3600 + minutes * 60;
            Ok(())
        }
        _ => Err(format!("{text:?} is no time of day like 03:00")),
    }
}

/// Reads `10 MiB`, `10MB`, `1048576`.
pub(super) fn size(text: &str, into: &mut u64) -> Result<(), String> {
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
