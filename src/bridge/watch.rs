//! Notification channels: opened for mappings whose far side tells of changes, renewed before they end, closed when they
//! are no longer needed. They only make a pass begin sooner: polling goes on beneath them.
//!
//! Owns: their records, how one is opened, renewed and closed. Does not own: when they are looked at (`tend`), what they tell
//! (`heard`), what a pass does (`run`).

use std::time::Duration;

use super::breaker::Gate;
use super::front::{Bridge, BridgeError};
use super::pace::later;
use super::provider::{Channel, Provider, RemoteId, Trouble, Watch};
use super::record::{
    self, Connection, Health, Kind, Mapping, Run, Unwatched, Watched, channel_key, connection_key,
    mapping_key, run_key, unwatched_key,
};
use super::sites::Base;
use super::ties::Ear;
use crate::auth::grant::Secret;
use crate::auth::oauth;
use crate::store::{Expect, Fault, Op, Table, Timestamp};

/// What the word of a channel is called in the address that its notifications come to.
const DOOR: &str = "key";
/// How long one call about a channel may take.
const CALL: Duration = Duration::from_secs(60);
/// A channel is renewed at the latest so long before it ends.
const MARGIN: Duration = Duration::from_secs(3600);
/// How long a far side that does not tell of a calendar's changes is not asked again.
const DAYS: Duration = Duration::from_secs(3 * 86_400);
/// How long it is not asked again after a failure.
const PAUSE: Duration = Duration::from_secs(10 * 60);
/// How long a channel may be silent while polling finds changes.
const SILENCE: Duration = Duration::from_secs(30 * 60);

/// A channel's name and record.
pub(super) type Row = (String, Watched);

impl Bridge {
    /// Forgets the hooks of mappings that are gone, and why those were not told of changes.
    pub(super) async fn sweep_hooks(&self, mappings: &[Mapping]) -> Result<(), BridgeError> {
        for (table, prefix) in [(Table::Secret, "hook/"), (Table::Channel, "none/")] {
            for (key, _) in self.house.store.records(table, prefix, None, 5000).await? {
                let id = key.path.strip_prefix(prefix).unwrap_or_default().to_owned();
                if mappings.iter().any(|mapping| mapping.id == id) {
                    continue;
                }
                // It may have been made since the mappings were read.
                let gone = vec![Expect::Record(mapping_key(&id), None)];
                match self.commit_if(gone, vec![Op::DeleteRecord(key)]).await {
                    Ok(()) => drop(self.ties.hooks().remove(&id)),
                    Err(BridgeError::Conflict(_)) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }

    /// Fills the memory of channels and hooks from the store.
    pub(super) async fn recall(&self) -> Result<(), Fault> {
        for (_, row) in self.channels(None).await? {
            self.ties.know(&row);
        }
        let mut after: Option<String> = None;
        loop {
            let page = self.house.store.records(Table::Secret, "hook/", after.as_deref(), 500).await?;
            let Some((last, _)) = page.last() else { return Ok(()) };
            after = Some(last.path.clone());
            let of = page.iter().filter_map(|(key, _)| key.path.strip_prefix("hook/"));
            self.ties.hooks().extend(of.map(str::to_owned));
        }
    }

    /// Keeps a channel's record, in place of another one perhaps.
    async fn keep_channel(&self, row: &Watched, instead_of: Option<&str>) -> Result<(), BridgeError> {
        let mut ops = vec![record::put(channel_key(&row.channel.id), row)?];
        let other = instead_of.filter(|other| *other != row.channel.id);
        ops.extend(other.map(|other| Op::DeleteRecord(channel_key(other))));
        self.commit(ops).await?;
        if let Some(other) = other {
            self.ties.unknow(other);
        }
        self.ties.know(row);
        Ok(())
    }

    /// Tells whether any far side could send us anything.
    pub(super) fn may_be_told(&self) -> bool {
        let providers = &self.settings.providers;
        let Some(base) = Base::read(&self.settings.base_url) else { return false };
        [&providers.google, &providers.outlook]
            .iter()
            .any(|endpoints| endpoints.configured() && base.reachable_from(&endpoints.api_base))
    }

    /// Returns the address that a far side's notifications are sent to; nothing: it cannot reach us.
    fn hook(&self, kind: Kind) -> Option<url::Url> {
        let endpoints = self.settings.providers.endpoints(kind).filter(|e| e.configured())?;
        let base = Base::read(&self.settings.base_url)?;
        base.below(endpoints.vendor.hook()).filter(|_| base.reachable_from(&endpoints.api_base))
    }

    /// Looks after one mapping's channel. Returns when to look again.
    pub(super) async fn tend_mapping(
        &self,
        mapping: &Mapping,
        rows: &[&Row],
        now: Timestamp,
    ) -> Result<Option<Timestamp>, BridgeError> {
        let key = connection_key(&mapping.connection);
        let Some(connection) = record::load::<Connection>(&*self.house.store, &key).await? else {
            return Ok(None);
        };
        let Some(address) = self.hook(connection.kind) else {
            self.close_rows(rows).await?;
            return Ok(None);
        };
        let health = self.connection_state(&connection.id).await?.health;
        if matches!(health, Health::Pending | Health::TokenExpired) {
            return Ok(None);
        }
        // One that asked to be left alone is: its channels wait, as all else does.
        if let Gate::Barred(wait) = self.gate(&connection.id) {
            return Ok(Some(later(now, wait)));
        }
        let ear = self.ties.ears().get(&mapping.id).copied().unwrap_or_default();
        let live = rows.iter().filter(|row| row.1.open && ends(&row.1) > now && !ear.gone);
        let Some((id, row)) = live.max_by_key(|row| ends(&row.1)).copied() else {
            self.forget_rows(rows).await?;
            if let Some(ear) = self.ties.ears().get_mut(&mapping.id) {
                ear.open = false;
            }
            return self.open_channel(mapping, &connection, &address, now).await;
        };
        let stale: Vec<&Row> = rows.iter().copied().filter(|other| other.0 != *id).collect();
        self.close_rows(&stale).await?;
        self.listen(mapping, row, now).await?;
        let due = renewal(row);
        if due > now && !ear.renew {
            return Ok(Some(due));
        }
        if ear.not_before > now {
            return Ok(Some(ear.not_before));
        }
        self.renew_channel(mapping, &connection, &address, id, row, now).await
    }

    /// Notes that a channel is open, and whether it keeps silent about changes.
    async fn listen(&self, mapping: &Mapping, row: &Watched, now: Timestamp) -> Result<(), BridgeError> {
        let heard = {
            let mut ears = self.ties.ears();
            let ear = ears.entry(mapping.id.clone()).or_default();
            if !ear.open {
                // After a start nobody knows what was told before it.
                *ear = Ear { open: true, heard: now, not_before: ear.not_before, ..Ear::default() };
            }
            ear.heard.max(row.opened)
        };
        let state = self.mapping_state(&mapping.id).await?;
        let Some(key) = state.last_run.as_deref().and_then(run_key) else { return Ok(()) };
        let Some(run) = record::load::<Run>(&*self.house.store, &key).await? else { return Ok(()) };
        // A change that polling found, half an hour after the channel last told of any.
        if run.local.total() > 0 && !run.asked && later(heard, SILENCE) < run.started {
            let mut ears = self.ties.ears();
            let ear = ears.entry(mapping.id.clone()).or_default();
            if !ear.silent {
                ear.silent = true;
                tracing::warn!(mapping = %mapping.id, "notifications have been silent for 30 minutes while things changed");
            }
        }
        Ok(())
    }

    /// Asks the far side to tell of changes. The record is there before the call is made: the far side's first word may
    /// come before its answer.
    async fn open_channel(
        &self,
        mapping: &Mapping,
        connection: &Connection,
        address: &url::Url,
        now: Timestamp,
    ) -> Result<Option<Timestamp>, BridgeError> {
        let key = unwatched_key(&mapping.id);
        if let Some(refused) = record::load::<Unwatched>(&*self.house.store, &key).await? {
            if refused.until > now {
                return Ok(None);
            }
            self.commit(vec![Op::DeleteRecord(key.clone())]).await?;
        }
        let not_before = self.ties.ears().get(&mapping.id).map(|ear| ear.not_before).unwrap_or_default();
        if not_before > now {
            return Ok(Some(not_before));
        }
        let Ok(provider) = self.provider(connection, self.fetch.counted()).await else { return Ok(None) };
        if !provider.abilities().pushes {
            return Ok(None);
        }
        let random = || oauth::random_text().map_err(Fault::Broken);
        let mut address = address.clone();
        let mut door = String::new();
        if connection.kind == Kind::Outlook {
            // Anybody can have Microsoft write to an address: the body of what comes to another one is not even read.
            door = random()?;
            address.query_pairs_mut().append_pair(DOOR, &door);
        }
        let watch = Watch {
            id: oauth::digest(&random()?).chars().take(32).collect(),
            address,
            token: Secret::new(random()?),
        };
        let mut row = Watched {
            mapping: mapping.id.clone(),
            connection: connection.id.clone(),
            kind: connection.kind,
            token: oauth::digest(watch.token.reveal()),
            opened: now,
            open: false,
            door,
            channel: Channel { id: watch.id.clone(), resource: String::new(), expires: 0 },
        };
        self.keep_channel(&row, None).await?;
        match self.ask(&*provider, &mapping.remote, &watch).await {
            Ok(channel) => {
                row.open = true;
                row.channel = channel;
                self.keep_channel(&row, Some(&watch.id)).await?;
                {
                    let mut ears = self.ties.ears();
                    // It may have asked for its renewal before it was known here that it is open.
                    let renew = ears.get(&mapping.id).is_some_and(|ear| ear.renew);
                    let ear = Ear { open: true, heard: now, renew, ..Ear::default() };
                    ears.insert(mapping.id.clone(), ear);
                }
                tracing::info!(mapping = %mapping.id, "the far side tells of changes from now on");
                // What changed before the channel was there is found by looking.
                self.nudge(&mapping.id);
                Ok(Some(renewal(&row)))
            }
            Err(trouble) => {
                self.forget_rows(&[&(watch.id, row)]).await?;
                self.heed(connection, &trouble).await?;
                self.not_told(mapping, &trouble, now).await
            }
        }
    }

    async fn ask(
        &self,
        provider: &dyn Provider,
        calendar: &RemoteId,
        watch: &Watch,
    ) -> Result<Channel, Trouble> {
        let late = |_| Trouble::Unreachable("The far side did not answer in time.".into());
        tokio::time::timeout(CALL, provider.watch(calendar, watch)).await.map_err(late)?
    }

    /// Notes why there is no channel. Polling goes on at its own pace.
    async fn not_told(
        &self,
        mapping: &Mapping,
        trouble: &Trouble,
        now: Timestamp,
    ) -> Result<Option<Timestamp>, BridgeError> {
        tracing::info!(mapping = %mapping.id, "there are no notifications, it is polled: {trouble}");
        let pause = match trouble {
            Trouble::Refused(_)
            | Trouble::Missing(_)
            | Trouble::Taken(_)
            | Trouble::Stale
            | Trouble::CursorExpired => {
                let refused = Unwatched { until: later(now, DAYS), sentence: trouble.to_string() };
                self.commit(vec![record::put(unwatched_key(&mapping.id), &refused)?]).await?;
                DAYS
            }
            Trouble::Slow(Some(wait)) | Trouble::Budget(_, wait) => PAUSE.max(*wait),
            Trouble::Slow(None) | Trouble::Unauthorised(_) | Trouble::Unreachable(_) => PAUSE,
        };
        let not_before = later(now, pause);
        let mut ears = self.ties.ears();
        ears.entry(mapping.id.clone()).or_default().not_before = not_before;
        Ok(Some(not_before))
    }

    /// Has the notification channels of an account renewed now, although they are not near their ends (S3-140). Returns how
    /// many there are.
    ///
    /// # Errors
    /// `Missing`; when the store fails.
    pub async fn renew_channels(&self, owner: &str, id: &str) -> Result<usize, BridgeError> {
        let (connection, _) = self.connection(owner, id).await?;
        self.renew_those_of(&connection, None).await
    }

    /// Has those channels of all of a person's accounts renewed now that end within this time (S3-140). Returns how many
    /// there are.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn renew_ending(&self, owner: &str, within: Duration) -> Result<usize, BridgeError> {
        let until = later(self.house.clock.now(), within);
        let mut count = 0usize;
        for (connection, _) in self.connections(owner).await? {
            count = count.saturating_add(self.renew_those_of(&connection, Some(until)).await?);
        }
        Ok(count)
    }

    async fn renew_those_of(
        &self,
        connection: &Connection,
        until: Option<Timestamp>,
    ) -> Result<usize, BridgeError> {
        let mut count = 0usize;
        for mapping in self.mapped(connection).await? {
            let rows = self.channels(Some(&mapping.id)).await?;
            let meant = |row: &Watched| row.open && until.is_none_or(|until| ends(row) <= until);
            let open = rows.iter().filter(|(_, row)| meant(row)).count();
            if open > 0
                && let Some(ear) = self.ties.ears().get_mut(&mapping.id)
            {
                (ear.renew, ear.not_before) = (true, Timestamp::default());
                count = count.saturating_add(open);
            }
        }
        self.ties.tend.notify_one();
        Ok(count)
    }

    /// Lets a channel live on, or opens another one before it closes this one.
    async fn renew_channel(
        &self,
        mapping: &Mapping,
        connection: &Connection,
        address: &url::Url,
        id: &str,
        row: &Watched,
        now: Timestamp,
    ) -> Result<Option<Timestamp>, BridgeError> {
        let Ok(provider) = self.provider(connection, self.fetch.counted()).await else { return Ok(None) };
        let late = |_| Trouble::Unreachable("The far side did not answer in time.".into());
        let renewed = tokio::time::timeout(CALL, provider.renew(&row.channel)).await.map_err(late);
        match renewed.and_then(|answer| answer) {
            Ok(Some(channel)) => {
                let row = Watched { opened: now, channel, ..row.clone() };
                self.keep_channel(&row, Some(id)).await?;
                if let Some(ear) = self.ties.ears().get_mut(&mapping.id) {
                    ear.renew = false;
                }
                Ok(Some(renewal(&row)))
            }
            Ok(None) | Err(Trouble::Missing(_) | Trouble::Refused(_)) => {
                // The next one is as good as renewed.
                if let Some(ear) = self.ties.ears().get_mut(&mapping.id) {
                    ear.renew = false;
                }
                let next = self.open_channel(mapping, connection, address, now).await?;
                let opened = self.channels(Some(&mapping.id)).await?;
                if opened.iter().any(|(other, row)| other != id && row.open) {
                    self.close_rows(&[&(id.to_owned(), row.clone())]).await?;
                }
                Ok(next)
            }
            Err(trouble) => {
                self.heed(connection, &trouble).await?;
                tracing::info!(mapping = %mapping.id, "the notifications could not be renewed: {trouble}");
                let not_before = later(now, PAUSE);
                self.ties.ears().entry(mapping.id.clone()).or_default().not_before = not_before;
                Ok(Some(not_before))
            }
        }
    }

    /// Closes a mapping's channels, as well as that can be done now.
    pub(super) async fn unwatch_mapping(&self, connection: &Connection, mapping: &str) {
        let rows = match self.channels(Some(mapping)).await {
            Ok(rows) => rows,
            Err(error) => {
                tracing::warn!(%mapping, "its notification channels are not known: {error:?}");
                return;
            }
        };
        if rows.is_empty() {
            return;
        }
        if let Ok(provider) = self.provider(connection, self.fetch.counted()).await {
            for (_, row) in &rows {
                unwatch(&*provider, row).await;
            }
        }
        let all: Vec<&Row> = rows.iter().collect();
        if let Err(error) = self.forget_rows(&all).await {
            tracing::warn!(%mapping, "its notification channels could not be forgotten: {error:?}");
        }
        self.ties.ears().remove(mapping);
    }

    /// Closes channels and forgets them. One that could not be closed is not believed any more and ends by itself.
    pub(super) async fn close_rows(&self, rows: &[&Row]) -> Result<(), BridgeError> {
        for (_, row) in rows {
            let key = connection_key(&row.connection);
            let connection: Option<Connection> = record::load(&*self.house.store, &key).await?;
            let Some(connection) = connection else { continue };
            if let Ok(provider) = self.provider(&connection, self.fetch.counted()).await {
                unwatch(&*provider, row).await;
            }
        }
        self.forget_rows(rows).await
    }

    async fn forget_rows(&self, rows: &[&Row]) -> Result<(), BridgeError> {
        if rows.is_empty() {
            return Ok(());
        }
        for (id, _) in rows {
            self.ties.unknow(id);
        }
        self.commit(rows.iter().map(|(id, _)| Op::DeleteRecord(channel_key(id))).collect()).await
    }

    /// Returns the channels of a mapping, or all of them.
    pub(super) async fn channels(&self, mapping: Option<&str>) -> Result<Vec<Row>, Fault> {
        let mut all = Vec::new();
        for (key, bytes) in record::rows(&*self.house.store, Table::Channel, "open/").await? {
            let row: Watched = record::decode(&key, &bytes)?;
            if mapping.is_none_or(|id| id == row.mapping) {
                all.push((key.path.trim_start_matches("open/").to_owned(), row));
            }
        }
        Ok(all)
    }
}

async fn unwatch(provider: &dyn Provider, row: &Watched) {
    match tokio::time::timeout(CALL, provider.unwatch(&row.channel)).await {
        Ok(Ok(())) => {}
        Ok(Err(trouble)) => {
            tracing::info!(mapping = %row.mapping, "a channel could not be closed: {trouble}")
        }
        Err(_) => tracing::info!(mapping = %row.mapping, "a channel could not be closed in time"),
    }
}

/// Returns when a channel ends.
fn ends(row: &Watched) -> Timestamp {
    Timestamp(row.channel.expires.saturating_mul(1000))
}

/// Returns when a channel is renewed: at four fifths of its life, and an hour before its end at the latest.
fn renewal(row: &Watched) -> Timestamp {
    let life = ends(row).0.saturating_sub(row.opened.0).max(0);
    let most = row.opened.0.saturating_add(life.saturating_mul(4) / 5);
    let hour = i64::try_from(MARGIN.as_millis()).unwrap_or(0);
    // A life of less than two hours leaves no hour.
    let last = if life > 2 * hour { ends(row).0.saturating_sub(hour) } else { most };
    Timestamp(most.min(last))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use super::*;

    // S1-021, S3-081, S3-082: the far side's own end, well before it
    #[test]
    fn channels_are_renewed_well_before_they_end() {
        let row = |life: i64| Watched {
            mapping: "m".into(),
            connection: "c".into(),
            kind: Kind::Google,
            token: String::new(),
            opened: Timestamp(0),
            open: true,
            door: String::new(),
            channel: Channel { id: "x".into(), resource: String::new(), expires: life },
        };
        let hour = 3600;
        for (life, want) in
            [(7 * 24 * hour, 7 * 24 * hour * 4 / 5), (4 * hour, 3 * hour), (hour, hour * 4 / 5)]
        {
            assert_eq!(renewal(&row(life)), Timestamp(want * 1000), "{life}");
        }
    }
}
