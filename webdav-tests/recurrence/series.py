"""Asks recurring-ical-events for the instances of generated objects, and writes them down for `series.rs`.

    python3 series.py [SEED] [COUNT] > series.txt

Each case: a line `? FROM TO`, the object's lines, then `= START/END …` in UTC (dates for all-day ones), sorted. An end is
`*` where an instance crosses a change of the clock and has a DTEND (D7 in differences.md).
"""
import random
import sys
import warnings
from datetime import date, datetime, time, timedelta, timezone
from zoneinfo import ZoneInfo

import icalendar
import recurring_ical_events

warnings.simplefilter("ignore")
UTC = timezone.utc
DAYS = ["MO", "TU", "WE", "TH", "FR", "SA", "SU"]
# Zones whose future is settled: others (Morocco) differ between releases of the data.
ZONES = ["America/New_York", "Europe/Berlin", "America/Sao_Paulo", "Europe/Dublin", "Australia/Lord_Howe",
         "Asia/Kolkata", "Pacific/Auckland", "UTC", None, "DATE"]


class Form:
    """How the times of one object are written."""

    def __init__(self, zone):
        self.zone = zone

    def prop(self, name, t, params=""):
        if self.zone == "DATE":
            return f"{name};VALUE=DATE{params}:{t:%Y%m%d}"
        if self.zone == "UTC":
            return f"{name}{params}:{t:%Y%m%dT%H%M%SZ}"
        if self.zone is None:
            return f"{name}{params}:{t:%Y%m%dT%H%M%S}"
        return f"{name};TZID={self.zone}{params}:{t:%Y%m%dT%H%M%S}"

    def utc(self, t):
        zone = UTC if self.zone in ("UTC", None, "DATE") else ZoneInfo(self.zone)
        return t.replace(tzinfo=zone).astimezone(UTC)


def rule(r, start):
    freq = r.choice(["DAILY"] * 3 + ["WEEKLY"] * 4 + ["MONTHLY"] * 2 + ["YEARLY"])
    p = [f"FREQ={freq}"]
    if r.random() < .4:
        p.append(f"INTERVAL={r.choice([2, 2, 3, 4])}")
    if freq == "WEEKLY" and r.random() < .6:
        days = {start.weekday()} | set(r.sample(range(7), r.randint(0, 3)))
        p.append("BYDAY=" + ",".join(DAYS[d] for d in sorted(days)))
    if freq == "MONTHLY" and r.random() < .5:
        p.append(f"BYDAY={(start.day - 1) // 7 + 1}{DAYS[start.weekday()]}")
    return freq, p


def make(r):
    zone = r.choice(ZONES)
    form = Form(zone)
    start = datetime(r.choice([2016, 2018, 2023, 2024, 2025]), r.choice([1, 2, 3, 3, 4, 9, 10, 10, 11, 12]), r.randint(1, 28),
                     r.choice([0, 0, 1, 2, 2, 3, 9, 14, 22, 23]), r.choice([0, 30]))
    if zone == "DATE":
        start = datetime.combine(start.date(), time())
    freq, p = rule(r, start)
    minutes = r.choice([1440, 2880]) if zone == "DATE" else r.choice([0, 30, 60, 90, 600, 1440, 2000])
    step = {"DAILY": 1, "WEEKLY": 7, "MONTHLY": 31, "YEARLY": 366}[freq]
    p_end = r.random()
    if p_end < .25:
        p.append(f"COUNT={r.choice([1, 2, 5, 12, 40])}")
    elif p_end < .5:
        until = start + timedelta(days=step * r.randint(1, 30), hours=0 if zone == "DATE" else r.choice([0, 0, 5]))
        if zone == "DATE":
            p.append(f"UNTIL={until:%Y%m%d}")
        elif zone is None:
            p.append(f"UNTIL={until:%Y%m%dT%H%M%S}")
        else:
            p.append(f"UNTIL={form.utc(until):%Y%m%dT%H%M%SZ}")
    text = ";".join(p)
    # Instances to pick exceptions from: the library's own answer for the bare rule.
    head = ["BEGIN:VEVENT", "UID:1", "DTSTAMP:20240101T000000Z", form.prop("DTSTART", start)]
    length = r.random()
    nominal = False
    if length < .6:
        head.append(form.prop("DTEND", start + timedelta(minutes=minutes)))
    elif length < .85:
        nominal = True
        days, rest = divmod(minutes, 1440)
        head.append("DURATION:P" + (f"{days}D" if days else "") + (f"T{rest}M" if rest or not days else ""))
    head.append(f"RRULE:{text}")
    bare = parse(head + ["END:VEVENT"])
    far = (start - timedelta(days=2), start + timedelta(days=step * 45))
    found = sorted({wall(e, form) for e in recurring_ical_events.of(bare).between(*far)})
    lines = list(head)
    extra = []
    pick = lambda: found[min(len(found) - 1, int(r.random() * r.random() * len(found)))]
    if found:
        for _ in range(r.choice([0, 0, 1, 1, 2, 3])):
            t = pick()
            kind = r.random()
            if zone not in ("DATE", None, "UTC") and kind < .3:
                lines.append(f"EXDATE:{form.utc(t):%Y%m%dT%H%M%SZ}")
            else:
                lines.append(form.prop("EXDATE", t))
        if r.random() < .25:
            lines.append(form.prop("RDATE", start + timedelta(days=r.randint(1, step * 20), minutes=0 if zone == "DATE" else 15)))
        used = set()
        for _ in range(r.choice([0, 0, 1, 1, 2])):
            t = pick()
            if t in used or any(f"{t:%Y%m%d}" in line or f"{form.utc(t):%Y%m%d}" in line for line in lines if line.startswith("EXDATE")):
                continue
            used.add(t)
            to = t + timedelta(days=r.choice([0, 0, 1, -2, 9, 40]), minutes=0 if zone == "DATE" else r.choice([0, 45, -90]))
            rid = form.prop("RECURRENCE-ID", t)
            if zone not in ("DATE", None, "UTC") and r.random() < .3:
                rid = f"RECURRENCE-ID:{form.utc(t):%Y%m%dT%H%M%SZ}"
            extra += ["BEGIN:VEVENT", "UID:1", "DTSTAMP:20240101T000000Z", rid, form.prop("DTSTART", to),
                      form.prop("DTEND", to + timedelta(minutes=max(minutes, 30) if zone != "DATE" else minutes)), "END:VEVENT"]
    lines.append("END:VEVENT")
    if r.random() < .07 and extra:
        lines, extra = extra, []
    body = lines + extra if r.random() < .7 else extra + lines
    a = start + timedelta(days=r.randint(-3, step * 25), hours=r.randrange(24))
    if found and r.random() < .7:
        a = pick() - timedelta(days=r.choice([0, 1, 3]), hours=r.randrange(24))
    span = r.choice([1, 7, 31, 31, 180])
    return form, body, (a.replace(tzinfo=UTC), (a + timedelta(days=span)).replace(tzinfo=UTC)), nominal


def parse(body):
    text = ["BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:-//x//y//EN"] + body + ["END:VCALENDAR", ""]
    return icalendar.Calendar.from_ical("\r\n".join(text))


def wall(event, form):
    t = event["DTSTART"].dt
    if not isinstance(t, datetime):
        return datetime.combine(t, time())
    return t.replace(tzinfo=None)


def instant(t):
    if not isinstance(t, datetime):
        t = datetime.combine(t, time())
    return t.replace(tzinfo=UTC) if t.tzinfo is None else t.astimezone(UTC)


def answer(form, body, span, nominal):
    wide = (span[0] - timedelta(days=5), span[1] + timedelta(days=5))
    out = []
    starts = [e["DTSTART"].dt for e in parse(body).walk("VEVENT")]
    ends = [e["DTEND"].dt for e in parse(body).walk("VEVENT") if "DTEND" in e]
    master_crosses = any(isinstance(t, datetime) and t.tzinfo and u.utcoffset() != t.utcoffset() for t, u in zip(starts, ends))
    for e in recurring_ical_events.of(parse(body)).between(*wide):
        s, t = e["DTSTART"].dt, e["DTEND"].dt if "DTEND" in e else e["DTSTART"].dt + e["DURATION"].dt
        a, b = instant(s), instant(t)
        if not (a < span[1] and b > span[0] if b > a else span[0] <= a < span[1]):
            continue
        if not isinstance(s, datetime):
            out.append(f"{s:%Y%m%d}/{t:%Y%m%d}")
            continue
        crosses = s.tzinfo is not None and (s.utcoffset() != t.utcoffset() or master_crosses)
        end = "*" if crosses else f"{b:%Y%m%dT%H%M%SZ}"
        out.append(f"{a:%Y%m%dT%H%M%SZ}/{end}")
    return sorted(out)


def main():
    r = random.Random(int(sys.argv[1]) if len(sys.argv) > 1 else 4791)
    for _ in range(int(sys.argv[2]) if len(sys.argv) > 2 else 500):
        form, body, span, nominal = make(r)
        print(f"? {span[0]:%Y%m%dT%H%M%SZ} {span[1]:%Y%m%dT%H%M%SZ}")
        print("\n".join(body))
        print("=", " ".join(answer(form, body, span, nominal)))


if __name__ == "__main__":
    main()
