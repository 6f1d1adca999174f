//! `calendar-multiget` (RFC 4791 §7.9): the named objects, each with a response of its own, in the order asked for.

use std::collections::HashMap;

use super::asking::Asking;
use super::data::{Left, zone_of};
use super::{Report, bad};
use crate::calendar::{Found, Readable};
use crate::dav::{Denied, Kinds, Multistatus, Resource, Scope};
use crate::http::{Depth, Href, Reply};
use crate::ical::zone::Zone;
use crate::store::Name as Member;
use crate::xml::{Element, Name, caldav, dav};

/// The body, understood.
#[derive(Debug)]
pub(super) struct CalendarMultiget {
    asking: Asking,
    hrefs: Vec<String>,
}

impl Report for CalendarMultiget {
    const NAME: Name = caldav("calendar-multiget");
    const ON: Kinds = Kinds::CALENDAR.or(Kinds::HOME).or(Kinds::OBJECT);

    fn parse(body: &Element, _scope: &Scope) -> Result<CalendarMultiget, Denied> {
        let asking = Asking::parse(body)?;
        let href = dav("href");
        let hrefs: Vec<String> =
            body.elements().filter(|e| e.name == href).map(|e| e.text().trim().to_owned()).collect();
        if hrefs.is_empty() {
            return Err(bad("A calendar-multiget must name at least one DAV:href."));
        }
        Ok(CalendarMultiget { asking, hrefs })
    }

    /// RFC 4791 §7.9: `Depth` has no meaning here.
    async fn run(self, scope: Scope, _at: Resource, _depth: Option<Depth>) -> Result<Reply, Denied> {
        Multistatus::answer(scope, move |out| self.answer(out)).await
    }
}

impl CalendarMultiget {
    async fn answer(self, mut out: Multistatus) -> Result<Multistatus, Denied> {
        let mut calendars = Calendars { home: None, known: HashMap::new() };
        let mut left = Left::in_answers_to(out.scope());
        for text in &self.hrefs {
            match calendars.find(out.scope(), text, self.asking.needs_bytes()).await? {
                Some((known, found)) => {
                    self.asking.object(&mut out, &known.path, found, &known.zone, &mut left).await?;
                }
                // Unknown, another's, not an object: a 404 for it alone, under the name that the client gave it.
                None => out.status(text, http::StatusCode::NOT_FOUND),
            }
            out.room().await;
        }
        Ok(out)
    }
}

/// The calendars that the hrefs name, each looked up once.
struct Calendars {
    home: Option<Readable>,
    known: HashMap<Member, Option<Known>>,
}

/// A calendar that was found.
struct Known {
    path: String,
    at: Readable,
    /// What floating times are read in.
    zone: Zone,
}

impl Calendars {
    async fn find<'a>(
        &'a mut self,
        scope: &Scope,
        text: &str,
        bytes: bool,
    ) -> Result<Option<(&'a Known, Found)>, Denied> {
        // Compared after decoding: every spelling of a path is the same object.
        let Ok(Href::Object(user, calendar, object)) = scope.locate(text) else { return Ok(None) };
        if user.as_str() != scope.session.principal.name {
            return Ok(None);
        }
        if !self.known.contains_key(&calendar) {
            let home = match &self.home {
                Some(home) => home.clone(),
                None => {
                    let home = scope.session.home().await?;
                    Readable::clone(&home)
                }
            };
            let at = home.child(calendar.as_str()).await?;
            self.home = Some(home);
            let path = scope.site.path(&Href::Calendar(user, calendar.clone()));
            let known = at.map(|at| Known { path, zone: zone_of(&at), at });
            self.known.insert(calendar.clone(), known);
        }
        let Some(Some(known)) = self.known.get(&calendar) else { return Ok(None) };
        let at = &known.at;
        let found = match bytes {
            true => at.found(object.as_str()).await?,
            false => at.meta(object.as_str()).await?.map(|meta| Found::bare(at.clone(), meta)),
        };
        Ok(found.map(|found| (known, found)))
    }
}
