//! Href → Resource: a loaded snapshot of what is there, and its members page by page.
//!
//! Owns: finding things, and which facts are read for which properties, once per request.
//! Does not own: what a property says of a resource (`live`).

use std::sync::Arc;

use super::{Denied, Scope};
use crate::calendar::{Readable, Refusal, Writable};
use crate::http::{Href, collection_path, encode};
use crate::store::{Head, Kind, Meta, Name, Properties, Rev};

/// A set of kinds of resources.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kinds(u8);

impl Kinds {
    /// Nothing.
    pub const NONE: Kinds = Kinds(0);
    /// Collections that only lead to others: `/`, `/dav/`, `/dav/principals/`, `/dav/calendars/`, `/dav/files/`.
    pub const PLACE: Kinds = Kinds(1);
    /// Principals (RFC 3744 §2).
    pub const PRINCIPAL: Kinds = Kinds(2);
    /// Calendar homes (RFC 4791 §6.2.1).
    pub const HOME: Kinds = Kinds(4);
    /// Calendar collections (RFC 4791 §4.2).
    pub const CALENDAR: Kinds = Kinds(8);
    /// Plain collections (RFC 4918 §5.2).
    pub const FILES: Kinds = Kinds(16);
    /// Calendar object resources (RFC 4791 §4.1).
    pub const OBJECT: Kinds = Kinds(32);
    /// Files.
    pub const FILE: Kinds = Kinds(64);
    /// Collections that the store keeps.
    pub const STORED: Kinds = Kinds(4 | 8 | 16);
    /// Everything with bytes.
    pub const MEMBER: Kinds = Kinds(32 | 64);
    /// Everything.
    pub const ALL: Kinds = Kinds(127);

    /// Returns what is in either.
    pub const fn or(self, other: Kinds) -> Kinds {
        Kinds(self.0 | other.0)
    }

    /// Tells whether the two have something in common.
    pub const fn has(self, other: Kinds) -> bool {
        self.0 & other.0 != 0
    }
}

/// A set of facts that cost a look into the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts(u8);

impl Facts {
    /// Nothing but the resource itself.
    pub const NONE: Facts = Facts(0);
    /// Where a collection's log stands.
    pub const HEAD: Facts = Facts(1);
    /// How much the principal stores.
    pub const USED: Facts = Facts(2);
    /// What clients have set on an object.
    pub const DEAD: Facts = Facts(4);
    /// Who has locked it.
    pub const LOCKS: Facts = Facts(8);
    /// Whether it is kept as it is in another calendar.
    pub const KEPT: Facts = Facts(16);
    /// All of them.
    pub const ALL: Facts = Facts(31);

    /// Returns what is in either.
    pub const fn or(self, other: Facts) -> Facts {
        Facts(self.0 | other.0)
    }

    /// Tells whether the two have something in common.
    pub const fn has(self, other: Facts) -> bool {
        self.0 & other.0 != 0
    }
}

/// What a resource is.
#[derive(Debug, Clone)]
pub enum Node {
    /// It only leads to others.
    Place(Href),
    /// The session's own principal: nobody sees another's.
    Principal,
    /// A collection of the store.
    Collection(Readable),
    /// A member with bytes, in this collection.
    Member(Readable, Box<Meta>),
}

/// A resource as it was found, with the facts that were asked for. Getters of properties read it; they do no I/O.
#[derive(Debug, Clone)]
pub struct Resource {
    /// Its path in the one canonical spelling.
    pub path: String,
    /// What it is.
    pub node: Node,
    /// Where the log stands, if `Facts::HEAD` was asked for.
    pub head: Option<Head>,
    /// Bytes that the principal stores, if `Facts::USED` was asked for.
    pub used: Option<u64>,
    /// Properties that clients set on an object, if `Facts::DEAD` was asked for.
    pub dead: Option<Properties>,
    /// Locks that cover it, if `Facts::LOCKS` was asked for.
    pub locks: Vec<super::lock::Lock>,
    /// It is kept as it is in another calendar, if `Facts::KEPT` was asked for.
    pub kept: bool,
}

impl Resource {
    fn new(path: String, node: Node) -> Resource {
        Resource { path, node, head: None, used: None, dead: None, locks: Vec::new(), kept: false }
    }

    /// Finds what the path names. Nothing: there is no such thing, or it is not for this session to know.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn find(scope: &Scope, href: &Href, facts: Facts) -> Result<Option<Resource>, Denied> {
        let me = scope.session.principal.name.as_str();
        let node = match href {
            Href::Root | Href::Context | Href::Principals | Href::Calendars | Href::FilesRoot => {
                Node::Place(href.clone())
            }
            Href::WellKnown | Href::Decoy => return Ok(None),
            Href::Principal(user) | Href::Home(user) | Href::Calendar(user, _) | Href::Object(user, ..)
                if user.as_str() != me =>
            {
                return Ok(None);
            }
            Href::Files(user, _) if user.as_str() != me => return Ok(None),
            Href::Principal(_) => Node::Principal,
            Href::Home(_) => Node::Collection(home(scope).await?),
            Href::Calendar(_, calendar) => {
                let home = scope.session.home().await?;
                let Some(found) = home.child(calendar.as_str()).await? else { return Ok(None) };
                Node::Collection(found)
            }
            Href::Object(_, calendar, object) => {
                let home = scope.session.home().await?;
                let Some(found) = home.child(calendar.as_str()).await? else { return Ok(None) };
                let Some(meta) = found.meta(object.as_str()).await? else { return Ok(None) };
                Node::Member(found, Box::new(meta))
            }
            Href::Files(_, path) => match file(scope, path).await? {
                Some(node) => node,
                None => return Ok(None),
            },
        };
        let mut path = scope.site.path(href);
        if matches!(node, Node::Collection(_)) {
            path = collection_path(path);
        }
        let mut found = Resource::new(path, node);
        found.load(scope, facts).await?;
        Ok(Some(found))
    }

    /// Finds what the path names.
    ///
    /// # Errors
    /// `Missing` if there is nothing; when the store fails.
    pub async fn at(scope: &Scope, href: &Href, facts: Facts) -> Result<Resource, Denied> {
        Ok(Resource::find(scope, href, facts).await?.ok_or(Refusal::Missing)?)
    }

    /// Returns a member of a collection whose path is known, as reports find them.
    pub fn member(collection_path: &str, at: &Readable, meta: Meta) -> Resource {
        let mut path = String::with_capacity(collection_path.len() + meta.name.as_str().len() + 4);
        path.push_str(collection_path);
        encode(meta.name.as_str(), &mut path);
        Resource::new(path, Node::Member(at.clone(), Box::new(meta)))
    }

    /// Returns a child collection of a collection whose path is known.
    pub fn child(collection_path: &str, child: Readable) -> Resource {
        let mut path = String::with_capacity(collection_path.len() + 40);
        path.push_str(collection_path);
        encode(child.collection().name.as_str(), &mut path);
        path.push('/');
        Resource::new(path, Node::Collection(child))
    }

    /// Returns the session's own principal.
    pub fn own_principal(scope: &Scope) -> Resource {
        Resource::new(scope.principal_path(), Node::Principal)
    }

    /// Reads the facts that are not there yet.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn load(&mut self, scope: &Scope, facts: Facts) -> Result<(), Denied> {
        if facts == Facts::NONE {
            return Ok(());
        }
        if facts.has(Facts::HEAD)
            && self.head.is_none()
            && let Node::Collection(at) = &self.node
        {
            self.head = Some(at.head().await?);
        }
        if facts.has(Facts::USED) && self.used.is_none() && matches!(self.node, Node::Collection(_)) {
            self.used = Some(scope.session.used().await?);
        }
        if facts.has(Facts::DEAD)
            && self.dead.is_none()
            && let Node::Member(at, meta) = &self.node
        {
            self.dead = Some(at.object_properties(meta.name.as_str()).await?);
        }
        if facts.has(Facts::KEPT)
            && let Node::Member(at, meta) = &self.node
        {
            self.kept = scope.session.keeps(at, meta).await?;
        }
        if facts.has(Facts::LOCKS) {
            self.locks = super::lock::covering(scope, self).await?;
        }
        Ok(())
    }

    /// Returns its kind.
    pub fn kind(&self) -> Kinds {
        match &self.node {
            Node::Place(_) => Kinds::PLACE,
            Node::Principal => Kinds::PRINCIPAL,
            Node::Collection(at) => match at.collection().kind {
                Kind::Home => Kinds::HOME,
                Kind::Calendar => Kinds::CALENDAR,
                Kind::Files => Kinds::FILES,
            },
            Node::Member(at, _) => match at.collection().kind {
                Kind::Files => Kinds::FILE,
                Kind::Home | Kind::Calendar => Kinds::OBJECT,
            },
        }
    }

    /// Returns the stored collection that this is, or nothing.
    pub fn collection(&self) -> Option<&Readable> {
        match &self.node {
            Node::Collection(at) => Some(at),
            Node::Place(_) | Node::Principal | Node::Member(..) => None,
        }
    }

    /// Returns the object's description and its collection, if this is a member with bytes.
    pub fn object(&self) -> Option<(&Readable, &Meta)> {
        match &self.node {
            Node::Member(at, meta) => Some((at, meta)),
            Node::Place(_) | Node::Principal | Node::Collection(_) => None,
        }
    }

    /// Returns what clients have set on it.
    pub fn properties(&self) -> Option<&Properties> {
        match &self.node {
            Node::Collection(at) => Some(&at.collection().properties),
            Node::Member(..) => self.dead.as_ref(),
            Node::Place(_) | Node::Principal => None,
        }
    }

    /// Returns the element that a client set under this name.
    pub fn stored(&self, ns: &str, local: &str) -> Option<&str> {
        let found = self.properties()?.0.iter().find(|(name, _)| name.local == local && name.ns == ns);
        found.map(|(_, xml)| xml.as_str())
    }

    /// Returns the log's newest position, for collections with `Facts::HEAD`.
    pub fn rev(&self) -> Option<Rev> {
        self.head.map(|head| head.rev)
    }

    /// Returns the permission to change the collection that this is.
    ///
    /// # Errors
    /// When it is no stored collection, or the session may not.
    pub fn writable(&self, scope: &Scope) -> Result<Writable, Denied> {
        match &self.node {
            Node::Collection(at) => Ok(scope.session.writable(Arc::clone(at.collection()))?),
            Node::Member(at, _) => Ok(scope.session.writable(Arc::clone(at.collection()))?),
            Node::Place(_) | Node::Principal => {
                Err(Refusal::Protected("this resource belongs to the server and cannot be changed").into())
            }
        }
    }

    /// Begins to read its members.
    pub fn members(&self, facts: Facts) -> Members {
        Members { parent: self.clone(), facts, stage: Stage::Collections }
    }
}

async fn home(scope: &Scope) -> Result<Readable, Denied> {
    let home = scope.session.home().await?;
    Ok(Readable::clone(&home))
}

async fn files(scope: &Scope) -> Result<Readable, Denied> {
    let files = scope.session.files().await?;
    Ok(Readable::clone(&files))
}

async fn file(scope: &Scope, path: &[Name]) -> Result<Option<Node>, Denied> {
    let mut at: Readable = files(scope).await?;
    let mut rest = path.iter();
    while let Some(name) = rest.next() {
        match at.child(name.as_str()).await? {
            Some(child) => at = child,
            None if rest.len() == 0 => {
                let meta = at.meta(name.as_str()).await?;
                return Ok(meta.map(|meta| Node::Member(at, Box::new(meta))));
            }
            None => return Ok(None),
        }
    }
    Ok(Some(Node::Collection(at)))
}

/// How many members are read at once.
const PAGE: usize = 512;

/// The members of a resource, page by page, so that a calendar of any size passes through little memory.
#[derive(Debug)]
pub struct Members {
    parent: Resource,
    facts: Facts,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    Collections,
    Objects(Option<Name>),
    Done,
}

impl Members {
    /// Reads the next page; empty pages may come in between. Nothing: that was all.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn next(&mut self, scope: &Scope) -> Result<Option<Vec<Resource>>, Denied> {
        let mut page = match &self.stage {
            Stage::Collections => {
                let page = self.collections(scope).await?;
                self.stage = match self.parent.kind().has(Kinds::CALENDAR.or(Kinds::FILES)) {
                    true => Stage::Objects(None),
                    false => Stage::Done,
                };
                page
            }
            Stage::Objects(after) => {
                let Node::Collection(at) = &self.parent.node else { return Ok(None) };
                let metas = at.list(after.as_ref().map(Name::as_str), PAGE).await?;
                self.stage = match metas.last() {
                    Some(last) if metas.len() == PAGE => Stage::Objects(Some(last.name.clone())),
                    _ => Stage::Done,
                };
                metas.into_iter().map(|meta| Resource::member(&self.parent.path, at, meta)).collect()
            }
            Stage::Done => return Ok(None),
        };
        if self.facts != Facts::NONE {
            for resource in &mut page {
                // One principal, one sum: it is not counted again for each member.
                if resource.collection().is_some() {
                    resource.used = self.parent.used;
                }
                resource.load(scope, self.facts).await?;
            }
        }
        Ok(Some(page))
    }

    async fn collections(&self, scope: &Scope) -> Result<Vec<Resource>, Denied> {
        let place = |href: Href| Resource::new(scope.site.path(&href), Node::Place(href));
        Ok(match &self.parent.node {
            Node::Place(Href::Root) => vec![place(Href::Context)],
            Node::Place(Href::Context) => {
                vec![place(Href::Principals), place(Href::Calendars), place(Href::FilesRoot)]
            }
            Node::Place(Href::Principals) => vec![Resource::own_principal(scope)],
            Node::Place(Href::Calendars) => {
                vec![Resource::child(&self.parent.path, home(scope).await?)]
            }
            Node::Place(Href::FilesRoot) => {
                vec![Resource::child(&self.parent.path, files(scope).await?)]
            }
            Node::Collection(at) if at.collection().kind != Kind::Calendar => {
                let children = at.children().await?;
                children.into_iter().map(|child| Resource::child(&self.parent.path, child)).collect()
            }
            Node::Place(_) | Node::Principal | Node::Collection(_) | Node::Member(..) => Vec::new(),
        })
    }
}
