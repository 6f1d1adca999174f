#!/usr/bin/env python3
"""Measures the pages as a browser asks for them: the calendar page, what it asks for one week, and the other lists, at 10,000 events; and how
heavy all is that the calendar page loads, compressed.

    cargo build --release
    webdav-tests/bench/pages.py                      10,000 events, one in ten a series
    webdav-tests/bench/pages.py --check              small, debug build, only whether the answers are right

The events of the week are compared with what the generator works out by itself.
"""
import argparse
import gzip
import json
import os
import pathlib
import re
import statistics
import sys
import tempfile
import time
import urllib.parse

import data
from servers import PASSWORD, USER, Kalends, binaries

ASKED = {"ms": 50, "KiB": 400}
FORM = "%Y-%m-%dT%H:%M:%SZ"


def signed_in(server):
    """A connection of a browser that signed in."""
    wire = server.wire()
    wire.fixed = f"Host: 127.0.0.1:{wire.port}\r\n"
    form = urllib.parse.urlencode({"user": USER, "password": PASSWORD, "next": "/"})
    answer = wire.ask("POST", "/sign-in", form)
    cookie = re.search(rb"(?i)\r\nset-cookie: ([^;]+);", b"\r\n" + (answer.head if isinstance(answer.head, bytes) else answer.head.encode()))
    if answer.status != 303 or not cookie:
        sys.exit(f"sign-in: {answer.status} {answer.text[:300]}")
    wire.fixed += f"Cookie: {cookie[1].decode()}\r\n"
    return wire


def page(wire, path):
    answer = wire.ask("GET", path)
    if answer.status != 200:
        sys.exit(f"{path}: {answer.status} {answer.text[:300]}")
    return answer


def worked(server):
    """What the server used of processors so far, in ms: it says as much on a machine that does other things as well."""
    fields = pathlib.Path(f"/proc/{server.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) * 1000 / os.sysconf("SC_CLK_TCK")


def timed(server, wire, path, times):
    """(median, 99 of 100, time of processors) in ms."""
    took, before = [], worked(server)
    for _ in range(times):
        begun = time.monotonic()
        page(wire, path)
        took.append((time.monotonic() - begun) * 1000)
    took.sort()
    return statistics.median(took), took[int(len(took) * 0.99)], (worked(server) - before) / times


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--check", action="store_true", help="small, debug build, no figures")
    arguments.add_argument("--size", type=int, default=10_000)
    arguments.add_argument("--times", type=int, default=200)
    options = arguments.parse_args()
    if options.check:
        options.size, options.times = min(options.size, 300), 3
    binary, _ = binaries(options.check)
    with tempfile.TemporaryDirectory() as folder:
        server = Kalends(pathlib.Path(folder) / "kalends", binary)
        server.start()
        try:
            calendar = data.Calendar(options.size)
            server.load("bench", calendar.events)
            wire = signed_in(server)
            week = "/calendar/events?" + urllib.parse.urlencode({"start": data.WEEK[0].strftime(FORM), "end": data.WEEK[1].strftime(FORM)})
            found = json.loads(page(wire, week).text)
            wanted = len(calendar.instances_in_week)
            if len(found) != wanted:
                sys.exit(f"{len(found)} events in the week for {wanted}")
            html = page(wire, "/").text
            load = sorted(set(re.findall(r'(?:src|href)="(/assets/[^"#]+)', html)))
            wire.fixed += "Accept-Encoding: gzip\r\n"
            weight = len(gzip.compress(html.encode())) + sum(len(page(wire, path).body) for path in load)
            print(f"{options.size:,} events, {len(found)} in the week")
            rows = [("the calendar page", "/"), ("what it asks for one week", week), ("accounts", "/connections"), ("conflicts", "/conflicts"), ("sync log", "/log")]
            for what, path in rows:
                median, slow, busy = timed(server, wire, path, options.times)
                holds = "holds" if slow < ASKED["ms"] else "**not reached**"
                print(f"| {what} | {median:.1f} ms | {slow:.1f} ms | {busy:.1f} ms | < {ASKED['ms']} ms | {holds} |")
            holds = "holds" if weight < ASKED["KiB"] * 1024 else "**not reached**"
            print(f"| weight of the calendar page, {len(load)} files, compressed | {weight / 1024:.0f} KiB | | | < {ASKED['KiB']} KiB | {holds} |")
            if weight >= ASKED["KiB"] * 1024:
                sys.exit("the page is too heavy")
            if options.check:
                print("all answers are right (a debug build: the figures say nothing)")
        finally:
            server.stop()


if __name__ == "__main__":
    main()
