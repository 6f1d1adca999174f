#!/usr/bin/env python3
"""Webhooks as the public library of Standard Webhooks sees them, and the receivers of docs/webhooks.md, run as they stand there.

Starts its own server (KALENDS_BIN) on a free port and a temporary folder; KALENDS_NODE is a folder with the npm packages.
"""
import datetime
import http.server
import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request

from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from common import ROOT, Dav, Steps, event, scratch, wait_for

BINARY = pathlib.Path(os.environ.get("KALENDS_BIN", ROOT / "target" / "debug" / "kalends")).resolve()
PASSWORD = "a-long-enough-secret"
WRONG = "whsec_" + "A" * 43 + "="


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Receiver:
    """Keeps what comes; answers what it is told to, by default that it has it."""

    def __init__(self):
        self.got, self.answers = [], []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                outer.got.append((dict(self.headers), body))
                self.send_response(outer.answers.pop(0) if outer.answers else 204)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def kinds(self):
        return [json.loads(body)["type"] for _, body in self.got]


def refused(secret, headers, body):
    try:
        Webhook(secret).verify(body, headers)
    except WebhookVerificationError:
        return True
    return False


def ids(got):
    return [{name.lower(): value for name, value in headers.items()}["webhook-id"] for headers, _ in got]


class Story:
    def __init__(self):
        self.folder = scratch("webhooks")
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.environment = {key: value for key, value in os.environ.items() if not key.startswith("KALENDS_")}
        self.environment["KALENDS_SERVER__LISTEN"] = f"127.0.0.1:{self.port}"
        self.environment["KALENDS_BRIDGE__ALLOW_PRIVATE"] = "true"
        self.processes = []
        self.dav = Dav(self.url, "anna", PASSWORD)
        self.receiver = Receiver()

    def kalends(self, *arguments, given=None):
        done = subprocess.run(
            [BINARY, *arguments], input=given, text=True, env=self.environment, cwd=self.folder, capture_output=True, timeout=60
        )
        assert done.returncode == 0, f"kalends {' '.join(arguments)}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout.strip()

    def background(self, command, name, **more):
        with open(self.folder / f"{name}.log", "wb") as out:
            environment = {**self.environment, **more}
            process = subprocess.Popen(command, env=environment, cwd=self.folder, stdout=out, stderr=out)
        self.processes.append(process)
        return process

    def end(self):
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            process.wait(20)
        shutil.rmtree(self.folder, ignore_errors=True)

    def api(self, method, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        request = urllib.request.Request(f"{self.url}/api/v1{path}", data, headers, method=method)
        with urllib.request.urlopen(request, timeout=60) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    # ---- steps

    def start(self):
        self.kalends("user", "add", "anna", "--password-stdin", given=PASSWORD + "\n")
        scopes = [part for scope in ("read", "events", "bookings") for part in ("--scope", scope)]
        self.token = self.kalends("token", "add", "anna", "test", *scopes).split()[-1]
        self.background([BINARY, "serve"], "server")

        def up():
            try:
                return urllib.request.urlopen(self.url + "/ready", timeout=5).status == 200
            except OSError:
                return False

        wait_for("the server", up)
        self.home = self.dav.home()
        self.calendar = next(c for c in self.api("GET", "/calendars")["items"] if c["name"] == "calendar")["id"]

    def subscribe(self):
        self.hook = self.api("POST", "/webhooks", {"url": self.receiver.url, "events": ["event.*", "booking.*"]})
        self.secret = self.hook["secret"]

    def verified(self):
        """Every message of a day is what the library accepts, and only as it came and with the right secret."""
        self.dav.expect(201, "PUT", f"{self.home}calendar/a.ics", event("a@x", "Lunch"))
        self.api("PATCH", f"/calendars/{self.calendar}/events/a%40x", {"title": "Grüße — 昼食"})
        day = (datetime.date.today() + datetime.timedelta(days=30)).isoformat()
        wish = {"start": f"{day}T09:00:00Z", "duration": "PT30M", "customer": {"name": "Eva Example"}}
        booking = self.api("POST", "/bookings", wish)
        self.api("DELETE", f"/bookings/{booking['id']}")
        self.dav.expect(204, "DELETE", f"{self.home}calendar/a.ics")
        wait_for("the messages", lambda: {"event.deleted", "booking.cancelled"} <= set(self.receiver.kinds()))
        for headers, body in self.receiver.got:
            message = Webhook(self.secret).verify(body, headers)
            assert message["webhook"] == self.hook["id"], message
            assert refused(WRONG, headers, body), "another secret"
            assert refused(self.secret, headers, body.replace(b"e", b"f", 1)), "another body"
            for name in list(headers):
                if name.lower() == "webhook-id":
                    assert refused(self.secret, {**headers, name: "msg_other"}, body), "another id"
                if name.lower() == "webhook-timestamp":
                    assert refused(self.secret, {**headers, name: str(int(headers[name]) - 1)}, body), "another time"
        sequence = [json.loads(body)["sequence"] for _, body in self.receiver.got]
        assert sequence == list(range(1, len(sequence) + 1)), sequence

    def again(self):
        """A retry has the id of the first try and a signature of its own; what follows waits for it."""
        self.receiver.got.clear()
        self.receiver.answers = [500]
        for name in ("b", "c"):
            self.dav.expect(201, "PUT", f"{self.home}calendar/{name}.ics", event(f"{name}@x", name))
        wait_for("both", lambda: len(self.receiver.got) == 3)
        found = ids(self.receiver.got)
        assert found[0] == found[1] != found[2], found
        for headers, body in self.receiver.got:
            Webhook(self.secret).verify(body, headers)

    def rotated(self):
        """While both secrets hold, each of them verifies; then only the new one."""
        path = f"/webhooks/{self.hook['id']}"
        old, self.secret = self.secret, self.api("POST", f"{path}/rotate-secret", {"keep_old_for": "PT1H"})["secret"]
        self.receiver.got.clear()
        self.dav.expect(201, "PUT", f"{self.home}calendar/d.ics", event("d@x", "d"))
        wait_for("the message", lambda: self.receiver.got)
        headers, body = self.receiver.got[0]
        for secret in (old, self.secret):
            Webhook(secret).verify(body, headers)
        assert refused(WRONG, headers, body)
        older, self.secret = self.secret, self.api("POST", f"{path}/rotate-secret", {"keep_old_for": "PT0S"})["secret"]
        assert self.api("POST", f"{path}/test")["ok"]
        headers, body = self.receiver.got[-1]
        Webhook(self.secret).verify(body, headers)
        assert refused(old, headers, body) and refused(older, headers, body)

    def example(self, language, command, build=None):
        """The receiver of the page takes what is signed and nothing else, each message once."""
        page = (ROOT / "docs" / "webhooks.md").read_text()
        code = re.search(rf"```{language}\n(.*?)```", page, re.S)[1]
        file = self.folder / f"receiver.{'py' if language == 'python' else 'mts'}"
        file.write_text(code)
        if build:
            done = subprocess.run(build, cwd=self.folder, capture_output=True, text=True, timeout=120)
            assert done.returncode == 0, done.stdout + done.stderr
        port = free_port()
        url = f"http://127.0.0.1:{port}/"
        hook = self.api("POST", "/webhooks", {"url": url, "events": ["event.created"]})
        self.background(command, language, WEBHOOK_SECRET=hook["secret"], PORT=str(port), PYTHONUNBUFFERED="1")
        path = f"/webhooks/{hook['id']}"
        wait_for("the receiver", lambda: self.api("POST", f"{path}/test")["ok"])
        self.dav.expect(201, "PUT", f"{self.home}calendar/{language}.ics", event(f"{language}@x", "x"))
        log = self.folder / f"{language}.log"
        wait_for("the message", lambda: "1 event.created" in log.read_text())
        wait_for("its log", lambda: self.api("GET", f"{path}/deliveries/1")["status"] == "delivered")
        again = self.api("POST", f"{path}/deliveries/1/redeliver")
        assert again["attempts"][-1]["status"] == 204, again
        assert log.read_text().count("1 event.created") == 1, log.read_text()
        forged = urllib.request.Request(url, b"{}", {
            "Content-Type": "application/json", "webhook-id": "msg_1", "webhook-timestamp": "1", "webhook-signature": "v1,AAAA"})
        try:
            urllib.request.urlopen(forged, timeout=30)
            raise AssertionError("a forged message was taken")
        except urllib.error.HTTPError as error:
            assert error.code == 401, error.code
        self.api("DELETE", path)


def main():
    steps, story = Steps("webhooks"), Story()
    node = pathlib.Path(os.environ["KALENDS_NODE"])
    types = ["--strict", "--target", "es2022", "--module", "nodenext", "--skipLibCheck", "--types", "node"]
    compiler = ["node", node / "node_modules" / "typescript" / "bin" / "tsc", *types, "receiver.mts"]
    try:
        steps.step("a server with webhooks", story.start, needed=True)
        steps.step("a subscription", story.subscribe, needed=True)
        steps.step("the library verifies every message", story.verified)
        steps.step("a retry keeps the id and the order", story.again)
        steps.step("two secrets during an exchange, one after it", story.rotated)
        steps.step("the receiver in Python", lambda: story.example("python", [sys.executable, "receiver.py"]))
        (story.folder / "node_modules").symlink_to(node / "node_modules")
        steps.step("the receiver in TypeScript", lambda: story.example("ts", ["node", "receiver.mjs"], compiler))
    finally:
        story.end()
    steps.done()


if __name__ == "__main__":
    main()
