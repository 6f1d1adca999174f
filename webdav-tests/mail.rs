//! Notices by mail, to a mail server of this process.

use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::{Arc, Mutex};

use kalends::bridge::{Cause, NoticeKind, Notices};
use kalends::store::{Commit, Origin, Table};
use rustls::pki_types::pem::PemObject as _;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::net::TcpListener;

use crate::app::App;
use crate::dialogue::{Host as _, Setup};
use crate::host::Served;
use crate::wait::wait_for;

/// How the server takes TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Secure {
    Never,
    FromTheBeginning,
    /// RFC 3207.
    OnDemand,
}

/// What came, and what is said to the next.
#[derive(Debug, Default)]
struct Letters {
    mails: Mutex<Vec<String>>,
    tried: Mutex<usize>,
    /// Answers to `MAIL FROM` before mails are taken.
    refusals: Mutex<Vec<&'static str>>,
    /// `MAIL FROM` is answered with this for as long as it stands.
    closed: Mutex<Option<&'static str>>,
    /// What was signed in with.
    logins: Mutex<Vec<String>>,
    /// How often TLS was begun with STARTTLS, and with success.
    upgraded: Mutex<(usize, usize)>,
}

/// A mail server that takes everything, or says what it is told to say.
struct Sink {
    address: SocketAddr,
    letters: Arc<Letters>,
    _runtime: tokio::runtime::Runtime,
}

impl Sink {
    fn start(secure: Secure) -> Sink {
        let listener = StdListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let letters: Arc<Letters> = Arc::default();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let kept = Arc::clone(&letters);
        runtime.spawn(async move {
            let listener = TcpListener::from_std(listener).unwrap();
            let acceptor = acceptor();
            while let Ok((stream, _)) = listener.accept().await {
                let (kept, acceptor) = (Arc::clone(&kept), acceptor.clone());
                tokio::spawn(async move {
                    match secure {
                        Secure::Never => drop(talk(stream, &kept, Talk::Whole).await),
                        Secure::FromTheBeginning => {
                            if let Ok(stream) = acceptor.accept(stream).await {
                                talk(stream, &kept, Talk::Whole).await;
                            }
                        }
                        Secure::OnDemand => {
                            let Some(stream) = talk(stream, &kept, Talk::UntilTls).await else { return };
                            kept.upgraded.lock().unwrap().0 += 1;
                            if let Ok(stream) = acceptor.accept(stream).await {
                                kept.upgraded.lock().unwrap().1 += 1;
                                talk(stream, &kept, Talk::AfterTls).await;
                            }
                        }
                    }
                });
            }
        });
        Sink { address, letters, _runtime: runtime }
    }

    fn mails(&self) -> Vec<String> {
        self.letters.mails.lock().unwrap().clone()
    }

    fn tried(&self) -> usize {
        *self.letters.tried.lock().unwrap()
    }

    fn refuse(&self, answers: &[&'static str]) {
        self.letters.refusals.lock().unwrap().extend(answers.iter().rev());
    }

    /// Waits until so many mails came.
    #[track_caller]
    fn wait(&self, many: usize) -> Vec<String> {
        wait_for("the mail", || self.mails(), |mails| mails.len() >= many)
    }
}

fn acceptor() -> tokio_rustls::TlsAcceptor {
    let certificate = rustls::pki_types::CertificateDer::from_pem_slice(include_bytes!("sims/localhost.pem"));
    let key = rustls::pki_types::PrivateKeyDer::from_pem_slice(include_bytes!("sims/localhost.key.pem"));
    let ring = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(ring)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.unwrap()], key.unwrap())
        .unwrap();
    Arc::new(config).into()
}

/// What of a conversation there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Talk {
    Whole,
    /// STARTTLS is offered, and waited for.
    UntilTls,
    /// RFC 3207 §4.2: it begins anew, without a greeting.
    AfterTls,
}

/// RFC 5321, as far as it is needed to take a mail. Returns the stream when TLS is to begin.
async fn talk<S: AsyncRead + AsyncWrite + Unpin>(stream: S, kept: &Letters, part: Talk) -> Option<S> {
    let mut stream = BufReader::new(stream);
    if part != Talk::AfterTls {
        let _ = stream.write_all(b"220 sink ESMTP\r\n").await;
        let _ = stream.flush().await;
    }
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.unwrap_or(0) == 0 {
            return None;
        }
        let word = line.split_whitespace().next().unwrap_or_default().to_ascii_uppercase();
        let answer = match word.as_str() {
            "EHLO" if part == Talk::UntilTls => "250-sink\r\n250-STARTTLS\r\n250 AUTH PLAIN\r\n",
            "EHLO" => "250-sink\r\n250-8BITMIME\r\n250 AUTH PLAIN\r\n",
            "STARTTLS" if part == Talk::UntilTls => {
                let _ = stream.write_all(b"220 go on\r\n").await;
                let _ = stream.flush().await;
                return Some(stream.into_inner());
            }
            "AUTH" => {
                kept.logins.lock().unwrap().push(line.trim().to_owned());
                "235 in\r\n"
            }
            "MAIL" => {
                *kept.tried.lock().unwrap() += 1;
                let closed = *kept.closed.lock().unwrap();
                closed.or_else(|| kept.refusals.lock().unwrap().pop()).unwrap_or("250 good\r\n")
            }
            "DATA" => {
                let _ = stream.write_all(b"354 go on\r\n").await;
                let _ = stream.flush().await;
                let mut mail = String::new();
                loop {
                    let mut line = String::new();
                    if stream.read_line(&mut line).await.unwrap_or(0) == 0 {
                        return None;
                    }
                    if line == ".\r\n" {
                        break;
                    }
                    mail.push_str(&line);
                }
                kept.mails.lock().unwrap().push(mail);
                "250 taken\r\n"
            }
            "QUIT" => "221 bye\r\n",
            _ => "250 good\r\n",
        };
        let _ = stream.write_all(answer.as_bytes()).await;
        let _ = stream.flush().await;
    }
}

fn configured(url: &str) -> Vec<String> {
    vec![
        "[mail]".to_owned(),
        format!("smtp_url = \"{url}\""),
        "from = \"Kalends <kalends@example.org>\"".to_owned(),
        "gather = \"1 s\"".to_owned(),
    ]
}

fn served(url: &str, more: &[String]) -> Served {
    let config = more.iter().cloned().chain(configured(url)).collect();
    Served::start(&Setup { config, ..Setup::default() }).unwrap()
}

/// Raises notices, all in one commit.
fn raise(served: &Served, owner: &str, sentences: &[&str]) {
    let house = Arc::clone(served.guard().house());
    served.runtime().block_on(async {
        let now = house.clock.now();
        let mut commit = Commit::new(Origin::System, now);
        for (at, sentence) in sentences.iter().enumerate() {
            let detail = at.to_string();
            let cause = Cause { kind: NoticeKind::EventFailed, subject: "m1", detail: &detail };
            let notices = Notices { store: &*house.store, owner, now };
            let raised = notices.raise(cause, (*sentence).to_owned(), &[]).await.unwrap();
            commit.ops.extend(raised);
        }
        house.store.commit(commit).await.unwrap();
    });
}

/// Waits until it is noted that all that somebody is told was mailed: what changes in that very moment is mailed again.
fn noted(served: &Served, owner: &str) {
    let look = || {
        let store = &served.guard().house().store;
        let read = store.records(Table::Notice, owner, None, 100);
        let found = served.runtime().block_on(read).unwrap();
        found.iter().map(|(_, bytes)| serde_json::from_slice::<Value>(bytes).unwrap()).collect::<Vec<_>>()
    };
    wait_for("the note", look, |found| found.iter().all(|notice| notice["mailed"].is_number()));
}

// issue: notifications by mail too when mail.smtp_url is set; S1-039, S3-112, E32
#[test]
fn a_notice_is_mailed_once_and_many_are_one_mail() {
    let sink = Sink::start(Secure::Never);
    let served = served(&format!("smtp://{}", sink.address), &[]);
    raise(&served, "anna", &["“Lunch” could not be carried over."]);
    let [mail] = &sink.wait(1)[..] else { panic!("one mail") };
    for part in ["To: anna@example.org", "Subject: Kalends:", "kalends@example.org", "could not be carried"] {
        assert!(mail.contains(part), "{part}\n{mail}");
    }
    noted(&served, "anna");
    // What it says changes, and two more come for somebody else: they go together, the first is not told again.
    raise(&served, "anna", &["“Lunch” could not be carried over, twice."]);
    raise(&served, "bert", &["One thing.", "Another thing."]);
    let mails = sink.wait(2);
    assert_eq!(mails.len(), 2, "{mails:?}");
    assert!(mails[1].contains("To: bert@example.org") && mails[1].contains("2 things"), "{}", mails[1]);
    assert!(mails[1].contains("One thing.") && mails[1].contains("Another thing."), "{}", mails[1]);
    noted(&served, "bert");
    // A third one comes later: it alone is told.
    let app = App { token: served.token("bert", "read").unwrap(), served };
    raise(&app.served, "bert", &["One thing.", "Another thing.", "A third one."]);
    sink.wait(3);
    assert!(
        sink.mails()[2].contains("A third one.") && !sink.mails()[2].contains("Another"),
        "{:?}",
        sink.mails()
    );
    let told = app.get("/notifications");
    assert_eq!(told["items"].as_array().unwrap().len(), 3, "{told}");
}

#[test]
fn a_mail_server_that_refuses_is_asked_again_and_a_restart_forgets_nothing() {
    let sink = Sink::start(Secure::Never);
    let mut served = served(&format!("smtp://{}", sink.address), &[]);
    sink.refuse(&["451 later\r\n", "421 not now\r\n"]);
    raise(&served, "anna", &["Something is wrong."]);
    assert_eq!(sink.wait(1).len(), 1);
    assert_eq!(sink.tried(), 3, "two refusals and one that was taken");
    sink.refuse(&["451 later\r\n"]);
    raise(&served, "bert", &["Something else is wrong."]);
    wait_for("another try", || sink.tried(), |tried| *tried >= 4);
    served.restart().unwrap();
    let mails = sink.wait(2);
    assert!(mails[1].contains("Something else is wrong."), "{mails:?}");
    // What was sent before the restart is not sent after it.
    raise(&served, "anna", &["Something is wrong.", "More is wrong."]);
    let mails = sink.wait(3);
    assert!(mails[2].contains("More is wrong.") && !mails[2].contains("Something"), "{}", mails[2]);
}

#[test]
fn mail_goes_over_tls_with_a_password_from_a_file() {
    let sink = Sink::start(Secure::FromTheBeginning);
    let folder = tempfile::tempdir().unwrap();
    let (secret, authority) = (folder.path().join("smtp"), folder.path().join("ca.pem"));
    let url = format!("smtps://post:geheim@localhost:{}", sink.address.port());
    std::fs::write(&secret, format!("{url}\n")).unwrap();
    std::fs::write(&authority, include_bytes!("sims/localhost.pem")).unwrap();
    let config = vec![
        format!("bridge.ca_file = {:?}", authority.display().to_string()),
        "[mail]".to_owned(),
        format!("smtp_url_file = {:?}", secret.display().to_string()),
        "from = \"kalends@example.org\"".to_owned(),
        "gather = \"1 s\"".to_owned(),
    ];
    let served = Served::start(&Setup { config, ..Setup::default() }).unwrap();
    raise(&served, "anna", &["Something is wrong."]);
    assert!(sink.wait(1)[0].contains("Something is wrong."));
    use base64::Engine as _;
    let plain = base64::engine::general_purpose::STANDARD.encode("\0post\0geheim");
    assert_eq!(*sink.letters.logins.lock().unwrap(), [format!("AUTH PLAIN {plain}")]);
    // A server that cannot prove who it is gets nothing: the same one, without the authority.
    let config = configured(&format!("smtps://post:geheim@127.0.0.1:{}", sink.address.port()));
    let stranger = Served::start(&Setup { config, ..Setup::default() }).unwrap();
    raise(&stranger, "anna", &["A secret."]);
    let admin = crate::operator::administrator(&stranger);
    let failed = || {
        let told = crate::operator::metrics(&stranger, &admin);
        crate::operator::value(&told, "kalends_mails_total{outcome=\"failed\"}")
    };
    wait_for("the count", failed, |count| count.is_some_and(|count| count >= 1.0));
    assert_eq!((sink.mails().len(), sink.letters.logins.lock().unwrap().len()), (1, 1));
}

/// A server that sends its mail there, and believes the sink's certificate if that is wished.
fn secured(url: &str, believes: bool) -> (Served, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let authority = folder.path().join("ca.pem");
    std::fs::write(&authority, include_bytes!("sims/localhost.pem")).unwrap();
    let line = format!("bridge.ca_file = {:?}", authority.display().to_string());
    let more = if believes { vec![line] } else { Vec::new() };
    (served(url, &more), folder)
}

/// Waits until a mail could not be handed over.
fn failed(served: &Served) {
    let admin = crate::operator::administrator(served);
    let count = || {
        let told = crate::operator::metrics(served, &admin);
        crate::operator::value(&told, "kalends_mails_total{outcome=\"failed\"}")
    };
    wait_for("the count", count, |count| count.is_some_and(|count| count >= 1.0));
}

// RFC 3207: nothing but STARTTLS is said before TLS, then name, password and mail go through it
#[test]
fn mail_goes_over_tls_that_begins_later() {
    let sink = Sink::start(Secure::OnDemand);
    let url = format!("smtp://post:geheim@localhost:{}/?tls=starttls", sink.address.port());
    let (served, _folder) = secured(&url, true);
    raise(&served, "anna", &["Something is wrong."]);
    assert!(sink.wait(1)[0].contains("Something is wrong."));
    assert_eq!(
        (sink.letters.logins.lock().unwrap().len(), *sink.letters.upgraded.lock().unwrap()),
        (1, (1, 1))
    );
}

// RFC 3207 §5, §6: a server that offers no TLS, or cannot prove who it is, gets neither the password nor the mail
#[test]
fn mail_goes_to_nobody_who_cannot_prove_who_they_are() {
    for (secure, believes) in [(Secure::Never, true), (Secure::OnDemand, false)] {
        let sink = Sink::start(secure);
        let url = format!("smtp://post:geheim@localhost:{}/?tls=starttls", sink.address.port());
        let (served, _folder) = secured(&url, believes);
        raise(&served, "anna", &["A secret."]);
        failed(&served);
        let letters = &sink.letters;
        assert_eq!(
            (sink.mails().len(), sink.tried(), letters.logins.lock().unwrap().len()),
            (0, 0, 0),
            "{secure:?}"
        );
        assert_eq!(letters.upgraded.lock().unwrap().1, 0, "{secure:?}");
    }
}

// At least once: a crash between handing a mail over and noting it sends it twice, under one name
#[test]
fn a_mail_that_comes_twice_bears_the_same_message_id() {
    let sink = Sink::start(Secure::Never);
    let mut served = served(&format!("smtp://{}", sink.address), &[]);
    *sink.letters.closed.lock().unwrap() = Some("451 later\r\n");
    raise(&served, "anna", &["Something is wrong.", "More is wrong."]);
    wait_for("a try", || sink.tried(), |tried| *tried >= 1);
    // All that is on the disk just before the mail is taken.
    let before = served.backup();
    *sink.letters.closed.lock().unwrap() = None;
    sink.wait(1);
    served.restore(&before);
    let [first, second] = &sink.wait(2)[..] else { panic!("two mails") };
    let id = |mail: &str| {
        let found = mail.lines().find(|line| line.to_ascii_lowercase().starts_with("message-id:"));
        found.unwrap_or_else(|| panic!("{mail}")).to_owned()
    };
    assert_eq!(id(first), id(second));
    assert!(id(first).contains("@example.org>"), "{first}");
    // Another notice is another mail.
    raise(&served, "anna", &["Something is wrong.", "More is wrong.", "Still more."]);
    assert_ne!(id(&sink.wait(3)[2]), id(first));
}

// S0-030: nobody is written to unless somebody set it up
#[test]
fn mail_wants_a_sender_and_a_server() {
    for (lines, word) in [
        (vec!["mail.smtp_url = \"smtp://127.0.0.1:25\""], "mail.from"),
        (vec!["mail.smtp_url = \"smtp://127.0.0.1:25\"", "mail.from = \"nobody\""], "mail.from"),
    ] {
        let config = lines.into_iter().map(str::to_owned).collect();
        let why = Served::start(&Setup { config, ..Setup::default() }).map(|_| ()).unwrap_err();
        assert!(why.contains(word), "{why}");
    }
}
