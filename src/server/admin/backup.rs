//! Everything as one stream, out of a store that is being written to.
//!
//! Owns: carrying a dump over the wire. Does not own: its form (`store::dump`).

use std::io;

use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::{Line, Octets, Wire};
use crate::calendar::House;

/// What the store writes into: every piece becomes a line.
struct Outgoing(mpsc::Sender<Line>);

impl io::Write for Outgoing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let line = Line::Chunk { data: Octets(bytes.to_vec().into()) };
        // The store writes from a thread for blocking work.
        let sent = self.0.blocking_send(line);
        sent.map_err(|_| io::Error::new(io::ErrorKind::BrokenPipe, "the other side hung up"))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Sends a dump.
pub(super) async fn backup(house: &House, wire: &Wire) -> Result<Value, String> {
    let summary = house.store.dump(Box::new(Outgoing(wire.to.clone()))).await;
    let summary = summary.map_err(|error| error.to_string())?;
    Ok(json!({
        "collections": summary.collections, "objects": summary.objects,
        "changes": summary.changes, "records": summary.records,
    }))
}
