//! HTTP/1.1 on a plain socket, so that a dialogue can say exactly what a client says, right or wrong.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

/// What came back.
#[derive(Debug, Clone, Default)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Response {
    /// Returns every value of the header.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        self.headers.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str()).collect()
    }

    /// Returns the whole answer for a person to read.
    pub(crate) fn show(&self) -> String {
        let mut text = format!("HTTP/1.1 {}\n", self.status);
        for (name, value) in &self.headers {
            text.push_str(&format!("{name}: {value}\n"));
        }
        text.push('\n');
        let body = String::from_utf8_lossy(&self.body);
        let shown: String = body.chars().take(20_000).collect();
        text.push_str(&shown);
        if shown.len() < body.len() {
            text.push_str(&format!("\n… {} bytes in all", self.body.len()));
        }
        text
    }
}

/// A request, down to the octets.
#[derive(Debug, Clone, Default)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Request {
    fn has(&self, name: &str) -> bool {
        self.headers.iter().any(|(n, _)| n.eq_ignore_ascii_case(name))
    }

    fn value(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }

    /// Returns the head and the body as they go out.
    fn octets(&self) -> (Vec<u8>, Vec<u8>) {
        let mut head = format!("{} {} HTTP/1.1\r\n", self.method, self.target);
        if !self.has("host") {
            head.push_str("Host: kalends.test\r\n");
        }
        head.push_str("Connection: close\r\n");
        for (name, value) in self.headers.iter().filter(|(_, value)| !value.is_empty()) {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        let chunked = self.value("transfer-encoding").is_some_and(|v| v.eq_ignore_ascii_case("chunked"));
        let mut body = Vec::new();
        if chunked {
            for piece in self.body.chunks(7_000) {
                body.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
                body.extend_from_slice(piece);
                body.extend_from_slice(b"\r\n");
            }
            body.extend_from_slice(b"0\r\n\r\n");
        } else {
            if !self.has("content-length") && (!self.body.is_empty() || self.method != "GET") {
                head.push_str(&format!("Content-Length: {}\r\n", self.body.len()));
            }
            body.clone_from(&self.body);
        }
        head.push_str("\r\n");
        (head.into_bytes(), body)
    }
}

/// Sends the request on a fresh connection and reads the answer to its end.
pub(crate) fn send(address: SocketAddr, request: &Request) -> Result<Response, String> {
    let broken = |what: &str, error: std::io::Error| format!("{what}: {error}");
    let mut stream = TcpStream::connect(address).map_err(|e| broken("connect", e))?;
    stream.set_read_timeout(Some(Duration::from_secs(60))).map_err(|e| broken("timeout", e))?;
    let (head, body) = request.octets();
    stream.write_all(&head).map_err(|e| broken("send the head", e))?;
    let mut input = Vec::new();
    if request.value("expect").is_some_and(|v| v.eq_ignore_ascii_case("100-continue")) {
        let interim = read_head(&mut stream, &mut input)?;
        if interim.status != 100 {
            return finish(&request.method, interim, input, &mut stream);
        }
    }
    // A server may answer and close before it has read everything (413): what it said still counts.
    let sent = stream.write_all(&body);
    let announced = request.value("content-length").and_then(|v| v.parse::<usize>().ok());
    if announced.is_some_and(|n| n > body.len()) {
        let _ = stream.shutdown(Shutdown::Write);
    }
    let mut response = read_head(&mut stream, &mut input)
        .map_err(|e| sent.err().map_or(e.clone(), |s| format!("{e} (sending: {s})")))?;
    while response.status == 100 {
        response = read_head(&mut stream, &mut input)?;
    }
    finish(&request.method, response, input, &mut stream)
}

fn read_head(stream: &mut TcpStream, input: &mut Vec<u8>) -> Result<Response, String> {
    loop {
        if let Some(end) = input.windows(4).position(|w| w == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&input[..end]).into_owned();
            input.drain(..end + 4);
            let mut lines = head.split("\r\n");
            let status_line = lines.next().unwrap_or_default();
            let status = status_line.split(' ').nth(1).and_then(|s| s.parse().ok());
            let status = status.ok_or_else(|| format!("no status in {status_line:?}"))?;
            let headers = lines
                .filter_map(|line| line.split_once(':'))
                .map(|(n, v)| (n.to_owned(), v.trim().to_owned()))
                .collect();
            return Ok(Response { status, headers, body: Vec::new() });
        }
        if fill(stream, input)? == 0 {
            return Err(format!(
                "the connection ended within the head of the answer ({} bytes)",
                input.len()
            ));
        }
    }
}

fn fill(stream: &mut TcpStream, input: &mut Vec<u8>) -> Result<usize, String> {
    let mut buffer = [0; 16_384];
    let n = loop {
        match stream.read(&mut buffer) {
            // A signal that has nothing to do with us.
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            read => break read.map_err(|e| format!("receive: {e}"))?,
        }
    };
    input.extend_from_slice(&buffer[..n]);
    Ok(n)
}

fn finish(
    method: &str,
    mut head: Response,
    mut input: Vec<u8>,
    stream: &mut TcpStream,
) -> Result<Response, String> {
    if method == "HEAD" || matches!(head.status, 204 | 304) {
        return if input.is_empty() { Ok(head) } else { Err("a body where none may be".into()) };
    }
    let chunked = head.all("transfer-encoding").iter().any(|v| v.eq_ignore_ascii_case("chunked"));
    if chunked {
        head.body = unchunk(&mut input, stream)?;
        return Ok(head);
    }
    let length = head.all("content-length").first().and_then(|v| v.parse::<usize>().ok());
    while length.is_none_or(|n| input.len() < n) {
        if fill(stream, &mut input)? == 0 {
            if length.is_some() {
                return Err(format!("the body was cut after {} bytes", input.len()));
            }
            break;
        }
    }
    head.body = input;
    Ok(head)
}

fn unchunk(input: &mut Vec<u8>, stream: &mut TcpStream) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    let mut at = 0;
    loop {
        let line = loop {
            match input[at..].windows(2).position(|w| w == b"\r\n") {
                Some(n) => break at + n,
                None if fill(stream, input)? == 0 => return Err("the chunked body was cut".into()),
                None => {}
            }
        };
        let size = String::from_utf8_lossy(&input[at..line]).into_owned();
        let size = usize::from_str_radix(size.split(';').next().unwrap_or_default().trim(), 16)
            .map_err(|_| format!("bad chunk size {size:?}"))?;
        at = line + 2;
        while input.len() < at + size + 2 {
            if fill(stream, input)? == 0 {
                return Err("the chunked body was cut".into());
            }
        }
        if size == 0 {
            return Ok(body);
        }
        body.extend_from_slice(&input[at..at + size]);
        at += size + 2;
    }
}
