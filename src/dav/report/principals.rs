//! The reports of RFC 3744 §9 and CalendarServer's search: which principals are there.
//!
//! Nobody sees another's principal here, so each of them speaks of the asker's own and of nobody else's.

use super::asking::Asking;
use super::{Report, bad};
use crate::dav::{Asked, Denied, Facts, Kinds, Multistatus, Resource, Scope, Want};
use crate::http::{Depth, Reply};
use crate::xml::{CALENDARSERVER, Element, Limits, Name, Node, Writer, caldav, calendarserver, dav, parse};

/// Places and principals: where a client asks for principals.
const PEOPLE: Kinds = Kinds::PLACE.or(Kinds::PRINCIPAL);

/// What can be searched for, and what a person calls it.
const SEARCHABLE: [(Name, &str); 4] = [
    (dav("displayname"), "Full name"),
    (calendarserver("email-address-set"), "Email address"),
    (caldav("calendar-user-address-set"), "Calendar address"),
    (caldav("calendar-user-type"), "Kind of principal"),
];

/// Returns the texts inside a property of the resource; nothing: it has no such property.
fn texts(resource: &Resource, scope: &Scope, asked: &Asked) -> Option<Vec<String>> {
    let mut w = Writer::fragment();
    if !asked.write(resource, scope, &mut w) {
        return None;
    }
    let element = parse(&w.take(), Limits::default()).ok()?;
    let mut found = Vec::new();
    gather(&element, &mut found);
    Some(found)
}

fn gather(element: &Element, found: &mut Vec<String>) {
    for child in &element.children {
        match child {
            Node::Element(child) => gather(child, found),
            Node::Text(text) => found.push(text.trim().to_owned()),
        }
    }
}

fn contains(texts: &[String], token: &str) -> bool {
    // RFC 3744 §9.4: caseless, substring.
    let token = token.to_lowercase();
    texts.iter().any(|text| text.to_lowercase().contains(&token))
}

async fn one(scope: Scope, asking: Asking, found: bool) -> Result<Reply, Denied> {
    Multistatus::answer(scope, move |mut out| async move {
        if found {
            let own = Resource::own_principal(out.scope());
            asking.resource(&mut out, own).await?;
        }
        Ok(out)
    })
    .await
}

/// `principal-property-search` (RFC 3744 §9.4).
#[derive(Debug)]
pub(super) struct PrincipalPropertySearch {
    searches: Vec<(Vec<Asked>, String)>,
    any: bool,
    asking: Asking,
}

impl Report for PrincipalPropertySearch {
    const NAME: Name = dav("principal-property-search");
    const ON: Kinds = Kinds::ALL;

    fn parse(body: &Element, _scope: &Scope) -> Result<PrincipalPropertySearch, Denied> {
        let mut searches = Vec::new();
        for search in body.elements().filter(|e| e.name == dav("property-search")) {
            let Some(Want::These(names)) = search.child(&dav("prop")).map(Want::prop).transpose()? else {
                return Err(bad("A DAV:property-search must hold a DAV:prop."));
            };
            let Some(token) = search.child(&dav("match")).map(|e| e.text().trim().to_owned()) else {
                return Err(bad("A DAV:property-search must hold a DAV:match."));
            };
            searches.push((names, token));
        }
        if searches.is_empty() {
            return Err(bad("A principal-property-search must hold at least one DAV:property-search."));
        }
        let any = body.attribute("test") == Some("anyof");
        Ok(PrincipalPropertySearch { searches, any, asking: Asking::parse(body)? })
    }

    async fn run(self, scope: Scope, _at: Resource, _depth: Option<Depth>) -> Result<Reply, Denied> {
        let own = Resource::own_principal(&scope);
        let mut holds = self.searches.iter().map(|(names, token)| {
            names.iter().all(|asked| texts(&own, &scope, asked).is_some_and(|t| contains(&t, token)))
        });
        let found = if self.any { holds.any(|held| held) } else { holds.all(|held| held) };
        drop(holds);
        one(scope, self.asking, found).await
    }
}

/// `calendarserver-principal-search`: what Apple's clients ask while a person types a name.
#[derive(Debug)]
pub(super) struct CalendarserverPrincipalSearch {
    tokens: Vec<String>,
    asking: Asking,
}

impl Report for CalendarserverPrincipalSearch {
    const NAME: Name = calendarserver("calendarserver-principal-search");
    const ON: Kinds = PEOPLE;

    fn parse(body: &Element, _scope: &Scope) -> Result<CalendarserverPrincipalSearch, Denied> {
        let tokens: Vec<String> = body
            .elements()
            .filter(|e| e.name.is(CALENDARSERVER, "search-token"))
            .map(|e| e.text().trim().to_owned())
            .filter(|token| !token.is_empty())
            .collect();
        if tokens.is_empty() {
            return Err(bad("A calendarserver-principal-search must hold at least one CS:search-token."));
        }
        Ok(CalendarserverPrincipalSearch { tokens, asking: Asking::parse(body)? })
    }

    async fn run(self, scope: Scope, _at: Resource, _depth: Option<Depth>) -> Result<Reply, Denied> {
        let own = Resource::own_principal(&scope);
        let all: Vec<String> = SEARCHABLE
            .iter()
            .filter_map(|(name, _)| texts(&own, &scope, &Asked::new(name.clone())))
            .flatten()
            .collect();
        let found = self.tokens.iter().all(|token| contains(&all, token));
        one(scope, self.asking, found).await
    }
}

/// `principal-search-property-set` (RFC 3744 §9.5). Some versions of macOS give up when it is not there.
#[derive(Debug)]
pub(super) struct PrincipalSearchPropertySet;

impl Report for PrincipalSearchPropertySet {
    const NAME: Name = dav("principal-search-property-set");
    const ON: Kinds = PEOPLE;

    fn parse(_body: &Element, _scope: &Scope) -> Result<PrincipalSearchPropertySet, Denied> {
        Ok(PrincipalSearchPropertySet)
    }

    async fn run(self, _scope: Scope, _at: Resource, _depth: Option<Depth>) -> Result<Reply, Denied> {
        let mut w = Writer::document();
        w.open(&dav("principal-search-property-set"));
        for (name, description) in &SEARCHABLE {
            w.open(&dav("principal-search-property"));
            w.open(&dav("prop"));
            w.empty(name);
            w.close();
            w.open_with(&dav("description"), &[("xml:lang", "en")]);
            w.text(description);
            w.close();
            w.close();
        }
        w.close();
        Ok(crate::http::reply_xml(http::StatusCode::OK, w.take()))
    }
}

/// `acl-principal-prop-set` (RFC 3744 §9.2): the principals that a resource's access list names. That is its owner,
/// and whoever may ask is the owner.
#[derive(Debug)]
pub(super) struct AclPrincipalPropSet {
    asking: Asking,
}

impl Report for AclPrincipalPropSet {
    const NAME: Name = dav("acl-principal-prop-set");
    const ON: Kinds = Kinds::ALL;

    fn parse(body: &Element, _scope: &Scope) -> Result<AclPrincipalPropSet, Denied> {
        Ok(AclPrincipalPropSet { asking: Asking::parse(body)? })
    }

    async fn run(self, scope: Scope, at: Resource, _depth: Option<Depth>) -> Result<Reply, Denied> {
        // What belongs to the server has no owner and names nobody.
        let owned = !at.kind().has(Kinds::PLACE);
        one(scope, self.asking, owned).await
    }
}

/// `principal-match` (RFC 3744 §9.3): which members are, or belong to, the asker.
#[derive(Debug)]
pub(super) struct PrincipalMatch {
    /// The property whose href must name the asker; nothing: `DAV:self`.
    property: Option<Asked>,
    asking: Asking,
}

impl Report for PrincipalMatch {
    const NAME: Name = dav("principal-match");
    const ON: Kinds = PEOPLE.or(Kinds::STORED);

    fn parse(body: &Element, _scope: &Scope) -> Result<PrincipalMatch, Denied> {
        let property = match (body.child(&dav("self")), body.child(&dav("principal-property"))) {
            (Some(_), None) => None,
            (None, Some(element)) => match element.elements().next() {
                Some(inner) => Some(Asked::new(inner.name.clone())),
                None => return Err(bad("DAV:principal-property must name a property.")),
            },
            _ => {
                let why = "A principal-match must hold either DAV:self or DAV:principal-property.";
                return Err(bad(why));
            }
        };
        Ok(PrincipalMatch { property, asking: Asking::parse(body)? })
    }

    /// RFC 3744 §9.3: only Depth 0 is defined, and means all members at any depth.
    async fn run(self, scope: Scope, at: Resource, _depth: Option<Depth>) -> Result<Reply, Denied> {
        Multistatus::answer(scope, move |out| self.answer(out, at)).await
    }
}

impl PrincipalMatch {
    async fn answer(self, mut out: Multistatus, at: Resource) -> Result<Multistatus, Denied> {
        let scope = out.scope().clone();
        // `DAV:self` on a principal itself: it is one.
        if self.matches(&at, &scope) && at.kind().has(Kinds::PRINCIPAL) {
            self.asking.resource(&mut out, at).await?;
            return Ok(out);
        }
        let mut waiting = vec![at];
        while let Some(collection) = waiting.pop() {
            let mut members = collection.members(Facts::NONE);
            while let Some(page) = members.next(&scope).await? {
                for resource in page {
                    if self.matches(&resource, &scope) {
                        self.asking.resource(&mut out, resource.clone()).await?;
                        out.room().await;
                    }
                    // Principals are found in places only; what belongs to one may be anywhere.
                    let deeper =
                        if self.property.is_some() { Kinds::PLACE.or(Kinds::STORED) } else { Kinds::PLACE };
                    if resource.kind().has(deeper) {
                        waiting.push(resource);
                    }
                }
            }
        }
        Ok(out)
    }

    fn matches(&self, resource: &Resource, scope: &Scope) -> bool {
        let Some(asked) = &self.property else { return resource.kind().has(Kinds::PRINCIPAL) };
        let own = scope.principal_path();
        texts(resource, scope, asked).is_some_and(|texts| {
            texts.iter().any(|text| scope.locate(text).is_ok_and(|href| scope.site.path(&href) == own))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xml::DAV;

    #[test]
    fn tokens_are_found_in_any_text_without_case() {
        let texts = vec!["Anna Example".to_owned(), "mailto:anna@example.org".to_owned()];
        assert!(contains(&texts, "EXAMPLE"));
        assert!(contains(&texts, "anna@"));
        assert!(!contains(&texts, "bert"));
    }

    #[test]
    fn search_properties_are_in_a_namespace() {
        assert!(SEARCHABLE.iter().any(|(name, _)| name.is(DAV, "displayname")));
    }
}
