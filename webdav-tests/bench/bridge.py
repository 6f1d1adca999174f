#!/usr/bin/env python3
"""Measures the bridge beside a simulated Google that takes 50 ms for an answer, and checks what has come of every run.

    cargo build --release
    webdav-tests/bench/bridge.py                     500 to 50,000 events, 1,000 mappings; some minutes
    webdav-tests/bench/bridge.py --only first,idle
    webdav-tests/bench/bridge.py --check             small, debug build, only whether both sides have the same

Both programs are started here, on this machine; the account is connected as a browser does it, the rest is set up with the API.
A figure whose result was wrong does not count. `--page FILE` puts the figures into the page between their marks.
"""
import argparse
import datetime
import os
import pathlib
import re
import shutil
import statistics
import sys
import tempfile
import time
import traceback

import data
import page
from bench import LISTING, TOKEN, Wrong, names, need, same, sync, unfolded
from far import Far, House
from servers import ROOT, binaries

SEED = 7
KINDS = ("first", "one", "put", "told", "ours", "memory", "idle")
ALL = '<C:calendar-query xmlns:D="DAV:" xmlns:C="urn:ietf:params:xml:ns:caldav"><D:prop><C:calendar-data/></D:prop><C:filter><C:comp-filter name="VCALENDAR"/></C:filter></C:calendar-query>'
# A calendar is polled every quarter of an hour: so many of a thousand in a minute.
POLLED = 15
# Notifications that come within two seconds are one stream for the server; single ones are further apart.
APART = 2.5


def ical(uid, title, days):
    start = datetime.datetime.now(datetime.timezone.utc).replace(minute=0, second=0, microsecond=0) + datetime.timedelta(days=days)
    lines = ["BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:-//kalends//bench//EN", "BEGIN:VEVENT", f"UID:{uid}", "DTSTAMP:20260101T000000Z"]
    lines += [f"DTSTART:{data.stamp(start)}", "DURATION:PT30M", f"SUMMARY:{title}", "END:VEVENT", "END:VCALENDAR", ""]
    return "\r\n".join(lines)


class Plain:
    """An event of ours without anything special."""

    def __init__(self, number):
        self.name, self.number = f"plain-{number}.ics", number

    def ical(self):
        return data.fresh(self.number, "plain")


class Bridge:
    def __init__(self, chosen, binary):
        self.chosen, self.binary = chosen, binary
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="kalends-bridge-", dir=chosen.workdir))
        self.rows = []
        self.grown = {}  # size → MiB by which a fresh process grows while it compares everything
        self.passed = self.failed = self.servers = 0
        self.turns = 2 if chosen.check else 10

    def wants(self, kind):
        return not self.chosen.only or kind in self.chosen.only

    def row(self, what, size, reached, asked="", holds=None):
        self.rows.append((what, size, reached, asked, holds))
        print(f"  {what:58} {size if size is not None else '':>6}  {reached}  {asked}", flush=True)

    def take(self, what, size, action):
        """Carries out one measurement; it counts as one answer that is right or wrong."""
        try:
            action()
            self.passed += 1
        except (Wrong, OSError, EOFError, RuntimeError, ValueError, KeyError, AttributeError) as error:
            self.failed += 1
            if not isinstance(error, Wrong):
                traceback.print_exc()
            self.row(what, size, "✗ " + str(error).replace("|", "/").replace("\n", " ")[:200])

    def pair(self, events, latency, settings=None):
        """A far side and a house that know of each other."""
        self.servers += 1
        folder = self.folder / str(self.servers)
        folder.mkdir()
        far = Far(self.binary, folder, events, latency, SEED)
        try:
            house = House(folder / "house", self.binary, far, settings)
            house.start()
        except BaseException:
            far.end()
            raise
        return far, house

    def times(self, what, size, found, most):
        """A row of the median and the worst of some milliseconds."""
        middle, worst = statistics.median(found), max(found)
        self.row(what, size, f"{middle:,.0f} ms, at most {worst:,.0f} ms", f"< {most:,} ms", middle < most)

    def agree(self, far, house, wanted):
        """Both sides have the same events, each with a title of its own, and as many as there should be."""
        there = far.titles()
        wire, path = house.wire(), house.calendar("calendar")
        text = unfolded(need(wire.ask("REPORT", path, ALL, "Depth: 1\r\n"), 207).text)
        here = sorted(re.findall(r"\nSUMMARY:([^\r\n]*)", text))
        if len(there) != wanted or len(here) != wanted:
            raise Wrong(f"{len(here)} events here and {len(there)} there, not {wanted}")
        if len(set(there)) != wanted or here != there:
            raise Wrong(f"the events are not the same: {sorted(set(here) ^ set(there))[:4]}")
        return there

    # ---- one far side of some size ----

    def size(self, size, first):
        far, house = self.pair(size, self.chosen.latency)
        try:
            connection = house.connect()
            mapping = self.first(far, house, connection, size)
            if self.wants("one"):
                self.take("one change there", size, lambda: self.one(far, house, mapping, size))
            if first and self.wants("put"):
                self.take("a change by a client", size, lambda: self.put(far, house, mapping, size))
            if first and self.wants("told"):
                self.take("a notification", size, lambda: self.told(far, house, mapping, size))
            if self.wants("memory"):
                self.take("memory of a comparison", size, lambda: self.memory(far, house, mapping, size))
        finally:
            house.remove()
            far.end()

    # S3-159
    def first(self, far, house, connection, size):
        calendar = house.calendars()["calendar"]
        before = house.resident()
        house.forget_peak()
        far.forget()
        begun = time.monotonic()
        mapping = house.map(calendar, connection)
        runs = house.first(mapping)
        took, peak, calls = time.monotonic() - begun, house.most_resident(), far.count()

        def check():
            self.agree(far, house, size)
            if runs[-1]["local"]["inserted"] != size or any(run["remote"][kind] for run in runs for kind in run["remote"]):
                raise Wrong(f"the run counts {runs[-1]['local']} here and {runs[-1]['remote']} there")
            most = {500: 5, 10000: 60}.get(size)
            asked = f"< {most} s" if most else ""
            self.row("first sync", size, f"{took:,.2f} s, {calls:,} calls", asked, took < most if most else None)
            if self.wants("memory"):
                self.row("memory before, at most during the first sync", size, f"{before:,.0f} MiB, {peak:,.0f} MiB")

        self.take("first sync", size, check)
        return mapping

    def settled(self, far, house, mapping):
        """The first comparison is confirmed by another one; what comes then asks for changes only. Nobody is told of any."""
        house.rest(mapping)
        far.notify(False)
        house.run(mapping)
        house.run(mapping)
        house.rest(mapping)

    # S3-158
    def one(self, far, house, mapping, size):
        self.settled(far, house, mapping)
        start = int(time.time()) // 3600 * 3600 + 3 * 86400
        identifier = far.create("anna@example.com", "before", start)
        if house.run(mapping)["local"]["inserted"] != 1:
            raise Wrong("the new event did not come")
        found, calls = [], set()
        for turn in range(self.turns):
            far.edit(identifier, f"after {turn}")
            run = house.run(mapping)
            if run["local"]["updated"] != 1 or run["local"]["inserted"] or any(run["remote"].values()):
                raise Wrong(f"the run counts {run['local']} here and {run['remote']} there")
            calls.add(run["calls"])
            found.append(run["duration_ms"] - run["calls"] * self.chosen.latency)
        self.agree(far, house, size + 1)
        far.notify(True)
        shown = " or ".join(str(count) for count in sorted(calls))
        self.times(f"a run that finds one change there, without {shown} × {self.chosen.latency} ms for its calls", size, found, 300)

    def put(self, far, house, mapping, size):
        wire, path, found, looked = house.wire(), house.calendar("calendar"), [], []
        before = len(far.titles())
        for turn in range(self.turns):
            house.rest(mapping)
            number, changed = divmod(turn, 2)
            uid = f"client-{number}@bench.example"
            body = ical(uid, f"By a client {turn}", 3 + number)
            far.forget()
            begun = time.time() * 1000
            answer = wire.ask("PUT", f"{path}client-{number}.ics", body)
            need(answer, 204 if changed else 201)
            end, write = time.monotonic() + 60, None
            while write is None:
                asked = far.requests()
                write = next((request for request in asked if request["wrote"] and not request["batched"]), None)
                if time.monotonic() > end:
                    raise Wrong(f"no write came: {asked}")
            # The simulator notes a request when it begins to answer, which is after the wait.
            found.append(write["at"] - self.chosen.latency - begun)
            looked.append(min(request["at"] for request in asked) - self.chosen.latency - begun)
        house.rest(mapping)
        titles = self.agree(far, house, before + (self.turns + 1) // 2)
        if f"By a client {turn}" not in titles:
            raise Wrong("the last change is not there")
        self.times("PUT by a client → the write arrives there", size, found, 500)
        self.row("of this, until the first request of the run arrives there", size, f"{statistics.median(looked):,.0f} ms")

    def told(self, far, house, mapping, size):
        wire, path, found = house.wire(), house.calendar("calendar"), []
        identifier = far.create("anna@example.com", "before", int(time.time()) // 3600 * 3600 + 5 * 86400)
        house.rest(mapping)
        if far.own("channels")["open"] < 1:
            raise Wrong("no notification channel is open")
        for turn in range(self.turns):
            time.sleep(APART)
            house.rest(mapping)
            token = TOKEN.findall(sync(wire, path, "").text)[-1]
            begun = time.monotonic()
            far.edit(identifier, f"told {turn}")
            while not names(sync(wire, path, token)):
                if time.monotonic() - begun > 60:
                    raise Wrong("the change did not come")
                time.sleep(0.002)
            found.append((time.monotonic() - begun) * 1000)
        self.times("change there, notification → visible in sync-collection", size, found, 1000)

    def memory(self, far, house, mapping, size):
        """A fresh process compares everything: the far side has forgotten how far it was read."""
        house.rest(mapping)
        house.stop()
        house.start()
        far.notify(False)
        house.rest(mapping)
        before = house.resident()
        house.forget_peak()
        far.act("expire_cursor")
        run = house.run(mapping)
        if any(run["local"].values()) or any(run["remote"].values()):
            raise Wrong(f"nothing had changed, and the run counts {run['local']} here and {run['remote']} there")
        peak = house.most_resident()
        self.row("everything compared again, nothing to do", size, f"{run['duration_ms'] / 1000:,.2f} s, {run['calls']} calls")
        self.grown[size] = peak - before
        self.row("fresh process: memory before, at most while all is compared", size, f"{before:,.0f} MiB, {peak:,.0f} MiB")

    # ---- our events, an empty calendar there ----

    def ours(self, size):
        far, house = self.pair(0, self.chosen.latency)
        try:
            connection = house.connect()
            wire, path = house.wire(), house.calendar("calendar")
            for number in range(size):
                need(wire.ask("PUT", path + Plain(number).name, Plain(number).ical()), 201)
            calendar = house.calendars()["calendar"]
            far.forget()
            begun = time.monotonic()
            mapping = house.map(calendar, connection)
            runs = house.first(mapping)
            took = time.monotonic() - begun
            calls = sum(not request["batched"] for request in far.requests())
            self.agree(far, house, size)
            if runs[-1]["remote"]["inserted"] != size:
                raise Wrong(f"the run counts {runs[-1]['remote']} there")
            most = 5 if size == 500 else None
            self.row("first sync of events of ours, empty there", size, f"{took:,.2f} s, {calls:,} calls", f"< {most} s" if most else "", took < most if most else None)
        finally:
            house.remove()
            far.end()

    # ---- many mappings at rest ----

    def idle(self, count):
        calendars, events = min(10, count), 5
        # Only for the setting up: at rest there are far fewer calls than the usual budget allows.
        far, house = self.pair(0, 0, {"KALENDS_LIMITS__CALLS_PER_MINUTE__GOOGLE": "60000", "KALENDS_LIMITS__CALLS_PER_DAY__GOOGLE": "1000000"})
        try:
            alone = house.resident()
            remotes = [f"idle-{number}@group.calendar.google.com" for number in range(calendars)]
            start = int(time.time()) // 3600 * 3600
            for remote in remotes:
                far.own("calendar", id=remote, summary=remote, timeZone="Europe/Zurich", accessRole="owner")
                for number in range(events):
                    far.create(remote, f"Event {number}", start + (1 + number) * 86400)
            connection = house.connect()
            wire = house.wire()
            for number in range(count):
                need(wire.ask("MKCALENDAR", house.calendar(f"idle-{number}")), 201)
            ids = house.calendars()
            begun = time.monotonic()
            for number in range(count):
                often = "PT1M" if number % POLLED == 0 else "P1D"
                house.map(ids[f"idle-{number}"], connection, remotes[number % calendars], poll_interval=often)
            end = time.monotonic() + 600
            while (left := sum(item["status"] != "active" for item in self.mappings(house))) > 0:
                if time.monotonic() > end:
                    raise Wrong(f"{left} of {count} mappings are not active")
                time.sleep(1)
            print(f"  {count} mappings were set up within {time.monotonic() - begun:,.0f} s", flush=True)
            if not self.chosen.check:
                self.calm(far, count)
            held = house.resident()
            house.stop()
            house.start()
            seconds = 2 if self.chosen.check else 60
            time.sleep(0 if self.chosen.check else 5)
            far.forget()
            used, begun = house.processor(), time.monotonic()
            time.sleep(seconds)
            share = (house.processor() - used) / (time.monotonic() - begun) * 100
            resident, calls = house.resident(), far.count()
            for number in range(0, count, max(1, count // 20)):
                path = house.calendar(f"idle-{number}")
                same(len(names(need(wire.ask("PROPFIND", path, LISTING, "Depth: 1\r\n"), 207))), events, "events")
            self.row(f"mappings at rest: share of a core over {seconds} s, {calls} calls", count, f"{share:.2f} %", "< 2 %", share < 2)
            self.row("mappings at rest: resident memory of the whole server", count, f"{resident:,.1f} MiB", "< 64 MiB", resident < 64)
            self.row("the same without any, and before the restart with all", count, f"{alone:,.1f} MiB, {held:,.1f} MiB")
        finally:
            house.remove()
            far.end()

    def mappings(self, house):
        cursor, out = "", []
        while cursor is not None:
            answer = house.call("GET", "/mappings?limit=100" + (f"&cursor={cursor}" if cursor else ""))
            out += answer["items"]
            cursor = answer["next_cursor"]
        return out

    def calm(self, far, count):
        """Waits until every first comparison was confirmed, a minute after it, and only polls are left."""
        time.sleep(75)
        for _ in range(60):
            before = far.count()
            time.sleep(10)
            if far.count() - before <= count / POLLED / 6 * 2:
                return
        raise Wrong("it does not come to rest")

    def all(self):
        sizes = self.chosen.sizes
        if any(self.wants(kind) for kind in ("first", "one", "put", "told", "memory")):
            for size in sizes:
                self.take("first sync", size, lambda size=size: self.size(size, size == sizes[0]))
        # A page holds 2,500 events: below, a run is as large as its calendar.
        more = [size for size in sorted(self.grown) if size > 2500]
        if len(more) > 1:
            small, large = more[0], more[-1]
            times = self.grown[large] / max(1.0, self.grown[small])
            reached = f"{self.grown[small]:,.0f} MiB → {self.grown[large]:,.0f} MiB, × {times:.2f}"
            self.row(f"what it grows by, from {small:,} events on", large, reached, "< × 1.3", times < 1.3)
        if self.wants("ours"):
            self.take("first sync of events of ours", sizes[0], lambda: self.ours(sizes[0]))
        if self.wants("idle"):
            self.take("mappings at rest", self.chosen.mappings, lambda: self.idle(self.chosen.mappings))

    def table(self):
        lines = ["| figure | number | reached | asked | |", "|---|--:|---|---|---|"]
        for what, size, reached, asked, holds in self.rows:
            verdict = "" if holds is None else "holds" if holds else "**not reached**"
            lines.append(f"| {what} | {size:,} | {reached} | {asked} | {verdict} |")
        return "\n".join(lines)


SECTION = """## Bridges

Written by

    cargo build --release
    webdav-tests/bench/bridge.py --page docs/performance.md

{when}: {version} beside `kalends simulate google`, which takes {latency} ms for every answer; {cores} cores for both and for what measures,
load average {before} at the beginning and {after} at the end. The budgets of calls are as they are without any setting (300 a minute for
Google, two minutes of them saved up, at most 580 in any one). After every figure both sides are compared: the same events, none twice, no failure; ✗ is a wrong result. A first
sync is counted from the request that makes the mapping to the end of its run, the calls with the list of calendars and the
notification channel; a median is one of ten. The notification is the simulator's own, to the server's hook, and the time runs from the
change there on. A write arrives when the simulator has read its request.

Mappings at rest: each has a calendar of its own here with five events; there they share ten calendars of one account, whose answers
take no time. One in fifteen is polled every minute and the others once a day: together as many polls as with the
usual quarter of an hour for all, which a minute would not show. The minute begins after a restart, when every first comparison was
confirmed. Only to set them up quickly, the budget of calls is raised.

The memory of the first sync holds what the store keeps of what it just wrote. The comparison in a fresh process writes nothing: what
it grows by is the run's own.

{table}
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    number = lambda text: [int(size) for size in text.split(",")]
    parser.add_argument("--sizes", type=number, default=[500, 1000, 10000, 50000])
    parser.add_argument("--mappings", type=int, default=1000)
    parser.add_argument("--latency", type=int, default=50, help="milliseconds of an answer there")
    parser.add_argument("--only", type=lambda text: text.split(","), default=[], help=", ".join(KINDS))
    parser.add_argument("--workdir", default=str(ROOT / "target"), help="the disk to measure on")
    parser.add_argument("--page", help="put the section into this page")
    parser.add_argument("--check", action="store_true")
    chosen = parser.parse_args()
    if set(chosen.only) - set(KINDS):
        parser.error(f"there are {', '.join(KINDS)}")
    if chosen.check:
        chosen.sizes, chosen.mappings, chosen.latency = [50], 20, 5
    binary, _ = binaries(chosen.check)
    pathlib.Path(chosen.workdir).mkdir(parents=True, exist_ok=True)
    bridge = Bridge(chosen, os.path.abspath(binary))
    before = os.getloadavg()[0]
    try:
        bridge.all()
    finally:
        shutil.rmtree(bridge.folder, ignore_errors=True)
    if not chosen.check:
        print(bridge.table())
    if chosen.page:
        version = os.popen(f"'{bridge.binary}' --version").read().strip()
        facts = {"when": time.strftime("%Y-%m-%d"), "version": version, "latency": chosen.latency, "cores": os.cpu_count(), "table": bridge.table()}
        page.put_section(chosen.page, SECTION.format(before=f"{before:.1f}", after=f"{os.getloadavg()[0]:.1f}", **facts))
    print(f"bridges: {bridge.passed} passed, {bridge.failed} failed")
    return 1 if bridge.failed else 0


if __name__ == "__main__":
    sys.exit(main())
