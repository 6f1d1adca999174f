//! `kalends demo`.

use std::io::Write as _;
use std::net::SocketAddr;

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::config::LogFormat;
use crate::demo::{Wish, run};
use crate::server::log;

/// Try everything: a furnished server with simulated accounts connected to it, on a directory that is removed at the end
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  kalends demo --seed 7\n\n\
                        Needs no account and no configuration, and reads none. Everything runs on this machine alone: a user demo \
                        with the password demo, a year of events, and simulators of Google, Outlook, a CalDAV server and \
                        Cozi that are connected and change by themselves. It prints what to try. Ctrl-C ends it and \
                        leaves nothing behind.")]
pub(super) struct Demo {
    /// Address and port to listen on, of this machine [default: 127.0.0.1:8008, or the next free port]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// What chance decides, it decides by this number: on the same day the same year
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    seed: u64,
}

impl Demo {
    pub(super) async fn run(self) -> Result<(), String> {
        log::start(LogFormat::Text, "warn")?;
        // First of all: from here on nothing that can be heard ends the program before it has tidied up.
        let stop = CancellationToken::new();
        for kind in [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()] {
            let mut heard = signal(kind).map_err(|error| format!("no signals: {error}"))?;
            let stop = stop.clone();
            tokio::spawn(async move {
                heard.recv().await;
                stop.cancel();
            });
        }
        // A terminal that is gone is no reason to leave something behind.
        let told = |text: &str| {
            let mut out = std::io::stdout().lock();
            let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
        };
        run(Wish { listen: self.listen, seed: self.seed }, stop, &told).await
    }
}
