//! What is counted for whoever runs the server, and its text for Prometheus.
//!
//! Owns: the names, labels and help of every number, counting, the text (OpenMetrics 1.0). Does not own: what is worth
//! counting and how things stand (`server` gathers that when it is asked). Labels come from fixed lists: never a name, an
//! id, an address or a path.

use std::fmt;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// The media type of the text.
pub const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Upper bounds of the times of answers, in seconds.
const ANSWERS: [f64; 11] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];
/// Upper bounds of the times of passes, in seconds.
const PASSES: [f64; 9] = [0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0];

type Labels<const N: usize> = [(&'static str, &'static str); N];
type Counters<const N: usize> = Family<Labels<N>, Counter>;
type Times = Family<Labels<1>, Histogram, fn() -> Histogram>;

/// All numbers of one server.
pub struct Metrics {
    registry: Registry,
    requests: Counters<3>,
    answers: Times,
    limited: Counters<1>,
    bookings: Counters<1>,
    runs: Counters<2>,
    passes: Times,
    writes: Counters<2>,
    failures: Counter,
    conflicts: Counter,
    calls: Counters<2>,
    refreshes: Counters<2>,
    deliveries: Counters<1>,
    mails: Counters<1>,
    now: Mutex<Gauges>,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

impl Default for Metrics {
    fn default() -> Metrics {
        let mut whole = Registry::default();
        let process = Gauges::process(&mut whole);
        let registry = whole.sub_registry_with_prefix("kalends");
        let times = |bounds: fn() -> Histogram| Times::new_with_constructor(bounds);
        Metrics {
            requests: counters(registry, "requests", "Requests answered"),
            answers: {
                let family = times(|| Histogram::new(ANSWERS));
                let help = "Time until the head of an answer was ready";
                registry.register("request_duration_seconds", help, family.clone());
                family
            },
            limited: counters(registry, "requests_limited", "Requests refused because they were too many"),
            bookings: counters(registry, "bookings", "Wishes to book a time, by what came of them"),
            runs: counters(registry, "runs", "Passes of mappings"),
            passes: {
                let family = times(|| Histogram::new(PASSES));
                registry.register("run_duration_seconds", "Time that passes took", family.clone());
                family
            },
            writes: counters(registry, "run_writes", "Objects that passes wrote"),
            failures: one(registry, "run_failures", "Objects that a pass could not carry over"),
            conflicts: one(registry, "run_conflicts", "Conflicts that passes found"),
            calls: counters(registry, "provider_calls", "Calls to far sides"),
            refreshes: counters(registry, "token_refreshes", "Access tokens fetched anew"),
            deliveries: counters(registry, "webhook_deliveries", "Attempts to deliver to a webhook"),
            mails: counters(registry, "mails", "Attempts to hand a mail over"),
            now: Mutex::new(Gauges::register(registry, process)),
            registry: whole,
        }
    }
}

fn counters<const N: usize>(registry: &mut Registry, name: &str, help: &str) -> Counters<N> {
    let family = Counters::<N>::default();
    registry.register(name, help, family.clone());
    family
}

fn one(registry: &mut Registry, name: &str, help: &str) -> Counter {
    let counter = Counter::default();
    registry.register(name, help, counter.clone());
    counter
}

impl Metrics {
    /// Counts a request that was answered: at which door, by which method, with which class of status.
    pub fn request(&self, door: &'static str, method: &str, status: u16, took: Duration) {
        let labels = [("door", door), ("method", known(method)), ("status", class(status))];
        self.requests.get_or_create(&labels).inc();
        self.answers.get_or_create(&[("door", door)]).observe(took.as_secs_f64());
    }

    /// Counts a request that was one too many.
    pub fn limited(&self, door: &'static str) {
        self.limited.get_or_create(&[("door", door)]).inc();
    }

    /// Counts a wish to book.
    pub fn booking(&self, outcome: &'static str) {
        self.bookings.get_or_create(&[("outcome", outcome)]).inc();
    }

    /// Counts a pass that ended.
    pub fn run(&self, provider: &'static str, status: &'static str, took: Duration) {
        self.runs.get_or_create(&[("provider", provider), ("status", status)]).inc();
        self.passes.get_or_create(&[("provider", provider)]).observe(took.as_secs_f64());
    }

    /// Counts what a pass wrote on a side (`local`, `remote`).
    pub fn written(&self, side: &'static str, [inserted, updated, deleted]: [u64; 3]) {
        for (kind, count) in [("inserted", inserted), ("updated", updated), ("deleted", deleted)] {
            if count > 0 {
                self.writes.get_or_create(&[("side", side), ("kind", kind)]).inc_by(count);
            }
        }
    }

    /// Counts what a pass could not carry over, and what it found on both sides.
    pub fn trouble(&self, failures: u64, conflicts: u64) {
        self.failures.inc_by(failures);
        self.conflicts.inc_by(conflicts);
    }

    /// Counts a call to a far side.
    pub fn call(&self, provider: &'static str, outcome: &'static str) {
        self.calls.get_or_create(&[("provider", provider), ("outcome", outcome)]).inc();
    }

    /// Counts an access token that was fetched anew, or was not.
    pub fn refresh(&self, provider: &'static str, outcome: &'static str) {
        self.refreshes.get_or_create(&[("provider", provider), ("outcome", outcome)]).inc();
    }

    /// Counts an attempt to deliver to a webhook.
    pub fn delivery(&self, outcome: &'static str) {
        self.deliveries.get_or_create(&[("outcome", outcome)]).inc();
    }

    /// Counts an attempt to hand a mail over.
    pub fn mail(&self, outcome: &'static str) {
        self.mails.get_or_create(&[("outcome", outcome)]).inc();
    }

    /// Says how many people's mail waits to be handed over.
    pub fn mails_wait(&self, people: u64) {
        self.now.lock().unwrap_or_else(PoisonError::into_inner).mails_waiting.set(people);
    }

    /// Writes everything, with how things stand.
    pub fn text(&self, standing: &Standing) -> String {
        let mut text = String::new();
        // Two who ask at a time would mix what stands.
        let now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        now.set(standing);
        // A string takes everything.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

/// How things stand at a moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Standing {
    /// The release.
    pub version: &'static str,
    /// Accounts.
    pub users: u64,
    /// Accounts with a connection to a far side.
    pub users_connected: u64,
    /// Collections, those in the trash included.
    pub collections: u64,
    /// Objects in them.
    pub objects: u64,
    /// Bytes of the objects.
    pub object_bytes: u64,
    /// Bytes that the store takes on the disk.
    pub disk_bytes: u64,
    /// Commits since the start.
    pub commits: u64,
    /// Connections: provider, status, how many.
    pub connections: Vec<(&'static str, &'static str, u64)>,
    /// Mappings: status, how many.
    pub mappings: Vec<(&'static str, u64)>,
    /// Conflicts that wait for a decision.
    pub conflicts_open: u64,
    /// Notices whose cause goes on.
    pub notices_open: u64,
    /// Passes that run.
    pub running: u64,
    /// Mappings that are due and do not run.
    pub waiting: u64,
    /// For how long the one that waits longest has been due.
    pub lag: Duration,
    /// The process, as far as the system tells.
    pub process: Process,
}

/// What the system says of the process.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Process {
    /// Bytes of memory that it holds.
    pub resident: u64,
    /// When it began, in seconds since 1970.
    pub started: f64,
    /// Files that it has open.
    pub files: u64,
}

type Level = Gauge<u64, AtomicU64>;
type Seconds = Gauge<f64, AtomicU64>;
type Levels<const N: usize> = Family<Labels<N>, Level>;

struct Gauges {
    build: Levels<1>,
    users: Level,
    users_connected: Level,
    collections: Level,
    objects: Level,
    object_bytes: Level,
    disk_bytes: Level,
    commits: Counter,
    connections: Levels<2>,
    mappings: Levels<1>,
    conflicts_open: Level,
    notices_open: Level,
    running: Level,
    waiting: Level,
    lag: Seconds,
    mails_waiting: Level,
    resident: Level,
    started: Seconds,
    files: Level,
}

impl Gauges {
    /// The names that every program has for the like, without ours before them.
    fn process(registry: &mut Registry) -> (Level, Seconds, Level) {
        let (resident, started, files) = (Level::default(), Seconds::default(), Level::default());
        registry.register("process_resident_memory_bytes", "Memory that the process holds", resident.clone());
        let help = "When the process began, in seconds since 1970";
        registry.register("process_start_time_seconds", help, started.clone());
        registry.register("process_open_fds", "Files that the process has open", files.clone());
        (resident, started, files)
    }

    fn register(registry: &mut Registry, (resident, started, files): (Level, Seconds, Level)) -> Gauges {
        let gauges = Gauges {
            build: Family::default(),
            users: Level::default(),
            users_connected: Level::default(),
            collections: Level::default(),
            objects: Level::default(),
            object_bytes: Level::default(),
            disk_bytes: Level::default(),
            commits: Counter::default(),
            connections: Family::default(),
            mappings: Family::default(),
            conflicts_open: Level::default(),
            notices_open: Level::default(),
            running: Level::default(),
            waiting: Level::default(),
            lag: Seconds::default(),
            mails_waiting: Level::default(),
            resident,
            started,
            files,
        };
        registry.register("build_info", "The release, as a label", gauges.build.clone());
        registry.register("store_commits", "Commits to the store", gauges.commits.clone());
        registry.register("connections", "Connected accounts, by how they are", gauges.connections.clone());
        registry.register("mappings", "Mappings, by how they are", gauges.mappings.clone());
        let help = "For how long the mapping that waits longest has been due";
        registry.register("queue_lag_seconds", help, gauges.lag.clone());
        for (name, help, level) in [
            ("users", "Accounts", &gauges.users),
            ("users_connected", "Accounts with a connected account elsewhere", &gauges.users_connected),
            ("collections", "Collections", &gauges.collections),
            ("objects", "Objects in collections", &gauges.objects),
            ("object_bytes", "Bytes of the objects", &gauges.object_bytes),
            ("store_disk_bytes", "Bytes that the store takes on the disk", &gauges.disk_bytes),
            ("conflicts_open", "Conflicts that wait for a decision", &gauges.conflicts_open),
            ("notices_open", "Notices to people whose cause goes on", &gauges.notices_open),
            ("queue_running", "Passes that run", &gauges.running),
            ("queue_waiting", "Mappings that are due and do not run", &gauges.waiting),
            ("mails_waiting", "People whose mail waits to be handed over", &gauges.mails_waiting),
        ] {
            registry.register(name, help, level.clone());
        }
        gauges
    }

    fn set(&self, now: &Standing) {
        self.build.get_or_create(&[("version", now.version)]).set(1);
        for (level, value) in [
            (&self.users, now.users),
            (&self.users_connected, now.users_connected),
            (&self.collections, now.collections),
            (&self.objects, now.objects),
            (&self.object_bytes, now.object_bytes),
            (&self.disk_bytes, now.disk_bytes),
            (&self.conflicts_open, now.conflicts_open),
            (&self.notices_open, now.notices_open),
            (&self.running, now.running),
            (&self.waiting, now.waiting),
            (&self.resident, now.process.resident),
            (&self.files, now.process.files),
        ] {
            level.set(value);
        }
        self.commits.inc_by(now.commits.saturating_sub(self.commits.get()));
        self.lag.set(now.lag.as_secs_f64());
        self.started.set(now.process.started);
        self.connections.clear();
        for (provider, status, count) in &now.connections {
            self.connections.get_or_create(&[("provider", *provider), ("status", *status)]).set(*count);
        }
        self.mappings.clear();
        for (status, count) in &now.mappings {
            self.mappings.get_or_create(&[("status", *status)]).set(*count);
        }
    }
}

/// The methods that are told apart: whoever invents others makes no new label.
const METHODS: [&str; 18] = [
    "GET",
    "HEAD",
    "POST",
    "PUT",
    "PATCH",
    "DELETE",
    "OPTIONS",
    "PROPFIND",
    "PROPPATCH",
    "REPORT",
    "MKCALENDAR",
    "MKCOL",
    "COPY",
    "MOVE",
    "LOCK",
    "UNLOCK",
    "ACL",
    "TRACE",
];

fn known(method: &str) -> &'static str {
    METHODS.into_iter().find(|known| *known == method).unwrap_or("other")
}

fn class(status: u16) -> &'static str {
    match status / 100 {
        1 => "1xx",
        2 => "2xx",
        3 => "3xx",
        4 => "4xx",
        _ => "5xx",
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_is_told() {
        let metrics = Metrics::default();
        metrics.request("dav", "PROPFIND", 207, Duration::from_millis(3));
        metrics.request("dav", "PROPFIND", 207, Duration::from_millis(3));
        metrics.request("api", "BREW", 418, Duration::from_millis(3));
        metrics.booking("refused");
        metrics.run("google", "success", Duration::from_secs(2));
        metrics.written("local", [3, 0, 1]);
        let standing = Standing {
            version: "1.2.3",
            objects: 7,
            commits: 5,
            connections: vec![("google", "active", 2)],
            ..Standing::default()
        };
        let text = metrics.text(&standing);
        for line in [
            "kalends_requests_total{door=\"dav\",method=\"PROPFIND\",status=\"2xx\"} 2",
            "kalends_requests_total{door=\"api\",method=\"other\",status=\"4xx\"} 1",
            "kalends_request_duration_seconds_bucket{le=\"0.005\",door=\"dav\"} 2",
            "kalends_bookings_total{outcome=\"refused\"} 1",
            "kalends_run_duration_seconds_count{provider=\"google\"} 1",
            "kalends_run_writes_total{side=\"local\",kind=\"inserted\"} 3",
            "kalends_objects 7",
            "kalends_store_commits_total 5",
            "kalends_connections{provider=\"google\",status=\"active\"} 2",
            "kalends_build_info{version=\"1.2.3\"} 1",
        ] {
            assert!(text.lines().any(|told| told == line), "{line}\n{text}");
        }
        assert!(text.ends_with("# EOF\n"), "{text}");
        // What is no more is not told any more; what is counted never falls.
        let later = metrics.text(&Standing { commits: 4, ..Standing::default() });
        assert!(!later.contains("kalends_connections{"), "{later}");
        assert!(later.contains("kalends_store_commits_total 5\n"), "{later}");
    }
}
