#!/usr/bin/env python3
"""Measures the JSON API: bookings a second, durable, of different times, also beside a thousand endless series; how long four weeks
of availability take; an event as JSON next to the bare answer of hyper, of as many bytes, in turn.

    cargo build --release --bins --examples
    webdav-tests/bench/bookings.py                   10,000 events, one in ten an endless series
    webdav-tests/bench/bookings.py --check           small, debug build, only whether the answers are right

Needs wrk; without the example `hyper` there is no comparison. Slots and busy times are compared with what the generator works out by itself, day by day; each booking that was
answered with 201 has to be an event in the calendar afterwards.
"""
import argparse
import datetime
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import data
from servers import USER, Hyper, Kalends, binaries
from wire import wrk

STEP, DURATION = 900, 1800


def token(server):
    command = [server.binary, "token", "add", USER, "bench", "--scope", "bookings", "--scope", "read", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, env=server.environment(), cwd=server.folder, check=True)
    return json.loads(done.stdout)["token"]


def ask(wire, bearer, path):
    wire.fixed = f"Host: 127.0.0.1:{wire.port}\r\nAuthorization: Bearer {bearer}\r\n"
    answer = wire.ask("GET", path)
    if answer.status != 200:
        sys.exit(f"{path}: {answer.status} {answer.text[:300]}")
    return json.loads(answer.text)


def moment(text):
    return int(datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp())


def basic(text):
    return int(datetime.datetime.strptime(text, "%Y%m%dT%H%M%SZ").replace(tzinfo=data.UTC).timestamp())


def expected(busy, start, end):
    """The starts of the grid that nothing busy touches."""
    return [at for at in range(start, end - DURATION + 1, STEP) if not any(a < at + DURATION and b > at for a, b in busy)]


def timed(what, times):
    took = []
    for _ in range(times):
        begun = time.monotonic()
        what()
        took.append((time.monotonic() - begun) * 1000)
    return statistics.median(took)


def daily(number):
    """An endless series of five minutes after midnight, beside which every quarter of an hour but one is free."""
    lines = ["BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:-//kalends//bench//EN", "BEGIN:VEVENT", f"UID:daily-{number}@bench.example"]
    lines += ["DTSTAMP:20240101T000000Z", "DTSTART:20240101T000000Z", "DURATION:PT5M", "RRULE:FREQ=DAILY", f"SUMMARY:Daily {number}"]
    return data.Fixed(f"daily-{number}.ics", "\r\n".join([*lines, "END:VEVENT", "END:VCALENDAR", ""]))


def booked(server, bearer, seconds, first):
    """Bookings a second; each that was answered with 201 has to be found afterwards."""
    rate, good, bad = wrk("book.lua", server.port, "/api/v1/bookings", seconds, 16, USER, "", ["x", bearer, first])
    since = datetime.datetime.fromtimestamp(first, data.UTC)
    until = since + datetime.timedelta(seconds=(good + 17) * 900 * 97 // 95)
    found = ask(server.wire(), bearer, f"/api/v1/bookings?limit=500&from={since:%Y-%m-%dT%H:%M:%SZ}&to={until:%Y-%m-%dT%H:%M:%SZ}")
    # Those under way when the time was over were stored too.
    if bad or not min(500, good) <= len(found["items"]) <= min(500, good + 16):
        sys.exit(f"{bad} bookings were refused; {len(found['items'])} of {good} found")
    return rate, good


def beside_hyper(server, bearer, binary, folder, events, seconds):
    """(events as JSON a second, bare answers a second), each three times in turn."""
    wire = server.wire()
    calendar = next(c["id"] for c in ask(wire, bearer, "/api/v1/calendars")["items"] if c["name"] == "bench")
    path = f"/api/v1/calendars/{calendar}/events/"
    for event in events[:50]:
        if ask(wire, bearer, path + event.uid)["uid"] != event.uid:
            sys.exit(f"{event.uid} is another event")
    length = len(json.dumps(ask(wire, bearer, path + events[0].uid), separators=(",", ":")))
    hyper = Hyper(folder / "hyper", binary)
    hyper.command = lambda: [binary, str(hyper.port), str(length)]
    hyper.start()
    rates = ([], [])
    try:
        for _ in range(3):
            for rate, port, place in ((rates[0], server.port, path), (rates[1], hyper.port, "/x/")):
                a_second, _good, bad = wrk("json.lua", port, place, seconds, 16, USER, "", ["x", bearer, len(events)])
                if bad:
                    sys.exit(f"{bad} answers were not as they should be")
                rate.append(a_second)
    finally:
        hyper.remove()
    return statistics.median(rates[0]), statistics.median(rates[1]), length


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--check", action="store_true", help="small, debug build, no figures")
    arguments.add_argument("--size", type=int, default=10_000)
    arguments.add_argument("--seconds", type=int, default=10)
    options = arguments.parse_args()
    if options.check:
        options.size, options.seconds = min(options.size, 300), 2
    binary, hyper = binaries(options.check)
    with tempfile.TemporaryDirectory() as folder:
        server = Kalends(pathlib.Path(folder) / "kalends", binary)
        server.start()
        try:
            bearer = token(server)
            rate, good = booked(server, bearer, options.seconds, 2_100_000_000)
            wire = server.wire()
            names = server.wire().ask("PROPFIND", server.calendar("calendar"), headers="Depth: 1\r\n").text.count(".ics</")
            # Those under way when the time was over were stored too.
            if not good <= names <= good + 16:
                sys.exit(f"{names} events for {good} bookings")
            print(f"bookings of different times, durable, 16 connections: {rate:,.0f}/s ({good} in all)")

            year = datetime.date.today().year
            start = datetime.datetime(year + 1, 3, 1, tzinfo=data.UTC)
            start += datetime.timedelta(days=-start.weekday())
            end = start + datetime.timedelta(weeks=4)
            data.UNTIL = end.date() + datetime.timedelta(days=7)
            calendar = data.Calendar(options.size)
            server.load("bench", calendar.events)
            busy = [(basic(a), basic(b)) for a, b in calendar.merged((start, end))]
            form = "%Y-%m-%dT%H:%M:%SZ"
            span = f"from={start.strftime(form)}&to={end.strftime(form)}"
            slots = f"/api/v1/availability?{span}&duration=PT30M&step=PT15M"
            answer = ask(wire, bearer, slots)
            offered = [moment(slot["start"]) for slot in answer["slots"]]
            wanted = expected(busy, int(start.timestamp()), int(end.timestamp()))
            if offered != wanted:
                sys.exit(f"{len(offered)} slots for {len(wanted)}: {sorted(set(offered) ^ set(wanted))[:4]}")
            told = [(moment(one["start"]), moment(one["end"])) for one in ask(wire, bearer, f"/api/v1/freebusy?{span}")["busy"]]
            if told != busy:
                sys.exit(f"{len(told)} busy times for {len(busy)}")
            for what, path in [("availability", slots), ("free/busy", f"/api/v1/freebusy?{span}")]:
                took = timed(lambda path=path: ask(wire, bearer, path), 3 if options.check else 50)
                print(f"{what}, four weeks, {options.size:,} events: {took:.1f} ms ({len(wanted)} slots)")
            if hyper:
                ours, bare, length = beside_hyper(server, bearer, hyper, pathlib.Path(folder), calendar.events, max(1, options.seconds // 3))
                print(f"GET of an event as JSON ({length} bytes), 16 connections: {ours:,.0f}/s, {ours / bare:.1%} of hyper's {bare:,.0f}/s")
            # Its series would be in the way.
            if server.wire().ask("DELETE", server.calendar("bench")).status != 204:
                sys.exit("the calendar is still there")
            series = [daily(number) for number in range(100 if options.check else 1000)]
            server.load("series", series)
            rate, good = booked(server, bearer, options.seconds, 3_100_000_000)
            print(f"the same beside {len(series):,} endless series: {rate:,.0f}/s ({good} in all)")
            if options.check:
                print("all answers are right (a debug build: the figures say nothing)")
        finally:
            server.stop()


if __name__ == "__main__":
    main()
