#!/usr/bin/env python3
"""Measures Kalends beside Radicale, a bare hyper answer and the disk, in one run, and checks every answer.

    cargo build --release --bins --examples
    webdav-tests/bench/bench.py                      1,000, 10,000 and 50,000 events; some minutes
    webdav-tests/bench/bench.py --sizes 1000 --only get,query
    webdav-tests/bench/bench.py --check              small, debug build, only whether the answers are right

Needs wrk, and KALENDS_PYTHON (default .test-tools/venv/bin/python) with radicale and bcrypt. An answer that is wrong does
not count, however quick it was. `--json FILE` and `--md FILE` keep the results.
"""
import argparse
import calendar
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

import data
from page import section
from servers import PASSWORD, ROOT, USER, Hyper, Kalends, Radicale, binaries, folder_bytes, memory
from wire import wrk

XMLNS = 'xmlns:D="DAV:" xmlns:C="urn:ietf:params:xml:ns:caldav" xmlns:CS="http://calendarserver.org/ns/"'
RANGE = f'start="{data.stamp(data.WEEK[0])}" end="{data.stamp(data.WEEK[1])}"'
FILTER = f'<C:filter><C:comp-filter name="VCALENDAR"><C:comp-filter name="VEVENT"><C:time-range {RANGE}/></C:comp-filter></C:comp-filter></C:filter>'
LISTING = f"<D:propfind {XMLNS}><D:prop><D:getetag/></D:prop></D:propfind>"
QUERY = f"<C:calendar-query {XMLNS}><D:prop><D:getetag/><C:calendar-data/></D:prop>{FILTER}</C:calendar-query>"
EXPAND = f"<C:calendar-query {XMLNS}><D:prop><D:getetag/><C:calendar-data><C:expand {RANGE}/></C:calendar-data></D:prop>{FILTER}</C:calendar-query>"
BUSY = f'<C:free-busy-query {XMLNS}><C:time-range start="{data.stamp(data.MONTH[0])}" end="{data.stamp(data.MONTH[1])}"/></C:free-busy-query>'
HREF = re.compile(r"<(?:\w+:)?href>([^<]*)</(?:\w+:)?href>")
TOKEN = re.compile(r"<(?:\w+:)?sync-token>([^<]*)</(?:\w+:)?sync-token>")


class Disk:
    """The disk as a server among others."""

    name = "disk"


class Wrong(Exception):
    """The answer is not what it must be."""


class Unavailable(Exception):
    """This machine does not let it be measured."""


def need(answer, status):
    if answer.status != status:
        raise Wrong(f"status {answer.status} for {status}: {answer.text[:200]}")
    return answer


def names(answer):
    """Names of the objects that a multistatus speaks of."""
    return {href.rsplit("/", 1)[1] for href in HREF.findall(answer.text) if not href.endswith("/")}


def same(found, wanted, what):
    if found != wanted:
        few = sorted(found ^ wanted)[:4] if isinstance(found, set) else ""
        raise Wrong(f"{len(found)} {what} for {len(wanted)} {few}")


def sync(wire, path, token):
    body = f"<D:sync-collection {XMLNS}><D:sync-token>{token}</D:sync-token><D:sync-level>1</D:sync-level><D:prop><D:getetag/></D:prop></D:sync-collection>"
    return need(wire.ask("REPORT", path, body, "Depth: 0\r\n"), 207)


def unfolded(text):
    return re.sub(r"\r?\n[ \t]", "", text.replace("&#13;", "\r").replace("&#xD;", "\r"))


def starts(answer):
    """Start times of all instances in an expanded answer; dates count as midnight."""
    text, out = unfolded(answer.text), []
    for part in re.findall(r"BEGIN:VEVENT(.*?)END:VEVENT", text, re.S):
        found = re.search(r"\nDTSTART[^:\n]*:(\d{8})(T\d{6}Z?)?", part)
        out.append(found[1] + (found[2] or "T000000Z"))
    return sorted(out)


def busy_intervals(answer):
    pairs = []
    for value in re.findall(r"\nFREEBUSY[^:\n]*:([^\r\n]*)", unfolded(answer.text)):
        for period in value.split(","):
            start, end = period.split("/")
            if end.startswith("P"):
                hours, minutes = (int(n or 0) for n in re.fullmatch(r"PT(?:(\d+)H)?(?:(\d+)M)?", end).groups())
                begin = time.strptime(start, "%Y%m%dT%H%M%SZ")
                end = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(calendar.timegm(begin) + hours * 3600 + minutes * 60))
            pairs.append((start, end))
    out = []
    for start, end in sorted(pairs):
        if out and start <= out[-1][1]:
            out[-1] = (out[-1][0], max(end, out[-1][1]))
        else:
            out.append((start, end))
    return out


class Bench:
    def __init__(self, chosen):
        self.chosen = chosen
        self.results = {}  # (operation, size, server) → value, or {"error": …}
        self.seconds = 1 if chosen.check else chosen.seconds
        self.turns = 4 if chosen.check else 400
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="kalends-bench-", dir=chosen.workdir))
        self.passed = self.failed = 0
        self.hyper = None
        self.versions = []

    def keep(self, operation, size, server, action):
        """Takes one measurement; a wrong answer or a failure is kept in its place."""
        try:
            value = action()
            self.passed += 1
        except Unavailable as error:
            value = {"error": str(error)}
        except (Wrong, OSError, EOFError, RuntimeError, ValueError, AttributeError) as error:
            value = {"error": f"{type(error).__name__}: {error}"[:400]}
            if not isinstance(error, (Wrong, OSError)):
                traceback.print_exc()
            if server.name != "Radicale" or not isinstance(error, Wrong):  # a peer may be wrong; it is told, not judged
                self.failed += 1
        self.results[operation, size, server.name] = value
        shown = value if isinstance(value, dict) else f"{value:,.3f}"
        print(f"  {operation:14} {size:6} {server.name:9} {shown}", flush=True)

    def times(self, action, least=3, most=25, seconds=3.0):
        """The median in ms of an action that is repeated for some seconds."""
        found, end = [], time.monotonic() + (0.2 if self.chosen.check else seconds)
        while len(found) < least or (len(found) < most and time.monotonic() < end):
            begun = time.perf_counter()
            check = action()
            found.append((time.perf_counter() - begun) * 1000)
            if check:
                check()
            if found[-1] > 8000:
                break
        return statistics.median(found)

    # ---- one operation each; all take (server, path, calendar) ----

    def get(self, server, path, calendar):
        count = min(1000, len(calendar.events))
        event = calendar.events[count // 2]
        answer = need(server.wire().ask("GET", path + event.name), 200)
        if server.name == "Kalends" and answer.body != event.ical().encode():
            raise Wrong("the bytes are not those that were sent")
        return self.rate(server, "get.lua", path, count)

    def rate(self, server, script, path, *arguments):
        found = []
        for _ in range(1 if self.chosen.check else self.chosen.rounds):
            rate, _, bad = wrk(script, server.port, path, self.seconds, 16, USER, PASSWORD, arguments)
            if bad:
                raise Wrong(f"{bad} bad answers")
            found.append(rate)
        return statistics.median(found)

    def poll(self, server, path, calendar):
        body = f"<D:propfind {XMLNS}><D:prop><CS:getctag/><D:sync-token/><D:displayname/></D:prop></D:propfind>"
        answer = need(server.wire().ask("PROPFIND", path, body, "Depth: 0\r\n"), 207)
        if "getctag>" not in answer.text or not TOKEN.search(answer.text):
            raise Wrong("no ctag or sync-token")
        return self.rate(server, "propfind.lua", path)

    def listing(self, server, path, calendar):
        wire, wanted = server.wire(), {event.name for event in calendar.events}

        def action():
            answer = need(wire.ask("PROPFIND", path, LISTING, "Depth: 1\r\n"), 207)
            return lambda: same(names(answer), wanted, "names")

        return self.times(action)

    def sync_initial(self, server, path, calendar):
        wire, wanted = server.wire(), {event.name for event in calendar.events}

        def action():
            answer = sync(wire, path, "")
            return lambda: same(names(answer), wanted, "names")

        return self.times(action)

    def sync_one(self, server, path, calendar):
        wire = server.wire()
        token = TOKEN.findall(sync(wire, path, "").text)[-1]
        found = []
        for turn in range(min(25, self.turns)):
            event = calendar.events[turn % len(calendar.events)]
            answer = wire.ask("PUT", path + event.name, event.ical(f"Event {event.number} changed {turn}"))
            if answer.status not in (200, 201, 204):
                raise Wrong(f"PUT {answer.status}")
            begun = time.perf_counter()
            answer = sync(wire, path, token)
            found.append((time.perf_counter() - begun) * 1000)
            same(names(answer), {event.name}, "changes")
            token = TOKEN.findall(answer.text)[-1]
            need(wire.ask("PUT", path + event.name, event.ical()), 204)
            token = TOKEN.findall(sync(wire, path, token).text)[-1]
            if sum(found) > 4000 and len(found) >= 3:
                break
        return statistics.median(found)

    def put_full(self, server, path, calendar):
        wire, found = server.wire(), []
        for turn in range(min(60, self.turns)):
            name = f"{path}extra-{turn}.ics"
            body = data.fresh(turn, f"extra-{time.monotonic_ns()}")
            begun = time.perf_counter()
            answer = wire.ask("PUT", name, body, "If-None-Match: *\r\n")
            found.append((time.perf_counter() - begun) * 1000)
            need(answer, 201)
            if wire.ask("DELETE", name).status not in (200, 204):
                raise Wrong("DELETE")
            if sum(found) > 5000 and len(found) >= 3:
                break
        return statistics.median(found)

    def query(self, server, path, calendar):
        wire = server.wire()

        def action():
            answer = need(wire.ask("REPORT", path, QUERY, "Depth: 1\r\n"), 207)
            return lambda: same(names(answer), calendar.in_week, "events")

        return self.times(action, most=40)

    def expand(self, server, path, calendar):
        wire = server.wire()

        def action():
            answer = need(wire.ask("REPORT", path, EXPAND, "Depth: 1\r\n"), 207)

            def check():
                same(names(answer), calendar.in_week, "events")
                found = starts(answer)
                if found != calendar.instances_in_week:
                    raise Wrong(f"{len(found)} instances for {len(calendar.instances_in_week)}")

            return check

        return self.times(action, least=1, most=40)

    def freebusy(self, server, path, calendar):
        wire = server.wire()

        def action():
            answer = need(wire.ask("REPORT", path, BUSY, "Depth: 1\r\n"), 200)
            return lambda: same(busy_intervals(answer), calendar.busy_in_month, "busy times")

        return self.times(action, least=1, most=40)

    def multiget(self, server, path, calendar):
        wire = server.wire()
        step = max(1, len(calendar.events) // 100)
        wanted = [event for event in calendar.events[::step]][:100]
        hrefs = "".join(f"<D:href>{path}{event.name}</D:href>" for event in wanted)
        body = f"<C:calendar-multiget {XMLNS}><D:prop><D:getetag/><C:calendar-data/></D:prop>{hrefs}</C:calendar-multiget>"

        def action():
            answer = need(wire.ask("REPORT", path, body, "Depth: 1\r\n"), 207)

            def check():
                same(names(answer), {event.name for event in wanted}, "events")
                if answer.text.count("BEGIN:VCALENDAR") != len(wanted):
                    raise Wrong("not every event has its text")

            return check

        return self.times(action, most=60)

    def put_one(self, server):
        path, wire, found = server.make("alone"), server.wire(), []
        for turn in range(self.turns):
            body = data.fresh(turn, "alone")
            begun = time.perf_counter()
            answer = wire.ask("PUT", f"{path}alone-{turn}.ics", body, "If-None-Match: *\r\n")
            found.append((time.perf_counter() - begun) * 1000)
            need(answer, 201)
            if sum(found) > 6000:
                break
        return statistics.median(found)

    def put_many(self, server):
        found = []
        for turn in range(1 if self.chosen.check else self.chosen.rounds):
            path = server.make(f"many{turn}")
            rate, good, bad = wrk("put.lua", server.port, path, self.seconds, 16, USER, PASSWORD, [f"m{turn}"])
            if bad:
                raise Wrong(f"{bad} bad answers")
            stored = len(names(need(server.wire().ask("PROPFIND", path, LISTING, "Depth: 1\r\n"), 207)))
            if not good <= stored <= good + 16:
                raise Wrong(f"{good} acknowledged, {stored} stored")
            found.append(rate)
        return statistics.median(found)

    # ---- the machine ----

    BESIDE_HYPER = {"get": ("get.lua", [1000]), "poll": ("propfind.lua", []), "put_many": ("put.lua", ["h"])}

    def beside(self, operation, size):
        """What the machine allows for this operation, measured right before it: other work comes and goes."""
        if operation in self.BESIDE_HYPER and self.hyper:
            script, arguments = self.BESIDE_HYPER[operation]
            self.keep(operation, size, self.hyper, lambda: self.rate(self.hyper, script, "/x/", *arguments))
        if operation == "put_one":
            self.keep(operation, size, Disk, self.fdatasync)
        if operation == "put_many":
            self.keep(operation, size, Disk, self.group_commit)

    def synced(self, server):
        """How many of 20 PUTs, 50 ms apart, had an fsync or fdatasync end between their sending and their answer."""
        path, wire = server.make("traced"), server.wire()
        log = self.folder / "strace"
        tracer = subprocess.Popen(
            ["strace", "-f", "-ttt", "-T", "-e", "trace=fsync,fdatasync", "-o", log, "-p", str(server.process.pid)], stderr=subprocess.DEVNULL
        )
        time.sleep(1)
        if tracer.poll() is not None:
            raise Unavailable("strace may not look at the server here")
        windows = []
        for turn in range(20):
            begun = time.time()
            need(wire.ask("PUT", f"{path}traced-{turn}.ics", data.fresh(turn, "traced"), "If-None-Match: *\r\n"), 201)
            windows.append((begun, time.time()))
            time.sleep(0.05)
        tracer.terminate()
        tracer.wait()
        begins = [float(found) for found in re.findall(r"^\d+ +(\d+\.\d+) (?:fsync|fdatasync)\(", log.read_text(), re.M)]
        waited = sum(any(start <= moment <= end for moment in begins) for start, end in windows)
        if waited < len(windows):
            raise Wrong(f"only {waited} of {len(windows)} PUTs were synced before their answer")
        return float(waited)

    def fdatasync(self):
        """Milliseconds (p50) to append 1 KiB and sync it."""
        handle = os.open(self.folder / "sync", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        found, end = [], time.monotonic() + (0.5 if self.chosen.check else 2)
        while time.monotonic() < end:
            begun = time.perf_counter()
            os.write(handle, b"x" * 1024)
            os.fdatasync(handle)
            found.append((time.perf_counter() - begun) * 1000)
        os.close(handle)
        return statistics.median(found)

    def group_commit(self):
        """Commits a second of 16 writers that share each fdatasync."""
        handle = os.open(self.folder / "group", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        gate, waiting, done, stop = threading.Condition(), [], [0], [False]

        def writer():
            mine = threading.Event()
            while not stop[0]:
                mine.clear()
                with gate:
                    waiting.append(mine)
                    gate.notify()
                mine.wait(1)

        threads = [threading.Thread(target=writer, daemon=True) for _ in range(16)]
        for thread in threads:
            thread.start()
        end = time.monotonic() + (0.5 if self.chosen.check else 2)
        begun = time.monotonic()
        while time.monotonic() < end:
            with gate:
                while not waiting:
                    gate.wait(1)
                batch = waiting[:]
                waiting.clear()
            os.write(handle, b"x" * 1024 * len(batch))
            os.fdatasync(handle)
            done[0] += len(batch)
            for one in batch:
                one.set()
        rate = done[0] / (time.monotonic() - begun)
        stop[0] = True
        for thread in threads:
            thread.join(2)
        os.close(handle)
        return rate

    # ---- a size ----

    OPERATIONS = ("get", "poll", "listing", "sync_initial", "sync_one", "put_full", "query", "expand", "freebusy", "multiget")

    def wanted(self, operation):
        return not self.chosen.only or operation in self.chosen.only

    def size(self, size, kalends, python, first):
        print(f"{size} events", flush=True)
        calendar = data.Calendar(size)
        servers = [Kalends(self.folder / f"kalends-{size}", kalends)]
        if size <= self.chosen.radicale_up_to and python:
            servers.append(Radicale(self.folder / f"radicale-{size}", python))
        try:
            for server in servers:
                server.start()
                if server.version() not in self.versions:
                    self.versions.append(server.version())
            paths = {}
            for server in servers:
                before = folder_bytes(server.store)
                begun = time.monotonic()
                paths[server.name] = server.load("full", calendar.events)
                self.keep("load", size, server, lambda b=begun: time.monotonic() - b)
                self.keep("disk", size, server, lambda s=server, b=before: (folder_bytes(s.store) - b) / size)
            for operation in self.OPERATIONS:
                if not self.wanted(operation):
                    continue
                self.beside(operation, size)
                for server in servers:
                    if operation == "poll" and server.name == "Radicale" and size > 1000:
                        continue  # one answer takes it seconds
                    action = getattr(self, operation)
                    self.keep(operation, size, server, lambda s=server, a=action: a(s, paths[s.name], calendar))
            if first:
                for operation in ("put_one", "put_many", "synced"):
                    if self.wanted(operation):
                        self.beside(operation, size)
                        for server in servers:
                            self.keep(operation, size, server, lambda s=server, a=getattr(self, operation): a(s))
            for server in servers:
                server.stop()
                self.keep("peak", size, server, lambda s=server: s.peak)
                found = []
                for _ in range(1 if self.chosen.check else 3):
                    found.append(server.start())
                    idle = memory(server.process.pid, "VmRSS")
                    server.stop()
                self.keep("start", size, server, lambda f=found: statistics.median(f))
                self.keep("idle", size, server, lambda i=idle: i)
        finally:
            for server in servers:
                if self.chosen.keep:
                    server.stop()
                else:
                    server.remove()

    def value(self, operation, size, server):
        value = self.results.get((operation, size, server))
        return value if isinstance(value, (int, float)) else None


TITLES = {
    "get": ("GET an event, 16 connections", "/s"),
    "poll": ("PROPFIND 0 poll, 16 connections", "/s"),
    "put_many": ("PUT new, durable, 16 connections", "/s"),
    "put_one": ("PUT new, durable, 1 connection, p50", "ms"),
    "synced": ("PUTs synced before their answer, of 20", ""),
    "listing": ("PROPFIND 1 getetag", "ms"),
    "sync_initial": ("sync-collection, initial", "ms"),
    "sync_one": ("sync-collection after one change", "ms"),
    "put_full": ("PUT into the full calendar", "ms"),
    "query": ("calendar-query, one week", "ms"),
    "expand": ("the same with expand", "ms"),
    "freebusy": ("free-busy-query, one month", "ms"),
    "multiget": ("calendar-multiget of 100", "ms"),
    "start": ("start to first answer", "ms"),
    "idle": ("memory after start", "MiB"),
    "peak": ("peak memory of the whole run", "MiB"),
    "disk": ("disk per event", "B"),
    "load": ("loading all events", "s"),
}


def targets(bench, size, first):
    """(operation, what was reached, what is asked, whether it holds) for one size."""
    value = bench.value
    rows = []

    def share(operation, of, least, at):
        mine, theirs = value(operation, at, "Kalends"), value(operation, at, of)
        if mine and theirs:
            rows.append((operation, f"{mine / theirs:.1%} of {of}", f"≥ {least:.0%}", mine / theirs >= least))

    def part(operation, most):
        mine, theirs = value(operation, size, "Kalends"), value(operation, size, "Radicale")
        if mine and theirs:
            rows.append((operation, f"1/{theirs / mine:,.0f} of Radicale", f"≤ 1/{most}", theirs / mine >= most))

    def limit(operation, most, unit):
        mine = value(operation, size, "Kalends")
        if mine:
            rows.append((operation, f"{mine:,.1f} {unit}", f"≤ {most:,} {unit}", mine <= most))

    share("get", "hyper", 0.25, size)
    share("poll", "hyper", 0.18, size)
    if size == first:
        rate, group = value("put_many", size, "Kalends"), value("put_many", size, "disk")
        if rate and group:
            rows.append(("put_many", f"{rate:,.0f}/s, {rate / group:.1%} of the disk's group commit", "≥ 3,000/s and ≥ 15%", rate >= 3000 and rate / group >= 0.15))
        one, fsync = value("put_one", size, "Kalends"), value("put_one", size, "disk")
        if one and fsync:
            rows.append(("put_one", f"{one / fsync:.1f} × fdatasync ({fsync:.3f} ms)", "≤ 3 ×", one / fsync <= 3))
    for operation, most in (("listing", 20), ("sync_initial", 30), ("sync_one", 500), ("put_full", 150), ("query", 80), ("expand", 500), ("freebusy", 200), ("multiget", 6)):
        part(operation, most)
    limit("start", 100, "ms")
    limit("idle", 25, "MiB")
    limit("peak", 120, "MiB")
    limit("disk", 3500, "B")
    return rows


def report(bench, sizes):
    lines = []
    first = sizes[0]
    lines.append("| operation | events | unit | Kalends | Radicale | bare hyper | disk |")
    lines.append("|---|--:|---|--:|--:|--:|--:|")

    def cell(operation, size, server):
        value = bench.results.get((operation, size, server))
        if value is None:
            return "–"
        if isinstance(value, dict):
            return "✗ " + value["error"].split(": ", 1)[-1][:60].replace("|", "/")
        return f"{value:,.0f}" if value >= 100 else f"{value:,.2f}"

    for operation, (title, unit) in TITLES.items():
        for size in sizes:
            if (operation, size, "Kalends") not in bench.results:
                continue
            cells = " | ".join(cell(operation, size, name) for name in ("Kalends", "Radicale", "hyper", "disk"))
            lines.append(f"| {title} | {size:,} | {unit} | {cells} |")
    lines += ["", "| target | events | reached | asked | |", "|---|--:|---|---|---|"]
    for size in sizes:
        for operation, reached, asked, holds in targets(bench, size, first):
            lines.append(f"| {TITLES[operation][0]} | {size:,} | {reached} | {asked} | {'holds' if holds else '**not reached**'} |")
    for operation in ("sync_one", "put_full"):
        values = [(size, bench.value(operation, size, "Kalends")) for size in sizes]
        values = [(size, value) for size, value in values if value]
        if len(values) > 1:
            growth = max(value for _, value in values) / values[0][1]
            lines.append(f"| {TITLES[operation][0]}: growth | {values[0][0]:,} → {values[-1][0]:,} | × {growth:.2f} | < 1.3 | {'holds' if growth < 1.3 else '**not reached**'} |")
    return "\n".join(lines)


PAGE = """# Speed, measured

Written by

    cargo build --release --bins --examples
    webdav-tests/bench/bench.py --page docs/performance.md

{when}: {versions}; {cores} cores with the load generator beside the servers, Basic authentication on every request, load average
{before} at the beginning and {after} at the end (the machine does other work too: ratios along a row count, not the figures). Everything in
a row was measured in turn within the same minutes. The calendar has one endless series in ten events, with exceptions and moved
instances in the week that is asked for; every answer is compared with what the generator worked out by itself. ✗ is a wrong
answer. "Bare hyper" answers the same requests with fixed bytes; "disk" is one append of 1 KiB with fdatasync (ms), and what 16 writers
reach who share each fdatasync (per second).

{table}

## How it comes about

* A poll and a sync read a number and a range of the collection's log; nothing is counted or listed ([decision 004](decisions/004-the-log-keeps-the-last-change.md)).
* One thread writes; all writers that wait share one sync of the disk ([decision 002](decisions/002-sled.md)).
* Listings are read in the store's order and written as they are read, so a long one does not sit in memory.
* An index by time finds the objects that can touch a range; endless series are expanded from the range on, not from their start
  ([decision 001](decisions/001-own-recurrence.md)).
* A verified password is remembered for some minutes under a keyed digest; polling costs no password hash.
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="1000,10000,50000")
    parser.add_argument("--only", type=lambda text: text.split(","), default=[], help="operations: " + ", ".join(TITLES))
    parser.add_argument("--seconds", type=int, default=5, help="of each wrk round")
    parser.add_argument("--rounds", type=int, default=3, help="of wrk; the median counts")
    parser.add_argument("--radicale-up-to", type=int, default=10000)
    parser.add_argument("--workdir", default=str(ROOT / "target"), help="the disk to measure on")
    parser.add_argument("--json")
    parser.add_argument("--md")
    parser.add_argument("--page", help="write the page, except what bridge.py wrote on it")
    parser.add_argument("--keep", action="store_true", help="leave the data")
    parser.add_argument("--check", action="store_true")
    chosen = parser.parse_args()
    if chosen.check:
        chosen.sizes = "300"
    sizes = [int(size) for size in chosen.sizes.split(",")]
    kalends, hyper = binaries(chosen.check)
    python = os.environ.get("KALENDS_PYTHON", str(ROOT / ".test-tools" / "venv" / "bin" / "python"))
    python = python if pathlib.Path(python).exists() else None
    pathlib.Path(chosen.workdir).mkdir(parents=True, exist_ok=True)
    bench = Bench(chosen)
    before = os.getloadavg()[0]
    try:
        if hyper:
            bench.hyper = Hyper(bench.folder / "hyper", hyper)
            bench.hyper.start()
        for size in sizes:
            bench.size(size, kalends, python, size == sizes[0])
    finally:
        if bench.hyper:
            bench.hyper.remove()
        if not chosen.keep:
            shutil.rmtree(bench.folder, ignore_errors=True)
    text = report(bench, sizes)
    if not chosen.check:
        print(text)
    if chosen.page:
        facts = {"when": time.strftime("%Y-%m-%d"), "versions": ", ".join(bench.versions), "cores": os.cpu_count(), "table": text}
        page = PAGE.format(before=f"{before:.1f}", after=f"{os.getloadavg()[0]:.1f}", **facts)
        pathlib.Path(chosen.page).write_text(page + section(chosen.page))
    if chosen.md:
        pathlib.Path(chosen.md).write_text(text + "\n")
    if chosen.json:
        rows = [{"operation": o, "events": s, "server": n, "value": v} for (o, s, n), v in bench.results.items()]
        pathlib.Path(chosen.json).write_text(json.dumps(rows, indent=1) + "\n")
    print(f"bench: {bench.passed} passed, {bench.failed} failed")
    return 1 if bench.failed else 0


if __name__ == "__main__":
    sys.exit(main())
