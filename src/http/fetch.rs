//! The only outbound client.
//!
//! Owns: which addresses may be called, size and time limits, the count of calls, holding a call back until its turn and until
//! it has a place (`meter`).
//! Redirects are never followed here: whoever calls decides, hop by hop, whether credentials may go along.
//! Does not own: what is asked, what an answer means, retries and pace, how many calls are too many (`bridge`).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method, StatusCode};
use url::{Host, Url};

use super::dns::Dns;
pub use super::meter::{Meter, Places, Turn, Weight};
use crate::metrics::Metrics;

/// Which addresses inside private networks may be called.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Private {
    /// None: the default, so that nobody can reach a neighbour of the server through it.
    #[default]
    Refused,
    /// All of them.
    Allowed,
    /// Those in these networks.
    Within(Vec<Network>),
}

/// A range of addresses, like `192.168.1.0/24`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

impl std::str::FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Network, String> {
        let bad = || format!("`{text}` is not a network like 192.168.1.0/24 or fd00::/8");
        let (address, prefix) = text.split_once('/').unwrap_or((text, ""));
        let address: IpAddr = address.trim().parse().map_err(|_| bad())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let prefix = if prefix.is_empty() { most } else { prefix.trim().parse().map_err(|_| bad())? };
        if prefix > most { Err(bad()) } else { Ok(Network { address, prefix }) }
    }
}

impl Network {
    /// Tells whether the address lies in the network.
    pub fn contains(self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(net), IpAddr::V4(ip)) => {
                let shift = 32u32.saturating_sub(u32::from(self.prefix));
                u32::from(net).checked_shr(shift) == u32::from(ip).checked_shr(shift)
            }
            (IpAddr::V6(net), IpAddr::V6(ip)) => {
                let shift = 128u32.saturating_sub(u32::from(self.prefix));
                u128::from(net).checked_shr(shift) == u128::from(ip).checked_shr(shift)
            }
            _ => false,
        }
    }
}

impl Private {
    fn is_strict(&self) -> bool {
        !matches!(self, Private::Allowed)
    }

    fn admits(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        public(address)
            || match self {
                Private::Refused => false,
                Private::Allowed => true,
                Private::Within(networks) => networks.iter().any(|n| n.contains(address)),
            }
    }
}

/// Tells whether the address belongs to the public Internet (the IANA special-purpose registries taken away).
pub fn public(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(ip) => public_v4(ip),
        IpAddr::V6(ip) => public_v6(ip),
    }
}

fn public_v4(ip: Ipv4Addr) -> bool {
    let [a, b, c, _] = ip.octets();
    !(ip.is_unspecified()
        || ip.is_loopback()
        || ip.is_private()
        || ip.is_link_local()
        || ip.is_broadcast()
        || ip.is_documentation()
        || ip.is_multicast()
        || a == 0
        || a >= 240
        || (a == 100 && (64..128).contains(&b))
        || (a == 192 && b == 0 && c == 0)
        || (a == 198 && (18..20).contains(&b)))
}

fn public_v6(ip: Ipv6Addr) -> bool {
    let segments = ip.segments();
    let [first, second, ..] = segments;
    // Addresses that carry an IPv4 address reach what that address reaches.
    let inner = match segments {
        [0x0064, 0xff9b, 0, 0, 0, 0, high, low] | [0, 0, 0, 0, 0, 0, high, low] => Some((high, low)),
        [0x2002, high, low, ..] => Some((high, low)),
        _ => None,
    };
    if let Some((high, low)) = inner {
        let [a, b] = high.to_be_bytes();
        let [c, d] = low.to_be_bytes();
        return !ip.is_loopback() && !ip.is_unspecified() && public_v4(Ipv4Addr::new(a, b, c, d));
    }
    // Only 2000::/3 is given out; Teredo, ORCHID and documentation within it are not.
    first & 0xe000 == 0x2000 && !(first == 0x2001 && (second < 0x0200 || second == 0x0db8)) && first != 0x3fff
}

/// Why a call brought no answer. The sentences are shown to people; they hold no credentials.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    /// The address is not `http` or `https`, or has no host.
    #[error("`{0}` is not an http or https address")]
    BadUrl(String),
    /// The name leads into a private network.
    #[error(
        "{0} is an address inside a private network, which this server does not call; \
         an administrator can allow it with the setting bridge.allow_private"
    )]
    Private(String),
    /// The name is unknown.
    #[error("{0} cannot be found: the name has no address")]
    Unresolved(String),
    /// Nobody answers there, or the connection broke.
    #[error("{host} cannot be reached: {reason}")]
    Unreachable {
        /// Which host.
        host: String,
        /// What the system said.
        reason: String,
    },
    /// The answer took too long.
    #[error("{0} did not answer in time")]
    Timeout(String),
    /// The answer ended too soon or cannot be read.
    #[error("The answer of {0} broke off")]
    Truncated(String),
    /// The answer is longer than is accepted.
    #[error("The answer of {host} is longer than {limit} bytes")]
    TooLarge {
        /// Which host.
        host: String,
        /// How much is accepted.
        limit: usize,
    },
    /// The call was not made: its meter says in a sentence why not, and when it may be.
    #[error("{0}")]
    Budget(String, Duration),
}

/// A call to make.
#[derive(Debug, Clone)]
pub struct Call {
    /// The method.
    pub method: Method,
    /// Where.
    pub url: Url,
    /// The headers; `User-Agent` is added.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
    /// The longest body that is accepted, after decompression.
    pub limit: usize,
}

/// What came back, whole.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl Answer {
    /// Returns a header's text, if it is readable.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// Returns the far side's own clock, in seconds since 1970.
    pub fn date(&self) -> Option<i64> {
        http_date(self.header("date")?)
    }

    /// Returns how long the far side asks to wait.
    pub fn retry_after(&self) -> Option<Duration> {
        retry_after(self.header("retry-after")?, self.date())
    }
}

/// Reads a `Retry-After` (RFC 9110 §10.2.3): seconds, or a date, which is measured against the answer's own clock.
pub fn retry_after(text: &str, date: Option<i64>) -> Option<Duration> {
    let text = text.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let seconds = http_date(text)?.checked_sub(date?)?;
    u64::try_from(seconds).ok().map(Duration::from_secs)
}

/// Reads a date of a header (RFC 9110 §5.6.7), in seconds since 1970.
pub fn http_date(text: &str) -> Option<i64> {
    let at = httpdate::parse_http_date(text.trim()).ok()?;
    at.duration_since(std::time::UNIX_EPOCH).ok().and_then(|d| i64::try_from(d.as_secs()).ok())
}

/// The outbound client. Cheap to clone; connections are shared by the clones.
#[derive(Debug, Clone)]
pub struct Fetch {
    client: reqwest::Client,
    private: Arc<Private>,
    chosen: Arc<Chosen>,
    dns: Arc<Dns>,
    calls: Arc<AtomicU64>,
    meter: Option<Arc<dyn Meter>>,
    /// Milliseconds that the meter has held calls back.
    waited: Arc<AtomicU64>,
    /// Where calls are counted by what came of them, and as whose.
    told_to: Option<(Arc<Metrics>, &'static str)>,
}

/// Time limits of the client.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// For a connection to be made.
    pub connect: Duration,
    /// Between two pieces of an answer.
    pub read: Duration,
    /// For all of it.
    pub whole: Duration,
}

impl Default for Timeouts {
    fn default() -> Timeouts {
        Timeouts {
            connect: Duration::from_secs(10),
            read: Duration::from_secs(60),
            whole: Duration::from_secs(300),
        }
    }
}

/// Whom the client may call, and how it finds and believes them.
#[derive(Debug, Clone, Default)]
pub struct Ways {
    /// Which private addresses may be called.
    pub private: Private,
    /// Addresses that whoever runs the server has set: their hosts may be called, at their ports, wherever they are.
    pub chosen: Vec<Url>,
    /// Certificates (PEM) whose word for others is believed besides that of the system's.
    pub authorities: Vec<u8>,
    /// Who is asked for the addresses of hosts.
    pub dns: Dns,
}

impl Fetch {
    /// Returns a client that calls what is allowed.
    ///
    /// # Errors
    /// When the TLS set-up of the system cannot be read; the sentence says why.
    pub fn new(private: Private, timeouts: Timeouts) -> Result<Fetch, String> {
        Fetch::by(Ways { private, ..Ways::default() }, timeouts)
    }

    /// Returns a client that goes these ways.
    ///
    /// # Errors
    /// As `new`; when the certificates of the authorities cannot be read.
    pub fn by(ways: Ways, timeouts: Timeouts) -> Result<Fetch, String> {
        // One provider for the whole process; the second caller finds the first one's.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let authorities = reqwest::Certificate::from_pem_bundle(&ways.authorities)
            .map_err(|e| format!("the certificates of authorities cannot be read: {}", chain(&e)))?;
        let (private, dns) = (Arc::new(ways.private), Arc::new(ways.dns));
        let chosen = Arc::new(Chosen::of(&ways.chosen));
        let resolver =
            Resolver { private: Arc::clone(&private), chosen: Arc::clone(&chosen), dns: Arc::clone(&dns) };
        let client = reqwest::Client::builder()
            .user_agent(concat!("Kalends/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .no_proxy()
            .connect_timeout(timeouts.connect)
            .read_timeout(timeouts.read)
            .timeout(timeouts.whole)
            .pool_idle_timeout(Duration::from_secs(60))
            .tls_certs_merge(authorities)
            .dns_resolver(Arc::new(resolver))
            .build()
            .map_err(|e| chain(&e))?;
        let (calls, waited) = Default::default();
        Ok(Fetch { client, private, chosen, dns, calls, meter: None, waited, told_to: None })
    }

    /// Returns who is asked for names.
    pub fn dns(&self) -> &Dns {
        &self.dns
    }

    /// Returns a client with its own count of calls that shares everything else.
    #[must_use]
    pub fn counted(&self) -> Fetch {
        Fetch { calls: Arc::default(), ..self.clone() }
    }

    /// Returns a client whose calls this meter counts and holds back; it shares everything else.
    #[must_use]
    pub fn metered(&self, meter: Arc<dyn Meter>) -> Fetch {
        Fetch { meter: Some(meter), waited: Arc::default(), ..self.clone() }
    }

    /// Returns a client whose calls are counted as calls to this kind of far side; it shares everything else.
    #[must_use]
    pub fn told_to(&self, metrics: Arc<Metrics>, kind: &'static str) -> Fetch {
        Fetch { told_to: Some((metrics, kind)), ..self.clone() }
    }

    /// Returns how many calls were sent.
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    /// Sends one call and reads its answer to the end. Redirects are answers like any other.
    ///
    /// # Errors
    /// When there is no complete answer. The call may have been carried out all the same.
    pub async fn send(&self, call: Call) -> Result<Answer, FetchError> {
        self.send_as(call, Weight::ONE).await
    }

    /// Sends one call that is more than one to the far side: it carries several, or costs as many.
    ///
    /// # Errors
    /// As `send`.
    pub async fn send_as(&self, call: Call, weight: Weight) -> Result<Answer, FetchError> {
        let answer = self.sent(call, weight).await;
        if let Some((metrics, kind)) = &self.told_to {
            metrics.call(kind, outcome(&answer));
        }
        answer
    }

    async fn sent(&self, call: Call, weight: Weight) -> Result<Answer, FetchError> {
        let host = self.host(&call.url)?;
        // First the place: what was heard while it was waited for counts.
        let _place = match self.meter.as_ref().and_then(|meter| meter.places()) {
            Some(places) => places.take(weight.at_once).await,
            None => None,
        };
        self.turn(weight.calls).await?;
        self.calls.fetch_add(1, Ordering::Relaxed);
        let request = self
            .client
            .request(call.method, call.url)
            .headers(call.headers)
            .body(reqwest::Body::from(call.body));
        let mut response = request.send().await.map_err(|e| fetch_error(&host, &e))?;
        let status = response.status();
        let headers = std::mem::take(response.headers_mut());
        let mut body = BytesMut::new();
        while let Some(piece) = response.chunk().await.map_err(|e| match fetch_error(&host, &e) {
            FetchError::Unreachable { host, .. } => FetchError::Truncated(host),
            other => other,
        })? {
            if body.len().saturating_add(piece.len()) > call.limit {
                return Err(FetchError::TooLarge { host, limit: call.limit });
            }
            body.extend_from_slice(&piece);
        }
        let answer = Answer { status, headers, body: body.freeze() };
        if let Some(meter) = &self.meter {
            meter.heard(status, answer.retry_after());
        }
        Ok(answer)
    }

    /// Tells whether an address may be called at all. What its name leads to is known only when it is called.
    ///
    /// # Errors
    /// Why not.
    pub fn admits(&self, url: &Url) -> Result<(), FetchError> {
        self.host(url).map(|_| ())
    }

    /// Waits until the call may be made, if that is soon.
    async fn turn(&self, calls: u32) -> Result<(), FetchError> {
        let Some(meter) = &self.meter else { return Ok(()) };
        match meter.turn(calls, Duration::from_millis(self.waited.load(Ordering::Relaxed))) {
            Turn::Now => Ok(()),
            Turn::After(wait) => {
                let millis = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
                self.waited.fetch_add(millis, Ordering::Relaxed);
                tokio::time::sleep(wait).await;
                Ok(())
            }
            Turn::Later(sentence, wait) => Err(FetchError::Budget(sentence, wait)),
        }
    }

    /// Checks the address before a connection is thought of; names are checked where they are resolved.
    fn host(&self, url: &Url) -> Result<String, FetchError> {
        let shown = url.host_str().unwrap_or_default().to_owned();
        if !matches!(url.scheme(), "http" | "https") {
            return Err(FetchError::BadUrl(url.as_str().chars().take(100).collect()));
        }
        match self.chosen.says(url) {
            Some(true) => return Ok(shown),
            // The name is let through by the resolver, which knows no ports.
            Some(false) if url.domain().is_some() && self.private.is_strict() => {
                return Err(FetchError::Private(shown));
            }
            _ => {}
        }
        let address = match url.host() {
            Some(Host::Ipv4(ip)) => Some(IpAddr::V4(ip)),
            Some(Host::Ipv6(ip)) => Some(IpAddr::V6(ip)),
            Some(Host::Domain(_)) => None,
            None => return Err(FetchError::BadUrl(url.as_str().chars().take(100).collect())),
        };
        if address.is_some_and(|ip| !self.private.admits(ip)) {
            return Err(FetchError::Private(shown));
        }
        Ok(shown)
    }
}

/// Says in one word what came of a call.
fn outcome(answer: &Result<Answer, FetchError>) -> &'static str {
    match answer {
        Ok(answer) => match answer.status.as_u16() {
            429 => "throttled",
            401 => "unauthorised",
            400..=499 => "refused",
            500.. => "failed",
            _ => "ok",
        },
        Err(FetchError::Budget(..)) => "put_off",
        Err(FetchError::Private(_) | FetchError::BadUrl(_)) => "not_allowed",
        Err(
            FetchError::Unresolved(_)
            | FetchError::Unreachable { .. }
            | FetchError::Timeout(_)
            | FetchError::Truncated(_)
            | FetchError::TooLarge { .. },
        ) => "unreachable",
    }
}

/// Hosts and ports that whoever runs the server has set.
#[derive(Debug, Default)]
struct Chosen(Vec<(String, u16)>);

impl Chosen {
    fn of(urls: &[Url]) -> Chosen {
        let place = |url: &Url| Some((url.host_str()?.to_owned(), url.port_or_known_default()?));
        Chosen(urls.iter().filter_map(place).collect())
    }

    fn names(&self, host: &str) -> bool {
        self.0.iter().any(|(name, _)| name.eq_ignore_ascii_case(host))
    }

    /// Tells whether an address is one of these; nothing: its host is none of theirs.
    fn says(&self, url: &Url) -> Option<bool> {
        let host = url.host_str().filter(|host| self.names(host))?;
        let port = url.port_or_known_default();
        Some(self.0.iter().any(|(name, at)| name.eq_ignore_ascii_case(host) && Some(*at) == port))
    }
}

/// Resolves names and keeps only the addresses that may be called, at the very moment of connecting: a name that
/// changes its address between a check and the call gains nothing.
#[derive(Debug)]
struct Resolver {
    private: Arc<Private>,
    chosen: Arc<Chosen>,
    dns: Arc<Dns>,
}

#[derive(Debug, thiserror::Error)]
enum ResolveError {
    #[error("private address")]
    Private,
    #[error("unknown name")]
    Unknown,
}

impl reqwest::dns::Resolve for Resolver {
    fn resolve(&self, name: reqwest::dns::Name) -> reqwest::dns::Resolving {
        let private = Arc::clone(&self.private);
        let chosen = self.chosen.names(name.as_str());
        let dns = Arc::clone(&self.dns);
        Box::pin(async move {
            let found = dns.addresses(name.as_str()).await;
            let any = !found.is_empty();
            let admitted: Vec<SocketAddr> = found
                .into_iter()
                .filter(|address| chosen || private.admits(*address))
                .map(|address| SocketAddr::new(address, 0))
                .collect();
            if admitted.is_empty() {
                return Err(if any { ResolveError::Private } else { ResolveError::Unknown }.into());
            }
            Ok(Box::new(admitted.into_iter()) as reqwest::dns::Addrs)
        })
    }
}

fn fetch_error(host: &str, error: &reqwest::Error) -> FetchError {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(e) = cause {
        match e.downcast_ref::<ResolveError>() {
            Some(ResolveError::Private) => return FetchError::Private(host.to_owned()),
            Some(ResolveError::Unknown) => return FetchError::Unresolved(host.to_owned()),
            None => cause = e.source(),
        }
    }
    if error.is_timeout() {
        FetchError::Timeout(host.to_owned())
    } else if error.is_body() || error.is_decode() {
        FetchError::Truncated(host.to_owned())
    } else {
        FetchError::Unreachable { host: host.to_owned(), reason: root(error) }
    }
}

/// Somebody who runs a server of their own, with an authority of their own, has to hear what to do.
const STRANGER: &str = "its certificate is not vouched for by anybody whom this server knows; an administrator can name \
                        an authority with the setting bridge.ca_file";

/// The innermost cause, which names the reason without the address (a URL may hold a secret).
fn root(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    // An error of the system shows its causes, not what it wraps.
    while let Some(inner) = cause.downcast_ref::<std::io::Error>().and_then(|e| e.get_ref()) {
        cause = inner;
    }
    let stranger = rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
    if cause.downcast_ref() == Some(&stranger) {
        return STRANGER.to_owned();
    }
    let text = cause.to_string();
    // The system's number of the error says nothing to people.
    text.split(" (os error").next().unwrap_or_default().to_owned()
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    fn call(url: &str) -> Call {
        Call {
            method: Method::GET,
            url: Url::parse(url).unwrap(),
            headers: HeaderMap::new(),
            body: Bytes::new(),
            limit: 1000,
        }
    }

    fn quick() -> Timeouts {
        Timeouts {
            connect: Duration::from_secs(2),
            read: Duration::from_millis(400),
            whole: Duration::from_secs(3),
        }
    }

    #[test]
    fn addresses_inside_are_told_from_those_outside() {
        for inside in [
            "127.0.0.1",
            "0.0.0.0",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "192.0.0.8",
            "198.18.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "240.0.0.1",
            "::1",
            "::",
            "fe80::1",
            "fd00::1",
            "ff02::1",
            "::ffff:10.0.0.1",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
            "2001:db8::1",
            "2001::1",
        ] {
            assert!(!public(inside.parse().unwrap()), "{inside}");
        }
        for outside in
            ["1.1.1.1", "172.32.0.1", "100.128.0.1", "2606:4700::1", "2002:0101:0101::", "::ffff:8.8.8.8"]
        {
            assert!(public(outside.parse().unwrap()), "{outside}");
        }
    }

    #[test]
    fn a_network_contains_its_addresses() {
        let net: Network = "192.168.4.0/22".parse().unwrap();
        assert!(net.contains("192.168.7.255".parse().unwrap()));
        assert!(!net.contains("192.168.8.0".parse().unwrap()));
        assert!("0.0.0.0/0".parse::<Network>().unwrap().contains("10.0.0.1".parse().unwrap()));
        assert!("fd00::/8".parse::<Network>().unwrap().contains("fdff::1".parse().unwrap()));
        assert!("10.0.0.5".parse::<Network>().unwrap().contains("10.0.0.5".parse().unwrap()));
        for bad in ["", "10.0.0.0/33", "x/8", "10.0.0.0/-1"] {
            assert!(bad.parse::<Network>().is_err(), "{bad}");
        }
    }

    #[tokio::test]
    async fn what_the_server_was_told_to_call_is_called_wherever_it_is() {
        let bytes = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi".to_vec();
        let url = serve(bytes.clone(), true).await;
        let chosen = Url::parse(&url).unwrap();
        let fetch = Fetch::by(Ways { chosen: vec![chosen], ..Ways::default() }, quick()).unwrap();
        assert_eq!(&fetch.send(call(&url)).await.unwrap().body[..], b"hi");
        // Another port of the same host is a neighbour like any other.
        for other in ["http://127.0.0.1:1/", "http://localhost:1/"] {
            let refused = fetch.send(call(other)).await.unwrap_err();
            assert!(matches!(refused, FetchError::Private(_)), "{other}: {refused:?}");
        }
        let named = serve(bytes, true).await.replace("127.0.0.1", "localhost");
        let fetch = Fetch::by(Ways { chosen: vec![Url::parse(&named).unwrap()], ..Ways::default() }, quick())
            .unwrap();
        assert_eq!(&fetch.send(call(&named)).await.unwrap().body[..], b"hi");
        let refused = fetch.send(call("http://localhost:1/")).await.unwrap_err();
        assert!(matches!(refused, FetchError::Private(_)), "{refused:?}");
    }

    #[tokio::test]
    async fn private_addresses_and_names_are_refused_before_a_connection() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let fetch = Fetch::new(Private::Refused, quick()).unwrap();
        for url in [
            format!("http://127.0.0.1:{port}/"),
            format!("http://localhost:{port}/"),
            format!("http://[::ffff:127.0.0.1]:{port}/"),
            format!("http://2130706433:{port}/"),
            format!("http://0x7f.1:{port}/"),
        ] {
            let refused = fetch.send(call(&url)).await.unwrap_err();
            assert!(matches!(refused, FetchError::Private(_)), "{url}: {refused:?}");
            assert!(refused.to_string().contains("bridge.allow_private"));
        }
        let none = tokio::time::timeout(Duration::from_millis(50), listener.accept()).await;
        assert!(none.is_err(), "nothing may have connected");
        let bad = fetch.send(call("ftp://example.com/")).await.unwrap_err();
        assert!(matches!(bad, FetchError::BadUrl(_)));
    }

    /// Serves one connection with these bytes and keeps it open or closes it.
    async fn serve(bytes: Vec<u8>, close: bool) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 4096];
            let n = stream.read(&mut request).await.unwrap();
            let text = String::from_utf8_lossy(&request[..n]).to_lowercase();
            assert!(text.contains("user-agent: kalends/"), "{text}");
            stream.write_all(&bytes).await.unwrap();
            if !close {
                tokio::time::sleep(Duration::from_secs(5)).await;
            }
        });
        format!("http://127.0.0.1:{port}/x")
    }

    #[tokio::test]
    async fn answers_are_bounded_in_size_and_time_and_must_be_whole() {
        let fetch = Fetch::new(Private::Within(vec!["127.0.0.0/8".parse().unwrap()]), quick()).unwrap();
        let ok = serve(
            b"HTTP/1.1 302 Found\r\nlocation: http://10.0.0.1/\r\ncontent-length: 2\r\n\r\nhi".to_vec(),
            true,
        )
        .await;
        let answer = fetch.send(call(&ok)).await.unwrap();
        assert_eq!(
            (answer.status.as_u16(), &answer.body[..]),
            (302, &b"hi"[..]),
            "redirects are not followed"
        );
        let mut long = b"HTTP/1.1 200 OK\r\n\r\n".to_vec();
        long.extend(vec![b'x'; 2000]);
        let too_large = fetch.send(call(&serve(long, true).await)).await.unwrap_err();
        assert!(matches!(too_large, FetchError::TooLarge { limit: 1000, .. }), "{too_large:?}");
        let cut = fetch
            .send(call(&serve(b"HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\nhalf".to_vec(), true).await))
            .await
            .unwrap_err();
        assert!(matches!(cut, FetchError::Truncated(_)), "{cut:?}");
        let slow = fetch
            .send(call(&serve(b"HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\nhalf".to_vec(), false).await))
            .await
            .unwrap_err();
        assert!(matches!(slow, FetchError::Timeout(_)), "{slow:?}");
        let closed = fetch.send(call("http://127.0.0.1:1/")).await.unwrap_err();
        assert!(matches!(closed, FetchError::Unreachable { .. }), "{closed:?}");
        assert_eq!(fetch.calls(), 5);
        assert_eq!(fetch.counted().calls(), 0);
    }

    #[derive(Debug)]
    struct Second(AtomicU64);

    impl Meter for Second {
        fn turn(&self, _: u32, waited: Duration) -> Turn {
            match self.0.fetch_add(1, Ordering::Relaxed) {
                0 => Turn::After(Duration::from_millis(20)),
                1 if waited == Duration::from_millis(20) => Turn::Now,
                _ => Turn::Later("Not today.".into(), Duration::from_secs(60)),
            }
        }
    }

    #[tokio::test]
    async fn a_meter_holds_calls_back_and_puts_them_off_before_anything_is_sent() {
        let bytes = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi".to_vec();
        let plain = Fetch::new(Private::Allowed, quick()).unwrap();
        let fetch = plain.counted().metered(Arc::new(Second(AtomicU64::new(0))));
        for _ in 0..2 {
            let answer = fetch.clone().send(call(&serve(bytes.clone(), true).await)).await.unwrap();
            assert_eq!(answer.status, StatusCode::OK);
        }
        let off = fetch.send(call("http://127.0.0.1:1/")).await.unwrap_err();
        assert_eq!(off, FetchError::Budget("Not today.".into(), Duration::from_secs(60)));
        assert_eq!((fetch.calls(), off.to_string().as_str()), (2, "Not today."));
        assert!(plain.send(call(&serve(bytes, true).await)).await.is_ok(), "others are not metered");
    }

    /// Counts what it is asked and told, and lets two calls be under way.
    #[derive(Debug)]
    struct Two(Places, std::sync::Mutex<(u32, Heard)>);

    /// Statuses, and how long was asked to wait.
    type Heard = Vec<(u16, Option<Duration>)>;

    impl Meter for Two {
        fn turn(&self, calls: u32, _: Duration) -> Turn {
            self.1.lock().unwrap().0 += calls;
            Turn::Now
        }

        fn places(&self) -> Option<&Places> {
            Some(&self.0)
        }

        fn heard(&self, status: StatusCode, wait: Option<Duration>) {
            self.1.lock().unwrap().1.push((status.as_u16(), wait));
        }
    }

    // microsoft-graph.md §7: so many calls at a time, whoever makes them; one that carries several takes the places of several
    #[tokio::test]
    async fn calls_beyond_the_places_wait_until_others_are_answered() {
        use futures_util::FutureExt as _;
        let meter = Arc::new(Two(Places::new(2), std::sync::Mutex::default()));
        let plain = Fetch::new(Private::Allowed, quick()).unwrap();
        let fetch = || plain.counted().metered(Arc::clone(&meter) as Arc<dyn Meter>);
        let (one, two) = (meter.0.take(1).await, meter.0.take(1).await);
        let slow = b"HTTP/1.1 429 Slow\r\nretry-after: 7\r\ncontent-length: 2\r\n\r\nhi".to_vec();
        let url = serve(slow, true).await;
        let weight = Weight { calls: 20, at_once: 4 };
        let client = fetch();
        let mut sent = Box::pin(client.send_as(call(&url), weight));
        assert!((&mut sent).now_or_never().is_none());
        drop(one);
        assert!((&mut sent).now_or_never().is_none(), "it needs both places");
        assert_eq!(meter.1.lock().unwrap().0, 0, "what waits for a place is not counted yet");
        drop(two);
        assert_eq!(sent.await.unwrap().status.as_u16(), 429);
        assert_eq!(*meter.1.lock().unwrap(), (20, vec![(429, Some(Duration::from_secs(7)))]));
        assert!(meter.0.take(2).await.is_some(), "both are free again");
    }

    // RFC 9110 §10.2.3
    #[test]
    fn a_wait_is_seconds_or_a_date() {
        let date = http_date("Sat, 21 Nov 2026 10:00:30 GMT");
        assert_eq!(retry_after(" 7", date), Some(Duration::from_secs(7)));
        assert_eq!(retry_after("Sat, 21 Nov 2026 10:01:00 GMT", date), Some(Duration::from_secs(30)));
        assert_eq!(retry_after("Sat, 21 Nov 2026 10:00:00 GMT", date), None, "it is over");
        assert_eq!(retry_after("Sat, 21 Nov 2026 10:01:00 GMT", None), None);
        assert_eq!(retry_after("soon", date), None);
    }
}
