//! RFC 4918 §15, RFC 4331 (quota), RFC 3253 §3.1.5, RFC 5842 §3.1, RFC 5995.

use std::time::{Duration, UNIX_EPOCH};

use crate::dav::property::{Get, Property, Set, anything};
use crate::dav::resource::{Facts, Kinds, Node, Resource};
use crate::dav::{Scope, lock, report};
use crate::http::Href;
use crate::store::Timestamp;
use crate::xml::{Name, Writer, caldav, dav};

pub(super) const ALL: &[Property] = &[
    // RFC 4918 §15.9. On everything, even empty: Thunderbird's listing fails when one member lacks it.
    Property {
        name: dav("resourcetype"),
        on: Kinds::ALL,
        allprop: true,
        needs: Facts::NONE,
        get: Get::Inside(resourcetype),
        set: Set::Protected,
    },
    // RFC 4918 §15.2.
    Property {
        name: dav("displayname"),
        on: Kinds::ALL,
        allprop: true,
        needs: Facts::DEAD,
        get: Get::StoredOr(displayname),
        set: Set::Stored(anything),
    },
    // RFC 4918 §15.6.
    Property {
        name: dav("getetag"),
        on: Kinds::MEMBER,
        allprop: true,
        needs: Facts::NONE,
        get: Get::Inside(getetag),
        set: Set::Protected,
    },
    // RFC 4918 §15.5. Thunderbird takes only what begins with text/calendar.
    Property {
        name: dav("getcontenttype"),
        on: Kinds::MEMBER,
        allprop: true,
        needs: Facts::NONE,
        get: Get::Inside(|r, _, w| r.object().map(|(_, meta)| w.text(&meta.content_type)).is_some()),
        set: Set::Protected,
    },
    // RFC 4918 §15.4.
    Property {
        name: dav("getcontentlength"),
        on: Kinds::MEMBER,
        allprop: true,
        needs: Facts::NONE,
        get: Get::Inside(|r, _, w| r.object().map(|(_, meta)| w.number(meta.size)).is_some()),
        set: Set::Protected,
    },
    // RFC 4918 §15.7.
    Property {
        name: dav("getlastmodified"),
        on: Kinds::STORED.or(Kinds::MEMBER),
        allprop: true,
        needs: Facts::NONE,
        get: Get::Inside(getlastmodified),
        set: Set::Protected,
    },
    // RFC 4918 §15.1.
    Property {
        name: dav("creationdate"),
        on: Kinds::STORED.or(Kinds::MEMBER).or(Kinds::PRINCIPAL),
        allprop: true,
        needs: Facts::NONE,
        get: Get::Inside(creationdate),
        set: Set::Protected,
    },
    // RFC 4918 §15.10.
    Property {
        name: dav("supportedlock"),
        on: Kinds::STORED.or(Kinds::MEMBER),
        allprop: true,
        needs: Facts::NONE,
        get: Get::Inside(supportedlock),
        set: Set::Protected,
    },
    // RFC 4918 §15.8.
    Property {
        name: dav("lockdiscovery"),
        on: Kinds::STORED.or(Kinds::MEMBER),
        allprop: true,
        needs: Facts::LOCKS,
        get: Get::Inside(|r, scope, w| {
            lock::write_discovery(&r.locks, scope, w);
            true
        }),
        set: Set::Protected,
    },
    // RFC 4331 §3.
    Property {
        name: dav("quota-available-bytes"),
        on: Kinds::STORED,
        allprop: false,
        needs: Facts::USED,
        get: Get::Inside(|r, scope, w| {
            let quota = scope.session.house.limits.quota;
            r.used.map(|used| w.number(quota.saturating_sub(used))).is_some()
        }),
        set: Set::Protected,
    },
    // RFC 4331 §4.
    Property {
        name: dav("quota-used-bytes"),
        on: Kinds::STORED,
        allprop: false,
        needs: Facts::USED,
        get: Get::Inside(|r, _, w| r.used.map(|used| w.number(used)).is_some()),
        set: Set::Protected,
    },
    // RFC 3253 §3.1.5.
    Property {
        name: dav("supported-report-set"),
        on: Kinds::ALL,
        allprop: false,
        needs: Facts::NONE,
        get: Get::Inside(supported_report_set),
        set: Set::Protected,
    },
    // RFC 5842 §3.1: the same however the resource is reached.
    Property {
        name: dav("resource-id"),
        on: Kinds::STORED.or(Kinds::PRINCIPAL),
        allprop: false,
        needs: Facts::NONE,
        get: Get::Inside(resource_id),
        set: Set::Protected,
    },
    // RFC 5995 §3.2.1: POST to the collection itself adds a member.
    Property {
        name: dav("add-member"),
        on: Kinds::CALENDAR,
        allprop: false,
        needs: Facts::NONE,
        get: Get::Inside(|r, _, w| {
            w.leaf(&dav("href"), &r.path);
            true
        }),
        set: Set::Protected,
    },
];

const COLLECTION: Name = dav("collection");

fn resourcetype(r: &Resource, _: &Scope, w: &mut Writer) -> bool {
    let kind = r.kind();
    if !kind.has(Kinds::MEMBER) {
        w.empty(&COLLECTION);
    }
    if kind.has(Kinds::PRINCIPAL) {
        w.empty(&dav("principal"));
    }
    if kind.has(Kinds::CALENDAR) {
        w.empty(&caldav("calendar"));
    }
    true
}

fn displayname(r: &Resource, scope: &Scope, w: &mut Writer) -> bool {
    match &r.node {
        Node::Place(href) => w.text(match href {
            Href::Principals => "Principals",
            Href::Calendars => "Calendars",
            Href::FilesRoot => "Files",
            _ => "Kalends",
        }),
        Node::Principal => w.text(&scope.session.principal.display_name),
        Node::Collection(at) => w.text(at.collection().name.as_str()),
        Node::Member(..) => return false,
    }
    true
}

fn getetag(r: &Resource, _: &Scope, w: &mut Writer) -> bool {
    let Some((_, meta)) = r.object() else { return false };
    w.text("\"");
    w.text(&meta.etag.0);
    w.text("\"");
    true
}

fn modified(r: &Resource) -> Option<Timestamp> {
    match &r.node {
        Node::Collection(at) => Some(at.collection().modified),
        Node::Member(_, meta) => Some(meta.modified),
        Node::Place(_) | Node::Principal => None,
    }
}

fn getlastmodified(r: &Resource, _: &Scope, w: &mut Writer) -> bool {
    modified(r).map(|at| w.text(&http_date(at))).is_some()
}

/// Returns the time as HTTP writes it (RFC 9110 §5.6.7).
pub(in crate::dav) fn http_date(at: Timestamp) -> String {
    let seconds = u64::try_from(at.seconds()).unwrap_or(0);
    httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(seconds))
}

fn creationdate(r: &Resource, scope: &Scope, w: &mut Writer) -> bool {
    let at = match &r.node {
        Node::Collection(at) => at.collection().created,
        Node::Member(_, meta) => meta.created,
        Node::Principal => scope.session.principal.created,
        Node::Place(_) => return false,
    };
    let Ok(instant) = jiff::Timestamp::from_second(at.seconds()) else { return false };
    w.text(&instant.strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
    true
}

fn supportedlock(_: &Resource, _: &Scope, w: &mut Writer) -> bool {
    for scope in ["exclusive", "shared"] {
        w.open(&dav("lockentry"));
        w.open(&dav("lockscope"));
        w.empty(&dav(scope));
        w.close();
        w.open(&dav("locktype"));
        w.empty(&dav("write"));
        w.close();
        w.close();
    }
    true
}

fn supported_report_set(r: &Resource, _: &Scope, w: &mut Writer) -> bool {
    for name in report::supported(r.kind()) {
        w.open(&dav("supported-report"));
        w.open(&dav("report"));
        w.empty(name);
        w.close();
        w.close();
    }
    true
}

fn resource_id(r: &Resource, scope: &Scope, w: &mut Writer) -> bool {
    let id = match &r.node {
        Node::Collection(at) => format!("urn:uuid:00000000-0000-8000-8000-{:012x}", at.id().0),
        Node::Principal => principal_urn(scope),
        Node::Place(_) | Node::Member(..) => return false,
    };
    w.leaf(&dav("href"), &id);
    true
}

/// Returns a UUID (RFC 9562 version 8) that stays with the login name.
pub(super) fn principal_urn(scope: &Scope) -> String {
    let hex = crate::store::Etag::of(scope.session.principal.name.as_bytes()).0;
    let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default();
    format!("urn:uuid:{}-{}-8{}-8{}-{}", part(0, 8), part(8, 12), part(13, 16), part(17, 20), part(20, 32))
}
