//! CALDAV:filter (RFC 4791 §9.7–9.9) as plain data, and whether an object matches it.
//!
//! Owns: comp-filter, prop-filter, param-filter, text-match with its collations, time ranges of properties and
//! alarms. Does not own: their XML (`dav`), time ranges of components (`series`).

mod alarm;
mod collation;
mod decompose;

#[cfg(test)]
mod tests;

pub use collation::Collation;

use std::cell::Cell;

use super::series::{Kind, Series, TimeRange};
use super::tree::{Component, Ical, Property};
use super::value::{self, DateTime, PeriodEnd};
use super::zone::{Zone, Zones};

/// RFC 4791 §9.7.1. All of its parts must match the same component.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CompFilter {
    /// Component type, upper case.
    pub name: String,
    /// Matches if there is no such component; the rest is then empty.
    pub is_not_defined: bool,
    /// RFC 4791 §9.9.
    pub time_range: Option<TimeRange>,
    /// Its properties.
    pub props: Vec<PropFilter>,
    /// Its child components.
    pub comps: Vec<CompFilter>,
}

/// RFC 4791 §9.7.2. All of its parts must match the same property.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PropFilter {
    /// Property name, upper case.
    pub name: String,
    /// Matches if there is no such property.
    pub is_not_defined: bool,
    /// Its value must overlap.
    pub time_range: Option<TimeRange>,
    /// Its value must match.
    pub text: Option<TextMatch>,
    /// Its parameters.
    pub params: Vec<ParamFilter>,
}

/// RFC 4791 §9.7.3.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ParamFilter {
    /// Parameter name, upper case.
    pub name: String,
    /// Matches if there is no such parameter.
    pub is_not_defined: bool,
    /// One of its values must match.
    pub text: Option<TextMatch>,
}

/// RFC 4791 §9.7.5: contains the text, or with `negate` does not.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TextMatch {
    /// What is looked for.
    pub text: String,
    /// How letters are compared.
    pub collation: Collation,
    /// `negate-condition`.
    pub negate: bool,
}

impl TextMatch {
    fn matches(&self, text: &str) -> bool {
        self.collation.contains(text, &self.text) != self.negate
    }
}

/// What an index can say of a filter. An object that fails the hint does not match.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Hint<'a> {
    /// The object is of this type.
    pub component: Option<&'a str>,
    /// An instance overlaps.
    pub range: Option<TimeRange>,
    /// The hint says all that the filter says: an object whose span is exact, or with no range, needs no further look.
    pub exact: bool,
}

impl CompFilter {
    /// Returns a filter that asks for nothing but that there is such a component.
    pub fn named(name: impl Into<String>) -> CompFilter {
        CompFilter { name: name.into(), ..CompFilter::default() }
    }

    fn bare(&self) -> bool {
        !self.is_not_defined && self.props.is_empty() && self.comps.is_empty()
    }

    /// The one child of a VCALENDAR filter that names the object's type.
    fn main(&self) -> Option<&CompFilter> {
        let wanted = |comp: &&CompFilter| kind_named(&comp.name).is_some() && !comp.is_not_defined;
        let own = self.name == "VCALENDAR" && !self.is_not_defined;
        self.comps.iter().find(wanted).filter(|_| own)
    }

    /// Returns what an index can use of the filter, which is that of a VCALENDAR.
    pub fn index_hint(&self) -> Hint<'_> {
        let Some(main) = self.main() else { return Hint::default() };
        Hint {
            component: Some(&main.name),
            range: main.time_range,
            exact: main.bare() && self.props.is_empty() && self.comps.len() == 1,
        }
    }
}

fn kind_named(name: &str) -> Option<Kind> {
    Some(match name {
        "VEVENT" => Kind::Event,
        "VTODO" => Kind::Todo,
        "VJOURNAL" => Kind::Journal,
        "VFREEBUSY" => Kind::FreeBusy,
        _ => return None,
    })
}

/// Decides without the text, if the series alone can: the usual query for a type and a time range.
pub fn decide(filter: &CompFilter, series: &Series, floating: &Zone) -> Option<bool> {
    let hint = filter.index_hint();
    if !hint.exact || series.kind() == Kind::Other {
        return None;
    }
    if hint.component.and_then(kind_named) != Some(series.kind()) {
        return Some(false);
    }
    Some(hint.range.is_none_or(|range| series.overlaps(range, floating)))
}

/// Tells whether an object matches a filter (RFC 4791 §9.7), which is that of a VCALENDAR.
///
/// Where a filter has a time range and conditions on properties, both must hold for the same component: an override
/// that has moved away does not lend its properties to the instances of the master.
pub fn matches(filter: &CompFilter, ical: &Ical, series: &Series, floating: &Zone) -> bool {
    if let Some(decided) = decide(filter, series, floating) {
        return decided;
    }
    let query = Query { series, alarms: Cell::new(0), floating, zones: Zones::of(ical) };
    let mut roots = ical.roots().filter(|root| root.name() == filter.name);
    if filter.is_not_defined {
        return roots.next().is_none();
    }
    roots.any(|calendar| {
        filter.time_range.is_none_or(|range| series.overlaps(range, floating))
            && query.props(filter, calendar)
            && filter.comps.iter().all(|comp| query.children(comp, calendar, Place::Calendar))
    })
}

/// Where in the object a component is.
#[derive(Clone, Copy)]
enum Place {
    /// The VCALENDAR itself.
    Calendar,
    /// A child of the VCALENDAR, by its place there.
    Child(usize),
    /// Something within that child.
    Within,
}

/// Alarms of one object that are worked out; of an object with more nobody says that none goes off.
const ALARMS: u32 = 500;

struct Query<'a> {
    series: &'a Series,
    alarms: Cell<u32>,
    floating: &'a Zone,
    zones: Zones<'a>,
}

impl Query<'_> {
    fn children(&self, filter: &CompFilter, parent: Component<'_>, at: Place) -> bool {
        let mut found = parent.components().enumerate().filter(|(_, child)| child.name() == filter.name);
        if filter.is_not_defined {
            return found.next().is_none();
        }
        found.any(|(place, child)| {
            let here = match at {
                Place::Calendar => Place::Child(place),
                Place::Child(_) | Place::Within => Place::Within,
            };
            self.within(filter.time_range, child, at, here)
                && self.props(filter, child)
                && filter.comps.iter().all(|comp| self.children(comp, child, here))
        })
    }

    /// RFC 4791 §9.9: only these component types can overlap a range.
    fn within(&self, range: Option<TimeRange>, component: Component<'_>, parent: Place, here: Place) -> bool {
        let Some(range) = range else { return true };
        match (component.name(), parent, here) {
            ("VALARM", Place::Child(_), _) if self.alarms.replace(self.alarms.get() + 1) >= ALARMS => true,
            ("VALARM", Place::Child(place), _) => {
                alarm::overlaps(component, place, self.series, &self.zones, range, self.floating)
            }
            (_, _, Place::Child(place)) => self.series.component_overlaps(place, range, self.floating),
            _ => false,
        }
    }

    fn props(&self, filter: &CompFilter, component: Component<'_>) -> bool {
        filter.props.iter().all(|prop| self.prop(prop, component))
    }

    fn prop(&self, filter: &PropFilter, component: Component<'_>) -> bool {
        let mut found = component.all(&filter.name);
        if filter.is_not_defined {
            return found.next().is_none();
        }
        found.any(|property| {
            filter.time_range.is_none_or(|range| self.value_overlaps(&property, range))
                && filter.text.as_ref().is_none_or(|text| text.matches(&property.text()))
                && filter.params.iter().all(|param| param_matches(param, &property))
        })
    }

    /// RFC 4791 §9.9: the value of a property (a date is its whole day) overlaps the range.
    fn value_overlaps(&self, property: &Property<'_>, range: TimeRange) -> bool {
        let (moments, _) = value::date_times(property);
        moments.iter().any(|moment| {
            let start = self.instant(&moment.start);
            let end = match &moment.end {
                Some(PeriodEnd::At(end)) => self.instant(end),
                Some(PeriodEnd::After(duration)) => start + duration.plain_seconds(),
                None if moment.start.is_date() => start + 86_400,
                None => start,
            };
            if end > start {
                range.start < end && range.end > start
            } else {
                range.start <= start && range.end > start
            }
        })
    }

    fn instant(&self, time: &DateTime) -> i64 {
        instant(time, &self.zones, self.floating)
    }
}

fn instant(time: &DateTime, zones: &Zones<'_>, floating: &Zone) -> i64 {
    match time {
        DateTime::Utc(civil) => civil.0,
        DateTime::Date(civil) | DateTime::Floating(civil) => floating.to_instant(*civil),
        DateTime::Zoned(civil, tzid) => match zones.zone(tzid) {
            Some(zone) => zone.to_instant(*civil),
            None => floating.to_instant(*civil),
        },
    }
}

fn param_matches(filter: &ParamFilter, property: &Property<'_>) -> bool {
    let parameters = property.parameters();
    let mut found = parameters.iter().filter(|(name, _)| *name == filter.name).peekable();
    if filter.is_not_defined {
        return found.peek().is_none();
    }
    match &filter.text {
        None => found.peek().is_some(),
        Some(text) => found.any(|(_, values)| values.iter().any(|value| text.matches(value))),
    }
}
