//! A receiver of webhooks in a few lines: keeps what came and answers as it is told.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use serde_json::Value;

use crate::push::signature;

/// A message as it came.
#[derive(Debug, Clone)]
pub(crate) struct Got {
    pub(crate) path: String,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: String,
}

impl Got {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    pub(crate) fn kind(&self) -> String {
        self.json()["type"].as_str().unwrap().to_owned()
    }

    pub(crate) fn id(&self) -> &str {
        &self.headers["webhook-id"]
    }

    /// How many of its signatures are made with this secret.
    pub(crate) fn signed(&self, secret: &str) -> usize {
        let at = self.headers["webhook-timestamp"].parse().unwrap();
        let right = signature(secret, self.id(), at, &self.body);
        self.headers["webhook-signature"].split(' ').filter(|one| *one == right).count()
    }
}

/// Status, further header lines and body.
pub(crate) type Said = (u16, String, String);

type Says = Box<dyn FnMut(&Got) -> Option<Said> + Send>;

struct Inner {
    log: Mutex<Vec<Got>>,
    says: Mutex<Says>,
}

pub(crate) struct Receiver {
    address: SocketAddr,
    inner: Arc<Inner>,
}

impl Receiver {
    /// One that takes everything.
    pub(crate) fn start() -> Receiver {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let says: Says = Box::new(|_| Some((204, String::new(), String::new())));
        let inner = Arc::new(Inner { log: Mutex::default(), says: Mutex::new(says) });
        let shared = Arc::clone(&inner);
        // The thread ends with the process; a test that is over asks nothing of it.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || serve(stream, &shared));
            }
        });
        Receiver { address, inner }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/in", self.address)
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    /// From now on it answers so; nothing: it hangs up.
    pub(crate) fn says(&self, says: impl FnMut(&Got) -> Option<Said> + Send + 'static) {
        *self.inner.says.lock().unwrap() = Box::new(says);
    }

    pub(crate) fn status(&self, status: u16) {
        self.says(move |_| Some((status, String::new(), "as told".into())));
    }

    pub(crate) fn log(&self) -> Vec<Got> {
        self.inner.log.lock().unwrap().clone()
    }

    pub(crate) fn forget(&self) {
        self.inner.log.lock().unwrap().clear();
    }

    /// The kinds of what came, in order.
    pub(crate) fn kinds(&self) -> Vec<String> {
        self.log().iter().map(Got::kind).collect()
    }

    /// What came of one kind.
    pub(crate) fn of(&self, kind: &str) -> Vec<Got> {
        self.log().into_iter().filter(|got| got.kind() == kind).collect()
    }
}

fn serve(mut stream: TcpStream, inner: &Inner) -> Option<()> {
    let mut input = Vec::new();
    let mut piece = [0u8; 4096];
    let end = loop {
        if let Some(at) = input.windows(4).position(|w| w == b"\r\n\r\n") {
            break at;
        }
        let n = stream.read(&mut piece).ok().filter(|n| *n > 0)?;
        input.extend_from_slice(&piece[..n]);
    };
    let head = String::from_utf8_lossy(&input[..end]).into_owned();
    let mut lines = head.lines();
    let path = lines.next()?.split(' ').nth(1)?.to_owned();
    let headers: BTreeMap<String, String> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_lowercase(), value.trim().to_owned()))
        .collect();
    let length: usize = headers.get("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
    let mut body = input[end + 4..].to_vec();
    while body.len() < length {
        let n = stream.read(&mut piece).ok().filter(|n| *n > 0)?;
        body.extend_from_slice(&piece[..n]);
    }
    let got = Got { path, headers, body: String::from_utf8_lossy(&body).into_owned() };
    let said = (inner.says.lock().unwrap())(&got);
    inner.log.lock().unwrap().push(got);
    let (status, more, body) = said?;
    let head = format!(
        "HTTP/1.1 {status} X\r\n{more}Content-Length: {}\r\nConnection: close\r\n\r\n",
        if status == 204 { 0 } else { body.len() }
    );
    stream.write_all(head.as_bytes()).ok()?;
    stream.write_all(body.as_bytes()).ok()
}
