//! MKCOL, plain (RFC 4918 §9.3) and extended (RFC 5689), and MKCALENDAR (RFC 4791 §5.3.1).
//!
//! Properties that are not known never make it fail: they are kept.

use http::header::CACHE_CONTROL;
use http::{HeaderValue, StatusCode};

use super::proppatch::{Verdict, judge, keep, kept, write_verdicts};
use crate::calendar::{NewCollection, Refusal};
use crate::dav::gate::{Change, Gate};
use crate::dav::place::{Now, Place};
use crate::dav::property::{ASKED, Set, fits, live_property};
use crate::dav::resource::Kinds;
use crate::dav::{Denied, Protocol, Scope, xml_body};
use crate::http::{Href, Reply, Request, reply_empty, reply_xml};
use crate::store::{Kind, Properties};
use crate::xml::{Element, Name, Writer, caldav, dav};

/// Which of the two methods was used: they differ in what the body is called and how a failure looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// MKCOL.
    Mkcol,
    /// MKCALENDAR.
    Mkcalendar,
}

pub(super) async fn serve(
    scope: Scope,
    mut request: Request,
    href: Option<Href>,
    form: Form,
) -> Result<Reply, Denied> {
    let place = match Place::find(&scope, href.as_ref()).await {
        // What the server provides is there already.
        Err(Denied::Error(crate::calendar::Error::Refused(Refusal::Protected(_)))) => {
            return Err(taken(form));
        }
        found => found?,
    };
    let body = body(&mut request, form).await?;
    let changes = [Change::Resource(place.spot()), Change::Resource(place.parent_spot())];
    let gate = Gate::read(&scope, &request.headers, href.as_ref(), &changes).await?;
    let now = place.now().await?;
    gate.allow_now(&now)?;
    if !matches!(now, Now::Free) {
        return Err(taken(form));
    }
    let mut new = NewCollection {
        name: place.name.clone(),
        kind: if form == Form::Mkcalendar { Kind::Calendar } else { Kind::Files },
        components: Vec::new(),
        properties: Properties::default(),
    };
    let verdicts = match &body {
        Some(body) => fill(body, form, &mut new)?,
        None => Vec::new(),
    };
    if verdicts.iter().any(|verdict| verdict.denied.is_some()) {
        return Ok(failed(form, verdicts));
    }
    fits(&new.properties)?;
    match scope.session.create_collection(&place.at, new, &gate.when()).await {
        Ok(_) => {}
        Err(crate::calendar::Error::Refused(Refusal::Exists)) => return Err(taken(form)),
        Err(error) => return Err(error.into()),
    }
    let mut reply = reply_empty(StatusCode::CREATED);
    reply.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    Ok(reply)
}

/// RFC 4918 §9.3.1: MKCOL on something is 405. RFC 4791 §5.3.1.1: MKCALENDAR has a precondition for it.
fn taken(form: Form) -> Denied {
    match form {
        Form::Mkcol => Refusal::Exists.into(),
        Form::Mkcalendar => Protocol::ResourceMustBeNull.into(),
    }
}

async fn body(request: &mut Request, form: Form) -> Result<Option<Element>, Denied> {
    let sent = request.header("content-type").unwrap_or_default();
    let essence = sent.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let xml = essence.is_empty() || essence.ends_with("/xml") || essence.ends_with("+xml");
    if !xml && form == Form::Mkcol {
        // RFC 4918 §9.3: a body that is not understood is 415, even if the rest would work.
        let bytes = request.bytes(crate::xml::Limits::default().bytes as u64).await?;
        return if bytes.is_empty() { Ok(None) } else { Err(Protocol::MediaType(essence).into()) };
    }
    let Some(body) = xml_body(request).await? else { return Ok(None) };
    let expected = match form {
        Form::Mkcol => dav("mkcol"),
        Form::Mkcalendar => caldav("mkcalendar"),
    };
    if body.name != expected {
        let why = format!("The body must be a {} element, not {}.", expected.local, body.name.local);
        return match form {
            Form::Mkcol => Err(Protocol::MediaType(body.name.local.into_owned()).into()),
            Form::Mkcalendar => Err(Refusal::Bad(why).into()),
        };
    }
    Ok(Some(body))
}

/// Reads what is to be set.
fn fill(body: &Element, form: Form, new: &mut NewCollection) -> Result<Vec<Verdict>, Denied> {
    let props: Vec<&Element> = body
        .elements()
        .filter(|e| e.name == dav("set"))
        .flat_map(Element::elements)
        .filter(|e| e.name == dav("prop"))
        .flat_map(Element::elements)
        .collect();
    if props.len() > ASKED {
        return Err(Refusal::Bad("More than 1000 properties are set at once.".into()).into());
    }
    let typed = props.iter().find(|e| e.name == dav("resourcetype"));
    if let Some(element) = typed {
        new.kind = kind(element)?;
    }
    if form == Form::Mkcalendar && new.kind != Kind::Calendar {
        return Err(Protocol::ValidResourceType("MKCALENDAR makes calendars only.".into()).into());
    }
    let on = if new.kind == Kind::Calendar { Kinds::CALENDAR } else { Kinds::FILES };
    let mut verdicts = Vec::new();
    for element in props {
        let name = element.name.clone();
        if name == dav("resourcetype") {
            verdicts.push(Verdict { name, denied: None });
            continue;
        }
        let denied = match live_property(&name).filter(|p| p.on.has(on)).map(|p| &p.set) {
            Some(Set::AtCreation(set)) => set(element, new).err(),
            _ => match judge(element, on) {
                Ok(()) => {
                    let (name, xml) = kept(element);
                    keep(&mut new.properties, name, xml);
                    None
                }
                Err(denied) => Some(denied),
            },
        };
        verdicts.push(Verdict { name, denied });
    }
    Ok(verdicts)
}

/// RFC 5689 §3: which collections can be made.
fn kind(element: &Element) -> Result<Kind, Denied> {
    let names: Vec<&Name> = element.elements().map(|e| &e.name).collect();
    let other = names.iter().find(|name| ***name != dav("collection") && ***name != caldav("calendar"));
    if let Some(other) = other {
        let why = format!("Collections of the type “{}” cannot be made here.", other.local);
        return Err(Protocol::ValidResourceType(why).into());
    }
    match (names.contains(&&dav("collection")), names.contains(&&caldav("calendar"))) {
        (true, true) => Ok(Kind::Calendar),
        (true, false) => Ok(Kind::Files),
        (false, _) => {
            Err(Protocol::ValidResourceType("The resource type must hold DAV:collection.".into()).into())
        }
    }
}

/// RFC 5689 §3 and RFC 4791 §5.3.1: nothing was made, and why.
fn failed(form: Form, verdicts: Vec<Verdict>) -> Reply {
    let denied = verdicts.iter().find_map(|verdict| verdict.denied.as_ref());
    if let (Form::Mkcalendar, Some(denied)) = (form, denied) {
        return denied.reply("");
    }
    let mut w = Writer::document();
    w.open(&dav("mkcol-response"));
    write_verdicts(&verdicts, "", &mut w);
    w.close();
    reply_xml(StatusCode::FORBIDDEN, w.take())
}
