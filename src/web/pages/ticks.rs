//! Boxes to tick: one for each calendar.

use super::calendar::Calendar;

/// A box, its name and the colour of what it stands for.
#[derive(Debug, Clone)]
pub(in crate::web) struct Tick {
    pub(in crate::web) value: String,
    pub(in crate::web) title: String,
    pub(in crate::web) color: String,
}

/// Returns a box for each calendar, in the colours of the calendar page.
pub(in crate::web) fn ticks(calendars: &[Calendar]) -> Vec<Tick> {
    let of = |calendar: &Calendar| Tick {
        value: calendar.id.clone(),
        title: calendar.title().to_owned(),
        color: calendar.color(),
    };
    calendars.iter().map(of).collect()
}
