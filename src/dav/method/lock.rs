//! LOCK and UNLOCK (RFC 4918 §9.10, §9.11).

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode};

use super::{not_here, xml_body};
use crate::calendar::{Error, Put, Readable, Refusal};
use crate::dav::gate::{Change, Gate};
use crate::dav::lock::{Lock, covering_spot, filed, sweep, write_discovery};
use crate::dav::place::{Now, Place, Spot};
use crate::dav::resource::Kinds;
use crate::dav::{Denied, Protocol, Scope};
use crate::http::{
    Depth, Href, If, Reply, Request, collection_path, depth, lock_token, reply_empty, reply_xml, timeout,
};
use crate::store::{CollectionId, Commit, Fault, Kind, Op, Timestamp};
use crate::xml::{Element, Writer, dav};

/// Seconds that a lock lasts if the client does not say, and at most.
const USUAL: u64 = 3600;
const LONGEST: u64 = 7 * 24 * 3600;

pub(super) async fn lock(scope: Scope, mut request: Request, href: Option<Href>) -> Result<Reply, Denied> {
    let deep = match depth(&request.headers)? {
        None | Some(Depth::Infinity) => true,
        Some(Depth::Zero) => false,
        Some(Depth::One) => return Err(Refusal::Bad("A LOCK has Depth: 0 or infinity.".into()).into()),
    };
    let body = xml_body(&mut request).await?;
    // One at a time, so that two clients cannot both find the place free.
    let guard = std::sync::Arc::clone(&scope.locking);
    let _turn = guard.lock().await;
    let (spot, now) = lockable(&scope, href.as_ref()).await?;
    match body {
        None => refresh(&scope, &request.headers, &spot).await,
        Some(body) => {
            create(&scope, &request.headers, href, Taking { spot, now, deep, info: info(&body)? }).await
        }
    }
}

/// What is to be locked, and how.
struct Taking {
    spot: Spot,
    now: Now,
    deep: bool,
    info: Info,
}

/// What the body says.
struct Info {
    exclusive: bool,
    owner: String,
}

fn info(body: &Element) -> Result<Info, Denied> {
    let bad = |why: &str| Denied::from(Refusal::Bad(why.into()));
    if body.name != dav("lockinfo") {
        return Err(bad("The body of a LOCK must be a DAV:lockinfo element."));
    }
    let kind = body.child(&dav("locktype")).and_then(|e| e.child(&dav("write")));
    kind.ok_or_else(|| bad("Only write locks exist."))?;
    let scope = body.child(&dav("lockscope"));
    let exclusive = match scope.and_then(|scope| scope.elements().next()).map(|e| &e.name) {
        Some(name) if *name == dav("exclusive") => true,
        Some(name) if *name == dav("shared") => false,
        _ => return Err(bad("DAV:lockscope must hold DAV:exclusive or DAV:shared.")),
    };
    let owner = body.child(&dav("owner")).map(|owner| {
        let mut w = Writer::fragment();
        w.element(owner);
        w.take_string()
    });
    Ok(Info { exclusive, owner: owner.unwrap_or_default() })
}

async fn create(
    scope: &Scope,
    headers: &HeaderMap,
    href: Option<Href>,
    taking: Taking,
) -> Result<Reply, Denied> {
    let href = href.ok_or(Refusal::NoParent)?;
    let free = matches!(taking.now, Now::Free);
    let parent = Change::Resource(Spot::of(taking.spot.collection));
    let changes: &[Change] = if free { std::slice::from_ref(&parent) } else { &[] };
    let gate = Gate::read(scope, headers, Some(&href), changes).await?;
    gate.allow_now(&taking.now)?;
    conflict(scope, &taking).await?;
    if free {
        // RFC 4918 §7.3: locking an unmapped URL makes an empty resource.
        let place = Place::find(scope, Some(&href)).await?;
        if place.at.collection().kind != Kind::Files {
            let why = "an empty resource cannot be made in a calendar; PUT it first";
            return Err(Refusal::Protected(why).into());
        }
        let put = Put { when: gate.when(), ..Put::new(&place.name, Bytes::new()) };
        scope.session.put(&place.at, put).await?;
    }
    sweep(scope).await?;
    let seconds = timeout(headers).unwrap_or(USUAL).clamp(1, LONGEST);
    let mut root = scope.site.path(&href);
    if matches!(taking.now, Now::Collection(_)) {
        root = collection_path(root);
    }
    let lock = Lock {
        v: 1,
        token: format!("urn:uuid:{}", super::uuid()?),
        root: root.strip_prefix(scope.site.prefix()).unwrap_or(&root).to_owned(),
        principal: scope.session.principal.name.clone(),
        exclusive: taking.info.exclusive,
        deep: taking.deep,
        owner: taking.info.owner,
        timeout: seconds,
        expires: after(scope, seconds),
        collection: taking.spot.collection,
        member: taking.spot.member,
    };
    save(scope, &lock).await?;
    let status = if free { StatusCode::CREATED } else { StatusCode::OK };
    let mut reply = describe(scope, status, std::slice::from_ref(&lock));
    if let Ok(token) = HeaderValue::try_from(format!("<{}>", lock.token)) {
        reply.headers_mut().insert("lock-token", token);
    }
    Ok(reply)
}

/// RFC 4918 §6.2: an exclusive lock tolerates no other, a shared one no exclusive one, above, here or below.
async fn conflict(scope: &Scope, taking: &Taking) -> Result<(), Denied> {
    let mut others = covering_spot(scope, &taking.spot).await?;
    if let (Now::Collection(at), true) = (&taking.now, taking.deep) {
        others.extend(below(scope, at).await?);
    }
    match others.iter().find(|other| taking.info.exclusive || other.exclusive) {
        Some(other) => {
            Err(Protocol::NoConflictingLock(format!("{}{}", scope.site.prefix(), other.root)).into())
        }
        None => Ok(()),
    }
}

async fn below(scope: &Scope, at: &Readable) -> Result<Vec<Lock>, Denied> {
    let mut found = Vec::new();
    if !crate::dav::lock::any(scope).await? {
        return Ok(found);
    }
    let mut waiting: Vec<CollectionId> = vec![at.id()];
    while let Some(id) = waiting.pop() {
        found.extend(filed(scope, &format!("{}/", id.0)).await?);
        waiting.extend(scope.session.house.store.children(id).await?.iter().map(|child| child.id));
    }
    Ok(found)
}

/// RFC 4918 §9.10.2: no body and the token in the `If` header.
async fn refresh(scope: &Scope, headers: &HeaderMap, spot: &Spot) -> Result<Reply, Denied> {
    let header = If::read(headers)?.ok_or_else(|| {
        Refusal::Bad("A LOCK without a body refreshes a lock and needs its token in the If header.".into())
    })?;
    let me = scope.session.principal.name.as_str();
    let covering = covering_spot(scope, spot).await?;
    let found =
        covering.into_iter().find(|lock| lock.principal == me && header.tokens().any(|t| t == lock.token));
    let Some(mut lock) = found else { return Err(Protocol::Failed.into()) };
    lock.timeout = timeout(headers).unwrap_or(lock.timeout).clamp(1, LONGEST);
    lock.expires = after(scope, lock.timeout);
    save(scope, &lock).await?;
    Ok(describe(scope, StatusCode::OK, std::slice::from_ref(&lock)))
}

fn after(scope: &Scope, seconds: u64) -> Timestamp {
    let more = i64::try_from(seconds).unwrap_or(i64::MAX / 1000).saturating_mul(1000);
    Timestamp(scope.session.house.clock.now().0.saturating_add(more))
}

async fn save(scope: &Scope, lock: &Lock) -> Result<(), Denied> {
    let bytes =
        serde_json::to_vec(lock).map_err(|e| Fault::Broken(format!("a lock cannot be written: {e}")))?;
    let now = scope.session.house.clock.now();
    let commit = Commit::new(scope.session.origin.clone(), now).op(Op::PutRecord(lock.key(), bytes.into()));
    scope.session.house.store.commit(commit).await.map_err(Error::from)?;
    Ok(())
}

fn describe(scope: &Scope, status: StatusCode, locks: &[Lock]) -> Reply {
    let mut w = Writer::document();
    w.open(&dav("prop"));
    w.open(&dav("lockdiscovery"));
    write_discovery(locks, scope, &mut w);
    w.close();
    w.close();
    reply_xml(status, w.take())
}

/// Finds what is to be locked; what the server provides cannot be.
async fn lockable(scope: &Scope, href: Option<&Href>) -> Result<(Spot, Now), Denied> {
    match Spot::find(scope, href).await {
        Err(Denied::Error(Error::Refused(Refusal::Protected(_)))) => Err(not_here(Kinds::PLACE)),
        found => found,
    }
}

pub(super) async fn unlock(scope: Scope, request: Request, href: Option<Href>) -> Result<Reply, Denied> {
    let token = lock_token(&request.headers)?;
    let (spot, now) = lockable(&scope, href.as_ref()).await?;
    if matches!(now, Now::Free) {
        return Err(Refusal::Missing.into());
    }
    Gate::read(&scope, &request.headers, href.as_ref(), &[]).await?.allow_now(&now)?;
    let found = covering_spot(&scope, &spot).await?.into_iter().find(|lock| lock.token == token);
    let Some(lock) = found else { return Err(Protocol::LockTokenMatches.into()) };
    if lock.principal != scope.session.principal.name {
        return Err(Refusal::Forbidden("unlock").into());
    }
    crate::dav::lock::forget(&scope, std::slice::from_ref(&lock)).await?;
    Ok(reply_empty(StatusCode::NO_CONTENT))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use crate::dav::testing::{request, scope};
    use crate::dav::{Denied, Protocol, method};

    /// RFC 4918 §6.2: of rivals for an exclusive lock one gets it.
    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn one_of_many_rivals_gets_the_lock() {
        let scope = scope().await;
        let body = "<lockinfo xmlns='DAV:'><lockscope><exclusive/></lockscope><locktype><write/></locktype></lockinfo>";
        let rivals: Vec<_> = (0..12)
            .map(|_| tokio::spawn(method::serve(scope.clone(), request("LOCK", "/dav/files/anna/f", body))))
            .collect();
        let mut won = 0;
        for rival in rivals {
            match rival.await.unwrap() {
                Ok(reply) => {
                    assert_eq!(reply.status(), 201);
                    won += 1;
                }
                Err(Denied::Protocol(Protocol::NoConflictingLock(root))) => {
                    assert_eq!(root, "/dav/files/anna/f")
                }
                Err(other) => panic!("{other:?}"),
            }
        }
        assert_eq!(won, 1);
    }
}
