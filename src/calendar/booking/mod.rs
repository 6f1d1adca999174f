//! Bookings: somebody's time, offered, held, taken and given back.
//!
//! Owns: how an owner may be booked (`rules`, `hours`), when they are free (`busy`, `stretch`, `ground`, `slots`), bookings and holds
//! (`record`, `event`, `book`, `change`, `view`, `holds`). Does not own: asking far sides first, JSON (`api`).
//!
//! There is one truth about time: events in calendars. A booking is an event in the calendar that is written, a hold is one
//! in a calendar that nobody sees; the record beside it says who and how it stands. So every check reads the same index and
//! every write passes the same expectation, whoever else writes: a client, a program or the bridge.

mod book;
mod busy;
mod change;
mod event;
mod exclusive;
mod ground;
mod holds;
mod hours;
mod record;
mod rules;
mod slots;
mod stretch;
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
mod tests;
mod view;

pub use book::{Check, Keep, NewBooking};
pub use busy::{BOOKING, Item, What};
pub use change::BookingChange;
pub use exclusive::{is_exclusive, set_exclusive};
pub use ground::{Asked, Basis, Blocking, Heed, Offered, Refused, Why};
pub use holds::is_holds;
pub use hours::{Exception, Hours, Span};
pub use record::{Booking, Customer, Status, booking_key, booking_of};
pub use rules::{Counts, Fallback, LiveCheck, OnCancel, Rules, Settled};
pub use slots::{Clash, Rule};
pub use view::{Booked, Wanted};

pub(super) use holds::NAME as HOLDS;

/// What a house remembers of bookings while it runs; all of it can be found out again.
pub(super) struct Desk {
    known: rules::Known,
    looks: busy::Looks,
    stretches: stretch::Stretches,
    lines: book::Lines,
    ends: holds::Ends,
}

impl Desk {
    pub(super) fn new() -> Desk {
        Desk {
            known: rules::Known::default(),
            looks: busy::Looks::new(),
            stretches: stretch::Stretches::new(),
            lines: book::Lines::default(),
            ends: holds::Ends::default(),
        }
    }
}
