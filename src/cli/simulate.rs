//! `kalends simulate`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum};
use tokio::signal::unix::{SignalKind, signal};

use crate::sim::caldav::Caldav;
use crate::sim::cozi::Cozi;
use crate::sim::google::Google;
use crate::sim::outlook::Outlook;
use crate::sim::{Clock, Options, Server, Tls, World};

/// Play a calendar provider for developers: nothing of it is real, nothing leaves this machine
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  kalends simulate google --listen 127.0.0.1:18801 --control --events 500\n\n\
                        With --control, faults are scripted over POST /_sim/rules and /_sim/act: see docs/simulators.md."
)]
pub(super) struct Simulate {
    /// Which provider
    kind: Kind,
    /// Address and port to listen on; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// A certificate (PEM): the port then takes TLS as well as plain HTTP
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// The certificate's private key (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Offer /_sim/… to script faults and to read the log of requests
    #[arg(long)]
    control: bool,
    /// How long every answer takes at least: 50ms, 2s
    #[arg(long, value_name = "TIME", default_value = "0ms", value_parser = time)]
    latency: Duration,
    /// Events in the main calendar
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    events: usize,
    /// What chance decides, it decides by this number
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    seed: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// Google Calendar (API v3)
    Google,
    /// Outlook and Microsoft 365 (Microsoft Graph v1.0)
    Outlook,
    /// Any CalDAV server; signs in as demo with the password demo
    Caldav,
    /// Cozi (its unofficial interface); signs in as demo with the password demo, --events does not count
    Cozi,
}

impl Kind {
    async fn world(self, events: usize, seed: u64, clock: &Clock) -> Result<Arc<dyn World>, String> {
        Ok(match self {
            Kind::Google => {
                let google = Google::new();
                google.fill(events, seed, clock.millis());
                Arc::new(google)
            }
            Kind::Outlook => {
                let outlook = Outlook::new("anna@example.com");
                outlook.fill(events, seed, clock.millis());
                Arc::new(outlook)
            }
            Kind::Caldav => {
                let caldav = Caldav::start("demo", "demo", clock.clone()).await?;
                caldav.fill(events, clock.seconds()).await?;
                Arc::new(caldav)
            }
            Kind::Cozi => Arc::new(Cozi::new("demo", "demo", "Europe/Zurich")),
        })
    }
}

fn time(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let number: u64 = digits.parse().map_err(|_| format!("`{text}` is no time like 50ms or 2s"))?;
    match text.strip_prefix(digits) {
        Some("ms") => Ok(Duration::from_millis(number)),
        Some("s") => Ok(Duration::from_secs(number)),
        _ => Err(format!("`{text}` is no time like 50ms or 2s")),
    }
}

impl Simulate {
    pub(super) async fn run(self) -> Result<(), String> {
        let read =
            |path: &PathBuf| std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()));
        let tls = match (&self.tls_cert, &self.tls_key) {
            (Some(certificate), Some(key)) => Some(Tls { certificate: read(certificate)?, key: read(key)? }),
            _ => None,
        };
        let mut terminate =
            signal(SignalKind::terminate()).map_err(|error| format!("no signals: {error}"))?;
        let mut interrupt =
            signal(SignalKind::interrupt()).map_err(|error| format!("no signals: {error}"))?;
        let clock = Clock::real();
        let world = self.kind.world(self.events, self.seed, &clock).await?;
        let name = world.kind();
        let options = Options {
            listen: self.listen,
            tls,
            control: self.control,
            latency: self.latency,
            seed: self.seed,
            clock,
        };
        let secure = options.tls.is_some();
        let running = Server::start(options, world).await?;
        let also = if secure { format!(" and https://{}", running.address()) } else { String::new() };
        say!("simulated {name} on {}{also}", running.url());
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        running.stop().await;
        Ok(())
    }
}
