#!/usr/bin/env python3
"""Published feeds, read by two libraries of others (icalendar from PyPI, ical.js from npm) and by rules.

Four feeds of the same calendars: everything, busy times only, several calendars, without reminders. Each is held to RULES below
(RFC 5545, RFC 7986, RFC 9110 and what subscribing programs are known to want); both libraries have to find the same events at the
same moments in it.

KALENDS_URL, KALENDS_USER, KALENDS_PASSWORD: the server; KALENDS_TOKEN: a token with `read` and `events`; KALENDS_NODE: the folder of
`check.mjs` with its packages.
"""
import datetime
import gzip
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request

import icalendar
import recurring_ical_events

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from common import Dav, Steps, account, forget_proxies  # noqa: E402

TOKEN = os.environ["KALENDS_TOKEN"]
DAY = datetime.date.today() + datetime.timedelta(days=7)
DATE = DAY.strftime("%Y%m%d")
LATER = (DAY + datetime.timedelta(days=7)).strftime("%Y%m%d")
WEEKS = (datetime.datetime.combine(DAY, datetime.time(), datetime.UTC), datetime.timedelta(weeks=5))

ZONE = """BEGIN:VTIMEZONE
TZID:Europe/Berlin
BEGIN:DAYLIGHT
TZOFFSETFROM:+0100
TZOFFSETTO:+0200
TZNAME:CEST
DTSTART:19700329T020000
RRULE:FREQ=YEARLY;BYMONTH=3;BYDAY=-1SU
END:DAYLIGHT
BEGIN:STANDARD
TZOFFSETFROM:+0200
TZOFFSETTO:+0100
TZNAME:CET
DTSTART:19701025T030000
RRULE:FREQ=YEARLY;BYMONTH=10;BYDAY=-1SU
END:STANDARD
END:VTIMEZONE
"""
ALARM = "BEGIN:VALARM\nACTION:DISPLAY\nTRIGGER:-PT10M\nDESCRIPTION:Soon\nEND:VALARM\n"
SECRET = "Nobody's business"
# UID → zone before it, lines of its VEVENT. Further components of the same object follow after a blank line.
EVENTS = {
    "plain": ("", f"DTSTART:{DATE}T090000Z\nDURATION:PT1H\nSUMMARY:Plain\\, with a comma\n{ALARM}"),
    "zoned": (ZONE, f"DTSTART;TZID=Europe/Berlin:{DATE}T100000\nDTEND;TZID=Europe/Berlin:{DATE}T113000\nSUMMARY:Zoned\n"),
    "days": ("", f"DTSTART;VALUE=DATE:{DATE}\nSUMMARY:Whole day\nTRANSP:OPAQUE\n"),
    "series": (
        ZONE,
        f"DTSTART;TZID=Europe/Berlin:{DATE}T120000\nDURATION:PT45M\nRRULE:FREQ=WEEKLY;COUNT=4\nSUMMARY:Series\n"
        f"\nRECURRENCE-ID;TZID=Europe/Berlin:{LATER}T120000\nDTSTART;TZID=Europe/Berlin:{LATER}T150000\nDURATION:PT45M\nSUMMARY:Moved\n",
    ),
    "endless": (ZONE, f"DTSTART;TZID=Europe/Berlin:{DATE}T070000\nDURATION:PT15M\nRRULE:FREQ=DAILY\nSUMMARY:Daily\n"),
    "long": ("", f"DTSTART:{DATE}T160000Z\nDURATION:PT1H\nSUMMARY:{'Überlänge mit Straße 🗓 ' * 8}\nDESCRIPTION:" + "Zeile\\n" * 40 + "\n"),
    "private": ("", f"DTSTART:{DATE}T170000Z\nDURATION:PT1H\nCLASS:PRIVATE\nSUMMARY:{SECRET}\nLOCATION:{SECRET}\n"),
    "people": (
        "",
        f"DTSTART:{DATE}T180000Z\nDURATION:PT1H\nSUMMARY:People\nORGANIZER:mailto:anna@kalends.example\n"
        "ATTENDEE;CN=\"Guest; of honour\":mailto:guest@kalends.example\n",
    ),
    "free": ("", f"DTSTART:{DATE}T190000Z\nDURATION:PT1H\nTRANSP:TRANSPARENT\nSUMMARY:Free\n"),
}


def text_of(uid):
    zone, lines = EVENTS[uid]
    text = f"BEGIN:VCALENDAR\nVERSION:2.0\nPRODID:-//kalends//feeds//EN\n{zone}"
    for component in lines.split("\n\n"):
        text += f"BEGIN:VEVENT\nUID:{uid}@kalends.example\nDTSTAMP:20260101T000000Z\n{component.rstrip()}\nEND:VEVENT\n"
    return (text + "END:VCALENDAR\n").replace("\n", "\r\n")


def api(url, method, path, body=None):
    request = urllib.request.Request(f"{url}/api/v1{path}", method=method, data=None if body is None else json.dumps(body).encode())
    request.add_header("Authorization", f"Bearer {TOKEN}")
    request.add_header("Content-Type", "application/json")
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.loads(answer.read() or b"null")


class Fetched:
    def __init__(self, url, method="GET", **headers):
        request = urllib.request.Request(url, method=method, headers={name.replace("_", "-"): value for name, value in headers.items()})
        try:
            answer = urllib.request.urlopen(request, timeout=30)
        except urllib.error.HTTPError as refused:
            answer = refused
        with answer:
            self.status, self.headers, self.body = answer.status, answer.headers, answer.read()


def unfolded(body):
    return body.decode().replace("\r\n ", "").replace("\r\n\t", "").split("\r\n")


def named(lines, name):
    """Values of the properties of that name, whatever their parameters."""
    return [line.split(":", 1)[1] for line in lines if line.split(":", 1)[0].split(";", 1)[0] == name]


# ---- the rules: each is given the feed as it was told, its lines and the answer that brought it -----------------------


def crlf(feed, lines, answer):
    """RFC 5545 §3.1: lines end with CRLF, the last one too; UTF-8 without a mark."""
    rest = answer.body.replace(b"\r\n", b"")
    assert answer.body.endswith(b"END:VCALENDAR\r\n") and b"\r" not in rest and b"\n" not in rest
    assert answer.body.startswith(b"BEGIN:VCALENDAR\r\n")


def folding(feed, lines, answer):
    """RFC 5545 §3.1: no line has more than 75 octets, and no letter is cut in two."""
    for line in answer.body.split(b"\r\n"):
        assert len(line) <= 75, line
        line.decode()


def head(feed, lines, answer):
    """RFC 5545 §3.6, §3.7: one calendar, with VERSION, PRODID and METHOD:PUBLISH (a REQUEST would be an invitation)."""
    for name, value in (("VERSION", "2.0"), ("METHOD", "PUBLISH"), ("CALSCALE", "GREGORIAN")):
        assert named(lines, name) == [value], (name, named(lines, name))
    assert len(named(lines, "PRODID")) == 1 and lines.count("BEGIN:VCALENDAR") == 1


def name(feed, lines, answer):
    """RFC 7986 §5.1, and the name that older programs know."""
    wanted = [feed["name"].replace(",", "\\,")]
    assert named(lines, "X-WR-CALNAME") == wanted, named(lines, "X-WR-CALNAME")
    assert [value for value in named(lines, "NAME")] == wanted


def refresh(feed, lines, answer):
    """RFC 7986 §5.7, §5.8, and the name that Outlook knows."""
    (interval,) = named(lines, "REFRESH-INTERVAL")
    assert named(lines, "X-PUBLISHED-TTL") == [interval] and interval.startswith("PT")
    assert "REFRESH-INTERVAL;VALUE=DURATION:" + interval in lines
    assert named(lines, "SOURCE") == [feed["url"]]


def zones(feed, lines, answer):
    """RFC 5545 §3.2.19: one VTIMEZONE for each TZID that is named, and no other."""
    used = {part[5:].strip('"') for line in lines for part in line.split(":", 1)[0].split(";")[1:] if part.startswith("TZID=")}
    there = named(lines, "TZID")
    assert sorted(there) == sorted(used), (there, used)
    assert lines.count("BEGIN:VTIMEZONE") == len(there)


def events(feed, lines, answer):
    """RFC 5545 §3.6.1: each has UID, DTSTAMP and DTSTART; no two the same UID and RECURRENCE-ID."""
    calendar = icalendar.Calendar.from_ical(answer.body)
    seen = set()
    found = calendar.walk("VEVENT")
    assert found, "an empty calendar is refused by some programs"
    for event in found:
        assert not event.errors, event.errors
        for needed in ("UID", "DTSTAMP", "DTSTART"):
            assert needed in event, event
        key = (event["UID"], event["RECURRENCE-ID"].to_ical() if "RECURRENCE-ID" in event else None)
        assert key not in seen, key
        seen.add(key)


def secrets(feed, lines, answer):
    """No people; nothing of what is private; of busy times nothing but when."""
    text = answer.body.decode() + "\n".join(lines)
    for word in (SECRET, "guest@", "ORGANIZER", "ATTENDEE", "private@kalends.example"):
        assert word not in text, word
    if feed["scope"] == "busy":
        for word in ("@kalends.example", "DESCRIPTION", "LOCATION", "Plain", "Series", "VALARM"):
            assert word not in text.replace(feed["url"], ""), word
        assert set(named(lines, "SUMMARY")) == {"Busy"}


def reminders(feed, lines, answer):
    assert ("BEGIN:VALARM" in lines) == (feed["alarms"] and feed["scope"] == "full")


def headers(feed, lines, answer):
    wanted = {
        "Content-Type": "text/calendar; charset=utf-8",
        "Referrer-Policy": "no-referrer",
        "X-Robots-Tag": "noindex",
        "Cache-Control": "private, max-age=300",
    }
    for name, value in wanted.items():
        assert answer.headers[name] == value, (name, answer.headers[name])
    assert answer.headers["Content-Disposition"].endswith('.ics"')


def same_bytes(feed, lines, answer):
    """DTSTAMP says when an event was changed, not when it was asked for: else no 304, and Google imports all anew."""
    again = Fetched(feed["url"])
    assert again.body == answer.body and again.headers["ETag"] == answer.headers["ETag"]


def conditional(feed, lines, answer):
    """RFC 9110 §13.1.2, §13.1.3, §15.4.5."""
    tag, date = answer.headers["ETag"], answer.headers["Last-Modified"]
    assert tag.startswith('"') and date
    for asked in ({"If_None_Match": tag}, {"If_None_Match": f'"other", {tag}'}, {"If_None_Match": "*"}, {"If_Modified_Since": date}):
        known = Fetched(feed["url"], **asked)
        assert (known.status, known.body, known.headers["ETag"]) == (304, b"", tag), (asked, known.status)
    assert Fetched(feed["url"], If_None_Match='"other"').status == 200


def head_method(feed, lines, answer):
    """RFC 9110 §9.3.2."""
    asked = Fetched(feed["url"], "HEAD")
    assert (asked.status, asked.body) == (200, b"")
    for name in ("ETag", "Content-Type", "Content-Length", "Last-Modified"):
        assert asked.headers[name] == answer.headers[name], name


def compressed(feed, lines, answer):
    """RFC 9110 §8.4, §8.8.3.3, §12.5.3."""
    packed = Fetched(feed["url"], Accept_Encoding="gzip")
    assert packed.headers["Content-Encoding"] == "gzip" and gzip.decompress(packed.body) == answer.body
    assert packed.headers["ETag"] != answer.headers["ETag"]
    assert "accept-encoding" in (packed.headers["Vary"] or "").lower()
    assert Fetched(feed["url"], Accept_Encoding="gzip", If_None_Match=packed.headers["ETag"]).status == 304


def webcal(feed, lines, answer):
    assert feed["webcal_url"] == "webcal" + feed["url"][feed["url"].index("://"):]


RULES = [
    crlf, folding, head, name, refresh, zones, events, secrets, reminders, headers, same_bytes, conditional, head_method, compressed, webcal,
]


# ---- two readers -----------------------------------------------------------------------------------------------------


def moment(value):
    if not isinstance(value, datetime.datetime):
        return value.isoformat()
    return value.astimezone(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def read_by_icalendar(body):
    start, length = WEEKS
    found = recurring_ical_events.of(icalendar.Calendar.from_ical(body)).between(start, start + length)
    return sorted([str(e["UID"]), str(e["SUMMARY"]), moment(e["DTSTART"].dt), moment(e.end)] for e in found)


def read_by_ical_js(body):
    start, length = WEEKS
    with tempfile.NamedTemporaryFile(suffix=".ics") as file:
        file.write(body)
        file.flush()
        command = ["node", pathlib.Path(os.environ["KALENDS_NODE"]) / "check.mjs", file.name, moment(start), moment(start + length)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return sorted(json.loads(done.stdout))


def main():
    forget_proxies()
    url, user, password = account()
    steps = Steps("feeds")
    dav = Dav(url, user, password)
    there = [(c["id"], c["url"]) for c in api(url, "GET", "/calendars")["items"] if "VEVENT" in c["components"]]
    first, path = there[0]
    path = path[path.index("/", path.index("://") + 3):] if "://" in path else path
    for uid in EVENTS:
        dav.expect(201, "PUT", f"{path}{uid}.ics", text_of(uid))
    second = api(url, "POST", "/calendars", {"name": "second", "display_name": "Second"})["id"]
    day = DAY.isoformat()
    api(url, "POST", f"/calendars/{second}/events", {"title": "Other", "start": f"{day}T20:00:00", "duration": "PT1H", "time_zone": "America/New_York"})

    wishes = {
        "full": {"calendars": [first], "name": "Anna, open"},
        "busy": {"calendars": [first], "name": "Anna", "scope": "busy"},
        "several": {"calendars": [first, second], "name": "Both"},
        "without reminders": {"calendars": [first], "name": "Quiet", "alarms": False},
    }
    count = {}
    for kind, wish in wishes.items():
        feed = api(url, "POST", "/feeds", wish)
        answer = Fetched(feed["url"])
        lines = unfolded(answer.body)
        for rule in RULES:
            steps.step(f"{kind}: {rule.__name__.replace('_', ' ')}", lambda rule=rule: rule(feed, lines, answer))

        def agree():
            one, other = read_by_icalendar(answer.body), read_by_ical_js(answer.body)
            assert one == other, [pair for pair in zip(one, other) if pair[0] != pair[1]][:3] or (len(one), len(other))
            count[kind] = len(one)

        steps.step(f"{kind}: icalendar and ical.js read the same", agree)
    # In five weeks: a series of four, one a day, and one each of the others; what is free is not busy.
    single = len(EVENTS) - 2
    wanted = {"full": single + 4 + 35, "busy": single - 1 + 4 + 35, "several": single + 4 + 35 + 1, "without reminders": single + 4 + 35}

    def counted():
        assert count == wanted, (count, wanted)

    steps.step("each feed has every event of the five weeks", counted)
    steps.done()


if __name__ == "__main__":
    main()
