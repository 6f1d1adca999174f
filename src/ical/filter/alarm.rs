//! When an alarm goes off (RFC 5545 §3.6.6, RFC 4791 §9.9).

use crate::ical::series::{Series, TimeRange};
use crate::ical::tree::Component;
use crate::ical::value::{self, Duration};
use crate::ical::zone::{Zone, Zones};

/// Longer than any alarm is set ahead: a thousand years.
const FAR: i64 = 1 << 35;

/// The times of one alarm after its trigger: how often again, and how far apart.
struct Repeats {
    more: i64,
    apart: i64,
}

impl Repeats {
    fn of(alarm: Component<'_>) -> Repeats {
        let more = alarm.property("REPEAT").and_then(|p| p.raw().trim().parse::<i64>().ok()).unwrap_or(0);
        let apart = alarm.property("DURATION").and_then(|p| Duration::parse(&p.raw()));
        let apart = apart.map_or(0, Duration::plain_seconds).clamp(0, FAR);
        // RFC 5545 §3.6.6: both or neither.
        if apart == 0 {
            Repeats { more: 0, apart: 1 }
        } else {
            Repeats { more: more.clamp(0, FAR / apart), apart }
        }
    }

    /// True if the alarm goes off within the range when it is triggered then.
    fn within(&self, trigger: i64, range: TimeRange) -> bool {
        let behind = (range.start - trigger).max(0);
        let nth = behind / self.apart + i64::from(behind % self.apart != 0);
        nth <= self.more
            && trigger + nth * self.apart < range.end
            && trigger + nth * self.apart >= range.start
    }
}

/// Tells whether the alarm of the component at that place goes off within the range, for any of its instances.
///
/// A day of a trigger counts as 24 hours, whatever the clock does.
pub(super) fn overlaps(
    alarm: Component<'_>,
    place: usize,
    series: &Series,
    zones: &Zones<'_>,
    range: TimeRange,
    floating: &Zone,
) -> bool {
    let Some(trigger) = alarm.property("TRIGGER") else { return false };
    let repeats = Repeats::of(alarm);
    let Some(offset) = Duration::parse(&trigger.raw()) else {
        return value::date_time(&trigger)
            .is_some_and(|time| repeats.within(super::instant(&time, zones, floating), range));
    };
    let from_end = trigger.parameter("RELATED").is_some_and(|name| name.trim().eq_ignore_ascii_case("END"));
    let offset = offset.plain_seconds().clamp(-FAR, FAR);
    let latest = offset + repeats.more * repeats.apart;
    // An instance whose alarm goes off within the range has its start or end within this one.
    let wide = range.widened(latest + 1, 1 - offset);
    let mut found = false;
    series.walk(wide, floating, &mut |instance| {
        if instance.component == place {
            let base = if from_end { instance.end } else { instance.start };
            found = repeats.within(base + offset, range);
        }
        !found
    });
    found
}
