//! Apple's and CalendarServer's properties. Values are kept as they came, attributes included: `symbolic-color`
//! belongs to a colour.

use crate::dav::property::{Get, Property, Set, anything};
use crate::dav::resource::{Facts, Kinds};
use crate::xml::{Name, apple, calendarserver};

const fn kept(name: Name, on: Kinds) -> Property {
    Property { name, on, allprop: false, needs: Facts::NONE, get: Get::Stored, set: Set::Stored(anything) }
}

pub(super) const ALL: &[Property] = &[
    kept(apple("calendar-color"), Kinds::CALENDAR),
    // A 403 for the order makes macOS show a warning at each refresh.
    kept(apple("calendar-order"), Kinds::CALENDAR),
    // Of the principal: the addresses, as iCal's address book lookup reads them.
    Property {
        name: calendarserver("email-address-set"),
        on: Kinds::PRINCIPAL,
        allprop: false,
        needs: Facts::NONE,
        get: Get::Inside(|_, scope, w| {
            for email in &scope.session.principal.emails {
                w.leaf(&calendarserver("email-address"), email);
            }
            true
        }),
        set: Set::Protected,
    },
];
