#!/usr/bin/env python3
"""Google's own kit for Python on the simulated Google: sign-in, events, cursors, series, batches, channels, lost consent.

KALENDS_SIM is the simulator's address; it was started with --control.
"""
import http.server
import json
import os
import pathlib
import sys
import threading
import urllib.parse

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
os.environ["OAUTHLIB_INSECURE_TRANSPORT"] = "1"

from common import Steps, act, forget_proxies, redirected, sim  # noqa: E402

forget_proxies()

import google.auth.exceptions  # noqa: E402
import googleapiclient.http  # noqa: E402
import google.oauth2.credentials  # noqa: E402
import googleapiclient  # noqa: E402
import google_auth_oauthlib.flow  # noqa: E402
from googleapiclient.discovery import build, build_from_document  # noqa: E402
from googleapiclient.errors import HttpError  # noqa: E402

SIM = os.environ["KALENDS_SIM"].rstrip("/")
SCOPES = ["https://www.googleapis.com/auth/calendar", "https://www.googleapis.com/auth/userinfo.email"]
CACHED = pathlib.Path(googleapiclient.__file__).parent / "discovery_cache" / "documents" / "calendar.v3.json"
DOCUMENT = json.loads(CACHED.read_text())
# Another copy of the description, where there is one.
SHARED = pathlib.Path(os.environ.get("KALENDS_SHARED", pathlib.Path(__file__).resolve().parents[4] / "shared"))
ANOTHER = SHARED / "providers" / "google-calendar-v3.discovery.json"
steps = Steps("google-python")
step = steps.step


def refused(status, reason, action):
    try:
        action()
    except HttpError as error:
        assert error.resp.status == status, (error.resp.status, error.content)
        found = json.loads(error.content)["error"]["errors"][0]["reason"]
        assert found == reason, error.content
        # What the kit itself makes of the body.
        assert error.reason == json.loads(error.content)["error"]["message"]
        assert error.error_details, error.content
        return
    raise AssertionError(f"not refused with {status}")


def sign_in():
    client = {"client_id": "kalends", "client_secret": "secret", "auth_uri": f"{SIM}/o/oauth2/v2/auth", "token_uri": f"{SIM}/token"}
    flow = google_auth_oauthlib.flow.Flow.from_client_config(
        {"web": client}, SCOPES, redirect_uri="http://127.0.0.1:9/back", autogenerate_code_verifier=True
    )
    url, state = flow.authorization_url(access_type="offline", prompt="consent")
    back = redirected(url)
    assert urllib.parse.parse_qs(urllib.parse.urlsplit(back).query)["state"] == [state]
    flow.fetch_token(authorization_response=back)
    signed_in = flow.credentials
    assert signed_in.refresh_token and signed_in.valid
    # The same code again.
    try:
        flow.fetch_token(authorization_response=back)
    except Exception as error:
        assert "invalid_grant" in str(error), error
        return signed_in
    raise AssertionError("a code was taken twice")


credentials = step("the person consents, the code becomes tokens (PKCE)", sign_in, needed=True)
service = step(
    "the kit is built",
    lambda: build(
        "calendar", "v3", credentials=credentials, static_discovery=True, client_options={"api_endpoint": f"{SIM}/calendar/v3/"}
    ),
    needed=True,
)
if steps.broken:
    steps.done()
events = service.events()


def moment(day, hour):
    return {"dateTime": f"{day}T{hour}:00:00", "timeZone": "Europe/Zurich"}


def body(day="2026-03-02", **more):
    return {"summary": "Tea", "start": moment(day, "09"), "end": moment(day, "10"), **more}


def matching(request, etag):
    request.headers["If-Match"] = etag
    return request


# ---- the table of the simulator is the discovery document ---------------------------------------------------------


def kind(schema, owner, field):
    if "$ref" in schema:
        return schema["$ref"]
    if schema.get("type") == "array":
        return f"[{kind(schema['items'], owner, field)}]"
    if schema.get("type") == "object":
        if "additionalProperties" in schema:
            return "map " + kind(schema["additionalProperties"], owner, field)
        return f"{owner}.{field}"
    if schema.get("type") == "integer":
        return "int32"
    return schema.get("format") or schema["type"]


def compare_types():
    table = act("own", name="schema")
    compared = 0
    for name, fields in table["types"].items():
        schema = DOCUMENT["schemas"][name.split(".")[0]]
        for part in name.split(".")[1:]:
            schema = schema["properties"][part]
            schema = schema.get("items", schema)
        assert set(fields) == set(schema["properties"]), (name, set(fields) ^ set(schema["properties"]))
        for field, ours in fields.items():
            theirs = schema["properties"][field]
            ours = ours.removesuffix(" ro")
            if "|" in ours or ours in ("email",):  # values that the document names in its prose only
                assert theirs["type"] == "string", (name, field)
                for value in ours.split("|"):
                    assert value in theirs["description"], (name, field, value)
            else:
                assert ours == kind(theirs, name, field), (name, field, ours)
            compared += 1
    assert compared > 150, compared


def compare_calls():
    table = act("own", name="schema")
    for call in table["calls"]:
        group, name = call["id"].split(".")
        theirs = DOCUMENT["resources"][group]["methods"][name]
        assert (call["method"], call["path"]) == (theirs["httpMethod"], theirs["path"]), call["id"]
        assert call["body"] == theirs.get("request", {}).get("$ref"), call["id"]
        assert set(call["scopes"]) == {scope.rsplit("/", 1)[1] for scope in theirs["scopes"]}, call["id"]
        query = {name: value for name, value in theirs.get("parameters", {}).items() if value["location"] == "query"}
        assert set(call["query"]) == set(query), (call["id"], set(call["query"]) ^ set(query))
        for name, ours in call["query"].items():
            value = query[name]
            assert ours.endswith(" !") == bool(value.get("required")), (call["id"], name)
            assert (" *" in ours) == bool(value.get("repeated")), (call["id"], name)
            ours = ours.removesuffix(" !").removesuffix(" *").split(" ")[0]
            theirs_kind = "|".join(value["enum"]) if "enum" in value else kind(value, "", name)
            assert ours == theirs_kind, (call["id"], name, ours)
    assert set(table["everywhere"]) == set(DOCUMENT["parameters"])


def conforms(value, schema, place):
    """Every answer of the simulator is what the description says: known fields, of the right types."""
    if "$ref" in schema:
        schema = DOCUMENT["schemas"][schema["$ref"]]
    types = {"object": dict, "array": list, "string": str, "boolean": bool, "integer": int}
    wanted = schema.get("type", "any")
    if wanted == "any":
        return
    assert isinstance(value, types[wanted]) and (wanted != "integer" or not isinstance(value, bool)), (place, value)
    if wanted == "array":
        for item in value:
            conforms(item, schema["items"], f"{place}[]")
    if wanted == "object":
        for name, inner in value.items():
            known = schema.get("properties", {}).get(name) or schema.get("additionalProperties")
            assert known, f"{place}.{name} is no field"
            conforms(inner, known, f"{place}.{name}")


answers_checked = 0
plain_execute = googleapiclient.http.HttpRequest.execute


def execute(self, *more, **named):
    global answers_checked
    answer = plain_execute(self, *more, **named)
    _, group, name = self.methodId.split(".")
    response = DOCUMENT["resources"][group]["methods"][name].get("response")
    if response:
        conforms(answer, response, self.methodId)
        answers_checked += 1
    return answer


googleapiclient.http.HttpRequest.execute = execute

if ANOTHER.exists():
    OTHER = json.loads(ANOTHER.read_text())

    def same_description():
        assert OTHER["revision"] != DOCUMENT["revision"] or OTHER["schemas"] == DOCUMENT["schemas"]
        bundled = DOCUMENT.copy()
        try:
            DOCUMENT.update(OTHER)
            compare_types()
            compare_calls()
        finally:
            DOCUMENT.update(bundled)

    step("another copy of the description says the same", same_description)


step("the simulator's table of types is the discovery document's", compare_types)
step("so is its table of calls, parameters and scopes", compare_calls)

# ---- calendars and events -------------------------------------------------------------------------------------------


def calendars():
    found = service.calendarList().list().execute()
    assert [entry["primary"] for entry in found["items"] if entry.get("primary")] == [True]
    assert found["nextSyncToken"]
    assert service.colors().get().execute()["event"]["11"]["background"] == "#dc2127"
    made = service.calendars().insert(body={"summary": "With ünïcode"}).execute()
    assert service.calendars().get(calendarId=made["id"]).execute()["summary"] == "With ünïcode"
    service.calendars().delete(calendarId=made["id"]).execute()


def edits():
    made = events.insert(calendarId="primary", body=body(id="abcdef0123", description="Grüße")).execute()
    assert made["description"] == "Grüße"
    refused(409, "duplicate", lambda: events.insert(calendarId="primary", body=body(id="abcdef0123")).execute())
    patched = matching(events.patch(calendarId="primary", eventId=made["id"], body={"location": "Hut"}), made["etag"]).execute()
    refused(
        412, "conditionNotMet",
        lambda: matching(events.patch(calendarId="primary", eventId=made["id"], body={"location": "x"}), made["etag"]).execute(),
    )
    whole = dict(patched, summary="Coffee")
    updated = matching(events.update(calendarId="primary", eventId=made["id"], body=whole), patched["etag"]).execute()
    assert (updated["summary"], updated["location"]) == ("Coffee", "Hut")
    assert events.get(calendarId="primary", eventId=made["id"]).execute() == updated
    refused(412, "conditionNotMet", lambda: matching(events.delete(calendarId="primary", eventId=made["id"]), made["etag"]).execute())
    assert matching(events.delete(calendarId="primary", eventId=made["id"]), updated["etag"]).execute() == ""
    refused(410, "deleted", lambda: events.delete(calendarId="primary", eventId=made["id"]).execute())
    refused(404, "notFound", lambda: events.get(calendarId="primary", eventId="neverwas").execute())
    refused(400, "timeRangeEmpty", lambda: events.insert(calendarId="primary", body=body(end=moment("2026-03-02", "09"))).execute())


def rounds():
    for number in range(7):
        events.insert(calendarId="primary", body=body(id=f"round{number}")).execute()
    seen, pages, request = [], 0, events.list(calendarId="primary", maxResults=3)
    while request is not None:
        page = request.execute()
        pages += 1
        assert ("nextPageToken" in page) != ("nextSyncToken" in page)
        seen += [event["id"] for event in page["items"]]
        request = events.list_next(request, page)
    assert pages == 3 and len(seen) == len(set(seen)) == 7, (pages, seen)
    events.delete(calendarId="primary", eventId="round3").execute()
    events.patch(calendarId="primary", eventId="round5", body={"summary": "new"}).execute()
    token = page["nextSyncToken"]
    changed = events.list(calendarId="primary", maxResults=3, syncToken=token).execute()
    assert [(event["id"], event["status"]) for event in changed["items"]] == [("round3", "cancelled"), ("round5", "confirmed")]
    refused(400, "invalid", lambda: events.list(calendarId="primary", syncToken=token, timeMin="2026-01-01T00:00:00Z").execute())
    act("expire_cursor")
    refused(410, "fullSyncRequired", lambda: events.list(calendarId="primary", maxResults=3, syncToken=token).execute())
    # An address of more than 2048 characters: the kit sends a form with a method override.
    assert events.list(calendarId="primary", q="x" * 3000).execute()["items"] == []


def series():
    events.insert(calendarId="primary", body=body("2026-03-16", id="series01", recurrence=["RRULE:FREQ=WEEKLY;COUNT=4"])).execute()
    found = events.instances(calendarId="primary", eventId="series01").execute()["items"]
    assert [event["start"]["dateTime"][11:] for event in found] == ["09:00:00+01:00"] * 2 + ["09:00:00+02:00"] * 2
    events.patch(calendarId="primary", eventId=found[1]["id"], body={"summary": "moved", "end": moment("2026-03-23", "12")}).execute()
    events.delete(calendarId="primary", eventId=found[2]["id"]).execute()
    single = events.list(
        calendarId="primary", singleEvents=True, orderBy="startTime", timeMin="2026-03-15T00:00:00Z", eventTypes=["default", "focusTime"]
    ).execute()["items"]
    assert [event["summary"] for event in single] == ["Tea", "moved", "Tea"], single
    listed = [event for event in events.list(calendarId="primary").execute()["items"] if event["id"].startswith("series01")]
    assert sorted(event["status"] for event in listed) == ["cancelled", "confirmed", "confirmed"]
    exception = next(event for event in listed if event.get("summary") == "moved")
    assert exception["originalStartTime"]["dateTime"] == "2026-03-23T09:00:00+01:00"
    imported = events.import_(calendarId="primary", body=body(iCalUID="imported@x")).execute()
    assert events.import_(calendarId="primary", body=body(iCalUID="imported@x")).execute()["id"] == imported["id"]


def batch():
    document = dict(DOCUMENT, rootUrl=SIM + "/", baseUrl=SIM + "/calendar/v3/")
    local = build_from_document(document, credentials=credentials)
    answers = {}
    calls = local.new_batch_http_request(callback=lambda name, answer, error: answers.update({name: error or answer}))
    calls.add(local.events().insert(calendarId="primary", body=body(id="batch01", summary="ü")), request_id="insert")
    calls.add(local.events().get(calendarId="primary", eventId="neverwas"), request_id="get")
    calls.add(local.events().list(calendarId="primary", q="nothing has this"), request_id="list")
    calls.add(matching(local.events().patch(calendarId="primary", eventId="round5", body={"summary": "z"}), '"0"'), request_id="patch")
    calls.execute()
    assert answers["insert"]["summary"] == "ü", answers
    assert answers["list"]["items"] == []
    assert (answers["get"].resp.status, answers["patch"].resp.status) == (404, 412)


def channels():
    heard, arrived = [], threading.Condition()

    class Hook(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            with arrived:
                heard.append(dict(self.headers))
                arrived.notify_all()
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    hook = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hook)
    threading.Thread(target=hook.serve_forever, daemon=True).start()
    channel = {"id": "channel-1", "type": "web_hook", "address": f"http://127.0.0.1:{hook.server_port}/x", "token": "secret"}
    opened = events.watch(calendarId="primary", body=channel).execute()
    refused(400, "channelIdNotUnique", lambda: events.watch(calendarId="primary", body=channel).execute())
    events.insert(calendarId="primary", body=body()).execute()
    sim("GET", "idle")
    with arrived:
        arrived.wait_for(lambda: len(heard) == 2, 30)
    states = [{name.lower(): value for name, value in headers.items()} for headers in heard]
    assert [state["x-goog-resource-state"] for state in states] == ["sync", "exists"]
    assert {state["x-goog-channel-token"] for state in states} == {"secret"}
    assert {state["x-goog-resource-id"] for state in states} == {opened["resourceId"]}
    service.channels().stop(body={"id": "channel-1", "resourceId": opened["resourceId"]}).execute()
    events.insert(calendarId="primary", body=body()).execute()
    sim("GET", "idle")
    assert len(heard) == 2
    hook.shutdown()


def trouble():
    sim("POST", "rules", {"path": "*/events", "fault": "throttle", "retry_after": 0, "times": 2})
    assert events.list(calendarId="primary").execute(num_retries=3)["items"]
    sim("POST", "rules", {"path": "*/events", "fault": "status", "code": 503, "times": 1})
    assert events.list(calendarId="primary").execute(num_retries=3)["items"]
    sim("POST", "rules", {"path": "*/events", "fault": "throttle"})
    refused(403, "userRateLimitExceeded", lambda: events.list(calendarId="primary").execute())


def consent():
    before = credentials.token
    act("expire_access")
    assert events.list(calendarId="primary").execute()["items"]
    assert credentials.token != before, "a 401 was not answered with a refresh"
    act("revoke_grant")
    try:
        events.list(calendarId="primary").execute()
    except google.auth.exceptions.RefreshError as error:
        assert "Token has been expired or revoked" in str(error), error
        return
    raise AssertionError("a revoked consent went unnoticed")


step("calendars and colours are listed, made, deleted", calendars)
step("events are made, patched, updated and deleted, each with If-Match", edits)
step("pages, a cursor, its end with 410, a method override", rounds)
step("a series with an exception and a cancelled instance; import", series)
step("a batch", batch)
step("a channel hears of changes until it is stopped", channels)
step("the kit's own retries take our throttling", trouble)
def all_answers():
    assert answers_checked >= 30, answers_checked


step("every answer was what the description says", all_answers)
step("401 leads to a refresh, a revoked consent to an error", consent)
steps.done()
