//! Looking after notification channels and idle consents: connection by connection, each in its own time.
//!
//! Owns: when they are looked at, whose channels are needed. Does not own: how one is opened, renewed and closed (`watch`), tokens
//! (`bearer`).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::sync::broadcast::error::RecvError;

use super::front::{Bridge, BridgeError};
use super::provider::RemoteId;
use super::record::{self, Mapping};
use super::ties::Ear;
use super::watch::Row;
use crate::store::{Notice, Table};

/// The longest time between two looks.
const NAP: Duration = Duration::from_secs(5 * 60);

/// What is to be looked after at one connection.
#[derive(Default)]
struct Ward {
    /// Mappings that have a channel, or are to have one, with those that share it.
    leading: Vec<(Mapping, Vec<Row>, Vec<String>)>,
    /// Channels of mappings that no longer need one.
    leaving: Vec<(String, Vec<Row>)>,
}

/// The looking after one connection, or after all idle consents, until it is done: which, and how long until the next time.
type Round<'a> = Pin<Box<dyn Future<Output = (String, Result<Duration, BridgeError>)> + Send + 'a>>;

/// What stands for all idle consents in the place of a connection.
const IDLE: &str = "";

impl Bridge {
    /// Looks after the channels until the bridge closes. A connection that hangs keeps none of the others waiting.
    pub async fn tend(self: Arc<Self>) {
        let bridge = &*self;
        let mut notices = self.house.store.watch();
        let mut under_way: FuturesUnordered<Round<'_>> = FuturesUnordered::new();
        let mut busy: BTreeSet<String> = BTreeSet::new();
        // Those that were busy when something changed.
        let mut again: BTreeSet<String> = BTreeSet::new();
        loop {
            let rounds = match bridge.rounds().await {
                Ok(rounds) => rounds,
                Err(error) => {
                    failed(&error);
                    Vec::new()
                }
            };
            for (name, round) in rounds {
                if busy.insert(name.clone()) {
                    under_way.push(round);
                } else {
                    again.insert(name);
                }
            }
            let until = tokio::time::sleep(NAP);
            tokio::pin!(until);
            loop {
                tokio::select! {
                    () = self.stop.cancelled() => return,
                    () = &mut until => break,
                    () = self.ties.tend.notified() => break,
                    Some((name, looked)) = under_way.next(), if !under_way.is_empty() => {
                        busy.remove(&name);
                        if again.remove(&name) {
                            break;
                        }
                        let wait = looked.inspect_err(failed).unwrap_or(NAP);
                        let at = tokio::time::Instant::now() + wait;
                        let sooner = at.min(until.deadline());
                        until.as_mut().reset(sooner);
                    }
                    heard = notices.recv() => match heard {
                        Ok(notice) if concerns(&notice) => break,
                        // What was missed is seen at the next look: a busy store must not make this one busy.
                        Ok(_) | Err(RecvError::Lagged(_)) => {}
                        Err(RecvError::Closed) => return,
                    },
                }
            }
        }
    }

    /// Opens, renews and closes what has to be, once. Returns how long nothing else will have to be.
    ///
    /// # Errors
    /// When the store fails. Trouble of a far side is no error: polling goes on.
    pub async fn tend_once(&self) -> Result<Duration, BridgeError> {
        let rounds = self.rounds().await?.into_iter().map(|(_, round)| round);
        let mut wait = NAP;
        for (_, looked) in futures_util::future::join_all(rounds).await {
            wait = wait.min(looked?);
        }
        Ok(wait)
    }

    /// Returns what is to be done, connection by connection.
    async fn rounds(&self) -> Result<Vec<(String, Round<'_>)>, BridgeError> {
        let consents = async move { (IDLE.to_owned(), self.keep_alive().await.map(|()| NAP)) };
        let mut rounds: Vec<(String, Round<'_>)> = vec![(IDLE.to_owned(), Box::pin(consents))];
        for (connection, ward) in self.wards().await? {
            let name = connection.clone();
            let round = async move { (connection, self.tend_ward(ward).await) };
            rounds.push((name, Box::pin(round)));
        }
        Ok(rounds)
    }

    async fn wards(&self) -> Result<BTreeMap<String, Ward>, BridgeError> {
        self.sweep_consents().await?;
        self.sweep_pending().await?;
        let mappings = record::load_all::<Mapping>(&*self.house.store, Table::Mapping, "").await?;
        self.sweep_hooks(&mappings).await?;
        let rows = self.channels(None).await?;
        let mut wards: BTreeMap<String, Ward> = BTreeMap::new();
        if rows.is_empty() && !self.may_be_told() {
            return Ok(wards);
        }
        let mut of_mapping: BTreeMap<String, Vec<Row>> = BTreeMap::new();
        for row in rows {
            of_mapping.entry(row.1.mapping.clone()).or_default().push(row);
        }
        let mappings: BTreeMap<String, Mapping> =
            mappings.into_iter().filter(|m| m.enabled).map(|m| (m.id.clone(), m)).collect();
        // Mappings of one remote calendar share the channel of the first: some far sides open no second one.
        let mut first: BTreeMap<(&str, &RemoteId), &str> = BTreeMap::new();
        let mut others: HashMap<String, Vec<String>> = HashMap::new();
        for mapping in mappings.values() {
            let one = first.entry((&mapping.connection, &mapping.remote)).or_insert(&mapping.id);
            if *one != mapping.id {
                others.entry((*one).to_owned()).or_default().push(mapping.id.clone());
            }
        }
        self.ties.share(others.clone());
        for id in first.into_values() {
            let Some(mapping) = mappings.get(id) else { continue };
            let rows = of_mapping.remove(id).unwrap_or_default();
            let sharing = others.remove(id).unwrap_or_default();
            let ward = wards.entry(mapping.connection.clone()).or_default();
            ward.leading.push((mapping.clone(), rows, sharing));
        }
        for (mapping, rows) in of_mapping {
            let Some(connection) = rows.first().map(|(_, row)| row.connection.clone()) else { continue };
            wards.entry(connection).or_default().leaving.push((mapping, rows));
        }
        Ok(wards)
    }

    /// Looks after the channels of one connection, one after the other. Returns how long none of them will have to be.
    async fn tend_ward(&self, ward: Ward) -> Result<Duration, BridgeError> {
        let mut wait = NAP;
        for (mapping, rows) in &ward.leaving {
            self.close_rows(&rows.iter().collect::<Vec<_>>()).await?;
            self.ties.ears().remove(mapping);
        }
        for (mapping, rows, others) in &ward.leading {
            let now = self.house.clock.now();
            if let Some(next) = self.tend_mapping(mapping, &rows.iter().collect::<Vec<_>>(), now).await? {
                let left = u64::try_from(next.0.saturating_sub(now.0)).unwrap_or(0);
                wait = wait.min(Duration::from_millis(left.max(1000)));
            }
            let mut ears = self.ties.ears();
            if let Some(ear) = ears.get(&mapping.id).copied() {
                for other in others {
                    let own = ears.get(other).copied().unwrap_or_default();
                    ears.insert(
                        other.clone(),
                        Ear { nudged: own.nudged, streak: own.streak, pending: own.pending, ..ear },
                    );
                }
            }
        }
        Ok(wait)
    }
}

/// What the store failed at is done at the next look.
fn failed(error: &BridgeError) {
    tracing::error!("the notification channels could not be looked after: {error:?}");
}

/// Tells whether a commit may change which channels are needed.
fn concerns(notice: &Notice) -> bool {
    notice.keys.iter().any(|key| key.table == Table::Mapping && !key.path.ends_with("/state"))
}
