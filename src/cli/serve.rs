//! `kalends serve`.

use std::net::SocketAddr;

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use crate::config::Config;
use crate::server::notify::notify;
use crate::server::{Server, log};

/// Serve calendars
#[derive(Debug, Default, Args)]
#[command(after_help = "Example:\n  kalends serve --listen 127.0.0.1:8008\n\n\
                        SIGTERM and SIGINT let running requests end; nothing acknowledged is lost.")]
pub(super) struct Serve {
    /// Address and port to listen on [default: 127.0.0.1:8008]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
}

impl Serve {
    pub(super) async fn run(self, mut config: Config, notes: Vec<String>) -> Result<(), String> {
        if let Some(listen) = self.listen {
            config.set("server.listen", &listen.to_string())?;
        }
        log::start(config.log_format, &config.log_level)?;
        for note in notes {
            tracing::info!("{note}");
        }
        let open = !config.listen.ip().is_loopback()
            && config.base_url.as_ref().is_none_or(|url| url.scheme() != "https");
        let mut terminate =
            signal(SignalKind::terminate()).map_err(|error| format!("no signals: {error}"))?;
        let mut interrupt =
            signal(SignalKind::interrupt()).map_err(|error| format!("no signals: {error}"))?;
        let running = Server::start(config).await?;
        tracing::info!("serving {} (listening on {})", running.url(), running.address());
        if open {
            tracing::warn!(
                "listening on a network without TLS: passwords can be read on the way; put a reverse proxy with TLS \
                 in front and set server.base_url to its https address"
            );
        }
        let users = running.house().principals().await.map_err(|fault| fault.to_string())?;
        if users.is_empty() {
            eprintln!(
                "\n  Nobody has an account yet. Open this link in a browser to make the first one; it works once:\n\n      {}\n\n  \
                 Or, in another terminal, in this directory:\n\n      kalends user add NAME\n\n  \
                 Then add a CalDAV account in your calendar program with the address {}/\n",
                running.setup_link(),
                running.url()
            );
        }
        notify("READY=1");
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        notify("STOPPING=1");
        tracing::info!("stopping: running requests may end");
        running.shutdown().await;
        tracing::info!("stopped");
        Ok(())
    }
}
