//! `kalends demo`: the server on a directory that goes with it, furnished, beside simulators that are connected to it.
//!
//! Owns: starting all of it, what people are told to try, ending all of it with nothing left behind.
//! Does not own: the server (`server`), the simulators (`sim`), the terminal and the signals (`cli`).

mod caller;
mod far;
mod furnish;
mod place;
mod trickle;
mod words;
mod year;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use self::caller::Caller;
use self::far::{DEMO, Far, Kind, today};
use self::furnish::furnish;
use self::place::Place;
use self::trickle::Trickle;
use crate::auth::{Scope, Scopes};
use crate::calendar::{Clock as _, NewPrincipal};
use crate::config::Config;
use crate::server::{Running, Server, SystemClock};

/// The token that programs show. The password is no secret either, and nobody but this machine is let in.
const TOKEN: &str = "demo-token";
/// The port that is tried first.
const PORT: u16 = 8008;
/// How many ports after it are tried.
const PORTS: u16 = 50;

/// What somebody wants.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wish {
    /// Exactly this address; else port 8008 or the next free one.
    pub listen: Option<SocketAddr>,
    /// What chance decides, it decides by this.
    pub seed: u64,
}

/// What people hear.
pub type Told<'a> = &'a (dyn Fn(&str) + Send + Sync);

/// Runs a demo until it is stopped. When this returns, nothing of it is left.
///
/// # Errors
/// A sentence: the address is taken or not of this machine, there is no room for the directory, something did not start.
pub async fn run(wish: Wish, stop: CancellationToken, told: Told<'_>) -> Result<(), String> {
    if let Some(listen) = wish.listen.filter(|listen| !listen.ip().is_loopback()) {
        return Err(format!(
            "{listen} can be reached from other machines, and everybody knows the password of a demo; \
             give an address of this machine like 127.0.0.1:{}",
            listen.port()
        ));
    }
    let place = Place::make()?;
    let mut stage = Stage::default();
    let done = stage.play(wish, &place, &stop, told).await;
    stage.clear().await;
    let removed = place.remove();
    done.and(removed)
}

/// What was started.
#[derive(Debug, Default)]
struct Stage {
    fars: Vec<Arc<Far>>,
    server: Option<Running>,
    trickle: Option<tokio::task::JoinHandle<()>>,
    stop: CancellationToken,
}

impl Stage {
    /// Starts everything and waits until it is stopped, which it may be at any moment.
    async fn play(
        &mut self,
        wish: Wish,
        place: &Place,
        stop: &CancellationToken,
        told: Told<'_>,
    ) -> Result<(), String> {
        for kind in Kind::ALL {
            if stop.is_cancelled() {
                return Ok(());
            }
            self.fars.push(Arc::new(Far::start(kind, wish.seed, place.path()).await?));
        }
        let server = self.serve(wish, place).await?;
        let base = server.url().trim_end_matches('/').to_owned();
        let port = server.address().port();
        if wish.listen.is_none() && port != PORT {
            told(&format!("Port {PORT} is taken; this demo listens on {port}.\n"));
        }
        told(&format!("Setting up {base} in {} …\n", place.path().display()));
        let server = self.server.insert(server);
        // What was begun here can be left at any point: the server itself goes on until it is stopped.
        let furnished = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            furnished = furnished(server, &base, &self.fars, wish.seed, told) => furnished?,
        };
        told(&words::all(&base, place.path(), &self.fars, &furnished));
        let trickle = Trickle::new(&self.fars, wish.seed);
        self.trickle = Some(tokio::spawn(trickle.flow(self.stop.clone())));
        stop.cancelled().await;
        told("\nEnding the demo; nothing of it stays.\n");
        Ok(())
    }

    /// Starts the server: on the address that is wished, else on the first port that is free.
    async fn serve(&self, wish: Wish, place: &Place) -> Result<Running, String> {
        let config = config(&self.fars, place)?;
        if let Some(listen) = wish.listen {
            return Server::start(Config { listen, ..config }).await;
        }
        for port in PORT..PORT + PORTS {
            let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
            match Server::start(Config { listen, ..config.clone() }).await {
                Err(why) if why.starts_with("cannot listen") => {}
                other => return other,
            }
        }
        Err(format!("the ports {PORT} to {} are all taken; name one with --listen", PORT + PORTS - 1))
    }

    /// Ends everything, whatever of it was started.
    async fn clear(self) {
        self.stop.cancel();
        if let Some(trickle) = self.trickle {
            let _ = trickle.await;
        }
        if let Some(server) = self.server {
            server.shutdown().await;
        }
        for far in self.fars {
            if let Some(far) = Arc::into_inner(far) {
                far.stop().await;
            }
        }
    }
}

/// Returns the configuration of the server: nothing but options that everybody can set.
fn config(fars: &[Arc<Far>], place: &Place) -> Result<Config, String> {
    let mut config = Config::default();
    let store = format!("sled:{}", place.path().join("db").display());
    let mut settings = vec![
        ("store.url".to_owned(), store),
        // Google and Outlook tell of changes; these two have to be asked.
        ("bridge.poll_interval".into(), "1 min".into()),
        ("bridge.poll_interval_caldav".into(), "1 min".into()),
        ("bridge.poll_interval_cozi".into(), "1 min".into()),
        // What changes all the time is not remembered for long, so that a demo that runs for days does not grow.
        ("retention.trash".into(), "1 d".into()),
        ("retention.versions".into(), "1 d".into()),
        ("retention.runs".into(), "1 d".into()),
        ("retention.changes".into(), "2 d".into()),
    ];
    for kind in ["google", "outlook", "caldav", "cozi"] {
        settings.push((format!("limits.calls_per_minute.{kind}"), "6000".into()));
        settings.push((format!("limits.calls_per_day.{kind}"), "1000000".into()));
    }
    settings.extend(fars.iter().flat_map(|far| far.settings()));
    for (key, value) in settings {
        config.set(&key, &value)?;
    }
    Ok(config)
}

/// Furnishes a server that has nobody yet.
async fn furnished(
    server: &Running,
    base: &str,
    fars: &[Arc<Far>],
    seed: u64,
    told: Told<'_>,
) -> Result<furnish::Furnished, String> {
    let refused = |error: crate::calendar::Error| format!("the account cannot be made: {error:?}");
    let person = NewPrincipal {
        name: DEMO.into(),
        display_name: "Demo".into(),
        emails: vec!["demo@example.org".into()],
        admin: true,
        password: DEMO.into(),
    };
    server.guard().add_user(person).await.map_err(refused)?;
    let scopes = Scopes::from(vec![Scope::Read, Scope::Events, Scope::Bookings, Scope::Bridges]);
    server.guard().keep_token(DEMO, "demo", scopes, TOKEN).await.map_err(refused)?;
    let simulators: Vec<String> = fars.iter().map(|far| far.url().to_owned()).collect();
    let caller = Caller::new(base, TOKEN, &simulators)?;
    let now = SystemClock.now().0.div_euclid(1000);
    let told = |what: &str| told(&format!("  · {what}\n"));
    furnish(&caller, fars, year::year(seed, today(now)), now, &told).await
}
