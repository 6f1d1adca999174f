//! Bookings over a store, with a clock that is moved by hand.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use bytes::Bytes;
use futures_util::future::join_all;

use super::*;
use crate::calendar::{Clock, Error, House, Limits, NewPrincipal, Put, Refusal, Session, When, Writable};
use crate::ical::series::TimeRange;
use crate::ical::value::Civil;
use crate::store::{Name, Origin, Sled, Timestamp};

struct Hand(AtomicI64);

impl Clock for Hand {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }
}

struct World {
    house: Arc<House>,
    clock: Arc<Hand>,
    session: Session,
    work: Writable,
}

/// Monday, 5 January 2026, at this time of day (UTC), on this day of the week and after.
fn at(day: i64, time: &str) -> i64 {
    Civil::parse(&format!("20260105T{}00", time.replace(':', ""))).unwrap().0 + day * 86_400
}

async fn world() -> World {
    let clock = Arc::new(Hand(AtomicI64::new(at(0, "08:00") * 1000)));
    let store = Arc::new(Sled::temporary().unwrap());
    let house = House::new(store, Arc::clone(&clock) as Arc<dyn Clock>, Limits::default());
    let new = NewPrincipal {
        name: "anna".into(),
        emails: vec!["anna@example.org".into()],
        ..NewPrincipal::default()
    };
    let anna = house.add_principal(new).await.unwrap();
    let session = house
        .session(anna, Origin::Api { principal: "anna".into(), agent: String::new(), label: String::new() });
    let work = session.home().await.unwrap().writable_child("calendar").await.unwrap().unwrap();
    World { house, clock, session, work }
}

fn wish(start: i64, end: i64) -> NewBooking {
    NewBooking {
        calendar: None,
        start,
        end,
        time_zone: None,
        service: Some("Haircut".into()),
        customer: Customer { name: "Eva".into(), email: None, phone: None },
        location: None,
        notes: None,
        recurrence: None,
        before: None,
        after: None,
        hold: None,
        pending: false,
        reference: None,
        session: None,
        heed: Heed::All,
    }
}

fn nothing(_: &Booked) -> Result<(Vec<crate::store::Expect>, Vec<crate::store::Op>), crate::store::Fault> {
    Ok((Vec::new(), Vec::new()))
}

fn anything(_: &Booked) -> Result<(), Refusal> {
    Ok(())
}

fn event(uid: &str, start: i64, end: i64, more: &str) -> Bytes {
    let (start, end) = (Civil(start).to_basic(), Civil(end).to_basic());
    format!(
        "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:t\r\nBEGIN:VEVENT\r\nUID:{uid}\r\nDTSTAMP:20260101T000000Z\r\n\
         DTSTART:{start}Z\r\nDTEND:{end}Z\r\nSUMMARY:Private {uid}\r\n{more}END:VEVENT\r\nEND:VCALENDAR\r\n"
    )
    .into()
}

impl World {
    async fn book(&self, new: &NewBooking) -> Result<Booked, Error> {
        self.session.book(new, &nothing).await
    }

    async fn put(&self, uid: &str, start: i64, end: i64, more: &str) -> Result<(), Error> {
        let name = Name::new(format!("{uid}.ics")).unwrap();
        let client = Origin::Dav { principal: "anna".into(), agent: "test".into(), label: String::new() };
        let session = self.house.session(Arc::clone(&self.session.principal), client);
        session.put(&self.work, Put::new(&name, event(uid, start, end, more))).await.map(|_| ())
    }

    async fn rules(&self, change: impl Fn(&mut Rules) + Send + Sync) {
        let changed = self.session.change_booking_rules::<Error>(|_, rules| {
            change(rules);
            Ok(())
        });
        changed.await.unwrap();
    }

    fn pass(&self, seconds: i64) {
        self.clock.0.fetch_add(seconds * 1000, Ordering::SeqCst);
    }

    async fn text(&self, booked: &Booked) -> Option<String> {
        let found = self.work.by_uid(&booked.booking.uid).await.unwrap()?;
        let object = self.work.object(found.as_str()).await.unwrap()?;
        Some(String::from_utf8(object.bytes.to_vec()).unwrap())
    }

    async fn slots(&self, from: i64, to: i64, duration: i64) -> Vec<i64> {
        let asked = Asked { from, to, duration, before: None, after: None, step: Some(1800), explain: false };
        let (offered, _) = self.session.availability(&asked).await.unwrap();
        offered.slots.into_iter().map(|(start, _)| start).collect()
    }
}

fn taken(result: Result<Booked, Error>) -> Blocking {
    match result {
        Err(Error::Refused(Refusal::SlotTaken(blocking))) => *blocking,
        other => panic!("{other:?}"),
    }
}

fn unbookable(result: Result<Booked, Error>) -> &'static str {
    match result {
        Err(Error::Refused(Refusal::NotBookable(why))) => why,
        other => panic!("{other:?}"),
    }
}

fn state(result: Result<Booked, Error>) -> Status {
    match result {
        Err(Error::Refused(Refusal::WrongState(status))) => status,
        other => panic!("{other:?}"),
    }
}

// B-01, B-07, B-25: one event, marked, and the time is taken for whoever comes next, by hand or by booking.
#[tokio::test]
async fn what_is_booked_is_an_event_and_taken() {
    let world = world().await;
    let booked = world.book(&wish(at(1, "10:00"), at(1, "11:00"))).await.unwrap();
    let text = world.text(&booked).await.unwrap();
    assert!(text.contains(&format!("X-KALENDS-BOOKING:{}\r\n", booked.booking.id)), "{text}");
    assert!(text.contains("SUMMARY:Haircut: Eva\r\n") && text.contains("SEQUENCE:0\r\n"), "{text}");
    let blocking = taken(world.book(&wish(at(1, "10:30"), at(1, "11:30"))).await);
    assert_eq!((blocking.start, blocking.end), (at(1, "10:00"), at(1, "11:00")));
    assert_eq!((blocking.calendar, blocking.what), (world.work.id(), What::Booking));
    world.put("lunch", at(1, "12:00"), at(1, "13:00"), "").await.unwrap();
    let blocking = taken(world.book(&wish(at(1, "12:30"), at(1, "13:30"))).await);
    assert_eq!((blocking.what, blocking.title.as_deref()), (What::Event, Some("Private lunch")));
    world.book(&wish(at(1, "11:00"), at(1, "12:00"))).await.unwrap();
    let again = world.session.booking(&booked.booking.id).await.unwrap();
    assert_eq!((again.etag, again.booking.status), (booked.etag, Status::Confirmed));
}

// B-01: what is held counts as busy, ends by the clock without anybody's doing, can be kept longer and made a booking.
#[tokio::test]
async fn a_hold_ends_by_the_clock() {
    let world = world().await;
    let hold = NewBooking { hold: Some(300), ..wish(at(1, "10:00"), at(1, "11:00")) };
    let first = world.book(&hold).await.unwrap();
    assert_eq!(first.booking.status, Status::Held);
    assert_eq!(world.text(&first).await, None, "what is held is in nobody's calendar");
    let blocking = taken(world.book(&hold).await);
    assert_eq!((&blocking.what, blocking.calendar), (&What::Hold(world.work.id()), world.work.id()));
    assert_eq!(blocking.title, None, "B-21: who holds a time is nobody else's business");
    world.pass(299);
    taken(world.book(&hold).await);
    world.pass(1);
    // Nobody cleared it away, and it counts for nothing.
    let second = world.book(&hold).await.unwrap();
    assert_eq!(world_status(&world.session, &first.booking.id).await, Status::Expired);
    assert_eq!(
        state(world.session.confirm_booking(&first.booking.id, &anything, &nothing).await),
        Status::Expired
    );
    // Kept longer, it lasts longer.
    world.pass(200);
    let longer = BookingChange { hold: Some(600), ..BookingChange::default() };
    world.session.change_booking(&second.booking.id, &longer, &anything).await.unwrap();
    world.pass(599);
    taken(world.book(&hold).await);
    let sure = world.session.confirm_booking(&second.booking.id, &anything, &nothing).await.unwrap();
    assert_eq!((sure.booking.status, &sure.booking.uid), (Status::Confirmed, &second.booking.uid));
    assert!(world.text(&sure).await.unwrap().contains("STATUS:CONFIRMED\r\n"));
    world.pass(3600);
    taken(world.book(&hold).await);
    // What ended is cleared away, and that it expired stays known.
    world.house.expire_holds().await.unwrap();
    let holds = world.session.home().await.unwrap();
    let holds = world.house.store.child(holds.id(), HOLDS).await.unwrap().unwrap();
    assert_eq!(world.house.store.head(holds.id).await.unwrap().objects, 0);
    let record = world.house.store.record(&booking_key("anna", &first.booking.id)).await.unwrap().unwrap();
    assert_eq!(Booking::decode(&record).unwrap().status, Status::Expired);
    assert_eq!(world.house.expire_holds().await.unwrap(), None);
}

async fn world_status(session: &Session, id: &str) -> Status {
    session.booking(id).await.unwrap().booking.status
}

// B-01: after a start holds are known again.
#[tokio::test]
async fn holds_are_recalled_after_a_start() {
    let world = world().await;
    let hold = NewBooking { hold: Some(300), ..wish(at(1, "10:00"), at(1, "11:00")) };
    let held = world.book(&hold).await.unwrap();
    let house = House::new(
        Arc::clone(&world.house.store),
        Arc::clone(&world.clock) as Arc<dyn Clock>,
        Limits::default(),
    );
    house.recall_holds().await.unwrap();
    let ends = house.expire_holds().await.unwrap().unwrap();
    assert_eq!(Some(ends), held.booking.expires);
    world.pass(300);
    assert_eq!(house.expire_holds().await.unwrap(), None);
    let record = house.store.record(&booking_key("anna", &held.booking.id)).await.unwrap().unwrap();
    assert_eq!(Booking::decode(&record).unwrap().status, Status::Expired);
}

// B-01, B-03: of many at once one gets it, whether it books, holds or confirms.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_rivals_one_wins() {
    let world = Arc::new(world().await);
    for round in 0..6 {
        let rivals = (0..24).map(|rival| {
            let world = Arc::clone(&world);
            let shift = (rival % 4) * 300;
            let hold = (rival % 3 == 0).then_some(300);
            let start = at(round, "10:00") + shift;
            let new = NewBooking { hold, ..wish(start, start + 3600) };
            tokio::spawn(async move { world.book(&new).await })
        });
        let all: Vec<_> = join_all(rivals).await.into_iter().map(Result::unwrap).collect();
        assert_eq!(all.iter().filter(|one| one.is_ok()).count(), 1, "round {round}");
        let winner = all.iter().find_map(|one| one.as_ref().ok()).unwrap().booking.clone();
        for lost in all.into_iter().filter(Result::is_err) {
            let blocking = taken(lost);
            assert_eq!((blocking.start, blocking.end), (winner.start, winner.end));
        }
    }
}

// B-19: rivals whose buffers differ, and grow while they look.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn rivals_keep_each_others_buffers() {
    for seed in 0..6_i64 {
        let world = Arc::new(world().await);
        let rivals = (0..40_i64).map(|rival| {
            let world = Arc::clone(&world);
            let chance = |n: i64| (rival * 7919 + seed * 104_729 + n * 31).rem_euclid(97);
            let start = at(1, "08:00") + chance(1) * 600;
            let new = NewBooking {
                before: Some(chance(2) * 60),
                after: Some(chance(3) * 60),
                ..wish(start, start + 1800)
            };
            tokio::spawn(async move { world.book(&new).await })
        });
        let all = join_all(rivals).await.into_iter().map(Result::unwrap);
        let mut won: Vec<Booking> = all.filter_map(|one| one.ok().map(|one| one.booking)).collect();
        won.sort_by_key(|booking| booking.start);
        assert!(won.len() > 1);
        for (place, one) in won.iter().enumerate() {
            for other in won.iter().skip(place + 1) {
                let gap = other.start - one.end;
                assert!(gap >= one.after.max(other.before), "seed {seed}: {one:?} {other:?}");
            }
        }
    }
}

// B-19: a day or a week takes no more than it may, however many come at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn caps_hold_among_rivals() {
    let world = Arc::new(world().await);
    world
        .rules(|rules| {
            rules.daily_cap = Some(3);
            rules.weekly_cap = Some(5);
        })
        .await;
    let rivals = (0..30_i64).map(|rival| {
        let world = Arc::clone(&world);
        let start = at(rival % 3, "09:00") + rival * 1800;
        tokio::spawn(async move { world.book(&wish(start, start + 1800)).await })
    });
    let all: Vec<_> = join_all(rivals).await.into_iter().map(Result::unwrap).collect();
    let won: Vec<i64> = all.iter().filter_map(|one| one.as_ref().ok().map(|b| b.booking.start)).collect();
    assert_eq!(won.len(), 5, "the week");
    for day in 0..3 {
        assert!(
            won.iter().filter(|start| (at(day, "00:00")..at(day + 1, "00:00")).contains(start)).count() <= 3
        );
    }
    for lost in all.into_iter().filter(Result::is_err) {
        unbookable(lost);
    }
    // The next week is another one; outside of the rules there are no caps.
    world.book(&wish(at(7, "09:00"), at(7, "10:00"))).await.unwrap();
    let known_better = NewBooking { heed: Heed::Conflicts, ..wish(at(2, "20:00"), at(2, "21:00")) };
    world.book(&known_better).await.unwrap();
}

// B-02, B-12, B-25: moved, it stays the same event; its own time is not in its way, others' are.
#[tokio::test]
async fn a_booking_moves_under_the_same_guard() {
    let world = world().await;
    let one = world.book(&wish(at(1, "10:00"), at(1, "11:00"))).await.unwrap();
    world.book(&wish(at(1, "12:00"), at(1, "13:00"))).await.unwrap();
    let to = |start: i64| BookingChange { start: Some(start), ..BookingChange::default() };
    let change = |to: BookingChange| {
        let (session, id) = (world.session.clone(), one.booking.id.clone());
        async move { session.change_booking(&id, &to, &anything).await }
    };
    taken(change(to(at(1, "11:30"))).await);
    let moved = change(to(at(1, "10:30"))).await.unwrap();
    assert_eq!((moved.booking.start, moved.booking.end), (at(1, "10:30"), at(1, "11:30")));
    assert_eq!((&moved.booking.uid, moved.booking.sequence), (&one.booking.uid, 1));
    let text = world.text(&moved).await.unwrap();
    assert!(text.contains("SEQUENCE:1\r\n") && text.contains("DTSTART:20260106T103000Z\r\n"), "{text}");
    // RFC 9110 §13.1.1: who has read something else is told so.
    let stale = |booked: &Booked| if booked.etag == one.etag { Ok(()) } else { Err(Refusal::Stale) };
    let refused = world.session.change_booking(&one.booking.id, &to(at(1, "15:00")), &stale).await;
    assert!(matches!(refused, Err(Error::Refused(Refusal::Stale))), "{refused:?}");
    // Somebody moves it in their calendar: that is when it is.
    let name = moved.booking.name().unwrap();
    let elsewhere =
        text.replace("20260106T103000Z", "20260106T150000Z").replace("20260106T113000Z", "20260106T160000Z");
    world.session.put(&world.work, Put::new(&name, elsewhere.into())).await.unwrap();
    let seen = world.session.booking(&one.booking.id).await.unwrap();
    assert_eq!((seen.booking.start, seen.booking.end), (at(1, "15:00"), at(1, "16:00")));
    taken(world.book(&wish(at(1, "15:30"), at(1, "16:30"))).await);
    world.book(&wish(at(1, "10:30"), at(1, "11:30"))).await.unwrap();
    let words = BookingChange { notes: Some(Some("bring a towel".into())), ..BookingChange::default() };
    let said = change(words).await.unwrap();
    assert_eq!(said.booking.start, at(1, "15:00"));
    let text = world.text(&said).await.unwrap();
    assert!(text.contains("towel") && text.contains("DTSTART:20260106T150000Z\r\n"), "{text}");
}

// B-02: what awaits a confirmation is taken; confirming looks again; what ended stays ended.
#[tokio::test]
async fn pending_bookings_are_taken_and_decided_once() {
    let world = world().await;
    world.rules(|rules| rules.tentative_counts = false).await;
    let pending = NewBooking { pending: true, ..wish(at(1, "10:00"), at(1, "11:00")) };
    let one = world.book(&pending).await.unwrap();
    assert_eq!(one.booking.status, Status::Pending);
    assert!(world.text(&one).await.unwrap().contains("STATUS:TENTATIVE\r\n"));
    taken(world.book(&pending).await);
    // Something came in between from a far side, which nobody can refuse.
    world.put("far", at(1, "10:15"), at(1, "10:30"), "").await.unwrap();
    taken(world.session.confirm_booking(&one.booking.id, &anything, &nothing).await);
    let gone = Name::new("far.ics").unwrap();
    world.session.delete(&world.work, &gone, &When::always(), Vec::new()).await.unwrap();
    let sure = world.session.confirm_booking(&one.booking.id, &anything, &nothing).await.unwrap();
    assert_eq!(sure.booking.status, Status::Confirmed);
    assert!(world.text(&sure).await.unwrap().contains("STATUS:CONFIRMED\r\n"));
    assert_eq!(
        state(world.session.confirm_booking(&one.booking.id, &anything, &nothing).await),
        Status::Confirmed
    );
    let reject = BookingChange { status: Some(Status::Rejected), ..BookingChange::default() };
    assert_eq!(
        state(world.session.change_booking(&one.booking.id, &reject, &anything).await),
        Status::Confirmed
    );
    let absent = BookingChange { status: Some(Status::NoShow), ..BookingChange::default() };
    let absent = world.session.change_booking(&one.booking.id, &absent, &anything).await.unwrap();
    assert_eq!(absent.booking.status, Status::NoShow);
    assert_eq!(world.session.booking(&one.booking.id).await.unwrap().etag, absent.etag);
}

// B-12, S1-038: cancelled, it leaves the time free; its event stays and says so, or goes to the trash.
#[tokio::test]
async fn a_cancelled_booking_frees_its_time() {
    let world = world().await;
    let cancel = |id: String| {
        let session = world.session.clone();
        async move { session.end_booking(&id, Status::Cancelled, &anything, &nothing).await }
    };
    let new = wish(at(1, "10:00"), at(1, "11:00"));
    let one = world.book(&new).await.unwrap();
    let gone = cancel(one.booking.id.clone()).await.unwrap();
    let text = world.text(&one).await.unwrap();
    assert!(text.contains("STATUS:CANCELLED\r\n") && text.contains("SEQUENCE:1\r\n"), "{text}");
    let again = cancel(one.booking.id.clone()).await.unwrap();
    assert_eq!(gone.booking.status, again.booking.status);
    let two = world.book(&new).await.unwrap();
    world.rules(|rules| rules.on_cancel = OnCancel::Trash).await;
    cancel(two.booking.id.clone()).await.unwrap();
    assert_eq!(world.text(&two).await, None);
    assert_eq!(world.session.trash(None, 10).await.unwrap().len(), 1);
    // Whoever removes the event in their calendar calls it off.
    let three = world.book(&new).await.unwrap();
    let name = three.booking.name().unwrap();
    world.session.delete(&world.work, &name, &When::always(), Vec::new()).await.unwrap();
    let seen = world.session.booking(&three.booking.id).await.unwrap();
    assert_eq!(seen.booking.status, Status::Cancelled);
    let move_it = BookingChange { start: Some(at(1, "15:00")), ..BookingChange::default() };
    assert_eq!(
        state(world.session.change_booking(&three.booking.id, &move_it, &anything).await),
        Status::Cancelled
    );
}

// B-20: buffers can be events that other systems see, without being counted twice.
#[tokio::test]
async fn buffers_can_be_seen() {
    let world = world().await;
    world
        .rules(|rules| {
            rules.buffer_events = true;
            (rules.buffer_before, rules.buffer_after) = (1800, 900);
        })
        .await;
    let one = world.book(&wish(at(1, "10:00"), at(1, "11:00"))).await.unwrap();
    let range = TimeRange { start: at(1, "00:00"), end: at(2, "00:00") };
    let busy = |session: Session| async move {
        let (busy, _) = session.free_busy(range).await.unwrap();
        busy.iter().map(|b| (b.start, b.end)).collect::<Vec<_>>()
    };
    assert_eq!(busy(world.session.clone()).await, [(at(1, "09:30"), at(1, "11:15"))]);
    // Half an hour between two bookings, not forty-five minutes.
    taken(world.book(&wish(at(1, "11:20"), at(1, "12:00"))).await);
    world.book(&wish(at(1, "11:30"), at(1, "12:00"))).await.unwrap();
    let to = BookingChange { start: Some(at(1, "15:00")), ..BookingChange::default() };
    world.session.change_booking(&one.booking.id, &to, &anything).await.unwrap();
    assert_eq!(
        busy(world.session.clone()).await,
        [(at(1, "11:00"), at(1, "12:15")), (at(1, "14:30"), at(1, "16:15"))]
    );
    world.session.end_booking(&one.booking.id, Status::Cancelled, &anything, &nothing).await.unwrap();
    assert_eq!(busy(world.session.clone()).await, [(at(1, "11:00"), at(1, "12:15"))]);
}

// B-04, B-19, B-21: hours, notice, horizon and buffers hold for whoever claims a slot, and for what is offered.
#[tokio::test]
async fn the_rules_hold_for_what_is_claimed_and_what_is_offered() {
    let world = world().await;
    let hours: Hours = serde_json::from_str(
        r#"{"time_zone": "UTC", "weekly": {"tue": [{"from": "09:00", "to": "12:00"}], "mon": [{"from": "09:00", "to": "10:30"}]}}"#,
    )
    .unwrap();
    let text = hours.to_text().unwrap();
    world
        .rules(|rules| {
            rules.availability = Some(text.clone());
            rules.minimum_notice = Some(5400);
            rules.horizon = Some(7 * 86_400);
            rules.buffers_around_all = true;
            rules.buffer_before = 600;
        })
        .await;
    world.put("meeting", at(1, "10:00"), at(1, "10:25"), "").await.unwrap();
    let week = (at(0, "00:00"), at(9, "00:00"));
    let half = 1800;
    assert_eq!(
        world.slots(week.0, week.1, half).await,
        [at(0, "09:30"), at(0, "10:00"), at(1, "09:00"), at(1, "09:30"), at(1, "11:00"), at(1, "11:30")],
        "it is eight, half past ten is too near the meeting, the next Tuesday too far"
    );
    let claim = |start: i64| {
        let session = world.session.clone();
        async move { session.book(&wish(start, start + half), &nothing).await }
    };
    for (start, why) in [
        (at(0, "09:00"), "soon"),
        (at(1, "12:00"), "outside"),
        (at(1, "08:45"), "outside"),
        (at(8, "09:00"), "far"),
    ] {
        let said = unbookable(claim(start).await);
        assert!(said.contains(why), "{said}");
    }
    let blocking = taken(claim(at(1, "10:30")).await);
    assert_eq!(blocking.clash, Clash::Buffer);
    let asked = Asked {
        from: at(1, "08:00"),
        to: at(1, "13:00"),
        duration: half,
        before: None,
        after: None,
        step: Some(half),
        explain: true,
    };
    let (offered, basis) = world.session.availability(&asked).await.unwrap();
    let mut said = Vec::new();
    for refused in &offered.refused {
        said.push(match &refused.why {
            Why::Hours => (refused.start, "hours"),
            Why::Rule(_) => (refused.start, "rule"),
            Why::Taken(item, clash) => {
                let blocking = basis.blocking(item, *clash).await.unwrap();
                assert_eq!(blocking.title.as_deref(), Some("Private meeting"));
                (refused.start, if *clash == Clash::Buffer { "buffer" } else { "event" })
            }
        });
    }
    assert_eq!(
        said,
        [
            (at(1, "08:00"), "hours"),
            (at(1, "10:00"), "event"),
            (at(1, "10:30"), "buffer"),
            (at(1, "12:00"), "hours")
        ]
    );
    world.book(&NewBooking { heed: Heed::Conflicts, ..wish(at(0, "07:00"), at(0, "07:30")) }).await.unwrap();
}

// B-10, B-15, B-18: several calendars count, one is written, and what does not count is not in the way.
#[tokio::test]
async fn several_calendars_count_and_one_is_written() {
    let world = world().await;
    let home = world.session.home().await.unwrap();
    let mut ids = Vec::new();
    for name in ["private", "birthdays"] {
        let new = crate::calendar::NewCollection {
            name: Name::new(name).unwrap(),
            kind: crate::store::Kind::Calendar,
            components: vec!["VEVENT".into()],
            properties: crate::store::Properties::default(),
        };
        let made = world.session.create_collection(&home, new, &When::always()).await.unwrap();
        ids.push(world.session.writable(made).unwrap());
    }
    let name = Name::new("x.ics").unwrap();
    for (calendar, hour) in ids.iter().zip(["10:00", "14:00"]) {
        let start = at(1, hour);
        let text = event("x", start, start + 3600, "");
        world.session.put(calendar, Put::new(&name, text)).await.unwrap();
    }
    let wanted: Vec<u64> = vec![ids[0].id().0];
    world.rules(|rules| rules.calendars = Some(wanted.clone())).await;
    assert_eq!(taken(world.book(&wish(at(1, "10:00"), at(1, "11:00"))).await).calendar, ids[0].id());
    let booked = world.book(&wish(at(1, "14:00"), at(1, "15:00"))).await.unwrap();
    assert_eq!(booked.booking.calendar, world.work.id());
    // What is written counts, named or not.
    assert_eq!(taken(world.book(&wish(at(1, "14:30"), at(1, "15:00"))).await).calendar, world.work.id());
    let elsewhere = NewBooking { calendar: Some(ids[1].clone()), ..wish(at(1, "16:00"), at(1, "17:00")) };
    assert_eq!(world.book(&elsewhere).await.unwrap().booking.calendar, ids[1].id());
}

// B-02: a calendar in exclusive mode refuses what would overlap, held or not; other words for the same times are fine.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_exclusive_calendar_takes_one_thing_at_a_time() {
    let world = Arc::new(world().await);
    let exclusive = |collection: &mut crate::store::Collection| {
        set_exclusive(&mut collection.properties, true);
        Ok(())
    };
    world.put("before", at(1, "09:00"), at(1, "10:00"), "").await.unwrap();
    world.put("also", at(1, "09:30"), at(1, "10:00"), "").await.unwrap();
    let changed = world.session.update_collection(&world.work, &When::always(), exclusive).await.unwrap();
    let world = Arc::new(World {
        house: Arc::clone(&world.house),
        clock: Arc::clone(&world.clock),
        session: world.session.clone(),
        work: world.session.writable(changed).unwrap(),
    });
    let refused = |result: Result<(), Error>| match result {
        Err(Error::Refused(Refusal::Overlap(blocking))) => blocking.start,
        other => panic!("{other:?}"),
    };
    assert_eq!(refused(world.put("x", at(1, "09:15"), at(1, "09:20"), "").await), at(1, "09:00"));
    // It was so before; its words may change, its time may shrink.
    world.put("also", at(1, "09:30"), at(1, "09:45"), "LOCATION:Here\r\n").await.unwrap();
    assert_eq!(refused(world.put("also", at(1, "09:30"), at(1, "09:50"), "").await), at(1, "09:00"));
    world.put("free", at(1, "09:15"), at(1, "09:20"), "TRANSP:TRANSPARENT\r\n").await.unwrap();
    world.put("next", at(1, "10:00"), at(1, "11:00"), "").await.unwrap();
    let series = "RRULE:FREQ=DAILY\r\n";
    assert_eq!(refused(world.put("daily", at(0, "10:30"), at(0, "10:40"), series).await), at(1, "10:00"));
    world.put("daily", at(0, "11:00"), at(0, "11:10"), series).await.unwrap();
    assert_eq!(refused(world.put("y", at(400, "11:05"), at(400, "11:06"), "").await), at(400, "11:00"));
    let hold = NewBooking { hold: Some(300), ..wish(at(2, "14:00"), at(2, "15:00")) };
    world.book(&hold).await.unwrap();
    assert_eq!(refused(world.put("z", at(2, "14:30"), at(2, "14:40"), "").await), at(2, "14:00"));
    // Rivals by hand and by booking.
    for round in 0..5 {
        let rivals = (0..16).map(|rival| {
            let world = Arc::clone(&world);
            let (start, uid) = (at(10 + round, "15:00"), format!("r{round}-{rival}"));
            tokio::spawn(async move {
                match rival % 2 {
                    0 => world.put(&uid, start, start + 600, "").await.is_ok(),
                    _ => world.book(&wish(start, start + 600)).await.is_ok(),
                }
            })
        });
        let won = join_all(rivals).await.into_iter().filter(|one| *one.as_ref().unwrap()).count();
        assert_eq!(won, 1, "round {round}");
    }
}

// B-25: found by what the caller calls it, the newest first.
#[tokio::test]
async fn bookings_are_found_by_their_reference() {
    let world = world().await;
    let mut ids = Vec::new();
    for (n, reference) in [Some("order/7"), None, Some("order/7")].into_iter().enumerate() {
        world.pass(1);
        let start = at(i64::try_from(n).unwrap() + 1, "10:00");
        let new = NewBooking { reference: reference.map(str::to_owned), ..wish(start, start + 600) };
        ids.push(world.book(&new).await.unwrap().booking.id);
    }
    let found = |reference: Option<&str>| {
        let wanted = Wanted { reference: reference.map(str::to_owned), ..Wanted::default() };
        let session = world.session.clone();
        async move {
            let all = session.bookings(&wanted, 10).await.unwrap();
            all.into_iter().map(|one| one.booking.id).collect::<Vec<_>>()
        }
    };
    assert_eq!(found(None).await, [ids[2].clone(), ids[1].clone(), ids[0].clone()]);
    assert_eq!(found(Some("order/7")).await, [ids[2].clone(), ids[0].clone()]);
    let renamed = BookingChange { reference: Some(Some("order/8".into())), ..BookingChange::default() };
    world.session.change_booking(&ids[0], &renamed, &anything).await.unwrap();
    assert_eq!(found(Some("order/7")).await, [ids[2].clone()]);
    assert_eq!(found(Some("order/8")).await, [ids[0].clone()]);
    assert_eq!(found(Some("order")).await, Vec::<String>::new());
}

// An account that goes takes its bookings along.
#[tokio::test]
async fn bookings_go_with_their_owner() {
    let world = world().await;
    let reference = Some("r".to_owned());
    world.book(&NewBooking { reference, ..wish(at(1, "10:00"), at(1, "11:00")) }).await.unwrap();
    world.rules(|rules| rules.step = 600).await;
    world.house.remove_principal("anna", Vec::new()).await.unwrap();
    for table in [crate::store::Table::Booking, crate::store::Table::BookingRules] {
        assert_eq!(world.house.store.records(table, "", None, 9).await.unwrap(), vec![]);
    }
}

// B-02, B-03: every time of a series goes through the guard, when it is booked, held, confirmed and moved.
#[tokio::test]
async fn every_time_of_a_series_is_judged() {
    let world = world().await;
    let weekly = |start: i64| NewBooking {
        recurrence: Some("FREQ=WEEKLY;COUNT=4".into()),
        ..wish(start, start + 3600)
    };
    world.put("far", at(15, "10:30"), at(15, "11:30"), "").await.unwrap();
    assert_eq!(taken(world.book(&weekly(at(1, "10:00"))).await).start, at(15, "10:30"));
    let hold = NewBooking { hold: Some(300), ..weekly(at(1, "13:00")) };
    let held = world.book(&hold).await.unwrap();
    assert_eq!(taken(world.book(&wish(at(22, "13:30"), at(22, "14:00"))).await).start, at(22, "13:00"));
    let sure = world.session.confirm_booking(&held.booking.id, &anything, &nothing).await.unwrap();
    assert!(world.text(&sure).await.unwrap().contains("RRULE:FREQ=WEEKLY;COUNT=4\r\n"));
    taken(world.book(&wish(at(22, "13:30"), at(22, "14:00"))).await);
    world.book(&wish(at(29, "13:30"), at(29, "14:00"))).await.unwrap();
    let to = |start: i64| BookingChange { start: Some(start), ..BookingChange::default() };
    let refused = world.session.change_booking(&held.booking.id, &to(at(1, "09:45")), &anything).await;
    assert_eq!(taken(refused).start, at(15, "10:30"));
    let moved = world.session.change_booking(&held.booking.id, &to(at(1, "13:30")), &anything).await.unwrap();
    assert_eq!(moved.booking.start, at(1, "13:30"));
    taken(world.book(&wish(at(22, "14:00"), at(22, "14:30"))).await);
    let long =
        NewBooking { recurrence: Some("FREQ=DAILY;UNTIL=20300101T000000Z".into()), ..weekly(at(1, "20:00")) };
    assert!(unbookable(world.book(&long).await).contains("100"));
}

// B-02, B-25: given to another calendar of its owner, it is the same event, and the guard looks there too.
#[tokio::test]
async fn a_booking_moves_to_another_calendar() {
    let world = world().await;
    let home = world.session.home().await.unwrap();
    let new = crate::calendar::NewCollection {
        name: Name::new("chair-2").unwrap(),
        kind: crate::store::Kind::Calendar,
        components: vec!["VEVENT".into()],
        properties: crate::store::Properties::default(),
    };
    let made = world.session.create_collection(&home, new, &When::always()).await.unwrap();
    let other = world.session.writable(made).unwrap();
    let only: Vec<u64> = vec![world.work.id().0];
    world
        .rules(|rules| {
            rules.calendars = Some(only.clone());
            rules.buffer_events = true;
            rules.buffer_after = 600;
        })
        .await;
    let name = Name::new("x.ics").unwrap();
    let text = event("x", at(1, "10:00"), at(1, "11:00"), "");
    world.session.put(&other, Put::new(&name, text)).await.unwrap();
    let one = world.book(&wish(at(1, "10:30"), at(1, "11:30"))).await.unwrap();
    let there = BookingChange { calendar: Some(other.clone()), ..BookingChange::default() };
    let refused = world.session.change_booking(&one.booking.id, &there, &anything).await;
    assert_eq!(taken(refused).calendar, other.id());
    world.session.delete(&other, &name, &When::always(), Vec::new()).await.unwrap();
    let moved = world.session.change_booking(&one.booking.id, &there, &anything).await.unwrap();
    assert_eq!((moved.booking.calendar, &moved.booking.uid), (other.id(), &one.booking.uid));
    assert_eq!(world.work.head().await.unwrap().objects, 0);
    assert_eq!(other.head().await.unwrap().objects, 2, "the booking and its buffer");
    let again = world.session.booking(&one.booking.id).await.unwrap();
    assert_eq!((again.etag, again.booking.status), (moved.etag, Status::Confirmed));
}

/// A number that looks like chance and is the same each time.
fn dice(seed: &mut u64, sides: u64) -> i64 {
    *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    i64::try_from((*seed >> 33) % sides).unwrap()
}

// B-04, B-10: what is kept of a crowded calendar is what is stored there, after every write, for every range, through every eyes
#[tokio::test]
async fn what_is_kept_of_a_crowded_calendar_follows_its_log() {
    let world = world().await;
    for number in 0..80 {
        let start = at(number % 7, "06:00") + number * 300;
        world.put(&format!("series-{number}"), start, start + 300, "RRULE:FREQ=DAILY\r\n").await.unwrap();
    }
    let (mut seed, mut kept) = (7, 0);
    for turn in 0..150 {
        let start = at(dice(&mut seed, 28), "00:00") + dice(&mut seed, 96) * 900;
        let uid = format!("one-{}", dice(&mut seed, 12));
        let name = Name::new(format!("{uid}.ics")).unwrap();
        match dice(&mut seed, 6) {
            0 => {
                let _gone = world.session.delete(&world.work, &name, &When::always(), Vec::new()).await;
            }
            1 => world.put(&uid, start, start + 1800, "RRULE:FREQ=WEEKLY;COUNT=5\r\n").await.unwrap(),
            2 => world.put(&uid, start, start + 9 * 86_400, "").await.unwrap(),
            3 => {
                let hold = if turn % 2 == 0 { Some(60) } else { None };
                let _taken = world.book(&NewBooking { hold, ..wish(start, start + 900) }).await;
            }
            4 => world.put(&uid, start, start + 3600, "STATUS:TENTATIVE\r\n").await.unwrap(),
            _ => world.put(&uid, start, start + 3600, "").await.unwrap(),
        }
        if turn % 40 == 0 {
            world.rules(|rules| rules.tentative_counts = turn % 80 == 0).await;
        }
        world.pass(20);
        let basis = world.session.basis(None).await.unwrap();
        let from = at(dice(&mut seed, 21), "00:00") + dice(&mut seed, 24) * 3600;
        let range = TimeRange { start: from, end: from + 900 * (1 + dice(&mut seed, 1300)) };
        let (zone, eyes) = (basis.zone().clone(), basis.eyes());
        let (mut known, mut read) = (Vec::new(), Vec::new());
        kept += usize::from(world.work.add_kept(range, &zone, eyes, &mut Vec::new()).await.unwrap());
        world.work.add_items(range, &zone, eyes, &mut known).await.unwrap();
        world.work.add_read(range, &zone, eyes, &mut read).await.unwrap();
        let order = |items: &mut Vec<Item>| {
            items.sort_by_key(|item| (item.start, item.end, item.name.clone()));
        };
        order(&mut known);
        order(&mut read);
        assert_eq!(known, read, "turn {turn}, {range:?}");
    }
    assert!(kept > 140, "{kept} of 150 questions were answered from what is kept");
}
