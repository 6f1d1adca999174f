//! From a mail address over DNS records and TLS to calendars: the program itself, a name server of a few lines, a
//! simulated server behind a certificate of an authority that nobody else knows.

use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::sync::{Arc, Mutex};

use kalends::sim::caldav::Caldav as Upstream;
use kalends::sim::{Act, Clock, Options, Running, Server, Tls};
use serde_json::json;

use crate::trust::Program;

const HOST: &str = "dav.home.test";

/// Answers questions about `home.test` from a list, and keeps what was asked.
struct NameServer {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<(String, u8)>>>,
}

fn name(text: &str) -> Vec<u8> {
    let labels = text.split('.').filter(|label| !label.is_empty());
    let mut bytes: Vec<u8> =
        labels.flat_map(|label| std::iter::once(label.len() as u8).chain(label.bytes())).collect();
    bytes.push(0);
    bytes
}

fn srv(priority: u8, port: u16, target: &str) -> Vec<u8> {
    let [high, low] = port.to_be_bytes();
    [vec![0, priority, 0, 0, high, low], name(target)].concat()
}

impl NameServer {
    const A: u8 = 1;
    const TXT: u8 = 16;
    const SRV: u8 = 33;

    /// Each record: its name, its type, its data.
    fn start(records: Vec<(&'static str, u8, Vec<u8>)>) -> NameServer {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let server = NameServer { address: socket.local_addr().unwrap(), asked: Arc::default() };
        let asked = Arc::clone(&server.asked);
        std::thread::spawn(move || {
            let mut buffer = [0; 512];
            while let Ok((length, from)) = socket.recv_from(&mut buffer) {
                let question = &buffer[..length];
                let kind = question[length - 3];
                let of = |text: &str| question[12..length - 4] == name(text);
                let found: Vec<_> = records.iter().filter(|(owner, _, _)| of(owner)).collect();
                let mut answer = question.to_vec();
                // RFC 1035 §4.1.1: there is no such name, if there is none of any type.
                answer[2] = 0x81;
                answer[3] = if found.is_empty() { 0x83 } else { 0x80 };
                for (owner, _, data) in found.into_iter().filter(|(_, own, _)| *own == kind) {
                    asked.lock().unwrap().push(((*owner).to_owned(), kind));
                    answer[7] += 1;
                    answer.extend_from_slice(&[0xc0, 12, 0, kind, 0, 1, 0, 0, 0, 60, 0, data.len() as u8]);
                    answer.extend_from_slice(data);
                }
                let _ = socket.send_to(&answer, from);
            }
        });
        server
    }
}

fn upstream() -> (tokio::runtime::Runtime, Running) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let server = runtime.block_on(async {
        let upstream = Upstream::start("anna", "geheim-1", Clock::real()).await.unwrap();
        let tls = Tls {
            certificate: include_bytes!("dav.home.test.pem").to_vec(),
            key: include_bytes!("dav.home.test.key.pem").to_vec(),
        };
        Server::start(Options { tls: Some(tls), ..Options::default() }, Arc::new(upstream)).await.unwrap()
    });
    (runtime, server)
}

fn program(names: &NameServer, more: &[(&str, &str)]) -> Program {
    let mut variables = vec![
        ("KALENDS_BRIDGE__ALLOW_PRIVATE".to_owned(), "true".to_owned()),
        ("KALENDS_BRIDGE__NAME_SERVERS".to_owned(), names.address.to_string()),
    ];
    variables.extend(more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    Program::new(variables)
}

// RFC 6764 §6; S1-027, S2-046: the domain of a mail address leads to calendars that can be carried
#[test]
fn a_mail_address_leads_over_dns_and_tls_to_calendars() {
    let (_runtime, server) = upstream();
    let port = server.address().port();
    let names = NameServer::start(vec![
        // The preferred place is none.
        ("_caldavs._tcp.home.test", NameServer::SRV, srv(0, 443, "gone.home.test")),
        ("_caldavs._tcp.home.test", NameServer::SRV, srv(9, port, HOST)),
        ("_caldavs._tcp.home.test", NameServer::TXT, b"\x0apath=/dav/".to_vec()),
        (HOST, NameServer::A, vec![127, 0, 0, 1]),
    ]);
    let known = json!({"url": "anna@home.test", "username": "anna", "password": "geheim-1"});
    // Nobody vouches for it: the password stays here, and the sentence says what can be done.
    let stranger = program(&names, &[]);
    let (status, problem) = stranger.api("POST", "/connections/caldav", Some(known.clone()));
    assert_eq!(status, 422, "{problem}");
    assert!(problem["detail"].as_str().unwrap().contains("bridge.ca_file"), "{problem}");
    assert!(server.log().entries().is_empty());
    let authority = Path::new(env!("CARGO_MANIFEST_DIR")).join("webdav-tests/upstreams/authority.pem");
    let program = program(&names, &[("KALENDS_BRIDGE__CA_FILE", authority.to_str().unwrap())]);
    let connection = program.sign_in("caldav", known);
    let (_, found) = program.api("GET", &format!("/connections/{connection}/calendars"), None);
    let calendar = format!("https://{HOST}:{port}/dav/calendars/anna/calendar/");
    let all = found["items"].as_array().unwrap();
    assert!(all.iter().any(|item| item["id"] == json!(calendar)), "{found}");
    let asked = names.asked.lock().unwrap().clone();
    for wanted in [("_caldavs._tcp.home.test", NameServer::SRV), (HOST, NameServer::A)] {
        assert!(asked.contains(&(wanted.0.to_owned(), wanted.1)), "{wanted:?}: {asked:?}");
    }
    // And it is one like any other: what is there comes here.
    let event = "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:x\r\nBEGIN:VEVENT\r\nUID:theirs\r\nDTSTAMP:20260101T000000Z\r\n\
                 DTSTART:20260610T090000Z\r\nSUMMARY:theirs\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n";
    server.act(&Act::CreateElsewhere { calendar: "calendar".into(), object: json!(event) }).unwrap();
    let (_, here) = program.api("GET", "/calendars", None);
    let own = here["items"].as_array().unwrap().iter().find(|c| c["name"] == "calendar").unwrap();
    let wish = json!({"calendar": own["id"], "connection": connection, "remote_calendar": calendar,
        "direction": "both", "window_past": "all", "window_future": "all"});
    let (status, mapping) = program.api("POST", "/mappings", Some(wish));
    assert_eq!(status, 201, "{mapping}");
    let run = program.pass(mapping["id"].as_str().unwrap());
    assert_eq!((&run["status"], &run["local"]["inserted"]), (&json!("success"), &json!(1)), "{run}");
    assert_eq!(program.dav("GET", "theirs.ics", "").body, event.as_bytes());
}

// Bad input: what is no authority and no name server is said before anything begins
#[test]
fn a_setting_that_cannot_be_meant_is_named_at_the_start() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("ca.pem");
    std::fs::write(&file, "a note").unwrap();
    let broken = place.path().join("broken.pem");
    std::fs::write(&broken, "-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n").unwrap();
    for (variable, value, words) in [
        ("KALENDS_BRIDGE__CA_FILE", file.to_str().unwrap(), "holds no certificate"),
        ("KALENDS_BRIDGE__CA_FILE", broken.to_str().unwrap(), "certificates of authorities"),
        ("KALENDS_BRIDGE__CA_FILE", "/nowhere/ca.pem", "/nowhere/ca.pem"),
        ("KALENDS_BRIDGE__NAME_SERVERS", "dns.example.org", "no address of a name server"),
    ] {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_kalends"));
        command.args(["serve", "--listen", "127.0.0.1:0"]).current_dir(place.path()).env_clear();
        let ended = command.env(variable, value).output().unwrap();
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert!(!ended.status.success() && said.contains(words), "{variable}={value}: {said}");
    }
}
