"""The calendar that is measured, and what every question about it must be answered with.

One event in ten is an endless series (daily, weekly on two days, monthly in turn); of these every fifth has an EXDATE in the
week that is asked for, every tenth an override that moves an instance within, out of or into that week. One in ten is
all-day and transparent, one in five keeps New York time, the rest is UTC. Single events are spread over five years.

The answers are worked out here from the parameters, day by day, without parsing iCalendar: an opinion of its own.
"""
import datetime
import random
import zoneinfo

UTC = datetime.timezone.utc
NEW_YORK = zoneinfo.ZoneInfo("America/New_York")
FIRST = datetime.date(2024, 1, 1)
DAYS = 5 * 365
# So far the instances of series are worked out.
UNTIL = datetime.date(2026, 6, 30)
# The week after the New York clock change of 2026, and its month.
WEEK = (datetime.datetime(2026, 3, 9, tzinfo=UTC), datetime.datetime(2026, 3, 16, tzinfo=UTC))
MONTH = (datetime.datetime(2026, 3, 1, tzinfo=UTC), datetime.datetime(2026, 4, 1, tzinfo=UTC))
DAY_NAMES = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")

VTIMEZONE = "\r\n".join(
    [
        "BEGIN:VTIMEZONE", "TZID:America/New_York",
        "BEGIN:DAYLIGHT", "DTSTART:20070311T020000", "RRULE:FREQ=YEARLY;BYMONTH=3;BYDAY=2SU", "TZOFFSETFROM:-0500", "TZOFFSETTO:-0400", "TZNAME:EDT", "END:DAYLIGHT",
        "BEGIN:STANDARD", "DTSTART:20071104T020000", "RRULE:FREQ=YEARLY;BYMONTH=11;BYDAY=1SU", "TZOFFSETFROM:-0400", "TZOFFSETTO:-0500", "TZNAME:EST", "END:STANDARD",
        "END:VTIMEZONE",
    ]
)  # fmt: skip


def stamp(moment):
    return moment.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")


class Fixed:
    """An object of given text."""

    def __init__(self, name, text):
        self.name, self.text = name, text

    def ical(self):
        return self.text


class Event:
    """One calendar object: its text, and its instances worked out from the same numbers."""

    def __init__(self, number, seed):
        chance = random.Random(seed * 1_000_003 + number)
        self.number = number
        self.uid = f"event-{number:06}@bench.example"
        self.name = f"event-{number:06}.ics"
        self.series = number % 10 == 3
        self.all_day = number % 10 == 7
        self.zone = NEW_YORK if number % 5 == 1 or (self.series and number % 20 == 3) else UTC
        self.minutes = chance.choice((30, 45, 60, 90))
        self.time = datetime.time(chance.randrange(8, 18), chance.choice((0, 15, 30, 45)))
        self.day = FIRST + datetime.timedelta(days=chance.randrange(DAYS))
        self.rule, self.days, self.excluded, self.moved = None, None, None, None
        self.text_size = chance.randrange(40, 160)
        if self.series:
            order = number // 10
            self.day = FIRST + datetime.timedelta(days=chance.randrange(700))
            kind = ("DAILY", "WEEKLY", "MONTHLY")[order % 3]
            if kind == "DAILY":
                self.rule = "FREQ=DAILY"
            elif kind == "WEEKLY":
                self.days = sorted({self.day.weekday(), (self.day.weekday() + 2) % 7})
                self.rule = "FREQ=WEEKLY;BYDAY=" + ",".join(DAY_NAMES[d] for d in self.days)
            else:
                self.day = self.day.replace(day=min(self.day.day, 28))
                self.rule = "FREQ=MONTHLY"
            inside = [d for d in self.dates() if WEEK[0].date() < d < WEEK[1].date() - datetime.timedelta(days=1)]
            if inside and order % 5 == 1:
                self.excluded = inside[0]
            elif inside and order % 10 == 2:
                self.moved = (inside[0], inside[0] + datetime.timedelta(days=(0, 21)[order % 20 == 2]), 2)
            elif order % 10 == 4:
                later = [d for d in self.dates() if WEEK[1].date() + datetime.timedelta(days=7) < d]
                self.moved = (later[0], WEEK[0].date() + datetime.timedelta(days=3), 1)

    def dates(self):
        """The days of the series up to UNTIL, by the rule and nothing else."""
        out, day = [], self.day
        while day <= UNTIL:
            if self.rule == "FREQ=DAILY" or (self.days and day.weekday() in self.days) or (self.rule == "FREQ=MONTHLY" and day.day == self.day.day):
                out.append(day)
            day += datetime.timedelta(days=1)
        return out

    def at(self, day, hours=0):
        moment = datetime.datetime.combine(day, self.time, tzinfo=self.zone) + datetime.timedelta(hours=hours)
        return moment, moment.astimezone(UTC) + datetime.timedelta(minutes=self.minutes)

    def instances(self):
        """(start, end) in UTC of everything up to UNTIL."""
        if self.all_day:
            start = datetime.datetime.combine(self.day, datetime.time(), tzinfo=UTC)
            return [(start, start + datetime.timedelta(days=1))]
        if not self.series:
            start, end = self.at(self.day)
            return [(start.astimezone(UTC), end)]
        out = []
        for day in self.dates():
            if day == self.excluded:
                continue
            start, end = self.at(self.moved[1], self.moved[2]) if self.moved and day == self.moved[0] else self.at(day)
            out.append((start.astimezone(UTC), end))
        return out

    def within(self, window):
        return [(start, end) for start, end in self.instances() if start < window[1] and end > window[0]]

    def local(self, name, day, hours=0):
        moment = datetime.datetime.combine(day, self.time) + datetime.timedelta(hours=hours)
        if self.zone is UTC:
            return f"{name}:{moment:%Y%m%dT%H%M%S}Z"
        return f"{name};TZID=America/New_York:{moment:%Y%m%dT%H%M%S}"

    def ical(self, title=None):
        title = title or f"Event {self.number}"
        more = "Lorem ipsum dolor sit amet consectetur adipiscing elit sed do eiusmod tempor incididunt ut labore et dolore magna aliqua ut enim ad minim veniam quis nostrud "
        head = [f"UID:{self.uid}", "DTSTAMP:20240101T000000Z"]
        tail = [f"SUMMARY:{title}", f"DESCRIPTION:{(more * 2)[: self.text_size]}"[:74], "LOCATION:Room 42\\, second floor", f"X-BENCH-NUMBER:{self.number}"]
        lines = ["BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:-//kalends//bench//EN"]
        if self.zone is NEW_YORK and not self.all_day:
            lines.append(VTIMEZONE)
        lines += ["BEGIN:VEVENT", *head]
        if self.all_day:
            lines += [f"DTSTART;VALUE=DATE:{self.day:%Y%m%d}", "TRANSP:TRANSPARENT"]
        else:
            lines += [self.local("DTSTART", self.day), f"DURATION:PT{self.minutes}M"]
        if self.rule:
            lines.append(f"RRULE:{self.rule}")
        if self.excluded:
            lines.append(self.local("EXDATE", self.excluded))
        lines += [*tail, "BEGIN:VALARM", "ACTION:DISPLAY", "DESCRIPTION:Soon", "TRIGGER:-PT15M", "END:VALARM", "END:VEVENT"]
        if self.moved:
            lines += ["BEGIN:VEVENT", *head, self.local("RECURRENCE-ID", self.moved[0]), self.local("DTSTART", self.moved[1], self.moved[2])]
            lines += [f"DURATION:PT{self.minutes}M", *tail, "END:VEVENT"]
        lines += ["END:VCALENDAR", ""]
        return "\r\n".join(lines)


class Calendar:
    def __init__(self, size, seed=1):
        self.events = [Event(number, seed) for number in range(size)]
        week = {event.name: event.within(WEEK) for event in self.events}
        self.in_week = {name for name, found in week.items() if found}
        self.instances_in_week = sorted(stamp(start) for found in week.values() for start, _ in found)
        self.busy_in_month = self.merged(MONTH)

    def merged(self, window):
        """Busy intervals of the window, overlapping ones made one."""
        busy = sorted(pair for event in self.events if not event.all_day for pair in event.within(window))
        out = []
        for start, end in busy:
            start, end = max(start, window[0]), min(end, window[1])
            if out and start <= out[-1][1]:
                out[-1][1] = max(out[-1][1], end)
            else:
                out.append([start, end])
        return [(stamp(start), stamp(end)) for start, end in out]


def fresh(number, prefix="new"):
    """A plain event that is in nobody's way: next year, UTC."""
    day = datetime.date(2031, 1, 1) + datetime.timedelta(days=number % 300)
    return "\r\n".join(
        [
            "BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:-//kalends//bench//EN", "BEGIN:VEVENT", f"UID:{prefix}-{number}@bench.example",
            "DTSTAMP:20240101T000000Z", f"DTSTART:{day:%Y%m%d}T090000Z", "DURATION:PT30M", f"SUMMARY:New {number}",
            "DESCRIPTION:" + "Lorem ipsum dolor sit amet consectetur adipiscing", "END:VEVENT", "END:VCALENDAR", "",
        ]
    )  # fmt: skip
