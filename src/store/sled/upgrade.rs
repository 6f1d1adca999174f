//! From older formats to this one.
//!
//! Owns: the format version and the steps between versions. A step is one transaction with the new version in it:
//! it happened or it did not. Row formats that can be told apart by their first byte need no step.

use super::batch::Batch;
use super::rows::{FORMAT_KEY, Rows, Space, Trees, fault};
use crate::store::Fault;
use crate::store::codec::{Reader, Writer};

/// The format that this program writes.
pub(super) const CURRENT: u64 = 1 + STEPS.len() as u64;

/// Leads from one format to the next: adds what has to change to the batch.
pub(super) type Step = fn(&mut Batch<'_>) -> Result<(), Fault>;

/// The step at position `n` leads from format `n + 1` to `n + 2`. Only ever appended to.
pub(super) const STEPS: &[Step] = &[];

/// Brings the trees to the newest format.
pub(super) fn upgrade(trees: &Trees, steps: &[Step]) -> Result<(), Fault> {
    let row = trees.get(Space::Core, FORMAT_KEY)?;
    let mut version = match row {
        Some(row) => Reader::row(&row)?.number()?,
        None => return Err(Fault::Broken("the format of the store is unknown".into())),
    };
    while let Some(step) = usize::try_from(version).ok().and_then(|v| steps.get(v.checked_sub(1)?)) {
        tracing::info!(from = version, to = version + 1, "the store is brought to a newer format");
        let mut batch = Batch::over(trees);
        step(&mut batch)?;
        version += 1;
        let mut row = Writer::row();
        row.number(version);
        batch.put(Space::Core, FORMAT_KEY.to_vec(), row.0);
        batch.apply()?;
        trees.db.flush().map_err(fault)?;
    }
    Ok(())
}
