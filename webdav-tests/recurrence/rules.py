"""Asks python-dateutil what generated rules yield, and writes it down for `recurrence.rs`.

    python3 rules.py [SEED] [COUNT] > rules.txt

One case a line: DTSTART|RRULE|FROM|number|digest|first three. Number, digest (FNV-1a over the times, each with a line
feed) and the three times are of the first forty occurrences that are not before FROM. Where dateutil and RFC 5545 part (see
differences.md) the question is put to dateutil so that it answers what the RFC says; nothing else is changed.
"""
import random
import re
import sys
from datetime import date, datetime, timedelta
from itertools import islice

from dateutil.rrule import rrulestr

DAYS = ["MO", "TU", "WE", "TH", "FR", "SA", "SU"]
TAKE = 40


def fnv(times):
    h = 0xCBF29CE484222325
    for t in times:
        for b in (t + "\n").encode():
            h = ((h ^ b) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return h


def parts(rule):
    return dict(p.split("=", 1) for p in rule.split(";"))


def join(p):
    return ";".join(f"{k}={v}" for k, v in p.items())


def plain(rule, start):
    """What dateutil yields for one rule, without COUNT, as an endless generator."""
    try:
        return iter(rrulestr(rule, dtstart=start))
    except ValueError as e:
        if "empty set" not in str(e):
            raise
        return iter(())         # such as HOURLY;INTERVAL=2;BYHOUR=3 from 02:00


def union(a, b):
    x, y = next(a, None), next(b, None)
    while x is not None or y is not None:
        if y is None or (x is not None and x <= y):
            if x == y:
                y = next(b, None)
            yield x
            x = next(a, None)
        else:
            yield y
            y = next(b, None)


def week_numbers(day, first_day):
    """The number of a day's week from the front and from the back: week 1 has the year's fourth day."""
    def begin(year):
        fourth = date(year, 1, 4)
        return fourth - timedelta(days=(fourth.weekday() - first_day) % 7)
    week = day - timedelta(days=(day.weekday() - first_day) % 7)
    year = (week + timedelta(days=3)).year
    number = (week - begin(year)).days // 7 + 1
    return {number, number - (begin(year + 1) - begin(year)).days // 7 - 1}


def answer(rule, start):
    """The recurrence set of RFC 5545: DTSTART first, COUNT counting it."""
    p = parts(rule)
    count = int(p.pop("COUNT")) if "COUNT" in p else None
    freq = p["FREQ"]
    days = any(k in p for k in ("BYDAY", "BYMONTHDAY", "BYYEARDAY"))
    if freq == "YEARLY" and "BYWEEKNO" in p and not days:      # D1
        p["BYDAY"] = DAYS[start.weekday()]
    if "BYSECOND" in p:                                        # D5
        p["BYSECOND"] = ",".join(sorted({str(min(59, int(s))) for s in p["BYSECOND"].split(",")}))
    if freq == "YEARLY" and "BYWEEKNO" in p and "BYDAY" in p:  # D6
        p["BYDAY"] = ",".join(d[-2:] for d in p["BYDAY"].split(","))
    weeks = None
    if freq == "YEARLY" and "BYWEEKNO" in p and "BYSETPOS" not in p:    # D10
        weeks = {int(w) for w in p.pop("BYWEEKNO").split(",")}
        first_day = DAYS.index(p.get("WKST", "MO"))
    begin = start
    if freq == "WEEKLY" and "BYSETPOS" in p:                   # D3
        wkst = DAYS.index(p.get("WKST", "MO"))
        begin = start - timedelta(days=(start.weekday() - wkst) % 7)
        if not days:
            p["BYDAY"] = DAYS[start.weekday()]
    numbered = [d for d in p.get("BYDAY", "").split(",") if re.match(r"[-+0-9]", d)]
    if numbered and freq in ("YEARLY", "MONTHLY") and len(numbered) < len(p["BYDAY"].split(",")):   # D2
        rest = [d for d in p["BYDAY"].split(",") if d not in numbered]
        got = union(plain(join({**p, "BYDAY": ",".join(numbered)}), begin), plain(join({**p, "BYDAY": ",".join(rest)}), begin))
    else:
        got = plain(join(p), begin)
    if weeks is not None:
        got = (t for t in got if t.year < 9990 and weeks & week_numbers(t.date(), first_day))
    seen = 1
    yield start                                                # D4
    for t in got:
        if t <= start:
            continue
        seen += 1
        if count is not None and seen > count:
            return
        yield t


def pick(r, low, high, most, negative=False):
    n = r.randint(1, most)
    out = set()
    for _ in range(n):
        v = r.randint(low, high)
        out.add(-v if negative and r.random() < .4 else v)
    return ",".join(str(v) for v in sorted(out - {0})) or str(low)


def case(r):
    freq = r.choice(["YEARLY"] * 4 + ["MONTHLY"] * 4 + ["WEEKLY"] * 3 + ["DAILY"] * 3 + ["HOURLY", "MINUTELY", "SECONDLY"])
    start = datetime(r.choice([1996, 1997, 2000, 2003, 2012, 2019, 2020, 2023, 2024]), r.randint(1, 12), 1)
    start += timedelta(days=r.randrange(31))
    if r.random() < .15:
        start = r.choice([datetime(2024, 2, 29), datetime(2023, 12, 31), datetime(2021, 1, 1), datetime(2020, 12, 31)])
    start = start.replace(hour=r.randrange(24), minute=r.choice([0, 0, 15, 30, 59]), second=r.choice([0, 0, 0, 30]))
    p = {"FREQ": freq}
    if r.random() < .5:
        p["INTERVAL"] = str(r.choice([1, 2, 2, 3, 4, 5, 7, 10, 12, 18, 45]))
    some = lambda chance: r.random() < chance
    sub = freq in ("HOURLY", "MINUTELY", "SECONDLY")
    if some(.35):
        p["BYMONTH"] = pick(r, 1, 12, 4)
    if freq == "YEARLY" and some(.2):
        p["BYWEEKNO"] = pick(r, 1, 53, 3, True)
    if freq != "WEEKLY" and some(.3):
        p["BYMONTHDAY"] = pick(r, 1, 31, 5, True)
    if freq == "YEARLY" and some(.15) or sub and some(.1):
        p["BYYEARDAY"] = pick(r, 1, 366, 8, True)
    if some(.45):
        names = r.sample(DAYS, r.randint(1, 4))
        if freq == "MONTHLY" and some(.55):
            names = [f"{r.choice([1, 2, 3, 4, 5, -1, -2, -5])}{d}" if some(.85) else d for d in names]
        elif freq == "YEARLY" and "BYWEEKNO" not in p and some(.5):
            high = 5 if "BYMONTH" in p else 53
            names = [f"{r.choice([1, -1]) * r.randint(1, high)}{d}" if some(.85) else d for d in names]
        p["BYDAY"] = ",".join(names)
    if some(.2):
        p["BYHOUR"] = pick(r, 0, 23, 3)
    if some(.2):
        p["BYMINUTE"] = pick(r, 0, 59, 3)
    if some(.15):
        p["BYSECOND"] = pick(r, 0, 60, 2)
    mixed = re.search(r"[0-9]", p.get("BYDAY", "")) and any(not re.match(r"[-+0-9]", d) for d in p["BYDAY"].split(","))
    if any(k.startswith("BY") for k in p) and some(.25) and not mixed:
        p["BYSETPOS"] = pick(r, 1, 4, 2, True)
    if "BYSETPOS" in p and "BYWEEKNO" in p:                    # D10
        p["BYWEEKNO"] = pick(r, 1, 51, 3)
    if some(.2):
        p["WKST"] = r.choice(DAYS)
    span = {"YEARLY": 365, "MONTHLY": 31, "WEEKLY": 7, "DAILY": 1}.get(freq, 1) * int(p.get("INTERVAL", 1))
    end = some(.4)
    if end and some(.5):
        p["COUNT"] = str(r.choice([1, 2, 3, 5, 10, 30, 100]))
    elif end:
        p["UNTIL"] = (start + timedelta(days=r.randint(0, span * 20), hours=r.randrange(24))).strftime("%Y%m%dT%H%M%S")
    back = start if some(.4) else start + timedelta(days=r.randint(0, 3 if sub else min(span * 30, 15000)), seconds=r.randrange(86400))
    order = list(p.items())
    head, tail = order[:1], order[1:]
    r.shuffle(tail)
    return start, ";".join(f"{k}={v}" for k, v in head + tail), back


class Late(Exception):
    pass


def main():
    import signal

    def late(*_):
        raise Late
    signal.signal(signal.SIGPROF, late)
    seed = int(sys.argv[1]) if len(sys.argv) > 1 else 5545
    want = int(sys.argv[2]) if len(sys.argv) > 2 else 2600
    r = random.Random(seed)
    done = skipped = 0
    while done < want:
        start, rule, back = case(r)
        signal.setitimer(signal.ITIMER_PROF, 0.4)
        try:
            got = [t.strftime("%Y%m%dT%H%M%S") for t in islice((t for t in answer(rule, start) if t >= back), TAKE)]
        except Late:        # dateutil searches to the year 9999 for a rule that yields little
            skipped += 1
            continue
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
        done += 1
        f = "%Y%m%dT%H%M%S"
        print(f"{start.strftime(f)}|{rule}|{back.strftime(f)}|{len(got)}|{fnv(got):016x}|{','.join(got[:3])}")
    print(f"{done} cases, {skipped} left out because dateutil took more than 0.4 s of CPU", file=sys.stderr)


if __name__ == "__main__":
    main()
