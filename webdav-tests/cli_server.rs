//! The front of the house from outside: signing in, slow clients, discovery, draining.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use base64::Engine as _;

use crate::dialogue::{Host as _, Request, Response, send};
use crate::host::Served;

fn basic(user: &str, password: &str) -> (String, String) {
    let text = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
    ("Authorization".into(), format!("Basic {text}"))
}

fn ask(served: &Served, method: &str, target: &str, headers: Vec<(String, String)>, body: &[u8]) -> Response {
    let request = Request { method: method.into(), target: target.into(), headers, body: body.to_vec() };
    send(served.address(), &request).unwrap()
}

fn signed(served: &Served, user: &str, password: &str) -> u16 {
    ask(served, "OPTIONS", "/dav/", vec![basic(user, password)], b"").status
}

fn raw(served: &Served, text: &str) -> String {
    let mut stream = TcpStream::connect(served.address()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    stream.write_all(text.as_bytes()).unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn only_the_right_password_opens_and_the_challenge_is_basic() {
    let served = Served::plain();
    assert_eq!(signed(&served, "anna", "anna-secret"), 200);
    assert_eq!(signed(&served, "ANNA", "anna-secret"), 200);
    for (user, password) in
        [("anna", "bert-secret"), ("nobody", "x"), ("", "x"), ("anna", ""), ("a:b%/", "x")]
    {
        let answer = ask(&served, "PROPFIND", "/dav/", vec![basic(user, password)], b"");
        assert_eq!(answer.status, 401, "{user} {password}");
        assert_eq!(answer.all("www-authenticate"), ["Basic realm=\"Kalends\", charset=\"UTF-8\""]);
    }
    // Without credentials, of another scheme, or with empty ones: the same challenge.
    for headers in [vec![], vec![("Authorization".into(), "Negotiate abc".into())], vec![basic("", "")]] {
        let answer = ask(&served, "PROPFIND", "/dav/", headers, b"");
        assert_eq!((answer.status, answer.all("www-authenticate").len()), (401, 1));
    }
}

#[test]
fn passwords_beyond_ascii_arrive_in_both_encodings() {
    let served = Served::plain();
    let set = served.guard().set_password("anna", "Füße".into());
    served.runtime().block_on(set).unwrap();
    assert_eq!(signed(&served, "anna", "Füße"), 200);
    let latin: Vec<u8> = "anna:Füße".chars().map(|c| c as u8).collect();
    let text = base64::engine::general_purpose::STANDARD_NO_PAD.encode(latin);
    let headers = vec![("Authorization".into(), format!("basic {text}"))];
    assert_eq!(ask(&served, "OPTIONS", "/dav/", headers, b"").status, 200);
}

#[test]
fn what_is_changed_or_revoked_is_refused_at_once() {
    let served = Served::plain();
    let (guard, runtime) = (served.guard().clone(), served.runtime());
    // Twice, so that the second request is answered from the cache.
    for _ in 0..2 {
        assert_eq!(signed(&served, "anna", "anna-secret"), 200);
    }
    runtime.block_on(guard.set_password("anna", "another".into())).unwrap();
    assert_eq!(signed(&served, "anna", "anna-secret"), 401);
    assert_eq!(signed(&served, "anna", "another"), 200);

    let (kept, secret) = runtime.block_on(guard.add_app_password("anna", "phone")).unwrap();
    for _ in 0..2 {
        assert_eq!(signed(&served, "anna", &secret), 200);
    }
    assert_eq!(signed(&served, "anna", &secret.replace('-', "").to_uppercase()), 200);
    assert_eq!(signed(&served, "bert", &secret), 401);
    runtime.block_on(guard.revoke_app_password("anna", &kept.id)).unwrap();
    assert_eq!(signed(&served, "anna", &secret), 401);

    runtime.block_on(guard.remove_user("bert")).unwrap();
    assert_eq!(signed(&served, "bert", "bert-secret"), 401);
}

#[test]
fn tokens_are_limited_to_their_scopes() {
    use kalends::auth::{Scope, Scopes};
    let served = Served::plain();
    let (guard, runtime) = (served.guard().clone(), served.runtime());
    let token = |scope| {
        let (_, secret) =
            runtime.block_on(guard.add_token("anna", scope_name(scope), Scopes::from(vec![scope]))).unwrap();
        vec![("Authorization".to_owned(), format!("Bearer {secret}"))]
    };
    fn scope_name(scope: Scope) -> &'static str {
        scope.as_str()
    }
    let (read, events, bridges) = (token(Scope::Read), token(Scope::Events), token(Scope::Bridges));
    let put = |headers: &[(String, String)]| {
        ask(&served, "PUT", "/dav/files/anna/a.txt", headers.to_vec(), b"x").status
    };
    for _ in 0..2 {
        assert_eq!(ask(&served, "OPTIONS", "/dav/", read.clone(), b"").status, 200);
        assert_eq!(put(&read), 403);
        assert_eq!(ask(&served, "OPTIONS", "/dav/", bridges.clone(), b"").status, 403);
        assert_ne!(put(&events), 403);
    }
    runtime.block_on(guard.revoke_token("anna", "events")).unwrap();
    assert_eq!(put(&events), 401);
    assert_eq!(ask(&served, "OPTIONS", "/dav/", read, b"").status, 200);
}

#[test]
fn failures_are_slowed_but_the_right_password_is_not() {
    let served = Served::plain();
    let begun = Instant::now();
    for _ in 0..5 {
        assert_eq!(signed(&served, "anna", "wrong"), 401);
    }
    let slowed = begun.elapsed();
    assert!(slowed >= Duration::from_millis(1500), "{slowed:?}");
    let begun = Instant::now();
    assert_eq!(signed(&served, "anna", "anna-secret"), 200);
    assert_eq!(signed(&served, "bert", "bert-secret"), 200);
    assert!(begun.elapsed() < slowed, "{:?} {slowed:?}", begun.elapsed());
    // So many at a time that the next one is not even looked at. A guesser does not wait for an answer.
    let guess = |n: usize| {
        let (name, value) = basic("bert", &format!("guess {n}"));
        let mut stream = TcpStream::connect(served.address()).unwrap();
        let head = format!("OPTIONS /dav/ HTTP/1.1\r\nHost: x\r\n{name}: {value}\r\n\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        stream
    };
    let waiting: Vec<TcpStream> = (0..24).map(guess).collect();
    let until = Instant::now() + Duration::from_secs(20);
    let answer = (24..)
        .map(|n| {
            assert!(Instant::now() < until, "nothing is refused");
            let mut stream = guess(n);
            stream.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
            let mut answer = vec![0; 400];
            let read = stream.read(&mut answer).unwrap_or(0);
            String::from_utf8_lossy(&answer[..read]).into_owned()
        })
        .find(|answer| !answer.is_empty() && !answer.starts_with("HTTP/1.1 401"))
        .unwrap();
    assert!(answer.starts_with("HTTP/1.1 429") && answer.contains("retry-after: "), "{answer}");
    drop(waiting);
    // Verified before: not asked again. Another account: not concerned.
    assert_eq!(signed(&served, "bert", "bert-secret"), 200);
    assert_eq!(signed(&served, "anna", "anna-secret"), 200);
}

// An unknown account must not be told apart from a wrong password by the time.
#[test]
fn unknown_users_take_as_long_as_wrong_passwords() {
    let setup = crate::dialogue::Setup {
        users: vec![],
        config: vec!["server.trusted_proxies = [\"127.0.0.1\"]".into()],
    };
    let served = Served::start(&setup).unwrap();
    let time = |name: &str, n: usize| {
        // From another address each time, or the failures would be slowed.
        let from = ("X-Forwarded-For".to_owned(), format!("198.51.100.{n}"));
        let begun = Instant::now();
        let answer = ask(&served, "OPTIONS", "/dav/", vec![basic(name, &format!("wrong {n}")), from], b"");
        assert_eq!(answer.status, 401);
        begun.elapsed()
    };
    time("nobody", 200);
    // In turns, and the quickest of many: whatever else the machine does, it does to both. On a busy machine it takes
    // more turns until each was left alone once; a name that is not hashed for stays apart however often it is asked.
    let (mut known, mut unknown) = (Duration::MAX, Duration::MAX);
    let mut alike = false;
    for n in 0..90 {
        known = known.min(time("anna", n));
        unknown = unknown.min(time("nobody", n));
        alike = (0.6..1.7).contains(&(known.as_secs_f64() / unknown.as_secs_f64()));
        if alike && n >= 14 {
            break;
        }
    }
    assert!(alike, "{known:?} {unknown:?}");
}

// S4-091: health is told to everybody
#[test]
fn the_front_page_health_and_discovery_need_no_sign_in() {
    let served = Served::plain();
    let page = ask(&served, "GET", "/", vec![], b"");
    assert_eq!(page.status, 200);
    assert!(String::from_utf8_lossy(&page.body).contains("/dav/"));
    assert_eq!(ask(&served, "GET", "/health", vec![], b"").status, 200);
    assert_eq!(ask(&served, "GET", "/ready", vec![], b"").status, 200);
    assert_eq!(ask(&served, "GET", "/nothing", vec![], b"").status, 404);
    for method in ["GET", "HEAD", "OPTIONS", "PROPFIND", "PUT"] {
        let answer = ask(&served, method, "/.well-known/caldav", vec![], b"");
        assert_eq!((answer.status, answer.all("location")), (301, vec!["/dav/"]), "{method}");
    }
    assert_eq!(ask(&served, "PROPFIND", "/", vec![], b"").status, 401);
    assert_eq!(ask(&served, "PROPFIND", "/principals/", vec![], b"").status, 401);
}

#[test]
fn a_path_prefix_of_a_proxy_is_honoured_with_and_without_it() {
    let setup = crate::dialogue::Setup {
        users: vec![],
        config: vec!["server.base_url = \"https://cal.example.org/k\"".into()],
    };
    let served = Served::start(&setup).unwrap();
    for path in ["/k/.well-known/caldav", "/.well-known/caldav"] {
        let answer = ask(&served, "PROPFIND", path, vec![], b"");
        assert_eq!((answer.status, answer.all("location")), (301, vec!["/k/dav/"]), "{path}");
    }
    assert_eq!(ask(&served, "GET", "/k/health", vec![], b"").status, 200);
    assert_eq!(ask(&served, "GET", "/kk/health", vec![], b"").status, 404);
}

#[test]
fn a_client_that_sends_its_head_too_slowly_is_cut_off() {
    let served = Served::plain();
    let mut silent = TcpStream::connect(served.address()).unwrap();
    let mut slow = TcpStream::connect(served.address()).unwrap();
    slow.write_all(b"GET /health HTTP/1.1\r\nHost: x\r\nX-A: ").unwrap();
    let begun = Instant::now();
    for stream in [&mut silent, &mut slow] {
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
    }
    let took = begun.elapsed();
    assert!(took > Duration::from_secs(5) && took < Duration::from_secs(20), "{took:?}");
    assert_eq!(ask(&served, "GET", "/health", vec![], b"").status, 200);
}

#[test]
fn a_body_that_stops_coming_is_given_up_and_nothing_is_stored() {
    let served = Served::plain();
    let (name, value) = basic("anna", "anna-secret");
    let mut stream = TcpStream::connect(served.address()).unwrap();
    let target = "/dav/files/anna/half.txt";
    let head =
        format!("PUT {target} HTTP/1.1\r\nHost: x\r\n{name}: {value}\r\nContent-Length: 100\r\n\r\nab");
    let begun = Instant::now();
    stream.write_all(head.as_bytes()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    assert!(begun.elapsed() > Duration::from_secs(15), "{answer}");
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    assert_eq!(ask(&served, "GET", target, vec![basic("anna", "anna-secret")], b"").status, 404);
}

#[test]
fn a_head_that_is_too_large_is_refused() {
    let served = Served::plain();
    let answer =
        raw(&served, &format!("GET /health HTTP/1.1\r\nHost: x\r\nX-A: {}\r\n\r\n", "a".repeat(80 << 10)));
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
}

// The client is still sending when it is refused: it must read 401, not a reset connection.
#[test]
fn an_upload_without_credentials_hears_why_it_is_refused() {
    let served = Served::plain();
    let answer = ask(&served, "PUT", "/dav/files/anna/big", vec![], &vec![b'x'; 8 << 20]);
    assert_eq!(answer.status, 401);
    // and one that asks first is told before it sends.
    let asks = vec![("Expect".into(), "100-continue".into())];
    assert_eq!(ask(&served, "PUT", "/dav/files/anna/big", asks, &vec![b'x'; 1 << 20]).status, 401);
}

#[test]
fn a_connection_is_used_again_after_a_refusal_with_a_body() {
    let served = Served::plain();
    let one = "PROPFIND /dav/ HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello";
    let two = "GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let answer = raw(&served, &format!("{one}{two}"));
    assert!(answer.starts_with("HTTP/1.1 401") && answer.contains("alive"), "{answer}");
}

#[test]
fn http2_with_prior_knowledge_is_spoken() {
    let served = Served::plain();
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder().http2_prior_knowledge().build().unwrap();
    let url = format!("http://{}/dav/", served.address());
    let (status, version) = served.runtime().block_on(async {
        let request = client.request(reqwest::Method::OPTIONS, url).basic_auth("anna", Some("anna-secret"));
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.version())
    });
    assert_eq!((status, version), (200, reqwest::Version::HTTP_2));
}

#[test]
fn a_trusted_proxy_says_who_is_slowed() {
    let setup = crate::dialogue::Setup {
        users: vec![],
        config: vec!["server.trusted_proxies = [\"127.0.0.1\"]".into()],
    };
    let served = Served::start(&setup).unwrap();
    let guess = |from: &dyn Fn(u8) -> u8| {
        let begun = Instant::now();
        for n in 0..6 {
            let from = format!("198.51.100.{}", from(n));
            let headers = vec![basic("anna", "wrong"), ("X-Forwarded-For".into(), from)];
            assert_eq!(ask(&served, "OPTIONS", "/dav/", headers, b"").status, 401);
        }
        begun.elapsed()
    };
    let (six, one) = (guess(&|n| n), guess(&|_| 99));
    assert!(six < one, "six addresses are not one: {six:?} {one:?}");
}

#[test]
fn running_requests_end_before_the_server_does() {
    let mut served = Served::plain();
    let address = served.address();
    let (user, secret) = basic("anna", "anna-secret");
    let slow = std::thread::spawn(move || {
        let mut stream = TcpStream::connect(address).unwrap();
        let head = format!(
            "PUT /dav/files/anna/slow.txt HTTP/1.1\r\nHost: x\r\n{user}: {secret}\r\nContent-Length: 4\r\n\r\n"
        );
        stream.write_all(format!("{head}ab").as_bytes()).unwrap();
        std::thread::sleep(Duration::from_millis(1500));
        stream.write_all(b"cd").unwrap();
        let mut answer = String::new();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let _ = stream.read_to_string(&mut answer);
        answer
    });
    std::thread::sleep(Duration::from_millis(500));
    let begun = Instant::now();
    served.restart().unwrap();
    assert!(begun.elapsed() < Duration::from_secs(10));
    let answer = slow.join().unwrap();
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    let read = ask(&served, "GET", "/dav/files/anna/slow.txt", vec![basic("anna", "anna-secret")], b"");
    assert_eq!((read.status, read.body.as_slice()), (200, &b"abcd"[..]));
}

#[test]
fn more_connections_than_configured_wait_for_their_turn() {
    let setup = crate::dialogue::Setup { users: vec![], config: vec!["server.connections = 1".into()] };
    let served = Served::start(&setup).unwrap();
    let first = TcpStream::connect(served.address()).unwrap();
    std::thread::sleep(Duration::from_millis(200));
    let mut second = TcpStream::connect(served.address()).unwrap();
    second.write_all(b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    second.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    let mut answer = [0; 12];
    assert!(second.read_exact(&mut answer).is_err(), "one at a time");
    drop(first);
    second.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    second.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
}

#[test]
fn connections_that_ask_nothing_do_not_hold_up_the_end() {
    let mut served = Served::plain();
    let silent = TcpStream::connect(served.address()).unwrap();
    let mut idle = TcpStream::connect(served.address()).unwrap();
    idle.write_all(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut answer = [0; 12];
    idle.read_exact(&mut answer).unwrap();
    std::thread::sleep(Duration::from_millis(100));
    let begun = Instant::now();
    served.stop();
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    drop((silent, idle));
}

// a store that fails is never told as a wrong password, and whoever was verified before is verified anew.
#[test]
fn an_account_that_cannot_be_read_is_an_outage() {
    use kalends::store::{Commit, Key, Op, Origin, Table};
    let served = Served::plain();
    assert_eq!(signed(&served, "anna", "anna-secret"), 200);
    let house = served.guard().house();
    let garbage = Op::PutRecord(Key::new(Table::Principal, "anna"), "{garbage".into());
    let commit = Commit::new(Origin::System, house.clock.now()).op(garbage);
    served.runtime().block_on(house.store.commit(commit)).unwrap();
    // The commit did not come through the guard: it hears of it from the store, a moment later.
    let soon = Instant::now() + Duration::from_secs(5);
    let answer = loop {
        let answer = ask(&served, "OPTIONS", "/dav/", vec![basic("anna", "anna-secret")], b"");
        if answer.status != 200 || Instant::now() > soon {
            break answer;
        }
    };
    assert_eq!((answer.status, answer.all("retry-after").len()), (503, 1), "{}", answer.show());
    assert!(answer.all("www-authenticate").is_empty());
    assert_eq!(signed(&served, "bert", "bert-secret"), 200);
}
