"""A small HTTP client on plain sockets, and wrk. The client adds as little time of its own as Python allows."""
import base64
import pathlib
import re
import socket
import subprocess

HERE = pathlib.Path(__file__).resolve().parent


class Answer:
    __slots__ = ("status", "head", "body")

    def __init__(self, status, head, body):
        self.status, self.head, self.body = status, head, body

    @property
    def text(self):
        return self.body.decode("utf-8", "replace")


class Wire:
    """One connection, kept open while the server allows it."""

    def __init__(self, port, user, password, timeout=120):
        self.port, self.timeout, self.socket = port, timeout, None
        token = base64.b64encode(f"{user}:{password}".encode()).decode()
        self.fixed = f"Host: 127.0.0.1:{port}\r\nAuthorization: Basic {token}\r\n"

    def close(self):
        if self.socket:
            self.socket.close()
            self.socket = None

    def ask(self, method, path, body=b"", headers=""):
        body = body.encode() if isinstance(body, str) else body
        kind = "text/calendar" if method == "PUT" else "application/xml"
        length = f"Content-Type: {kind}\r\nContent-Length: {len(body)}\r\n" if body or method in ("PUT", "POST") else ""
        message = f"{method} {path} HTTP/1.1\r\n{self.fixed}{length}{headers}\r\n".encode() + body
        for attempt in (1, 2):
            old = self.socket is not None
            try:
                if not old:
                    self.socket = socket.create_connection(("127.0.0.1", self.port), timeout=self.timeout)
                    self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self.socket.sendall(message)
                return self.read()
            except (ConnectionError, EOFError):
                self.close()
                if attempt == 2 or not old:  # a kept connection may have been closed meanwhile
                    raise
        return None

    def read(self):
        data = self.socket.recv(262144)
        if not data:
            raise EOFError("closed before the answer")
        while b"\r\n\r\n" not in data:
            more = self.socket.recv(262144)
            if not more:
                raise EOFError("closed inside the head")
            data += more
        head, _, body = data.partition(b"\r\n\r\n")
        head = head.decode("latin-1")
        status = int(head[9:12])
        lower = head.lower()
        keep = lower.startswith("http/1.1") and "connection: close" not in lower
        length = re.search(r"\r\ncontent-length: *(\d+)", lower)
        if "transfer-encoding: chunked" in lower:
            body = self.chunks(body)
        elif length or status in (204, 304):
            parts, have, wanted = [body], len(body), int(length[1]) if length else 0
            while have < wanted:
                more = self.socket.recv(1 << 20)
                if not more:
                    raise EOFError("closed inside the body")
                parts.append(more)
                have += len(more)
            body = b"".join(parts)
        else:
            parts = [body]
            while more := self.socket.recv(1 << 20):
                parts.append(more)
            body, keep = b"".join(parts), False
        if not keep:
            self.close()
        return Answer(status, head, body)

    def chunks(self, data):
        data, out, at = bytearray(data), [], 0
        while True:
            end = data.find(b"\r\n", at)
            if end >= 0:
                size = int(data[at:end].split(b";")[0], 16)
                if len(data) >= end + 2 + size + 2:
                    out.append(bytes(data[end + 2 : end + 2 + size]))
                    at = end + 2 + size + 2
                    if size == 0:
                        return b"".join(out)
                    continue
            more = self.socket.recv(1 << 20)
            if not more:
                raise EOFError("closed inside a chunk")
            data = data[at:] + more
            at = 0


def wrk(script, port, path, seconds, connections, user, password, arguments):
    """(answers a second, good ones in all, bad ones). The scripts print how many answers were not what they should be."""
    token = base64.b64encode(f"{user}:{password}".encode()).decode()
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "30s", "-s", str(HERE / script)]
    command += [f"http://127.0.0.1:{port}", "--", path, token, *[str(argument) for argument in arguments]]
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 120, check=False)
    found = re.search(r"answers=(\d+) bad=(\d+) micros=(\d+)", done.stdout)
    if not found:
        raise RuntimeError(f"wrk: {done.stdout}{done.stderr}")
    answers, bad, micros = (int(group) for group in found.groups())
    good = answers - bad
    return good / (micros / 1e6), good, bad
