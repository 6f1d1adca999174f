//! A server of this process for one test: a temporary store, a free port, the accounts `anna` and `bert`.

use std::io::{Cursor, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};

use kalends::auth::{Guard, Scope};
use kalends::calendar::NewPrincipal;
use kalends::config::Config;
use kalends::server::{Running, Server};
use kalends::store::{Options, Sled};
use tokio::runtime::Runtime;

use crate::dialogue::{Host, Setup, password};

/// A running server; dropped, it drains and its data is gone.
pub(crate) struct Served {
    runtime: Runtime,
    running: Option<Running>,
    config: Config,
    directory: tempfile::TempDir,
}

impl Served {
    /// Starts one as a dialogue wishes it.
    pub(crate) fn start(setup: &Setup) -> Result<Served, String> {
        let directory = tempfile::tempdir().map_err(|error| error.to_string())?;
        let mut config = Config {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            store: directory.path().join("db"),
            ..Config::default()
        };
        config.read(&setup.config.join("\n")).map_err(|(line, why)| format!("line {line}: {why}"))?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.map_err(|error| error.to_string())?;
        let running = runtime.block_on(Server::start(config.clone()))?;
        for name in ["anna", "bert"].into_iter().chain(setup.users.iter().map(String::as_str)) {
            let new = NewPrincipal {
                name: name.into(),
                emails: vec![format!("{name}@example.org")],
                password: password(name),
                ..NewPrincipal::default()
            };
            let added = runtime.block_on(running.guard().add_user(new));
            added.map_err(|error| format!("{name}: {error:?}"))?;
        }
        Ok(Served { runtime, running: Some(running), config, directory })
    }

    /// Starts one that nothing is said about.
    pub(crate) fn plain() -> Served {
        Served::start(&Setup::default()).unwrap()
    }

    fn running(&self) -> &Running {
        self.running.as_ref().unwrap()
    }

    /// The guard at its door.
    pub(crate) fn guard(&self) -> &Arc<Guard> {
        self.running().guard()
    }

    /// Where its metrics are read without a token, if somewhere.
    pub(crate) fn metrics_address(&self) -> Option<SocketAddr> {
        self.running().metrics_address()
    }

    /// Where tests run what is asynchronous.
    pub(crate) fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// Its directory; the store is `db` within.
    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Returns all that it keeps, as it stands now, while it serves.
    pub(crate) fn backup(&self) -> Vec<u8> {
        let sink = Sink::default();
        let store = Arc::clone(&self.running().house().store);
        self.runtime.block_on(store.dump(Box::new(sink.clone()))).unwrap();
        std::mem::take(&mut *sink.0.lock().unwrap())
    }

    /// Stops it, puts what a backup holds in the place of its data, and starts it. The key is no part of a backup: it stays.
    pub(crate) fn restore(&mut self, dump: &[u8]) {
        self.stop();
        let (place, aside) = (self.config.store.clone(), self.directory.path().join("before"));
        std::fs::rename(&place, &aside).unwrap();
        Sled::restore(&place, &Options::default(), Cursor::new(dump.to_vec())).unwrap();
        let key = self.config.key_path();
        if let Ok(name) = key.strip_prefix(&place) {
            std::fs::copy(aside.join(name), &key).unwrap();
        }
        self.restart().unwrap();
    }

    /// Drains and stops it.
    pub(crate) fn stop(&mut self) {
        if let Some(running) = self.running.take() {
            self.runtime.block_on(running.shutdown());
        }
    }
}

/// Where a backup is written to.
#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Host for Served {
    fn address(&self) -> SocketAddr {
        self.running().address()
    }

    fn token(&self, user: &str, scopes: &str) -> Result<String, String> {
        let scopes = scopes.split_whitespace().map(str::parse::<Scope>).collect::<Result<Vec<_>, _>>()?;
        let made = self.guard().add_token(user, "dialogue", scopes.into());
        Ok(self.runtime.block_on(made).map_err(|error| format!("{error:?}"))?.1)
    }

    fn restart(&mut self) -> Result<(), String> {
        self.stop();
        self.running = Some(self.runtime.block_on(Server::start(self.config.clone()))?);
        Ok(())
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.stop();
    }
}
