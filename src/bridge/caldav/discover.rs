//! From what a person typed to the places where calendars are (RFC 6764, RFC 5397, RFC 4791 §6.2.1).

use url::Url;

use super::wire::{Multistatus, Row, Wire, host};
use crate::bridge::provider::{RemoteCalendar, RemoteId, Trouble};
use crate::xml::{Writer, apple, caldav, dav};

/// What discovery found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    /// Collections with calendars in them, or one calendar itself.
    pub(super) homes: Vec<Url>,
}

impl Wire {
    /// Finds the account's calendars, beginning with the address that was given.
    pub(super) async fn discover(&self) -> Result<Found, Trouble> {
        let mut tries = vec![self.home.clone()];
        let at_root = self.home.path().trim_matches('/').is_empty();
        if let Ok(well_known) = self.home.join("/.well-known/caldav") {
            tries.insert(usize::from(!at_root), well_known);
        }
        if !at_root {
            tries.extend(self.home.join("/").ok());
        }
        let mut last = None;
        for url in tries {
            match self.discover_at(&url).await {
                Ok(Some(found)) => return Ok(found),
                Ok(None) => {}
                // Some servers close the connection, or answer anything at all, at the well-known address.
                Err(trouble @ (Trouble::Unauthorised(_) | Trouble::Slow(_))) => return Err(trouble),
                Err(trouble) => last = last.or(Some(trouble)),
            }
        }
        Err(match last {
            Some(trouble @ Trouble::Unreachable(_)) => trouble,
            Some(Trouble::Refused(why)) => Trouble::Refused(why),
            _ => Trouble::Refused(format!(
                "No calendars were found on {}. Give the address that its help names for CalDAV, or that of a calendar.",
                host(&self.home)
            )),
        })
    }

    async fn discover_at(&self, url: &Url) -> Result<Option<Found>, Trouble> {
        let first = self.ask(url).await?;
        let Some(row) = own(&first) else { return Ok(None) };
        if row.is_calendar() {
            return Ok(Some(Found { homes: vec![first.url] }));
        }
        let homes = homes(row, &first.url);
        if !homes.is_empty() {
            return Ok(Some(Found { homes }));
        }
        let principal = row
            .property(&dav("current-user-principal"))
            .or_else(|| row.property(&dav("principal-URL")))
            .and_then(|p| p.child(&dav("href")))
            .and_then(|href| first.url.join(href.text().trim()).ok());
        let Some(principal) = principal else { return Ok(None) };
        let second = self.ask(&principal).await?;
        let homes = own(&second).map(|row| self::homes(row, &second.url)).unwrap_or_default();
        Ok((!homes.is_empty()).then_some(Found { homes }))
    }

    async fn ask(&self, url: &Url) -> Result<Multistatus, Trouble> {
        let names = [
            dav("resourcetype"),
            dav("current-user-principal"),
            dav("principal-URL"),
            caldav("calendar-home-set"),
        ];
        self.multistatus("PROPFIND", url, "0", propfind(&names)).await
    }

    /// Lists the calendars in a home; the home may be a calendar itself.
    pub(super) async fn calendars_in(&self, home: &Url) -> Result<Vec<RemoteCalendar>, Trouble> {
        let names = [
            dav("resourcetype"),
            dav("displayname"),
            dav("current-user-privilege-set"),
            caldav("supported-calendar-component-set"),
            apple("calendar-color"),
        ];
        let itself = self.multistatus("PROPFIND", home, "0", propfind(&names)).await?;
        if let Some(row) = own(&itself).filter(|row| row.is_calendar()) {
            return Ok(vec![remote_calendar(row, itself.url.clone())]);
        }
        let all = self.multistatus("PROPFIND", home, "1", propfind(&names)).await?;
        let calendars = all.rows.iter().filter(|row| row.is_calendar());
        Ok(calendars.filter_map(|row| Some(remote_calendar(row, all.url.join(&row.path).ok()?))).collect())
    }
}

fn remote_calendar(row: &Row, mut url: Url) -> RemoteCalendar {
    // One calendar has one id, however its address was spelled.
    if !url.path().ends_with('/') {
        let path = format!("{}/", url.path());
        url.set_path(&path);
    }
    let components = row
        .property(&caldav("supported-calendar-component-set"))
        .map(|set| set.elements().filter_map(|c| c.attribute("name")).map(str::to_ascii_uppercase).collect())
        .unwrap_or_default();
    // RFC 3744 §5.4; a server without access control tells nothing, and then one may try.
    let writable = row.property(&dav("current-user-privilege-set")).is_none_or(|set| {
        set.elements()
            .flat_map(|p| p.elements())
            .any(|p| ["all", "write", "write-content", "bind"].iter().any(|name| p.name == dav(name)))
    });
    let last = url.path().trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    let name = row.text(&dav("displayname")).unwrap_or_else(|| super::wire::decoded(last));
    let color = row.text(&apple("calendar-color"));
    RemoteCalendar { id: RemoteId(url.into()), name, color, primary: false, writable, components }
}

/// Returns the row about the asked resource itself: the only one of Depth 0.
fn own(answer: &Multistatus) -> Option<&Row> {
    answer.rows.first()
}

fn homes(row: &Row, base: &Url) -> Vec<Url> {
    let set = row.property(&caldav("calendar-home-set"));
    let hrefs = set.into_iter().flat_map(|set| set.elements().filter(|e| e.name == dav("href")));
    hrefs.filter_map(|href| base.join(href.text().trim()).ok()).collect()
}

/// Returns the body of a PROPFIND for these properties.
pub(super) fn propfind(names: &[crate::xml::Name]) -> Vec<u8> {
    let mut body = Writer::document();
    body.open(&dav("propfind"));
    body.open(&dav("prop"));
    for name in names {
        body.empty(name);
    }
    body.close();
    body.close();
    body.take()
}
