//! A server of this process for one test: a temporary store, a free port, the accounts `anna` and `bert`.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use kalends::auth::{Guard, Scope};
use kalends::calendar::NewPrincipal;
use kalends::config::Config;
use kalends::server::{Running, Server};
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

    /// Where tests run what is asynchronous.
    pub(crate) fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// Its directory; the store is `db` within.
    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Drains and stops it.
    pub(crate) fn stop(&mut self) {
        if let Some(running) = self.running.take() {
            self.runtime.block_on(running.shutdown());
        }
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
