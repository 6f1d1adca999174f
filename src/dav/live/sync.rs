//! RFC 6578 §4 and CalendarServer's ctag: two spellings of one position in the log, so they always change together.

use crate::dav::Scope;
use crate::dav::property::{Get, Property, Set};
use crate::dav::resource::{Facts, Kinds, Resource};
use crate::http::sync_token;
use crate::xml::{Writer, calendarserver, dav};

pub(super) const ALL: &[Property] = &[
    // RFC 6578 §4. On the home too: iCal syncs calendars this way only if the home can.
    Property {
        name: dav("sync-token"),
        on: Kinds::STORED,
        allprop: false,
        needs: Facts::HEAD,
        get: Get::Inside(token),
        set: Set::Protected,
    },
    // calendarserver-ctag §4.
    Property {
        name: calendarserver("getctag"),
        on: Kinds::STORED,
        allprop: false,
        needs: Facts::HEAD,
        get: Get::Inside(token),
        set: Set::Protected,
    },
];

fn token(r: &Resource, _: &Scope, w: &mut Writer) -> bool {
    let (Some(at), Some(head)) = (r.collection(), r.head) else { return false };
    w.text(&sync_token(at.collection(), head.into()));
    true
}
