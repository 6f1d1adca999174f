//! SRV and TXT records (RFC 6764), asked of the system's name servers; and of others, if there are any, addresses too.
//!
//! Owns: the question, the answer's bytes, where name servers are. Does not own: what the records mean (the CalDAV
//! provider), which addresses may be called (`fetch`). A failure is an empty answer.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

const TRY: Duration = Duration::from_secs(2);
const TRIES: usize = 2;
/// The longest answer in one datagram; a longer one is asked for again over TCP.
const DATAGRAM: usize = 4096;
const RECORDS: usize = 64;
/// RFC 1035 §2.3.4.
const LONGEST_NAME: usize = 255;
const LONGEST_LABEL: usize = 63;

const PORT: u16 = 53;

const A: u16 = 1;
const CNAME: u16 = 5;
const TXT: u16 = 16;
const AAAA: u16 = 28;
const SRV: u16 = 33;
const INTERNET: u16 = 1;

/// A place where a service is (RFC 2782).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Srv {
    /// Lower ones are tried first.
    pub priority: u16,
    /// Among the same priority, higher ones are preferred.
    pub weight: u16,
    /// The port.
    pub port: u16,
    /// The host, in lower case and without the last dot.
    pub target: String,
}

/// Asks name servers.
#[derive(Debug, Clone)]
pub struct Dns {
    servers: Vec<SocketAddr>,
    /// Addresses of hosts are the business of the system, which also knows its own list of hosts.
    hosts: Hosts,
    timeout: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hosts {
    System,
    Servers,
}

impl Default for Dns {
    fn default() -> Dns {
        Dns::system()
    }
}

impl Dns {
    /// Asks the name servers of `/etc/resolv.conf`; without any, the one of this machine.
    pub fn system() -> Dns {
        let servers = name_servers(&std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default());
        Dns { servers, hosts: Hosts::System, timeout: TRY }
    }

    /// Asks these name servers, for everything.
    pub fn at(servers: Vec<SocketAddr>) -> Dns {
        Dns { servers, hosts: Hosts::Servers, timeout: TRY }
    }

    /// Returns the addresses of a host.
    pub async fn addresses(&self, host: &str) -> Vec<IpAddr> {
        let host = host.trim_end_matches('.');
        let is_here = host.rsplit('.').next().is_some_and(|last| last.eq_ignore_ascii_case("localhost"));
        match self.hosts {
            Hosts::System => match tokio::net::lookup_host((host, 0)).await {
                Ok(found) => found.map(|address| address.ip()).collect(),
                Err(_) => Vec::new(),
            },
            // RFC 6761 §6.3: no name server is asked for this name.
            Hosts::Servers if is_here => vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()],
            Hosts::Servers => {
                let (four, six) = tokio::join!(self.lookup(host, A), self.lookup(host, AAAA));
                four.into_iter().chain(six).filter_map(Record::host).collect()
            }
        }
    }

    /// Returns the SRV records of a name, the preferred ones first. A record that says that there is no such service
    /// (its target is the root) is left out.
    pub async fn srv(&self, name: &str) -> Vec<Srv> {
        let mut found: Vec<Srv> = self.lookup(name, SRV).await.into_iter().filter_map(Record::srv).collect();
        found.sort_by_key(|srv| (srv.priority, std::cmp::Reverse(srv.weight)));
        found
    }

    /// Returns the strings of a name's TXT records.
    pub async fn txt(&self, name: &str) -> Vec<String> {
        self.lookup(name, TXT).await.into_iter().flat_map(Record::txt).collect()
    }

    async fn lookup(&self, name: &str, kind: u16) -> Vec<Record> {
        // What is before an @ is a person's, not a domain's.
        let name = name.rsplit('@').next().unwrap_or_default();
        let Some(question) = Question::new(name, kind) else { return Vec::new() };
        for server in self.servers.iter().cycle().take(TRIES) {
            match tokio::time::timeout(self.timeout, question.ask(*server)).await {
                Ok(Ok(records)) => return records,
                Ok(Err(error)) => tracing::debug!(%server, name, "a name server did not answer: {error}"),
                Err(_) => tracing::debug!(%server, name, "a name server did not answer in time"),
            }
        }
        Vec::new()
    }
}

/// Reads the lines `nameserver ADDRESS`; what is not an address is passed over.
fn name_servers(text: &str) -> Vec<SocketAddr> {
    let mut found: Vec<SocketAddr> = text
        .lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            words.next().filter(|word| *word == "nameserver")?;
            name_server(words.next()?)
        })
        .collect();
    if found.is_empty() {
        found.push(SocketAddr::from((Ipv4Addr::LOCALHOST, PORT)));
    }
    found
}

/// Reads where a name server is: an address, with a port if it is not the usual one.
pub fn name_server(text: &str) -> Option<SocketAddr> {
    text.parse().ok().or_else(|| Some(SocketAddr::new(text.parse().ok()?, PORT)))
}

/// What is asked: RFC 1035 §4.1.
struct Question {
    id: u16,
    name: String,
    kind: u16,
    bytes: Vec<u8>,
}

/// What an answer to a question turned out to be.
#[derive(Debug, PartialEq, Eq)]
enum Heard {
    /// It answers another question, or none: whoever sent it, one waits on.
    Noise,
    /// The answer did not fit.
    Truncated,
    /// The server cannot tell, or what it tells cannot be read.
    Failed,
    Records(Vec<Record>),
}

#[derive(Debug, PartialEq, Eq)]
enum Record {
    Srv(Srv),
    Txt(Vec<String>),
    Host(IpAddr),
}

impl Record {
    fn srv(self) -> Option<Srv> {
        match self {
            Record::Srv(srv) => Some(srv).filter(|srv| !srv.target.is_empty()),
            Record::Txt(_) | Record::Host(_) => None,
        }
    }

    fn txt(self) -> Vec<String> {
        match self {
            Record::Txt(strings) => strings,
            Record::Srv(_) | Record::Host(_) => Vec::new(),
        }
    }

    fn host(self) -> Option<IpAddr> {
        match self {
            Record::Host(address) => Some(address),
            Record::Srv(_) | Record::Txt(_) => None,
        }
    }
}

impl Question {
    fn new(name: &str, kind: u16) -> Option<Question> {
        let mut id = [0; 2];
        getrandom::fill(&mut id).ok()?;
        Question::with_id(u16::from_be_bytes(id), name, kind)
    }

    /// Returns nothing for what is not a name.
    fn with_id(id: u16, name: &str, kind: u16) -> Option<Question> {
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        let mut bytes = id.to_be_bytes().to_vec();
        // Recursion desired; one question.
        bytes.extend_from_slice(&[1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
        for label in name.split('.') {
            let length = u8::try_from(label.len()).ok().filter(|_| label.len() <= LONGEST_LABEL)?;
            if label.is_empty() || !label.bytes().all(in_name) {
                return None;
            }
            bytes.push(length);
            bytes.extend_from_slice(label.as_bytes());
        }
        bytes.push(0);
        bytes.extend_from_slice(&kind.to_be_bytes());
        bytes.extend_from_slice(&INTERNET.to_be_bytes());
        // The dots and the name's two ends: as many bytes as the name takes on the wire.
        (name.len() + 2 <= LONGEST_NAME).then_some(Question { id, name, kind, bytes })
    }

    async fn ask(&self, server: SocketAddr) -> io::Result<Vec<Record>> {
        let any: IpAddr = match server {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let socket = UdpSocket::bind((any, 0)).await?;
        // A connected socket hears nobody else.
        socket.connect(server).await?;
        socket.send(&self.bytes).await?;
        let mut buffer = vec![0; DATAGRAM];
        loop {
            let length = socket.recv(&mut buffer).await?;
            match self.hear(buffer.get(..length).unwrap_or_default()) {
                Heard::Noise => {}
                Heard::Records(records) => return Ok(records),
                Heard::Truncated => return self.ask_at_length(server).await,
                Heard::Failed => return Err(io::Error::other("its answer is of no use")),
            }
        }
    }

    /// RFC 1035 §4.2.2: over TCP, behind two bytes of length.
    async fn ask_at_length(&self, server: SocketAddr) -> io::Result<Vec<Record>> {
        let mut stream = TcpStream::connect(server).await?;
        let length = u16::try_from(self.bytes.len()).map_err(io::Error::other)?;
        let mut message = length.to_be_bytes().to_vec();
        message.extend_from_slice(&self.bytes);
        stream.write_all(&message).await?;
        let length = stream.read_u16().await?;
        let mut answer = vec![0; usize::from(length)];
        stream.read_exact(&mut answer).await?;
        match self.hear(&answer) {
            Heard::Records(records) => Ok(records),
            _ => Err(io::Error::other("its answer at length is of no use")),
        }
    }

    /// Reads an answer.
    fn hear(&self, bytes: &[u8]) -> Heard {
        let mut reader = Reader { bytes, at: 0 };
        let Some((flags, records)) = self.echoed(&mut reader) else { return Heard::Noise };
        match (flags & 0x0200 != 0, flags & 0x000f) {
            (true, _) => Heard::Truncated,
            (false, 0) => reader.records(self, records).map_or(Heard::Failed, Heard::Records),
            // There is no such name.
            (false, 3) => Heard::Records(Vec::new()),
            _ => Heard::Failed,
        }
    }

    /// Returns the flags and the number of records, if this is an answer to this question.
    fn echoed(&self, reader: &mut Reader<'_>) -> Option<(u16, u16)> {
        let (id, flags, questions, records) = (reader.u16()?, reader.u16()?, reader.u16()?, reader.u16()?);
        reader.take(4)?;
        let is_answer = flags & 0xf800 == 0x8000;
        let same = id == self.id
            && is_answer
            && questions == 1
            && reader.name()? == self.name
            && reader.u16()? == self.kind
            && reader.u16()? == INTERNET;
        same.then_some((flags, records))
    }
}

fn in_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'
}

/// Reads a message from its beginning; a name may lead back in it.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let end = self.at.checked_add(length)?;
        let taken = self.bytes.get(self.at..end)?;
        self.at = end;
        Some(taken)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    fn u16(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes(self.take(2)?.try_into().ok()?))
    }

    /// Reads a name, in lower case (RFC 1035 §4.1.4). A pointer must lead before everything that was read of the name, so
    /// that no chain of them ends where it began.
    fn name(&mut self) -> Option<String> {
        let mut name = String::new();
        let mut after = None;
        let mut earliest = self.at;
        loop {
            let length = self.u8()?;
            match (length & 0xc0, length & 0x3f) {
                (0, 0) => break,
                (0, length) => {
                    let label = self.take(usize::from(length))?;
                    if !label.iter().copied().all(in_name) {
                        return None;
                    }
                    if !name.is_empty() {
                        name.push('.');
                    }
                    name.extend(label.iter().map(|byte| char::from(byte.to_ascii_lowercase())));
                    if name.len() + 2 > LONGEST_NAME {
                        return None;
                    }
                }
                (0xc0, high) => {
                    let to = usize::from(u16::from_be_bytes([high, self.u8()?]));
                    after = after.or(Some(self.at));
                    if to >= earliest {
                        return None;
                    }
                    earliest = to;
                    self.at = to;
                }
                _ => return None,
            }
        }
        self.at = after.unwrap_or(self.at);
        Some(name)
    }

    /// Reads the records that answer the question, also behind other names for it.
    fn records(&mut self, question: &Question, count: u16) -> Option<Vec<Record>> {
        let mut wanted = question.name.clone();
        let mut found = Vec::new();
        for _ in 0..usize::from(count).min(RECORDS) {
            let owner = self.name()?;
            let (kind, class) = (self.u16()?, self.u16()?);
            self.take(4)?;
            let length = usize::from(self.u16()?);
            let start = self.at;
            let data = self.take(length)?;
            if owner != wanted || class != INTERNET {
                continue;
            }
            let end = self.at;
            match kind {
                CNAME => {
                    self.at = start;
                    wanted = self.name()?;
                }
                SRV if question.kind == SRV => {
                    self.at = start;
                    let (priority, weight, port) = (self.u16()?, self.u16()?, self.u16()?);
                    found.push(Record::Srv(Srv { priority, weight, port, target: self.name()? }));
                }
                TXT if question.kind == TXT => found.push(Record::Txt(strings(data)?)),
                A if question.kind == A => found.push(Record::Host(<[u8; 4]>::try_from(data).ok()?.into())),
                AAAA if question.kind == AAAA => {
                    found.push(Record::Host(<[u8; 16]>::try_from(data).ok()?.into()));
                }
                _ => continue,
            }
            if self.at > end {
                return None;
            }
            self.at = end;
        }
        Some(found)
    }
}

/// Reads strings, each behind its length.
fn strings(data: &[u8]) -> Option<Vec<String>> {
    let mut reader = Reader { bytes: data, at: 0 };
    let mut found = Vec::new();
    while reader.at < data.len() {
        let length = reader.u8()?;
        found.push(String::from_utf8_lossy(reader.take(usize::from(length))?).into_owned());
    }
    Some(found)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use proptest::prelude::*;
    use tokio::net::TcpListener;

    use super::*;

    const NAME: &str = "_caldavs._tcp.example.org";
    /// Leads to the name in the question.
    const ASKED: [u8; 2] = [0xc0, 12];

    fn wire_name(name: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        for label in name.split('.').filter(|label| !label.is_empty()) {
            bytes.push(label.len() as u8);
            bytes.extend_from_slice(label.as_bytes());
        }
        bytes.push(0);
        bytes
    }

    fn record(owner: &[u8], kind: u16, data: &[u8]) -> Vec<u8> {
        let mut bytes = owner.to_vec();
        bytes.extend_from_slice(&kind.to_be_bytes());
        bytes.extend_from_slice(&[0, 1, 0, 0, 0, 60]);
        bytes.extend_from_slice(&(data.len() as u16).to_be_bytes());
        bytes.extend_from_slice(data);
        bytes
    }

    fn srv(owner: &[u8], numbers: [u16; 3], target: &str) -> Vec<u8> {
        let mut data: Vec<u8> = numbers.iter().flat_map(|n| n.to_be_bytes()).collect();
        data.extend_from_slice(&wire_name(target));
        record(owner, SRV, &data)
    }

    /// Answers a question with these records.
    fn answer(question: &[u8], flags: u16, records: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = question.to_vec();
        bytes[2..4].copy_from_slice(&(0x8180 | flags).to_be_bytes());
        bytes[6..8].copy_from_slice(&(records.len() as u16).to_be_bytes());
        bytes.extend(records.concat());
        bytes
    }

    /// A name server that sends to each question what is made of it.
    async fn server(reply: impl Fn(&[u8]) -> Vec<Vec<u8>> + Send + 'static) -> Dns {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let at = socket.local_addr().unwrap();
        tokio::spawn(async move {
            let mut buffer = [0; 512];
            while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
                for message in reply(&buffer[..length]) {
                    socket.send_to(&message, from).await.unwrap();
                }
            }
        });
        // Long enough that a slow machine does not decide a test.
        Dns { timeout: Duration::from_secs(60), ..Dns::at(vec![at]) }
    }

    #[tokio::test]
    async fn places_come_in_the_order_of_their_preference() {
        let dns = server(|question| {
            let records = [
                srv(&ASKED, [20, 0, 443], "last.example.org"),
                srv(&ASKED, [10, 5, 8443], "second.example.org"),
                srv(&ASKED, [10, 50, 443], "First.Example.org"),
                srv(&ASKED, [0, 0, 0], ""),
                srv(&wire_name("_caldavs._tcp.example.com"), [0, 0, 443], "foreign.example.com"),
            ];
            vec![answer(question, 0, &records)]
        })
        .await;
        let found = dns.srv("_caldavs._tcp.Example.org.").await;
        let places: Vec<_> = found.iter().map(|srv| (srv.target.as_str(), srv.port)).collect();
        assert_eq!(
            places,
            [("first.example.org", 443), ("second.example.org", 8443), ("last.example.org", 443)]
        );
    }

    #[tokio::test]
    async fn strings_are_read_also_behind_another_name() {
        let dns = server(|question| {
            let alias = record(&ASKED, CNAME, &wire_name("dav.example.net"));
            let text = record(&wire_name("dav.example.net"), TXT, b"\x05other\x0apath=/dav/");
            vec![answer(question, 0, &[alias, text])]
        })
        .await;
        assert_eq!(dns.txt(NAME).await, ["other", "path=/dav/"]);
        assert_eq!(dns.srv(NAME).await, []);
    }

    // RFC 1035 §3.4.1, RFC 3596 §2.2
    #[tokio::test]
    async fn hosts_are_asked_of_the_servers_that_were_named() {
        let dns = server(|question| {
            let kind = question[question.len() - 3];
            let alias = record(&ASKED, CNAME, &wire_name("home.example.net"));
            let own = wire_name("home.example.net");
            let records = match u16::from(kind) {
                A => vec![alias, record(&own, A, &[192, 0, 2, 7]), record(&own, TXT, b"\x01a")],
                AAAA => vec![alias, record(&own, AAAA, &Ipv6Addr::LOCALHOST.octets())],
                _ => Vec::new(),
            };
            vec![answer(question, 0, &records)]
        })
        .await;
        let found = dns.addresses("dav.example.org").await;
        assert_eq!(found, [IpAddr::from([192, 0, 2, 7]), Ipv6Addr::LOCALHOST.into()]);
        // A short address is none, and with it the answer.
        let short = server(|question| vec![answer(question, 0, &[record(&ASKED, A, &[1, 2, 3])])]).await;
        assert_eq!(short.addresses("dav.example.org").await, [] as [IpAddr; 0]);
        // This machine is nobody else's business.
        let nobody = Dns::at(Vec::new());
        assert!(nobody.addresses("x.localhost").await.iter().all(IpAddr::is_loopback));
        assert_eq!(nobody.addresses("dav.example.org").await, [] as [IpAddr; 0]);
    }

    #[test]
    fn a_name_server_is_an_address_with_or_without_a_port() {
        let read = |text| name_server(text).map(|at| at.to_string());
        assert_eq!(read("192.0.2.1").as_deref(), Some("192.0.2.1:53"));
        assert_eq!(read("192.0.2.1:5353").as_deref(), Some("192.0.2.1:5353"));
        assert_eq!(read("2001:db8::1").as_deref(), Some("[2001:db8::1]:53"));
        assert_eq!(read("[2001:db8::1]:5353").as_deref(), Some("[2001:db8::1]:5353"));
        assert_eq!(read("dns.example.org"), None);
    }

    #[tokio::test]
    async fn an_answer_that_was_cut_is_asked_for_at_length() {
        let (socket, listener) = loop {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            if let Ok(socket) = UdpSocket::bind(listener.local_addr().unwrap()).await {
                break (socket, listener);
            }
        };
        let at = socket.local_addr().unwrap();
        tokio::spawn(async move {
            let mut buffer = [0; 512];
            let (length, from) = socket.recv_from(&mut buffer).await.unwrap();
            let cut = answer(&buffer[..length], 0x0200, &[srv(&ASKED, [0, 0, 1], "cut.example.org")]);
            socket.send_to(&cut, from).await.unwrap();
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut question = vec![0; usize::from(stream.read_u16().await.unwrap())];
            stream.read_exact(&mut question).await.unwrap();
            let records: Vec<_> =
                (0..100).map(|n| srv(&ASKED, [n, 0, 443], &format!("h{n}.example.org"))).collect();
            let whole = answer(&question, 0, &records);
            stream.write_u16(whole.len() as u16).await.unwrap();
            stream.write_all(&whole).await.unwrap();
        });
        let found = Dns { timeout: Duration::from_secs(60), ..Dns::at(vec![at]) }.srv(NAME).await;
        assert_eq!((found.len(), found[0].target.as_str()), (RECORDS, "h0.example.org"));
    }

    #[tokio::test]
    async fn what_answers_another_question_is_passed_over() {
        let dns = server(|question| {
            let wrong = [srv(&ASKED, [0, 0, 443], "wrong.example.org")];
            let mut other_id = answer(question, 0, &wrong);
            other_id[1] ^= 1;
            let mut other_name = answer(question, 0, &wrong);
            other_name[14] = b'x';
            let mut no_answer = answer(question, 0, &wrong);
            no_answer[2] &= 0x7f;
            let right = answer(question, 0, &[srv(&ASKED, [0, 0, 443], "right.example.org")]);
            vec![vec![], b"garbage".to_vec(), other_id, other_name, no_answer, right]
        })
        .await;
        let found = dns.srv(NAME).await;
        assert_eq!(found.iter().map(|srv| srv.target.as_str()).collect::<Vec<_>>(), ["right.example.org"]);
    }

    #[tokio::test]
    async fn a_server_that_cannot_tell_is_followed_by_the_next() {
        let broken = server(|question| vec![answer(question, 2, &[])]).await;
        let mut dns = server(|question| vec![answer(question, 0, &[record(&ASKED, TXT, b"\x01a")])]).await;
        dns.servers.insert(0, broken.servers[0]);
        assert_eq!(dns.txt(NAME).await, ["a"]);
        assert_eq!(broken.txt(NAME).await, [""; 0]);
        let nothing = server(|question| vec![answer(question, 3, &[])]).await;
        assert_eq!(nothing.txt(NAME).await, [""; 0]);
    }

    #[test]
    fn names_that_lead_in_circles_or_out_of_the_message_are_refused() {
        let question = Question::with_id(7, NAME, SRV).unwrap();
        let end = question.bytes.len() as u8;
        // To itself; forward; to a label that leads back to it.
        for owner in [vec![0xc0, end], vec![0xc0, end + 2], vec![0xff, 0xff], vec![1, b'a', 0xc0, end]] {
            let bytes = answer(&question.bytes, 0, &[srv(&owner, [0, 0, 443], "a.example.org")]);
            assert_eq!(question.hear(&bytes), Heard::Failed, "{owner:?}");
        }
        let good = answer(&question.bytes, 0, &[srv(&ASKED, [0, 0, 443], "a.example.org")]);
        assert!(matches!(question.hear(&good), Heard::Records(records) if records.len() == 1));
        for cut in question.bytes.len()..good.len() {
            assert_eq!(question.hear(&good[..cut]), Heard::Failed, "{cut}");
        }
    }

    #[test]
    fn what_is_not_a_name_is_not_asked_for() {
        let long = ["a"; 127].join(".");
        assert!(Question::with_id(1, &long, SRV).is_some());
        for bad in ["", "a..b", "ä.example", "a b", &"x".repeat(64), &format!("{long}.a")] {
            assert!(Question::with_id(1, bad, SRV).is_none(), "{bad}");
        }
    }

    #[test]
    fn name_servers_are_read_from_the_systems_list() {
        let text = "# nameserver 192.0.2.9\nsearch example.org\nnameserver 192.0.2.1\nnameserver  2001:db8::1\n\
                    nameserver fe80::1%eth0\noptions edns0\n";
        let expected: [SocketAddr; 2] =
            ["192.0.2.1:53".parse().unwrap(), "[2001:db8::1]:53".parse().unwrap()];
        assert_eq!(name_servers(text), expected);
        assert_eq!(name_servers(""), ["127.0.0.1:53".parse().unwrap()]);
    }

    proptest! {
        #[test]
        fn no_answer_is_too_strange_to_be_read(
            noise in prop::collection::vec(any::<u8>(), 0..300),
            count in any::<u16>(),
            kind in prop::sample::select(vec![SRV, TXT]),
        ) {
            let question = Question::with_id(7, NAME, kind).unwrap();
            question.hear(&noise);
            // Behind a true head, so that the records are reached.
            let mut bytes = answer(&question.bytes, 0, &[]);
            bytes[6..8].copy_from_slice(&count.to_be_bytes());
            bytes.extend_from_slice(&record(&ASKED, kind, &noise));
            bytes.extend_from_slice(&noise);
            prop_assert!(question.hear(&bytes) != Heard::Noise);
        }
    }
}
