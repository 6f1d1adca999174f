//! What deleted collections leave behind, removed in the background.
//!
//! Owns: the queue in `core` and its working off, a few rows at a time, also after a restart. Nothing of it is
//! reachable: a lost step is done again.

use super::batch::Batch;
use super::rows::{self, FADING, PURGE, Rows, Space, core_key, id_key, number_at};
use super::stage::properties_prefix;
use crate::store::{CollectionId, Fault, Key, Table};

/// Rows that one step removes: a few milliseconds of work.
const STEP: usize = 500;

/// Tells whether there is something to purge.
pub(super) fn pending(rows: &impl Rows) -> Result<bool, Fault> {
    Ok(next(rows)?.is_some())
}

fn next(rows: &impl Rows) -> Result<Option<CollectionId>, Fault> {
    let mut first = None;
    rows.prefixed(Space::Core, &[PURGE], &mut |key, _| {
        first = Some(CollectionId(number_at(key, 1)?));
        Ok(false)
    })?;
    Ok(first)
}

/// Removes some rows; tells whether there are more.
pub(super) fn step(batch: &mut Batch<'_>) -> Result<bool, Fault> {
    let Some(id) = next(batch)? else { return Ok(false) };
    let mut found = Vec::new();
    let own = id_key(id).to_vec();
    let lock = rows::record_key(&Key::new(Table::Lock, id.0.to_string()));
    let places = [
        (Space::Meta, own.clone()),
        (Space::Uid, own.clone()),
        (Space::Time, own.clone()),
        (Space::Log, own.clone()),
        (Space::Body, own),
        (Space::Record, properties_prefix(id)),
    ];
    for (space, prefix) in places {
        batch.prefixed(space, &prefix, &mut |key, row| {
            // Records are listed by others meanwhile.
            let faded = row.len() == FADING.len() || space == Space::Record;
            found.push((space, key.to_vec(), faded));
            for piece in rows::keys_of_pieces(space, key, row)? {
                found.push((Space::Body, piece, true));
            }
            Ok(found.len() < STEP)
        })?;
        if found.len() >= STEP {
            break;
        }
    }
    let done = found.len() < STEP;
    if done && let Some(row) = batch.get(Space::Record, &lock)? {
        let pieces = rows::keys_of_pieces(Space::Record, &lock, &row)?;
        found.extend(pieces.into_iter().map(|key| (Space::Body, key, true)));
        found.push((Space::Record, lock, true));
    }
    let faded = found.iter().all(|(_, _, faded)| *faded);
    if done && faded {
        found.push((Space::Core, core_key(PURGE, id.0), true));
    }
    for (space, key, faded) in found {
        match faded {
            true => batch.remove(space, key),
            false => batch.put(space, key, FADING.to_vec()),
        }
    }
    Ok(!(done && faded) || pending(batch)?)
}
