//! Connections: accounts on far sides, how they are, what they entrusted to us.
//!
//! Owns: signing in with a password or an address, taking accounts back. Does not own: consents (`consent`), tokens (`bearer`), how
//! an account is (`health`), which provider does what.

use std::sync::Arc;
use std::time::Duration;

use url::Url;

use super::bearer::Holder;
use super::breaker::Peace;
use super::caldav::Caldav;
use super::cozi::Cozi;
use super::front::{Bridge, BridgeError};
use super::google::Google;
use super::ics::Ics;
use super::outlook::Outlook;
use super::provider::{Bearer, Provider, RemoteCalendar, Trouble};
use super::record::{
    self, Base, Connection, ConnectionState, Kind, Mapping, connection_key, connection_state_key, hook_key,
    secret_key,
};
use super::sites::CoziState;
use crate::auth::grant::Secret;
use crate::auth::oauth::{Access, Grant};
use crate::calendar::{Error, Refusal, When};
use crate::http::fetch::Fetch;
use crate::store::{Fault, Op, Origin, Table};

/// How long a far side may take to hear that an account is disconnected.
const GOODBYE: Duration = Duration::from_secs(10);
/// What people are told of an interface that is not official.
const UNOFFICIAL: &str = "Cozi offers no official interface: this connection can stop working at any time, and Cozi has no \
                          app passwords, so the account's own password is kept (sealed) here.";

/// What becomes of the events that came from an account when it is disconnected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mirrored {
    /// They stay here.
    #[default]
    Keep,
    /// They go to the trash.
    Remove,
}

impl Bridge {
    /// Signs in to a CalDAV server, finds the calendars and remembers the account.
    ///
    /// # Errors
    /// `Far` when that does not go well; nothing is remembered then.
    pub async fn connect_caldav(
        &self,
        owner: &str,
        url: &str,
        username: &str,
        password: Secret,
    ) -> Result<Connection, BridgeError> {
        let connection = Connection {
            url: address(url)?.into(),
            username: username.to_owned(),
            ..self.blank(owner, Kind::Caldav)?
        };
        self.connect(connection, password).await
    }

    /// Signs in to iCloud, which is a CalDAV server with passwords of its own (S1-026).
    ///
    /// # Errors
    /// As `connect_caldav`.
    pub async fn connect_icloud(
        &self,
        owner: &str,
        url: Option<&str>,
        username: &str,
        password: Secret,
    ) -> Result<Connection, BridgeError> {
        let url = address(url.unwrap_or(&self.settings.providers.icloud))?;
        let connection =
            Connection { url: url.into(), username: username.to_owned(), ..self.blank(owner, Kind::Icloud)? };
        self.connect(connection, password).await
    }

    /// Signs in to Cozi.
    ///
    /// # Errors
    /// As `connect_caldav`.
    pub async fn connect_cozi(
        &self,
        owner: &str,
        username: &str,
        password: Secret,
    ) -> Result<Connection, BridgeError> {
        if let Some(why) = self.unavailable(Kind::Cozi) {
            return Err(BridgeError::Invalid("provider", why));
        }
        let url = address(self.settings.providers.cozi.trim_end_matches('/').trim_end_matches("/api/ext"))?;
        let connection =
            Connection { url: url.into(), username: username.to_owned(), ..self.blank(owner, Kind::Cozi)? };
        self.connect(connection, password).await
    }

    /// Fetches a feed and remembers its address, which is a secret: whoever has it can read the feed.
    ///
    /// # Errors
    /// As `connect_caldav`.
    pub async fn connect_ics(&self, owner: &str, url: &str) -> Result<Connection, BridgeError> {
        if let Some(why) = self.unavailable(Kind::Ics) {
            return Err(BridgeError::Invalid("provider", why));
        }
        let url = feed(url)?;
        let connection = Connection { url: shortened(&url), ..self.blank(owner, Kind::Ics)? };
        self.connect(connection, Secret::new(url)).await
    }

    /// Returns what people should know before they use an account of that kind; nothing: nothing special.
    pub fn warning(&self, kind: Kind) -> Option<&'static str> {
        (kind == Kind::Cozi && self.settings.providers.cozi_state == CoziState::Beta).then_some(UNOFFICIAL)
    }

    /// Returns an account of which nothing is known yet.
    pub(super) fn blank(&self, owner: &str, kind: Kind) -> Result<Connection, Fault> {
        Ok(Connection {
            id: record::random_id()?,
            owner: owner.to_owned(),
            kind,
            url: String::new(),
            username: String::new(),
            account: String::new(),
            homes: Vec::new(),
            created: self.house.clock.now(),
            access: Access::default(),
        })
    }

    /// Tests what was given and remembers it.
    async fn connect(&self, connection: Connection, secret: Secret) -> Result<Connection, BridgeError> {
        let id = connection.id.clone();
        let tested = self.tested(connection, &secret).await;
        let mut connection = tested.inspect_err(|_| {
            self.ties.forget(&id);
            self.breakers.forget(&id);
            // Nothing of it was written yet.
            let _ = self.budgets.forget(&id);
        })?;
        if connection.account.is_empty() {
            let host = Url::parse(&connection.url).ok().and_then(|url| url.host_str().map(str::to_owned));
            connection.account = match connection.username.as_str() {
                "" => host.unwrap_or_default(),
                name if name.contains('@') => name.to_owned(),
                name => format!("{name}@{}", host.unwrap_or_default()),
            };
        }
        self.keep_account(&connection, &secret).await?;
        Ok(connection)
    }

    async fn keep_account(
        &self,
        connection: &Connection,
        secret: &Secret,
    ) -> Result<ConnectionState, BridgeError> {
        let now = self.house.clock.now();
        let state = ConnectionState { last_good: Some(now), ..ConnectionState::default() };
        let sealed = self.keys.seal(&secret_key(&connection.id), secret)?;
        let mut ops = vec![
            record::put(connection_key(&connection.id), connection)?,
            record::put(connection_state_key(&connection.id), &state)?,
            Op::PutRecord(secret_key(&connection.id), sealed),
        ];
        ops.extend(self.connection_alarms(connection, &state).await?);
        self.commit(ops).await?;
        Ok(state)
    }

    /// Speaks to the far side with what was given. Returns the connection with what was found there.
    async fn tested(&self, mut connection: Connection, secret: &Secret) -> Result<Connection, BridgeError> {
        let name = &connection.username;
        let colon = name.contains(':') && connection.kind != Kind::Cozi;
        let bad = name.is_empty() || name.len() > 320 || colon || name.chars().any(char::is_control);
        if bad && connection.kind != Kind::Ics {
            return Err(BridgeError::Invalid("username", "The user name is empty or holds a colon.".into()));
        }
        match connection.kind {
            Kind::Caldav | Kind::Icloud => {
                let apple = connection.kind == Kind::Icloud;
                // The account's own password never opens iCloud, and trying it too often locks the account.
                let url = address(&connection.url)?;
                let real =
                    url.domain().is_some_and(|host| host == "icloud.com" || host.ends_with(".icloud.com"));
                if apple && real && !is_app_specific(secret.reveal()) {
                    return Err(BridgeError::Invalid("password", app_specific("This is not one.")));
                }
                let fetch = self.fetch.counted().metered(Arc::new(self.peace(&connection.id)));
                let found = Caldav::discover(fetch, url, name, secret.clone()).await;
                let found = found.map_err(|trouble| match trouble {
                    Trouble::Unauthorised(_) if apple => {
                        Trouble::Unauthorised(app_specific("iCloud does not accept this one."))
                    }
                    other => other,
                })?;
                found.calendars().await?;
                connection.homes = found.homes().iter().map(Url::to_string).collect();
            }
            Kind::Google | Kind::Outlook => {
                let why = "Such accounts are connected with a consent, not with a password.";
                return Err(BridgeError::Invalid("provider", why.into()));
            }
            Kind::Cozi | Kind::Ics => {
                self.far_side(&connection, secret.clone(), self.fetch.counted())?.calendars().await?;
            }
        }
        self.only_once(&connection).await.map(|()| connection)
    }

    /// Lists the principal's connections.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn connections(&self, owner: &str) -> Result<Vec<(Connection, ConnectionState)>, BridgeError> {
        let mut all = Vec::new();
        for connection in record::load_all::<Connection>(&*self.house.store, Table::Connection, "").await? {
            if connection.owner == owner {
                let state = self.connection_state(&connection.id).await?;
                all.push((connection, state));
            }
        }
        all.sort_by_key(|(c, _)| (c.created, c.id.clone()));
        Ok(all)
    }

    /// Returns one connection.
    ///
    /// # Errors
    /// `Missing`, also if it is somebody else's.
    pub async fn connection(
        &self,
        owner: &str,
        id: &str,
    ) -> Result<(Connection, ConnectionState), BridgeError> {
        let found: Option<Connection> = self.owned(connection_key(id), id).await?;
        let connection = found.filter(|c| c.owner == owner).ok_or(BridgeError::Missing)?;
        let state = self.connection_state(id).await?;
        Ok((connection, state))
    }

    pub(super) async fn connection_state(&self, id: &str) -> Result<ConnectionState, Fault> {
        Ok(record::load(&*self.house.store, &connection_state_key(id)).await?.unwrap_or_default())
    }

    /// Tests new credentials of a connection and takes them if they are accepted. Its mappings go on.
    ///
    /// # Errors
    /// `Far` when they are not accepted; the old ones stay then.
    pub async fn reconnect(
        &self,
        owner: &str,
        id: &str,
        username: Option<&str>,
        secret: Option<Secret>,
    ) -> Result<(Connection, ConnectionState), BridgeError> {
        let (mut connection, _) = self.connection(owner, id).await?;
        let secret = match secret {
            Some(given) if connection.kind == Kind::Ics => {
                let url = feed(given.reveal())?;
                connection.url = shortened(&url);
                Secret::new(url)
            }
            Some(given) => given,
            None => self.secret(id).await?,
        };
        if let Some(username) = username {
            username.clone_into(&mut connection.username);
        }
        let connection = self.tested(connection, &secret).await?;
        let state = self.keep_account(&connection, &secret).await?;
        self.heard(id, None);
        for mapping in self.mapped(&connection).await? {
            self.run_soon(&mapping.id);
        }
        Ok((connection, state))
    }

    /// Returns the mappings of a connection.
    pub(super) async fn mapped(&self, connection: &Connection) -> Result<Vec<Mapping>, BridgeError> {
        let all = self.mappings(&connection.owner).await?;
        Ok(all.into_iter().map(|(mapping, _)| mapping).filter(|m| m.connection == connection.id).collect())
    }

    /// Changes how the account is called.
    ///
    /// # Errors
    /// `Missing`, `Invalid`.
    pub async fn rename_connection(&self, owner: &str, id: &str, account: &str) -> Result<(), BridgeError> {
        let (mut connection, _) = self.connection(owner, id).await?;
        if account.trim().is_empty() || account.len() > 200 {
            return Err(BridgeError::Invalid("account", "The name is empty or too long.".into()));
        }
        account.trim().clone_into(&mut connection.account);
        self.commit(vec![record::put(connection_key(id), &connection)?]).await
    }

    /// Takes leave of an account: closes its channels, gives its consent back, forgets its secret, its mappings and what
    /// they remember. Events stay on the far side, and here unless they are to go.
    ///
    /// # Errors
    /// `Missing`; when the store fails. A far side that does not answer keeps nobody.
    pub async fn disconnect(&self, owner: &str, id: &str, events: Mirrored) -> Result<(), BridgeError> {
        let (connection, _) = self.connection(owner, id).await?;
        for mapping in self.mapped(&connection).await? {
            if events == Mirrored::Remove {
                self.remove_mirrored(&mapping).await?;
            }
            self.unwatch_mapping(&connection, &mapping.id).await;
            self.delete_mapping(owner, &mapping.id).await?;
            self.commit(vec![Op::DeleteRecord(hook_key(&mapping.id))]).await?;
            self.ties.hooks().remove(&mapping.id);
        }
        self.sweep_consents_of(id).await?;
        self.give_back(&connection).await;
        let mut ops = vec![
            Op::DeleteRecord(secret_key(id)),
            Op::DeleteRecord(connection_state_key(id)),
            Op::DeleteRecord(connection_key(id)),
        ];
        ops.extend(self.budgets.forget(id));
        ops.extend(self.notices(owner).forget(id).await?);
        self.commit(ops).await?;
        self.ties.forget(id);
        self.breakers.forget(id);
        Ok(())
    }

    /// Gives a connection's consent back.
    async fn give_back(&self, connection: &Connection) {
        let Ok(text) = self.secret(&connection.id).await else { return };
        if let Some(grant) = Grant::read(&text) {
            self.return_grant(connection.kind, &connection.username, &connection.id, &grant).await;
        }
    }

    /// Gives a consent of this account back. A vendor takes all tokens of the account for this server with it, so that it is
    /// kept while any connection but the named one may be of the same account. A far side that does not answer keeps nobody.
    pub(super) async fn return_grant(&self, kind: Kind, username: &str, connection: &str, grant: &Grant) {
        let Ok(client) = self.oauth(kind, Access::default(), self.fetch.counted()) else { return };
        let Ok(all) = record::load_all::<Connection>(&*self.house.store, Table::Connection, "").await else {
            return;
        };
        let shared = all.iter().any(|other| {
            let same = username.is_empty() || other.username.eq_ignore_ascii_case(username);
            other.id != connection && other.kind == kind && !other.username.is_empty() && same
        });
        if shared {
            return;
        }
        match tokio::time::timeout(GOODBYE, client.revoke(grant)).await {
            Ok(Ok(())) => {}
            Ok(Err(denial)) => tracing::warn!("a consent could not be given back: {denial}"),
            Err(_) => tracing::warn!("a far side did not take a consent back in time"),
        }
    }

    /// Moves what came from the far side to the trash. The mapping rests first, so that no pass takes that for a wish
    /// to remove it there.
    async fn remove_mirrored(&self, mapping: &Mapping) -> Result<(), BridgeError> {
        self.update_mapping(&mapping.owner, &mapping.id, |mapping| {
            mapping.enabled = false;
            Ok(())
        })
        .await?;
        let Some(principal) = self.house.principal(&mapping.owner).await? else { return Ok(()) };
        let Some(collection) = self.house.store.collection(mapping.collection).await? else { return Ok(()) };
        let session = self.house.session(principal, Origin::Mapping(mapping.id.clone()));
        let Ok(at) = session.writable(collection) else { return Ok(()) };
        let prefix = format!("{}/", mapping.id);
        let _held = self.hold(&mapping.id).await?;
        for base in record::load_all::<Base>(&*self.house.store, Table::Base, &prefix).await? {
            if !base.from_there {
                continue;
            }
            match session.delete(&at, &base.name, &When::always(), Vec::new()).await {
                Ok(_) | Err(Error::Refused(Refusal::Missing)) => {}
                Err(Error::Refused(refusal)) => {
                    tracing::warn!(mapping = %mapping.id, "a mirrored event stays here: {refusal:?}");
                }
                Err(Error::Failed(fault)) => return Err(fault.into()),
            }
        }
        Ok(())
    }

    /// Lists the calendars on the far side, and notes how the connection is.
    ///
    /// # Errors
    /// `Missing`, `Far`.
    pub async fn remote_calendars(&self, owner: &str, id: &str) -> Result<Vec<RemoteCalendar>, BridgeError> {
        let (connection, state) = self.connection(owner, id).await?;
        let provider = self.provider(&connection, self.fetch.counted()).await?;
        let answer = provider.calendars().await;
        self.contacted(&connection, &state, answer.as_ref().err()).await?;
        let mut all = answer?;
        for calendar in all.iter_mut().filter(|_| connection.only_reads()) {
            calendar.writable = false;
        }
        Ok(self.offered(all))
    }

    /// Returns what stands before every call to a connection.
    fn peace(&self, connection: &str) -> Peace {
        Peace::new(&self.breakers, connection)
    }

    /// Returns the calendars that people may choose from, each with a colour.
    fn offered(&self, mut calendars: Vec<RemoteCalendar>) -> Vec<RemoteCalendar> {
        if self.settings.primary_only && calendars.iter().any(|calendar| calendar.primary) {
            calendars.retain(|calendar| calendar.primary);
        }
        for calendar in &mut calendars {
            let own = calendar.color.as_deref().and_then(hex);
            calendar.color = Some(own.unwrap_or_else(|| self.settings.calendar_color.clone()));
        }
        calendars
    }

    /// Returns the far side of a connection.
    pub(super) async fn provider(
        &self,
        connection: &Connection,
        fetch: Fetch,
    ) -> Result<Arc<dyn Provider>, BridgeError> {
        let secret = self.secret(&connection.id).await?;
        self.far_side(connection, secret, fetch)
    }

    fn far_side(
        &self,
        connection: &Connection,
        secret: Secret,
        fetch: Fetch,
    ) -> Result<Arc<dyn Provider>, BridgeError> {
        // Fetching a token is no call to the account.
        let fetch = fetch.told_to(Arc::clone(&self.house.metrics), connection.kind.as_str());
        let plain = fetch.clone();
        let at_once = match connection.kind {
            Kind::Caldav | Kind::Icloud => super::caldav::AT_ONCE,
            Kind::Google => super::google::AT_ONCE,
            Kind::Outlook => super::outlook::AT_ONCE,
            Kind::Cozi => super::cozi::AT_ONCE,
            Kind::Ics => super::ics::AT_ONCE,
        };
        let fetch = fetch.metered(self.budgets.meter(&connection.id, connection.kind, at_once));
        match connection.kind {
            Kind::Caldav | Kind::Icloud => {
                let url = address(&connection.url)?;
                let homes = connection.homes.iter().filter_map(|home| Url::parse(home).ok()).collect();
                Ok(Arc::new(Caldav::new(fetch, url, &connection.username, secret, homes)))
            }
            Kind::Google => {
                let api = address(&self.settings.providers.google.api_base)?;
                Ok(Arc::new(Google::new(fetch, api, self.bearer(connection, plain)?)))
            }
            Kind::Outlook => {
                let api = address(&self.settings.providers.outlook.api_base)?;
                Ok(Arc::new(Outlook::new(fetch, api, self.bearer(connection, plain)?)))
            }
            Kind::Cozi => {
                let (api, name) = (address(&connection.url)?, connection.username.clone());
                Ok(Arc::new(Cozi::seated(fetch, api, name, secret, self.ties.seat(&connection.id))))
            }
            Kind::Ics => Ok(Arc::new(Ics::new(fetch, secret))),
        }
    }

    /// Returns who gives out a connection's tokens.
    pub(super) fn bearer(
        &self,
        connection: &Connection,
        fetch: Fetch,
    ) -> Result<Arc<dyn Bearer>, BridgeError> {
        let fetch = fetch.metered(Arc::new(self.peace(&connection.id)));
        Ok(Arc::new(Holder {
            house: Arc::clone(&self.house),
            keys: Arc::clone(&self.keys),
            client: self.oauth(connection.kind, connection.access, fetch)?,
            kind: connection.kind,
            connection: connection.id.clone(),
            flight: self.ties.flight(&connection.id),
        }))
    }
}

/// Tells whether a password has the shape of Apple's app-specific ones: sixteen letters in four groups.
fn is_app_specific(password: &str) -> bool {
    let letters = |group: &str| group.len() == 4 && group.bytes().all(|b| b.is_ascii_lowercase());
    let groups: Vec<&str> = password.split('-').collect();
    groups.len() == 4 && groups.iter().all(|group| letters(group))
}

fn app_specific(first: &str) -> String {
    format!(
        "iCloud wants an app-specific password, sixteen letters like abcd-efgh-ijkl-mnop, and not the one of the Apple \
         Account. {first} Make a new one at account.apple.com under Sign-In and Security, App-Specific Passwords, and give \
         it here with the Apple Account's mail address as user name."
    )
}

/// Reads the address of a feed. What was typed is not repeated: most of it is a secret.
fn feed(text: &str) -> Result<String, BridgeError> {
    Ok(Ics::address(text).map_err(|why| BridgeError::Invalid("url", why))?.into())
}

/// Returns what may be shown of a feed's address: whose it is, and enough to tell two of them apart.
fn shortened(url: &str) -> String {
    let Ok(parsed) = Url::parse(url) else { return "…".to_owned() };
    let file = parsed.path_segments().and_then(|mut all| all.next_back()).unwrap_or_default();
    let file = if file.len() <= 12 && parsed.query().is_none() { file } else { "" };
    let port = parsed.port().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{}://{}{port}/…{file}", parsed.scheme(), parsed.host_str().unwrap_or_default())
}

/// Reads what a person typed as an address. A mail address stands for its domain (RFC 6764 §6).
fn address(text: &str) -> Result<Url, BridgeError> {
    let text = text.trim();
    let place = match text.split_once('@') {
        Some((person, domain)) if !person.is_empty() && !text.contains([':', '/', '?', '#']) => domain,
        _ => text,
    };
    let full = if place.contains("://") { place.to_owned() } else { format!("https://{place}") };
    let bad =
        || BridgeError::Invalid("url", format!("`{text}` is not an address like https://cal.example.org/."));
    let mut url = Url::parse(&full).map_err(|_| bad())?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none_or(str::is_empty) {
        return Err(bad());
    }
    if !url.username().is_empty() || url.password().is_some() {
        let why = "Give the user name and the password apart from the address.";
        return Err(BridgeError::Invalid("url", why.into()));
    }
    url.set_fragment(None);
    Ok(url)
}

/// Returns a colour as `#RRGGBB`, without what Apple says of its transparency. Nothing: it is said in another way.
fn hex(color: &str) -> Option<String> {
    let digits = color.trim().strip_prefix('#')?;
    if !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    match digits.len() {
        6 | 8 => digits.get(..6).map(|digits| format!("#{digits}")),
        3 => Some(format!("#{}", digits.chars().flat_map(|c| [c, c]).collect::<String>())),
        _ => None,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use super::*;

    // S2-008, S2-047: `#RRGGBB`, whatever is behind it
    #[test]
    fn a_colour_has_one_form() {
        for (told, shown) in [
            ("#FF2968FF", Some("#FF2968")),
            ("#ff2968", Some("#ff2968")),
            (" #0aF ", Some("#00aaFF")),
            ("#12345", None),
            ("#gggggg", None),
            ("turquoise", None),
            ("", None),
        ] {
            assert_eq!(hex(told).as_deref(), shown, "{told}");
        }
    }

    // S1-026, S3-084
    #[test]
    fn apples_passwords_have_a_shape_of_their_own() {
        assert!(is_app_specific("abcd-efgh-ijkl-mnop"));
        for other in [
            "abcdefghijklmnop",
            "Abcd-efgh-ijkl-mnop",
            "abcd-efgh-ijkl",
            "abcd-efgh-ijkl-mno1",
            "hunter2",
            "",
        ] {
            assert!(!is_app_specific(other), "{other}");
        }
    }

    #[test]
    fn a_mail_address_stands_for_its_domain() {
        for text in ["anna@example.org", " example.org", "https://example.org"] {
            assert_eq!(address(text).unwrap().as_str(), "https://example.org/", "{text}");
        }
        for bad in
            ["anna:pw@example.org", "https://anna@example.org/", "anna@example.org/dav", "a@b@c.org", "anna@"]
        {
            assert!(address(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_feeds_address_is_not_shown_whole() {
        let secret = "https://calendar.example.org/ical/anna%40x/private-0123456789abcdef/basic.ics";
        assert_eq!(shortened(secret), "https://calendar.example.org/…basic.ics");
        let shown = shortened(&feed("webcal://x.example:8443/feed?key=0123456789").unwrap());
        assert_eq!(shown, "https://x.example:8443/…");
        for bad in ["", "ftp://x/", "https://user:pw@x.example/", "not an address at all"] {
            assert!(feed(bad).is_err(), "{bad}");
        }
    }
}
