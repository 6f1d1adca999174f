#!/usr/bin/env python3
"""Measures what a run that finds one change costs when the calendar grows, for every way in which far sides tell of changes.

    cargo build --release
    webdav-tests/bench/growth.py                        1,000 to 50,000 events (feeds: 20,000, the most that is read)
    webdav-tests/bench/growth.py --only outlook,feed --sizes 1000,10000
    webdav-tests/bench/growth.py --check                small, debug build, only whether it works
    webdav-tests/bench/growth.py --page docs/performance.md

Counted is the processor time of the server alone, which does not depend on what else the machine does, and the calls of a run.
After each run it is checked that exactly one event was changed here. The simulators answer at once.
"""
import argparse
import datetime
import http.server
import json
import os
import pathlib
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import urllib.parse

import far as google
import page
from servers import ROOT, binaries

KINDS = ("google", "outlook", "caldav-sync", "caldav-listing", "feed")
TURNS = 10
MARKS = ("<!-- growth: begin -->", "<!-- growth: end -->")
HEAD = "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//kalends//bench//EN\r\n"


def vevent(number, title):
    start = datetime.datetime(2026, 1, 1) + datetime.timedelta(hours=number)
    stamp = lambda at: at.strftime("%Y%m%dT%H%M%SZ")
    lines = ["BEGIN:VEVENT", f"UID:event-{number}", "DTSTAMP:20260101T000000Z", f"DTSTART:{stamp(start)}", f"DTEND:{stamp(start + datetime.timedelta(hours=1))}", f"SUMMARY:{title}", "END:VEVENT", ""]
    return "\r\n".join(lines)


class Simulator:
    """`kalends simulate KIND`."""

    def __init__(self, binary, folder, kind, events):
        self.log = open(pathlib.Path(folder) / "far.log", "ab")
        command = [binary, "simulate", kind, "--listen", "127.0.0.1:0", "--control", "--events", str(events), "--seed", "7"]
        self.process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=self.log, text=True, start_new_session=True)
        line = self.process.stdout.readline()
        found = re.search(r"http://127\.0\.0\.1:(\d+)", line)
        if not found:
            raise RuntimeError(f"kalends simulate {kind} did not come up: {line}")
        self.port, self.url = int(found[1]), found[0]

    def act(self, what, **more):
        # A connection that rested for long is closed there.
        return google.Json(self.port).ask("POST", "/_sim/act", {"act": what, **more})

    def end(self):
        self.process.terminate()
        self.process.wait(30)
        self.process.stdout.close()
        self.log.close()


class Feed:
    """A web server with one feed, which answers 304 while nothing has changed."""

    def __init__(self, events):
        self.titles = [f"Event {number}" for number in range(events)]
        self.version = 0
        feed = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                etag = f'"{feed.version}"'
                same = self.headers.get("If-None-Match") == etag
                body = b"" if same else feed.text()
                self.send_response(304 if same else 200)
                self.send_header("ETag", etag)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.port = self.server.server_port
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def text(self):
        return (HEAD + "".join(vevent(number, title) for number, title in enumerate(self.titles)) + "END:VCALENDAR\r\n").encode()

    def edit(self, turn):
        self.version += 1
        self.titles[3] = f"After {turn}"

    def end(self):
        self.server.shutdown()


class House(google.House):
    """`kalends serve`, told where every simulator is."""

    def environment(self):
        of = lambda provider, name: f"KALENDS_PROVIDERS__{provider}__{name}"
        more = {"KALENDS_BRIDGE__ALLOW_PRIVATE": "true", "KALENDS_BRIDGE__POLL_INTERVAL": "1 d"}
        for provider, paths in (("GOOGLE", ("/", "/o/oauth2/v2/auth", "/token")), ("OUTLOOK", ("/v1.0", "/common/oauth2/v2.0/authorize", "/common/oauth2/v2.0/token"))):
            more[of(provider, "CLIENT_ID")], more[of(provider, "CLIENT_SECRET")] = "client", "secret"
            for name, path in zip(("API_BASE", "AUTH_URL", "TOKEN_URL"), paths):
                more[of(provider, name)] = self.far.url + path
        for provider in ("GOOGLE", "OUTLOOK", "CALDAV"):
            more[f"KALENDS_LIMITS__CALLS_PER_MINUTE__{provider}"] = "1000000"
            more[f"KALENDS_LIMITS__CALLS_PER_DAY__{provider}"] = "10000000"
        return {**super(google.House, self).environment(), **more}

    def worked(self):
        """Milliseconds of processor time so far, of all threads."""
        tasks = pathlib.Path(f"/proc/{self.process.pid}/task").glob("*/schedstat")
        return sum(int(task.read_text().split()[0]) for task in tasks) / 1e6

    def calm(self, mapping):
        """Waits until no run is under way: one that is joined had begun before."""
        quiet = 0
        while quiet < 3:
            time.sleep(0.05)
            quiet = quiet + 1 if self.call("GET", f"/mappings/{mapping}")["status"] == "active" else 0

    def account(self, kind):
        """Connects an account as its owner does. Returns its id."""
        known = {"caldav": {"url": self.far.url, "username": "demo", "password": "demo"}, "ics": {"url": f"{self.far.url}/feed.ics"}}.get(kind, {})
        status, headers, data = self.api.raw("POST", f"/api/v1/connections/{kind}", known)
        if status != 201:
            raise RuntimeError(f"{kind} cannot be connected: {status} {data[:300]}")
        made = json.loads(data)
        if "authorization_url" in made and made["authorization_url"]:
            away = urllib.parse.urlsplit(made["authorization_url"])
            _, there, _ = google.Json(self.far.port).raw("GET", f"{away.path}?{away.query}")
            back = urllib.parse.urlsplit(there["Location"])
            status, _, data = google.Json(self.port).raw("GET", f"{back.path}?{back.query}", headers={"Cookie": headers["Set-Cookie"].split(";")[0]})
            if status >= 400:
                raise RuntimeError(f"the consent did not land: {status} {data[:300]}")
        return made["id"]


def measured(binary, folder, kind, size):
    """(milliseconds of processor time of a run, of a run that finds nothing, calls, events)."""
    sim = {"caldav-sync": "caldav", "caldav-listing": "caldav"}.get(kind, kind)
    there = Feed(size) if kind == "feed" else Simulator(binary, folder, sim, size)
    house = None
    try:
        if kind == "caldav-listing":
            there.act("own", name="quirks", **{"with": {"no_sync_collection": True}})
        if kind == "outlook":
            # What is measured is work, not how often one may ask.
            there.act("own", name="limits", **{"with": {"requests": 0, "at_once": 0}})
        house = House(folder / "house", binary, there)
        house.start()
        connection = house.account("ics" if kind == "feed" else sim)
        remotes = house.call("GET", f"/connections/{connection}/calendars")["items"]
        remote = next((item for item in remotes if item["primary"]), None) or next(item for item in remotes if "VTODO" not in item["components"])
        more = {"window_past": "P365D", "window_future": "P1400D"} if sim == "outlook" else {}
        mapping = house.map(house.calendars()["calendar"], connection, remote["id"], direction="pull", **more)
        runs = house.first(mapping)
        events = runs[-1]["local"]["inserted"]
        # The first listing is confirmed by another one.
        for _ in range(3):
            house.run(mapping)
        if kind == "google":
            moment = lambda hour: {"dateTime": time.strftime(f"%Y-%m-%dT{hour}:00:00Z", time.gmtime(time.time() + 3 * 86400))}
            made = there.act("create_elsewhere", calendar=remote["id"], object={"summary": "x", "start": moment(10), "end": moment(11)})["id"]
            edit = lambda turn: there.act("edit_elsewhere", calendar=remote["id"], id=made, patch={"summary": f"After {turn}"})
        elif kind == "outlook":
            moment = lambda hour: {"dateTime": time.strftime(f"%Y-%m-%dT{hour}:00:00", time.gmtime(time.time() + 3 * 86400)), "timeZone": "UTC"}
            made = there.act("create_elsewhere", calendar=remote["id"], object={"subject": "x", "start": moment(10), "end": moment(11)})["id"]
            edit = lambda turn: there.act("edit_elsewhere", calendar=remote["id"], id=made, patch={"subject": f"After {turn}"})
        elif kind == "feed":
            edit = there.edit
        else:
            edit = lambda turn: there.act("edit_elsewhere", calendar="calendar", id="event-3.ics", patch=HEAD + vevent(3, f"After {turn}") + "END:VCALENDAR\r\n")
        edit(-1)
        for _ in range(2):
            house.calm(mapping)
            house.run(mapping)

        def turns(before, wanted):
            calls, took = [], []
            for turn in range(TURNS):
                house.calm(mapping)
                before(turn)
                used = house.worked()
                run = house.run(mapping)
                took.append(house.worked() - used)
                if run["local"]["updated"] != wanted or run["local"]["inserted"] or run["local"]["deleted"]:
                    raise RuntimeError(f"the run counts {run['local']} here")
                calls.append(run["calls"])
            return statistics.median(took), statistics.median(calls)

        changed, calls = turns(edit, 1)
        none, _ = turns(lambda _: None, 0)
        return changed, none, calls, events
    finally:
        if house:
            house.remove()
        there.end()


SECTION = """## What grows with a calendar

Written by

    cargo build --release
    webdav-tests/bench/growth.py --page docs/performance.md

{when}: processor time of the server for one run that was asked for, with everything that belongs to it (the request, asking how far it is, the commit), the median of {turns};
a run that finds one change, and a run that finds none. The account is only read. The simulators answer at once and have their own processor time, which is not counted.

{table}

Why: Google, Outlook and `sync-collection` name what changed and no more. Without `sync-collection` a server says by its ctag only *that* something changed: then its whole listing comes,
which grows with the calendar by nature, and each name and etag of it is compared with what was agreed. A feed is one text that comes whole whenever anything in it changed; all of it is read, and
what says the same as before is let go. When nothing changed, the ctag or a 304 says so, and nothing grows.
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=lambda text: [int(size) for size in text.split(",")], default=[1000, 10000, 50000])
    parser.add_argument("--only", type=lambda text: text.split(","), default=list(KINDS), help=", ".join(KINDS))
    parser.add_argument("--workdir", default=str(ROOT / "target"))
    parser.add_argument("--page", help="put the section into this page")
    parser.add_argument("--check", action="store_true")
    chosen = parser.parse_args()
    if set(chosen.only) - set(KINDS):
        parser.error(f"there are {', '.join(KINDS)}")
    sizes = [30] if chosen.check else chosen.sizes
    binary = os.path.abspath(binaries(chosen.check)[0])
    pathlib.Path(chosen.workdir).mkdir(parents=True, exist_ok=True)
    folder = pathlib.Path(tempfile.mkdtemp(prefix="kalends-growth-", dir=chosen.workdir))
    rows, failed = ["| far side | events | one change | per event more | no change | calls |", "|---|--:|--:|--:|--:|--:|"], 0
    try:
        for kind in chosen.only:
            before = None
            for size in sizes:
                size = min(size, 20000) if kind == "feed" else size
                place = folder / f"{kind}-{size}"
                place.mkdir()
                try:
                    changed, none, calls, events = measured(binary, place, kind, size)
                except (OSError, RuntimeError, ValueError, KeyError, StopIteration) as error:
                    failed += 1
                    traceback.print_exc()
                    rows.append(f"| {kind} | {size:,} | ✗ {str(error)[:150].replace('|', '/')} | | | |")
                    continue
                more = "" if before is None or events == before[0] else f"{(changed - before[1]) / (events - before[0]) * 1000:,.1f} µs"
                before = (events, changed)
                rows.append(f"| {kind} | {events:,} | {changed:,.1f} ms | {more} | {none:,.1f} ms | {calls:.0f} |")
                print(rows[-1], flush=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if chosen.page:
        text = SECTION.format(when=time.strftime("%Y-%m-%d"), turns=TURNS, table="\n".join(rows))
        path = pathlib.Path(chosen.page)
        old = re.sub(f"\n*{MARKS[0]}.*?{MARKS[1]}\n*", "\n", path.read_text(), flags=re.S).rstrip()
        # What bridge.py wrote stays at the end.
        head, _, tail = old.partition(page.BEGIN)
        own = f"{MARKS[0]}\n{text.strip()}\n{MARKS[1]}\n"
        path.write_text(f"{head.rstrip()}\n\n{own}\n{page.BEGIN}{tail}\n" if tail else f"{old}\n\n{own}")
    print(f"growth: {len(rows) - 2 - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
