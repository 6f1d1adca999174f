//! A proxy in front of a far side that misbehaves on request and remembers what passed.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use crate::dialogue::{Request, Response, send};

/// Decides what becomes of a request; nothing: it is passed on.
pub(crate) type Fault = Box<dyn Fn(&Request) -> Option<Bad> + Send>;

/// How the proxy misbehaves.
#[derive(Debug, Clone)]
pub(crate) enum Bad {
    /// It answers by itself.
    Answer(u16, Vec<(String, String)>, String),
    /// It passes the request on and closes the connection without an answer.
    Swallow,
    /// It passes the request on and sends this many bytes of the answer's body.
    Cut(usize),
    /// It passes the request on and leaves this header out of the answer.
    Without(String),
}

struct Inside {
    fault: Mutex<Option<Fault>>,
    seen: Mutex<Vec<String>>,
    stop: AtomicBool,
}

pub(crate) struct Proxy {
    address: SocketAddr,
    inside: Arc<Inside>,
}

impl Proxy {
    pub(crate) fn before(to: SocketAddr) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let inside = Arc::new(Inside {
            fault: Mutex::new(None),
            seen: Mutex::new(Vec::new()),
            stop: AtomicBool::new(false),
        });
        let shared = Arc::clone(&inside);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if shared.stop.load(Ordering::Relaxed) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || serve(stream, to, &shared));
            }
        });
        Proxy { address, inside }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// From now on this happens.
    pub(crate) fn fault(&self, fault: impl Fn(&Request) -> Option<Bad> + Send + 'static) {
        *self.inside.fault.lock().unwrap() = Some(Box::new(fault));
    }

    /// From now on all goes well.
    pub(crate) fn well(&self) {
        *self.inside.fault.lock().unwrap() = None;
    }

    /// Takes what passed since the last time: `METHOD path`.
    pub(crate) fn seen(&self) -> Vec<String> {
        std::mem::take(&mut self.inside.seen.lock().unwrap())
    }

    /// Takes the writes among it.
    pub(crate) fn writes(&self) -> Vec<String> {
        let changing = |line: &String| line.starts_with("PUT ") || line.starts_with("DELETE ");
        self.seen().into_iter().filter(changing).collect()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.inside.stop.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.address);
    }
}

fn serve(mut stream: TcpStream, to: SocketAddr, inside: &Inside) {
    let Some(request) = read(&mut stream) else { return };
    inside.seen.lock().unwrap().push(format!("{} {}", request.method, request.target));
    let bad = inside.fault.lock().unwrap().as_ref().and_then(|fault| fault(&request));
    if let Some(Bad::Answer(status, headers, body)) = bad {
        write(&mut stream, &Response { status, headers, body: body.into_bytes() }, usize::MAX);
        return;
    }
    let Ok(mut response) = send(to, &request) else { return };
    match bad {
        None | Some(Bad::Answer(..)) => write(&mut stream, &response, usize::MAX),
        Some(Bad::Swallow) => {}
        Some(Bad::Cut(at)) => write(&mut stream, &response, at),
        Some(Bad::Without(header)) => {
            response.headers.retain(|(name, _)| !name.eq_ignore_ascii_case(&header));
            write(&mut stream, &response, usize::MAX);
        }
    }
}

fn read(stream: &mut TcpStream) -> Option<Request> {
    let mut input = Vec::new();
    let mut buffer = [0; 16_384];
    let end = loop {
        if let Some(end) = input.windows(4).position(|w| w == b"\r\n\r\n") {
            break end;
        }
        match stream.read(&mut buffer) {
            Ok(n) if n > 0 => input.extend_from_slice(&buffer[..n]),
            _ => return None,
        }
    };
    let head = String::from_utf8_lossy(&input[..end]).into_owned();
    let mut body = input.split_off(end + 4);
    let mut lines = head.split("\r\n");
    let mut first = lines.next()?.split(' ');
    let (method, target) = (first.next()?.to_owned(), first.next()?.to_owned());
    let headers: Vec<(String, String)> =
        lines.filter_map(|l| l.split_once(':')).map(|(n, v)| (n.to_owned(), v.trim().to_owned())).collect();
    let length = headers.iter().find(|(n, _)| n.eq_ignore_ascii_case("content-length"));
    let length: usize = length.and_then(|(_, v)| v.parse().ok()).unwrap_or(0);
    while body.len() < length {
        match stream.read(&mut buffer) {
            Ok(n) if n > 0 => body.extend_from_slice(&buffer[..n]),
            _ => return None,
        }
    }
    let hop = ["connection", "content-length", "accept-encoding"];
    let headers =
        headers.into_iter().filter(|(n, _)| !hop.contains(&n.to_ascii_lowercase().as_str())).collect();
    Some(Request { method, target, headers, body })
}

fn write(stream: &mut TcpStream, response: &Response, at_most: usize) {
    let mut head = format!("HTTP/1.1 {} Said\r\n", response.status);
    let hop = ["connection", "content-length", "transfer-encoding"];
    for (name, value) in
        response.headers.iter().filter(|(n, _)| !hop.contains(&n.to_ascii_lowercase().as_str()))
    {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str(&format!("Content-Length: {}\r\nConnection: close\r\n\r\n", response.body.len()));
    let _ = stream.write_all(head.as_bytes());
    let _ = stream.write_all(&response.body[..response.body.len().min(at_most)]);
}
