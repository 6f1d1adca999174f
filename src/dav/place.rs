//! Where a request would bind or unbind something: a collection that may be changed and a name in it.
//!
//! Owns: the rule that a parent must exist (409), and that nobody can detect another's collections.

use super::resource::{Facts, Node, Resource};
use super::{Denied, Scope};
use crate::calendar::{Readable, Refusal, Writable};
use crate::http::{Href, collection_path, encode};
use crate::store::{CollectionId, Meta, Name};

/// A name in a collection, taken or not.
#[derive(Debug, Clone)]
pub(super) struct Place {
    /// The collection.
    pub at: Writable,
    /// The name.
    pub name: Name,
}

/// What is at a place.
#[derive(Debug, Clone)]
pub(super) enum Now {
    /// Nothing.
    Free,
    /// An object or a file.
    Member(Box<Meta>),
    /// A collection.
    Collection(Readable),
}

impl Place {
    /// Finds the place that a path names.
    ///
    /// # Errors
    /// `NoParent` if there is no collection for it, or it is not this session's; `Protected` for what is the server's.
    pub(super) async fn find(scope: &Scope, href: Option<&Href>) -> Result<Place, Denied> {
        let me = scope.session.principal.name.as_str();
        let href = href.ok_or(Refusal::NoParent)?;
        match href {
            Href::Calendar(user, _) | Href::Object(user, ..) | Href::Files(user, _) | Href::Home(user)
                if user.as_str() != me =>
            {
                Err(Refusal::NoParent.into())
            }
            Href::Calendar(_, calendar) => {
                Ok(Place { at: scope.session.home().await?, name: calendar.clone() })
            }
            Href::Object(_, calendar, object) => {
                let home = scope.session.home().await?;
                let at = home.writable_child(calendar.as_str()).await?.ok_or(Refusal::NoParent)?;
                Ok(Place { at, name: object.clone() })
            }
            Href::Files(_, path) => {
                let Some((last, rest)) = path.split_last() else {
                    return Err(
                        Refusal::Protected("the root of a user's files cannot be removed or moved").into()
                    );
                };
                let mut at = scope.session.files().await?;
                for name in rest {
                    at = at.writable_child(name.as_str()).await?.ok_or(Refusal::NoParent)?;
                }
                Ok(Place { at, name: last.clone() })
            }
            Href::Home(_) => {
                Err(Refusal::Protected("a calendar home cannot be made, removed or moved").into())
            }
            Href::Principal(_) => Err(Refusal::Protected("principals belong to the server").into()),
            Href::Root | Href::WellKnown | Href::Decoy | Href::Context => Err(server()),
            Href::Principals | Href::Calendars | Href::FilesRoot => Err(server()),
        }
    }

    /// Reads what is there.
    ///
    /// # Errors
    /// When the store fails.
    pub(super) async fn now(&self) -> Result<Now, Denied> {
        if let Some(child) = self.at.child(self.name.as_str()).await? {
            return Ok(Now::Collection(child));
        }
        Ok(match self.at.meta(self.name.as_str()).await? {
            Some(meta) => Now::Member(Box::new(meta)),
            None => Now::Free,
        })
    }

    /// Returns the key under which locks of a member of this name are filed.
    pub(super) fn spot(&self) -> Spot {
        Spot { collection: self.at.id(), member: self.name.as_str().to_owned() }
    }

    /// Returns the key under which locks of the parent are filed.
    pub(super) fn parent_spot(&self) -> Spot {
        Spot { collection: self.at.id(), member: String::new() }
    }
}

fn server() -> Denied {
    Refusal::Protected("this resource belongs to the server and cannot be changed").into()
}

/// What a lock is filed under: a member of a collection, or (no member) the collection itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Spot {
    /// The collection.
    pub collection: CollectionId,
    /// The member's name, or nothing.
    pub member: String,
}

impl Spot {
    /// Finds what a lock on this path is filed under, and what is there; homes and roots of files can be locked like
    /// any collection.
    ///
    /// # Errors
    /// As `Place::find`.
    pub(super) async fn find(scope: &Scope, href: Option<&Href>) -> Result<(Spot, Now), Denied> {
        let root = match href {
            Some(href @ (Href::Home(_) | Href::Files(..))) => {
                Resource::find(scope, href, Facts::NONE).await?
            }
            _ => None,
        };
        if let Some(Resource { node: Node::Collection(at), .. }) = root {
            return Ok((Spot::of(at.id()), Now::Collection(at)));
        }
        let place = Place::find(scope, href).await?;
        let now = place.now().await?;
        Ok(match &now {
            Now::Collection(at) => (Spot::of(at.id()), now),
            Now::Free | Now::Member(_) => (place.spot(), now),
        })
    }

    /// Returns the spot of a collection.
    pub(super) fn of(collection: CollectionId) -> Spot {
        Spot { collection, member: String::new() }
    }

    /// Returns the spot of a resource, if it can be locked.
    pub(super) fn at(resource: &Resource) -> Option<Spot> {
        match &resource.node {
            Node::Place(_) | Node::Principal => None,
            Node::Collection(at) => Some(Spot::of(at.id())),
            Node::Member(at, meta) => {
                Some(Spot { collection: at.id(), member: meta.name.as_str().to_owned() })
            }
        }
    }
}

/// Returns the path of a member of a collection whose path is given.
pub(super) fn member_path(collection: &str, name: &Name) -> String {
    let mut path = collection_path(collection.to_owned());
    encode(name.as_str(), &mut path);
    path
}
