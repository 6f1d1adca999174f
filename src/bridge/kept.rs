//! What people may not change here because it comes from somewhere else (E15).
//!
//! Owns: which mapping keeps what, the mark of a calendar that follows from its mappings. Does not own: refusing
//! (`calendar`).
//!
//! A mapping that only pulls keeps what it brought, unless it is set to be editable. A calendar that nothing but such
//! mappings fill is kept as a whole; one that held events of its own before, or that another mapping fills too, stays open
//! for those.

use std::sync::Arc;

use super::front::{Bridge, BridgeError};
use super::record::{self, Apart, Base, Mapping, base_key};
use crate::calendar::{Answer, Keeper, Kept, is_hidden, kept, set_kept};
use crate::store::{
    Collection, CollectionId, Commit, CommitError, Expect, Fault, Op, Origin, Rejected, Store, Table,
};

/// How often the mark is settled anew when the calendar's properties are changed meanwhile.
const ATTEMPTS: usize = 8;
/// Objects that are looked at together.
const PAGE: usize = 500;

/// Knows what mappings brought, by their records.
pub(super) struct Records(pub(super) Arc<dyn Store>);

impl Keeper for Records {
    fn keeps<'a>(&'a self, mapping: &'a str, uid: &'a str) -> Answer<'a> {
        Box::pin(async move {
            let base: Option<Base> = record::load(&*self.0, &base_key(mapping, uid)).await?;
            Ok(base.is_some_and(|base| keeps(&base)))
        })
    }
}

/// Tells whether an object is kept by its mapping: what is no more over there has become its owner's.
pub(super) fn keeps(base: &Base) -> bool {
    base.apart != Some(Apart::Here)
}

impl Bridge {
    /// Writes what becomes of mappings of a calendar together with the mark that follows from it. `change` makes the
    /// list of the calendar's mappings what it will be.
    ///
    /// # Errors
    /// When the store fails or somebody else is faster again and again.
    pub(super) async fn commit_marked(
        &self,
        calendar: CollectionId,
        ops: Vec<Op>,
        change: impl Fn(&mut Vec<Mapping>) + Send,
    ) -> Result<(), BridgeError> {
        for _ in 0..ATTEMPTS {
            let mut commit = Commit::new(Origin::System, self.house.clock.now());
            commit.ops.clone_from(&ops);
            if let Some(found) = self.house.store.collection(calendar).await? {
                let all = record::load_all::<Mapping>(&*self.house.store, Table::Mapping, "").await?;
                let mut of_it: Vec<Mapping> =
                    all.into_iter().filter(|mapping| mapping.collection == calendar).collect();
                change(&mut of_it);
                let mark = self.mark(&found, &of_it).await?;
                if mark != kept(&found) {
                    let mut after = Collection::clone(&found);
                    set_kept(&mut after.properties, &mark);
                    after.modified = commit.at;
                    commit = commit
                        .expect(Expect::CollectionIs(Box::new(Collection::clone(&found))))
                        .op(Op::PutCollection(after));
                }
            }
            match self.house.store.commit(commit).await {
                Ok(_) => return Ok(()),
                Err(CommitError::Rejected(Rejected::CollectionChanged | Rejected::NoCollection)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(BridgeError::Conflict("It was changed by somebody else meanwhile.".into()))
    }

    async fn mark(&self, collection: &Collection, mappings: &[Mapping]) -> Result<Kept, Fault> {
        let keepers: Vec<&Mapping> = mappings.iter().filter(|mapping| mapping.keeps()).collect();
        // Nobody changes by hand what nobody sees.
        if keepers.is_empty() || is_hidden(collection) {
            return Ok(Kept::Nothing);
        }
        let alone = keepers.len() == mappings.len();
        let was = kept(collection) == Kept::Whole;
        if alone && (was || !self.has_own(collection, &keepers).await?) {
            return Ok(Kept::Whole);
        }
        Ok(Kept::By(keepers.iter().map(|mapping| mapping.id.clone()).collect()))
    }

    /// Tells whether the calendar holds anything that none of the mappings brought.
    async fn has_own(&self, collection: &Collection, mappings: &[&Mapping]) -> Result<bool, Fault> {
        let store = &*self.house.store;
        let mut after = None;
        loop {
            let page =
                store.list(collection.id, after.as_ref().map(crate::store::Name::as_str), PAGE).await?;
            let Some(last) = page.last() else { return Ok(false) };
            after = Some(last.name.clone());
            for meta in &page {
                let Some(uid) = &meta.index.uid else { return Ok(true) };
                let mut brought = false;
                for mapping in mappings {
                    let base: Option<Base> = record::load(store, &base_key(&mapping.id, uid)).await?;
                    brought |= base.is_some_and(|base| keeps(&base));
                }
                if !brought {
                    return Ok(true);
                }
            }
        }
    }
}
