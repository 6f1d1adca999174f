#!/usr/bin/env python3
"""What the README shows, done: the first minute from an empty folder, and a calendar bridged with a real Radicale.

Starts its own server (KALENDS_BIN) and its own Radicale (KALENDS_PYTHON), both on free ports and temporary folders.
"""
import datetime
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request

import common
from common import ROOT, TOOLS, Dav, Steps, scratch, wait_for

BINARY = pathlib.Path(os.environ.get("KALENDS_BIN", ROOT / "target" / "debug" / "kalends")).resolve()
PYTHON = os.environ.get("KALENDS_PYTHON", str(TOOLS / "venv" / "bin" / "python"))
PASSWORD = "a-long-enough-secret"


def event(uid, title):
    """Next week: a mapping looks 30 days back and a year ahead."""
    day = (datetime.date.today() + datetime.timedelta(days=7)).strftime("%Y%m%d")
    return common.event(uid, title, f"{day}T090000Z", f"{day}T100000Z")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Story:
    def __init__(self):
        self.folder = scratch("readme")
        self.port, self.far_port = free_port(), free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.environment = {key: value for key, value in os.environ.items() if not key.startswith("KALENDS_")}
        self.environment["KALENDS_SERVER__LISTEN"] = f"127.0.0.1:{self.port}"
        self.environment["KALENDS_BRIDGE__ALLOW_PRIVATE"] = "true"
        self.processes = []
        self.dav = Dav(self.url, "anna", PASSWORD)
        self.far = Dav(f"http://127.0.0.1:{self.far_port}", "anna", "far-secret")

    def kalends(self, *arguments, given=None):
        done = subprocess.run(
            [BINARY, *arguments], input=given, text=True, env=self.environment, cwd=self.folder, capture_output=True, timeout=60
        )
        assert done.returncode == 0, f"kalends {' '.join(arguments)}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout.strip()

    def background(self, command, name):
        with open(self.folder / f"{name}.log", "wb") as out:
            process = subprocess.Popen(command, env=self.environment, cwd=self.folder, stdout=out, stderr=out)
        self.processes.append(process)
        return process

    def api(self, path, body=None, method=None):
        request = urllib.request.Request(f"{self.url}/api/v1/{path}", method=method, data=body and json.dumps(body).encode())
        request.add_header("Authorization", f"Bearer {self.token}")
        request.add_header("Content-Type", "application/json")
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.loads(answer.read() or b"null")

    # The first minute.

    def add_user(self):
        out = self.kalends("user", "add", "anna", "--email", "anna@example.org", "--password-stdin", given=PASSWORD + "\n")
        assert "anna" in out, out

    def serve(self):
        self.server = self.background([BINARY], "kalends")

        def ready():
            assert self.server.poll() is None, (self.folder / "kalends.log").read_text()
            try:
                return urllib.request.urlopen(self.url + "/ready", timeout=5).status == 200
            except OSError:
                return False

        wait_for("the server", ready, 20, 0.05)
        assert (self.folder / "kalends-data").is_dir(), "the data is not in ./kalends-data"

    def list_home(self):
        found = self.dav.properties("/dav/calendars/anna/", "D:displayname", depth="1")
        assert sorted(found) == ["/dav/calendars/anna/", "/dav/calendars/anna/calendar/", "/dav/calendars/anna/tasks/"], found

    def app_password(self):
        secret = self.kalends("app-password", "add", "anna", "phone")
        phone = Dav(self.url, "anna", secret)
        assert phone.ask("PROPFIND", "/dav/", Depth="0").status == 207
        assert "phone" in self.kalends("app-password", "list", "anna")

    def imports(self):
        (self.folder / "holidays.ics").write_text(event("day@kalends.example", "Holiday"))
        self.kalends("calendar", "import", "anna", "holidays.ics", "--calendar", "holidays")
        assert "holidays" in self.kalends("calendar", "list", "anna")
        assert len(self.dav.members("/dav/calendars/anna/holidays/")) == 1

    def exports(self):
        self.kalends("calendar", "export", "anna", "holidays", "out.ics")
        assert "SUMMARY:Holiday" in (self.folder / "out.ics").read_text()

    def checks(self):
        self.kalends("check")

    # The bridge.

    def far_side(self):
        (self.folder / "users").write_text("anna:far-secret\n")
        config = self.folder / "radicale.conf"
        config.write_text(
            f"[server]\nhosts = 127.0.0.1:{self.far_port}\n[auth]\ntype = htpasswd\nhtpasswd_filename = {self.folder}/users\n"
            f"htpasswd_encryption = plain\n[storage]\nfilesystem_folder = {self.folder}/radicale\n"
        )
        self.background([PYTHON, "-m", "radicale", "-C", str(config)], "radicale")

        def up():
            try:
                return self.far.ask("PROPFIND", "/", Depth="0").status == 207
            except OSError:
                return False

        wait_for("Radicale", up, 30, 0.1)
        self.work = self.far.make_calendar("work", "Work")
        self.far.expect(201, "PUT", self.work + "theirs.ics", event("theirs@kalends.example", "Theirs"))

    def connect(self):
        self.token = self.kalends("token", "add", "anna", "bridge", "--scope", "bridges")
        body = {"url": self.far.url + "/", "username": "anna", "password": "far-secret"}
        connection = self.api("connections/caldav", body)
        assert connection["status"] == "active", connection
        self.connection = connection["id"]

    def map(self):
        here = next(c["id"] for c in self.api("calendars")["items"] if c["name"] == "calendar")
        there = next(c for c in self.api(f"connections/{self.connection}/calendars")["items"] if c["name"] == "Work")
        assert there["writable"], there
        body = {"calendar": here, "connection": self.connection, "remote_calendar": there["id"], "direction": "both", "conflict_policy": "newest"}
        self.mapping = self.api("mappings", body)["id"]
        wait_for("their event here", lambda: "Theirs" in "".join(self.dav.objects("/dav/calendars/anna/calendar/").values()), 30)

    def carry(self):
        """A change here is carried over at once, without anybody asking for a run."""
        self.dav.expect(201, "PUT", "/dav/calendars/anna/calendar/ours.ics", event("ours@kalends.example", "Ours"))
        wait_for("our event there", lambda: "Ours" in "".join(self.far.objects(self.work).values()), 30)

    def fetch(self):
        self.far.expect(201, "PUT", self.work + "more.ics", event("more@kalends.example", "More of theirs"))
        self.api(f"mappings/{self.mapping}/sync", method="POST")
        wait_for("their new event here", lambda: "More of theirs" in "".join(self.dav.objects("/dav/calendars/anna/calendar/").values()), 30)

    def runs(self):
        run = wait_for("a run", lambda: next((r for r in self.api("runs")["items"] if r["local"]["inserted"] >= 1), None), 20)
        assert run["status"] == "success" and not run["failures"], run

    def back_up(self):
        self.kalends("backup", "all.dump")
        assert (self.folder / "all.dump").stat().st_size > 1000

    def restore(self):
        """Into an empty place, with the same calendars in it."""
        before = self.kalends("calendar", "list", "anna")
        self.environment["KALENDS_STORE__URL"] = f"sled:{self.folder}/restored"
        self.kalends("restore", "all.dump")
        assert self.kalends("calendar", "list", "anna") == before
        self.kalends("check")

    def drain(self):
        self.server.send_signal(signal.SIGTERM)
        assert self.server.wait(20) == 0, f"status {self.server.returncode}"

    def play(self):
        steps = Steps("readme")
        step = steps.step
        step("kalends user add", self.add_user, needed=True)
        step("kalends, without any configuration", self.serve, needed=True)
        step("the home has a calendar and a task list", self.list_home)
        step("kalends app-password add, while the server runs", self.app_password)
        step("kalends calendar import", self.imports)
        step("kalends calendar export", self.exports)
        step("kalends check", self.checks)
        step("a far side: Radicale", self.far_side, needed=True)
        step("a connection", self.connect, needed=True)
        step("a mapping brings their event here", self.map, needed=True)
        step("a change here is there at once", self.carry)
        step("a change there is here after a sync", self.fetch)
        step("the run is on record", self.runs)
        step("kalends backup, while the server runs", self.back_up)
        step("SIGTERM ends the server with status 0", self.drain)
        step("kalends restore, into an empty place", self.restore)
        return steps

    def end(self):
        for process in self.processes:
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(10)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()


def main():
    story = Story()
    try:
        steps = story.play()
    finally:
        story.end()
    if steps.failed:
        print((story.folder / "kalends.log").read_text()[-4000:])
    if "--keep" not in sys.argv:
        shutil.rmtree(story.folder, ignore_errors=True)
    steps.done()


if __name__ == "__main__":
    main()
