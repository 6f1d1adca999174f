//! PROPPATCH (RFC 4918 §9.2): all or nothing, in the order of the document.

use http::StatusCode;

use super::xml_body;
use crate::calendar::{Error, Refusal, When, is_of_server};
use crate::dav::gate::{Change, Gate};
use crate::dav::multistatus::{Multistatus, status_line};
use crate::dav::place::{Now, Spot};
use crate::dav::property::{ASKED, Set, fits, live_property};
use crate::dav::resource::{Facts, Kinds, Node, Resource};
use crate::dav::{Denied, Protocol, Scope};
use crate::http::{Href, Reply, Request};
use crate::store::{Properties, PropertyName};
use crate::xml::{Element, Name, Writer, dav};

/// What became of one property.
#[derive(Debug)]
pub(super) struct Verdict {
    /// Which.
    pub name: Name,
    /// Why it cannot be; nothing: it can.
    pub denied: Option<Denied>,
}

/// One instruction.
enum Step {
    Set(PropertyName, String),
    Remove(PropertyName),
}

pub(super) async fn serve(scope: Scope, mut request: Request, href: Option<Href>) -> Result<Reply, Denied> {
    let body = xml_body(&mut request).await?;
    let body = body.ok_or_else(|| Refusal::Bad("A PROPPATCH needs a body.".into()))?;
    if body.name != dav("propertyupdate") {
        return Err(Refusal::Bad("The body of a PROPPATCH must be a DAV:propertyupdate.".into()).into());
    }
    let instructs = |e: &Element| e.name == dav("set") || e.name == dav("remove");
    if !body.elements().any(instructs) {
        // RFC 4918 §14.19.
        return Err(Refusal::Bad("A propertyupdate needs a DAV:set or a DAV:remove.".into()).into());
    }
    let href = href.ok_or(Refusal::Missing)?;
    let at = Resource::at(&scope, &href, Facts::DEAD).await?;
    let changes: Vec<Change> = Spot::at(&at).map(Change::Resource).into_iter().collect();
    let gate = Gate::read(&scope, &request.headers, Some(&href), &changes).await?;
    let (steps, verdicts) = read(&body, &at)?;
    if verdicts.iter().all(|verdict| verdict.denied.is_none()) {
        let mut after = at.properties().cloned().unwrap_or_default();
        apply(&mut after, &steps);
        fits(&after)?;
        store(&scope, &at, &gate, &steps).await?;
    }
    Multistatus::answer(scope, move |mut multistatus| async move {
        let w = multistatus.writer();
        w.open(&dav("response"));
        w.leaf(&dav("href"), &at.path);
        if verdicts.is_empty() {
            // RFC 4918 §14.24: a response has a propstat or a status.
            w.leaf(&dav("status"), &status_line(StatusCode::OK));
        }
        write_verdicts(&verdicts, &at.path, w);
        w.close();
        Ok(multistatus)
    })
    .await
}

fn read(body: &Element, at: &Resource) -> Result<(Vec<Step>, Vec<Verdict>), Denied> {
    let (mut steps, mut verdicts) = (Vec::new(), Vec::new());
    for instruction in body.elements() {
        let set = instruction.name == dav("set");
        if !set && instruction.name != dav("remove") {
            continue;
        }
        let props = instruction.elements().filter(|e| e.name == dav("prop"));
        for element in props.flat_map(Element::elements) {
            let denied = match &at.node {
                Node::Place(_) | Node::Principal => Some(Refusal::Forbidden("write-properties").into()),
                Node::Collection(_) | Node::Member(..) if set => judge(element, at.kind()).err(),
                Node::Collection(_) | Node::Member(..) => may_remove(&element.name, at.kind()).err(),
            };
            if denied.is_none() {
                let (name, xml) = kept(element);
                steps.push(if set { Step::Set(name, xml) } else { Step::Remove(name) });
            }
            if verdicts.len() >= ASKED {
                return Err(Refusal::Bad("More than 1000 properties are set at once.".into()).into());
            }
            record(&mut verdicts, Verdict { name: element.name.clone(), denied });
        }
    }
    Ok((steps, verdicts))
}

/// Adds a verdict; of a property that is named twice, the one that says no.
fn record(verdicts: &mut Vec<Verdict>, new: Verdict) {
    match verdicts.iter_mut().find(|known| known.name == new.name) {
        Some(known) if known.denied.is_none() => *known = new,
        Some(_) => {}
        None => verdicts.push(new),
    }
}

async fn store(scope: &Scope, at: &Resource, gate: &Gate, steps: &[Step]) -> Result<(), Denied> {
    let to = at.writable(scope)?;
    match &at.node {
        Node::Member(_, meta) => {
            let change = |properties: &mut Properties| apply(properties, steps);
            Ok(scope.session.update_object_properties(&to, &meta.name, &gate.when(), change).await?)
        }
        Node::Collection(now) => {
            gate.allow_now(&Now::Collection(now.clone()))?;
            let change = |collection: &mut crate::store::Collection| {
                apply(&mut collection.properties, steps);
                Ok(())
            };
            scope.session.update_collection(&to, &When::always(), change).await?;
            Ok(())
        }
        Node::Place(_) | Node::Principal => {
            Err(Error::Refused(Refusal::Forbidden("write-properties")).into())
        }
    }
}

fn apply(properties: &mut Properties, steps: &[Step]) {
    for step in steps {
        match step {
            Step::Set(name, xml) => keep(properties, name.clone(), xml.clone()),
            // RFC 4918 §14.23: removing what is not there is no error.
            Step::Remove(name) => {
                properties.0.remove(name);
            }
        }
    }
}

/// Keeps a value, and no longer the one that it stands for.
pub(super) fn keep(properties: &mut Properties, name: PropertyName, xml: String) {
    let live = live_property(&Name::new(name.ns.clone(), name.local.clone()));
    if let Some(Set::Instead(_, other)) = live.map(|p| &p.set) {
        properties.0.retain(|kept, _| !other.is(&kept.ns, &kept.local));
    }
    properties.0.insert(name, xml);
}

/// Decides whether a client may set this value on this kind of resource. What the table does not know is a dead
/// property (RFC 4918 §4.1) and may be anything; what the server sets anywhere may be set by a client nowhere.
pub(super) fn judge(element: &Element, kind: Kinds) -> Result<(), Denied> {
    may_remove(&element.name, kind)?;
    match live_property(&element.name).filter(|p| p.on.has(kind)).map(|p| &p.set) {
        Some(Set::Stored(check) | Set::Instead(check, _)) => check(element),
        Some(Set::Protected | Set::AtCreation(_)) | None => Ok(()),
    }
}

fn may_remove(name: &Name, _: Kinds) -> Result<(), Denied> {
    if is_of_server(&name.ns) {
        return Err(Protocol::ProtectedProperty(name.local.clone().into_owned()).into());
    }
    match live_property(name).map(|p| &p.set) {
        None | Some(Set::Stored(_) | Set::Instead(..)) => Ok(()),
        Some(Set::Protected | Set::AtCreation(_)) => {
            Err(Protocol::ProtectedProperty(name.local.clone().into_owned()).into())
        }
    }
}

/// Returns a property as it is kept: the whole element, with the declarations that it needs.
pub(super) fn kept(element: &Element) -> (PropertyName, String) {
    let name = PropertyName {
        ns: element.name.ns.clone().into_owned(),
        local: element.name.local.clone().into_owned(),
    };
    let mut w = Writer::fragment();
    w.element(element);
    (name, w.take_string())
}

/// Writes a propstat for each way in which it went. RFC 4918 §9.2.1: if one fails, the others are 424.
pub(super) fn write_verdicts(verdicts: &[Verdict], path: &str, w: &mut Writer) {
    let all_good = verdicts.iter().all(|verdict| verdict.denied.is_none());
    let good: Vec<&Name> = verdicts.iter().filter(|v| v.denied.is_none()).map(|v| &v.name).collect();
    if !good.is_empty() {
        let status = if all_good { StatusCode::OK } else { StatusCode::FAILED_DEPENDENCY };
        propstat(&good, status, None, path, w);
    }
    for verdict in verdicts {
        if let Some(denied) = &verdict.denied {
            propstat(&[&verdict.name], denied.explain(path).status, Some(denied), path, w);
        }
    }
}

fn propstat(names: &[&Name], status: StatusCode, denied: Option<&Denied>, path: &str, w: &mut Writer) {
    w.open(&dav("propstat"));
    w.open(&dav("prop"));
    for name in names {
        w.empty(name);
    }
    w.close();
    w.leaf(&dav("status"), &status_line(status));
    if let Some(denied) = denied {
        denied.explain(path).write(path, w);
    }
    w.close();
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use crate::dav::method;
    use crate::dav::testing::{request, scope};

    fn set(path: &str, n: usize) -> crate::http::Request {
        let body = format!(
            "<D:propertyupdate xmlns:D='DAV:'><D:set><D:prop><x:p{n} xmlns:x='urn:x'>{n}</x:p{n}></D:prop></D:set>\
             </D:propertyupdate>"
        );
        request("PROPPATCH", path, &body)
    }

    /// Clients that set different properties at the same time do not undo each other's work.
    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn rivals_lose_nothing() {
        let scope = scope().await;
        let put = request("PUT", "/dav/files/anna/f", "x");
        assert_eq!(method::serve(scope.clone(), put).await.unwrap().status(), 201);
        for path in ["/dav/files/anna/f", "/dav/calendars/anna/calendar/"] {
            let rivals = (0..6).map(|n| tokio::spawn(method::serve(scope.clone(), set(path, n))));
            for rival in rivals.collect::<Vec<_>>() {
                assert_eq!(rival.await.unwrap().unwrap().status(), 207);
            }
        }
        let files = scope.session.files().await.unwrap();
        assert_eq!(files.object_properties("f").await.unwrap().0.len(), 6);
        let home = scope.session.home().await.unwrap();
        let calendar = home.child("calendar").await.unwrap().unwrap();
        let own = calendar.collection().properties.0.keys().filter(|name| name.ns == "urn:x").count();
        assert_eq!(own, 6);
    }
}
