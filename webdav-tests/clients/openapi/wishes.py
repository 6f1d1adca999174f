"""What schemathesis is told about this API: hooks on its requests, and one check of our own. Read by `check.py`.

* `Idempotency-Key`: it repeats the same few values, and a key that stands for another request is refused by design. Each
  request gets a key of its own; what a repeated one does, webdav-tests/bookings.rs and door.rs show.
* `wait`: nobody waits here.
* Names in the path: three in four requests that are not to be refused for their path ask for something that is there.
  What is there is not deleted: DELETE keeps the names that were made up.
"""
import itertools
import json
import os
import uuid

import schemathesis
from schemathesis.core.parameters import ParameterLocation

THERE = json.loads(os.environ.get("KALENDS_THERE", "{}"))
COUNT = itertools.count()
RUN = uuid.uuid4().hex

# Members whose values JSON Schema cannot tell right from wrong, and why. A request that fits the schema may be refused for
# one of these only; everything else has to be said in src/api/schemas.json.
BEYOND = {
    "calendar": "it has to be there, and to be the caller's",
    "calendars": "the same",
    "write_calendar": "the same",
    "from.connection": "the same",
    "to.connection": "the same",
    "connection": "the same",
    "remote_calendar": "the far side has to have it",
    "to.remote_calendar": "not the one that it is linked with",
    "user": "a login name",
    "name": "the same: some letters are not for paths; a calendar must not have it yet",
    "since": "a position of these calendars",
    "start": "a day that there is; in the order of time with the end",
    "end": "the same; either this or a duration",
    "from": "the same",
    "to": "the same, and not too far away",
    "duration": "within bounds; a day is longer than an hour",
    "buffer_before": "within bounds",
    "buffer_after": "within bounds",
    "hold_for": "within bounds",
    "keep_old_for": "within bounds",
    "step": "within bounds",
    "max_age": "within bounds",
    "within": "within bounds",
    "minimum_notice": "within bounds",
    "horizon": "within bounds",
    "poll_interval": "within bounds",
    "window_past": "within bounds",
    "window_future": "within bounds",
    "live_check.max_age": "within bounds",
    "live_check.time_limit": "within bounds",
    "time_zone": "one of several hundred names, which change",
    "hours": "spans in the order of the day that do not overlap; zones as above",
    "availability": "iCalendar text",
    "recurrence": "a rule of RFC 5545 §3.3.10",
    "overrides": "times at which the series has an instance",
    "alerts": "durations and moments",
    "all_day": "goes with how the start is written",
    "status": "goes with how long it is held; ends a booking, with nothing else",
    "customer.email": "a mail address",
    "emails": "mail addresses",
    "expand": "with `from` and `to`",
    "at": "a day that the series has, after its first",
    "change": "what the rest can become",
    "url": "an address as RFC 3986 has it; what it needs of the far side",
    "provider": "the one of the address",
    "uid": "the one of the address",
    "components": "no two kinds twice",
    "fields": "only with the resolution `merge`",
    "": "the text of an event as a whole: RFC 5545",
}


@schemathesis.hook
def before_call(context, case, kwargs):
    number = next(COUNT)
    for name in list(case.headers or {}):
        key = case.headers[name]
        if name.lower() == "idempotency-key" and 0 < len(key) < 256 and all("!" <= letter <= "~" for letter in key):
            case.headers[name] = f"{RUN}-{number}"
    if (case.query or {}).get("wait") not in (None, "0") and str(case.query["wait"]).isdigit():
        case.query["wait"] = 0 if int(case.query["wait"]) <= 25 else case.query["wait"]
    path = case.meta and case.meta.components.get(ParameterLocation.PATH)
    made_wrong = path is not None and path.mode.is_negative
    if case.path_parameters and case.method.upper() != "DELETE" and not made_wrong and number % 4:
        for name in case.path_parameters:
            case.path_parameters[name] = THERE.get(name, case.path_parameters[name])


@schemathesis.check
def the_schema_says_what_is_refused(ctx, response, case):
    """Takes the place of `positive_data_acceptance`, which knows of no reason for which a value may be refused."""
    if case.meta is None or not case.meta.generation.mode.is_positive or response.status_code not in (400, 415, 422):
        return None
    problem = response.json()
    field = problem.get("field", "")
    known = field.split("[")[0]
    # JSON Schema takes 3.0 for a whole number; a parser of Rust's integers does not.
    fraction = "another type" in problem["detail"] and ".0" in json.dumps(case.body)
    if not (known in BEYOND or known.split(".")[0] in BEYOND or fraction):
        raise AssertionError(f"the schema allows what is refused: {problem['detail']} (field {field!r})")
    return None
