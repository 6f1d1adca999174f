//! Outlook's zones ↔ ours: Windows names there, IANA names here.

use crate::ical::zone::{Zone, by_tzid, windows_name};

/// What zones without a name are called.
const CUSTOM: &str = "tzone://Microsoft/Custom";

/// Returns the zone that Outlook means. Nothing: it says that it is a nameless one, or says something unknown.
pub(super) fn of_far(name: &str) -> Option<Zone> {
    if name.eq_ignore_ascii_case(CUSTOM) {
        return None;
    }
    by_tzid(name)
}

/// Returns the zone as Outlook would give it back, for times in that span: the one that its Windows name stands for.
/// Nothing: Windows has none whose clock shows the same.
pub(super) fn held(zone: &Zone, from: i64, to: i64) -> Option<Zone> {
    windows_name(zone, from, to).map(|(_, zone)| zone)
}

/// Returns the name to send. Only for zones that [`held`] gave.
pub(super) fn name(zone: &Zone, at: i64) -> &'static str {
    windows_name(zone, at, at).map_or("UTC", |(name, _)| name)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use super::*;

    // S1-099: zones go there and come back with the same clock
    #[test]
    fn every_zone_finds_its_windows_name() {
        let (from, to) = (1_700_000_000, 2_000_000_000);
        for (iana, windows, back) in [
            ("Europe/Berlin", "W. Europe Standard Time", "Europe/Berlin"),
            ("Europe/Vienna", "W. Europe Standard Time", "Europe/Berlin"),
            ("Europe/Kyiv", "FLE Standard Time", "Europe/Kiev"),
            ("America/New_York", "Eastern Standard Time", "America/New_York"),
            ("US/Eastern", "Eastern Standard Time", "America/New_York"),
            ("Asia/Kolkata", "India Standard Time", "Asia/Calcutta"),
            ("UTC", "UTC", "UTC"),
        ] {
            let zone = by_tzid(iana).unwrap();
            let held = held(&zone, from, to).unwrap();
            assert_eq!(name(&held, from), windows, "{iana}");
            assert_eq!(held.name(), Some(back), "{iana}");
            assert_eq!(of_far(windows).unwrap(), held);
            // What comes back stays.
            assert_eq!(self::held(&held, from, to), Some(held));
        }
    }

    #[test]
    fn a_zone_without_a_name_is_none_of_ours() {
        assert_eq!(of_far("tzone://Microsoft/Custom"), None);
        assert_eq!(of_far("tzone://Microsoft/Utc"), Some(Zone::Utc));
        assert_eq!(of_far("Customized Time Zone"), None);
        // Twenty minutes and a second east of Greenwich: no clock of Windows shows that.
        assert_eq!(held(&Zone::Fixed(1201), 0, 1), None);
        assert!(held(&Zone::Fixed(3600), 1_700_000_000, 1_700_000_001).is_some());
    }
}
