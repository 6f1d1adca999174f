#!/usr/bin/env python3
"""Microsoft's own kits for Python on the simulated Outlook: MSAL signs in over TLS, msgraph-sdk plays with the mailbox.

KALENDS_SIM is the simulator's address, KALENDS_SIM_TLS the same over TLS, KALENDS_SIM_CA its certificate; it was started with
--control.
"""
import asyncio
import datetime
import http.server
import importlib
import json
import os
import pathlib
import re
import sys
import threading
import time
import urllib.parse

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from common import Steps, act, forget_proxies, redirected, sim  # noqa: E402

forget_proxies()
# MSAL asks the authority with a session of its own: only the environment reaches it.
os.environ["REQUESTS_CA_BUNDLE"] = os.environ["KALENDS_SIM_CA"]

import msal  # noqa: E402
from azure.core.credentials import AccessToken  # noqa: E402
from kiota_abstractions.base_request_configuration import RequestConfiguration  # noqa: E402
from kiota_abstractions.method import Method  # noqa: E402
from kiota_abstractions.request_information import RequestInformation  # noqa: E402
from kiota_authentication_azure.azure_identity_authentication_provider import AzureIdentityAuthenticationProvider  # noqa: E402
from msgraph import GraphRequestAdapter, GraphServiceClient  # noqa: E402
from msgraph.generated.models.body_type import BodyType  # noqa: E402
from msgraph.generated.models.calendar import Calendar  # noqa: E402
from msgraph.generated.models.date_time_time_zone import DateTimeTimeZone  # noqa: E402
from msgraph.generated.models.day_of_week import DayOfWeek  # noqa: E402
from msgraph.generated.models.event import Event  # noqa: E402
from msgraph.generated.models.event_type import EventType  # noqa: E402
from msgraph.generated.models.free_busy_status import FreeBusyStatus  # noqa: E402
from msgraph.generated.models.item_body import ItemBody  # noqa: E402
from msgraph.generated.models.location import Location  # noqa: E402
from msgraph.generated.models.o_data_errors.o_data_error import ODataError  # noqa: E402
from msgraph.generated.models.patterned_recurrence import PatternedRecurrence  # noqa: E402
from msgraph.generated.models.recurrence_pattern import RecurrencePattern  # noqa: E402
from msgraph.generated.models.recurrence_pattern_type import RecurrencePatternType  # noqa: E402
from msgraph.generated.models.recurrence_range import RecurrenceRange  # noqa: E402
from msgraph.generated.models.recurrence_range_type import RecurrenceRangeType  # noqa: E402
from msgraph.generated.models.single_value_legacy_extended_property import SingleValueLegacyExtendedProperty  # noqa: E402
from msgraph.generated.models.subscription import Subscription  # noqa: E402
from msgraph.generated.models.week_index import WeekIndex  # noqa: E402,F401
from msgraph_core.requests.batch_request_content import BatchRequestContent  # noqa: E402
from msgraph_core.requests.batch_request_item import BatchRequestItem  # noqa: E402

SIM = os.environ["KALENDS_SIM"].rstrip("/")
TLS = os.environ["KALENDS_SIM_TLS"].rstrip("/")
SCOPES = ["User.Read", "Calendars.ReadWrite"]
BACK = "http://127.0.0.1:9/back"
MARK = "String {66f5a359-4659-4830-9070-00047ec6ac6e} Name kalends"
steps = Steps("outlook-python")
loop = asyncio.new_event_loop()


def step(title, action, needed=False):
    """A step may be a coroutine function: all of them share one loop, as the kit's connections do."""

    def once():
        result = action()
        return loop.run_until_complete(result) if asyncio.iscoroutine(result) else result

    return steps.step(title, once, needed)


def own(name, **more):
    return sim("POST", "act", {"act": "own", "name": name, "with": more})


# ---- MSAL -------------------------------------------------------------------------------------------------------


def follow(url):
    """Goes where the consent leads and returns the query of that address."""
    to = redirected(url.replace(TLS, SIM))  # the same port takes both
    return dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(to).query))


def application():
    return msal.ConfidentialClientApplication("app", client_credential="secret", authority=f"{TLS}/common", instance_discovery=False)


class SignIn:
    def consent(self):
        self.app = application()
        flow = self.app.initiate_auth_code_flow(SCOPES, redirect_uri=BACK)
        result = self.app.acquire_token_by_auth_code_flow(flow, follow(flow["auth_uri"]))
        assert "access_token" in result, result
        assert result["id_token_claims"]["preferred_username"] == "anna@example.com", result
        self.token = result["access_token"]

    def refresh(self):
        [account] = self.app.get_accounts()
        for _ in range(2):
            result = self.app.acquire_token_silent_with_error(SCOPES, account, force_refresh=True)
            assert "access_token" in result, result
            assert result["access_token"] != self.token
            self.token = result["access_token"]

    def code_once(self):
        other = application()
        flow = other.initiate_auth_code_flow(SCOPES, redirect_uri=BACK)
        answer = follow(flow["auth_uri"])
        assert "access_token" in other.acquire_token_by_auth_code_flow(flow, answer)
        again = other.acquire_token_by_auth_code_flow(flow, answer)
        assert again["error"] == "invalid_grant" and again["error_codes"] == [54005], again

    def revoked(self):
        [account] = self.app.get_accounts()
        act("revoke_grant")
        result = self.app.acquire_token_silent_with_error(SCOPES, account, force_refresh=True)
        assert result["error"] == "invalid_grant", result
        assert result["error_description"].startswith("AADSTS50173"), result


# ---- msgraph-sdk ------------------------------------------------------------------------------------------------


class Credential:
    def __init__(self, token):
        self.token = token

    async def get_token(self, *_, **__):
        return AccessToken(self.token, int(time.time()) + 3600)

    async def close(self):
        pass


def connect(token, hosts=("127.0.0.1",)):
    provider = AzureIdentityAuthenticationProvider(
        Credential(token), scopes=["https://graph.microsoft.com/.default"], allowed_hosts=list(hosts)
    )
    adapter = GraphRequestAdapter(provider)
    adapter.base_url = f"{SIM}/v1.0"
    return GraphServiceClient(request_adapter=adapter)


def asked(*prefer, query=None, **headers):
    configuration = RequestConfiguration()
    configuration.headers.add("Prefer", 'IdType="ImmutableId"')
    for one in prefer:
        configuration.headers.add("Prefer", one)
    for name, value in headers.items():
        configuration.headers.add(name.replace("_", "-"), value)
    configuration.query_parameters = query
    return configuration


def when(date, hour, zone="Europe/Berlin"):
    return DateTimeTimeZone(date_time=f"{date}T{hour:02}:00:00", time_zone=zone)


async def refused(status, code, action):
    try:
        await action
    except ODataError as error:
        assert error.response_status_code == status, error
        assert error.error.code == code, error.error.code
        assert error.error.message and error.error.inner_error.request_id, error
        return
    raise AssertionError(f"not refused with {status}")


def etag(event):
    return event.additional_data["@odata.etag"]


class Play:
    def __init__(self, client):
        self.client, self.me = client, client.me

    async def without_authorization(self):
        await refused(401, "InvalidAuthenticationToken", connect("tok", ["example.org"]).me.get())

    async def calendars(self):
        me = await self.me.get()
        assert me.user_principal_name == "anna@example.com", me
        made = await self.me.calendars.post(Calendar(name="Work"))
        assert made.can_edit and not made.is_default_calendar
        page = await self.me.calendars.get()
        assert [calendar.name for calendar in page.value] == ["Calendar", "Work"], page
        self.calendar = self.me.calendars.by_calendar_id(made.id)

    async def single(self):
        event = Event(
            subject="Lunch", start=when("2026-03-02", 12), end=when("2026-03-02", 13), show_as=FreeBusyStatus.Tentative,
            body=ItemBody(content="1 < 2\nnext", content_type=BodyType.Text), location=Location(display_name="Here"),
            categories=["Blue"], transaction_id="t-1",
            single_value_extended_properties=[SingleValueLegacyExtendedProperty(id=MARK, value="uid-1")],
        )
        made = await self.calendar.events.post(event, asked())
        assert made.type == EventType.SingleInstance and made.show_as == FreeBusyStatus.Tentative
        assert made.is_reminder_on and made.reminder_minutes_before_start == 15
        assert made.start.date_time == "2026-03-02T11:00:00.0000000", made.start
        again = await self.calendar.events.post(event, asked())
        assert again.id == made.id, "the same transaction id"
        read = await self.me.events.by_event_id(made.id).get(asked('outlook.timezone="Tokyo Standard Time"', 'outlook.body-content-type="text"'))
        assert read.id == made.id and read.start.date_time == "2026-03-02T20:00:00.0000000", read.start
        assert read.body.content == "1 < 2\r\nnext" and read.created_date_time.tzinfo, read.body
        plain = await self.me.events.by_event_id(made.id).get()
        assert plain.id != made.id, "the other form of the id"
        self.single_event = made

    async def marked(self):
        builder = type(self.calendar.events).EventsRequestBuilderGetQueryParameters
        query = builder(
            filter=f"singleValueExtendedProperties/Any(ep: ep/id eq '{MARK}' and ep/value eq 'uid-1')",
            expand=[f"singleValueExtendedProperties($filter=id eq '{MARK}')"],
        )
        page = await self.calendar.events.get(asked(query=query))
        [found] = page.value
        assert found.single_value_extended_properties[0].value == "uid-1", found

    async def changes(self):
        event = self.me.events.by_event_id(self.single_event.id)
        old = etag(self.single_event)
        changed = await event.patch(Event(subject="Dinner"), asked(If_Match=old))
        assert changed.subject == "Dinner" and etag(changed) != old
        await refused(412, "ErrorIrresolvableConflict", event.patch(Event(subject="X"), asked(If_Match=old)))
        await refused(412, "ErrorIrresolvableConflict", event.delete(asked(If_Match=old)))
        self.single_event = changed

    async def strict(self):
        await refused(400, "ErrorPropertyValidationFailure", self.calendar.events.post(Event(subject="no time")))
        wrong = Event(subject="A", start=when("2026-03-02", 12, "Europe/Vienna"), end=when("2026-03-02", 13))
        await refused(400, "TimeZoneNotSupportedException", self.calendar.events.post(wrong))
        unknown = Event(subject="A", start=when("2026-03-02", 12), end=when("2026-03-02", 13), additional_data={"uid": "x"})
        await refused(400, "RequestBodyRead", self.calendar.events.post(unknown))
        await refused(400, "ErrorInvalidIdMalformed", self.me.events.by_event_id("nonsense").get())

    async def series(self):
        recurrence = PatternedRecurrence(
            pattern=RecurrencePattern(
                type=RecurrencePatternType.Weekly, interval=1, days_of_week=[DayOfWeek.Monday], first_day_of_week=DayOfWeek.Monday
            ),
            range=RecurrenceRange(type=RecurrenceRangeType.Numbered, start_date=datetime.date(2026, 3, 16), number_of_occurrences=4),
        )
        event = Event(subject="Weekly", start=when("2026-03-16", 10), end=when("2026-03-16", 11), recurrence=recurrence)
        master = await self.calendar.events.post(event, asked())
        assert master.type == EventType.SeriesMaster and master.recurrence.range.number_of_occurrences == 4
        builder = self.me.events.by_event_id(master.id)
        parameters = type(builder.instances).InstancesRequestBuilderGetQueryParameters
        span = parameters(start_date_time="2026-01-01T00:00:00Z", end_date_time="2027-01-01T00:00:00Z")
        page = await builder.instances.get(asked(query=span))
        hours = [instance.start.date_time[11:13] for instance in page.value]
        assert hours == ["09", "09", "08", "08"], hours
        assert {instance.type for instance in page.value} == {EventType.Occurrence}
        second = self.me.events.by_event_id(page.value[1].id)
        moved = await second.patch(Event(start=when("2026-03-24", 12), end=when("2026-03-24", 13)), asked())
        assert moved.type == EventType.Exception and moved.original_start.isoformat().startswith("2026-03-23T09")
        across = Event(start=when("2026-03-31", 12), end=when("2026-03-31", 13))
        await refused(400, "ErrorOccurrenceCrossingBoundary", second.patch(across))
        await self.me.events.by_event_id(page.value[2].id).delete()
        query = type(builder).EventItemRequestBuilderGetQueryParameters(
            select=["subject", "cancelledOccurrences", "exceptionOccurrences"], expand=["exceptionOccurrences"]
        )
        whole = await builder.get(asked(query=query))
        assert [one[-10:] for one in whole.cancelled_occurrences] == ["2026-03-30"], whole.cancelled_occurrences
        assert [one.id for one in whole.exception_occurrences] == [moved.id]
        self.master = master

    async def rounds(self):
        delta = self.calendar.calendar_view.delta
        query = type(delta).DeltaRequestBuilderGetQueryParameters(
            start_date_time="2026-01-01T00:00:00Z", end_date_time="2027-01-01T00:00:00Z"
        )
        rows, link = await self.read(await delta.get(asked("odata.maxpagesize=2", query=query)))
        kinds = sorted(row.type.value for row in rows)
        assert kinds == ["exception", "occurrence", "occurrence", "seriesMaster", "singleInstance"], kinds
        none, link = await self.read(await delta.with_url(link).get(asked()))
        assert not none
        await self.me.events.by_event_id(self.single_event.id).delete()
        await self.me.events.by_event_id(self.master.id).patch(Event(subject="Weekly, again"))
        # The kit does not repeat preferences by itself.
        rows, link = await self.read(await delta.with_url(link).get(asked()))
        removed = {row.id: row.additional_data["@removed"] for row in rows if "@removed" in row.additional_data}
        assert removed == {self.single_event.id: {"reason": "deleted"}}, removed
        assert {row.subject for row in rows if row.type == EventType.SeriesMaster} == {"Weekly, again"}
        act("expire_cursor")
        try:
            await delta.with_url(link).get(asked())
            raise AssertionError("not refused with 410")
        except ODataError as error:
            assert (error.response_status_code, error.error.code) == (410, "syncStateNotFound"), error

    async def read(self, page):
        rows = list(page.value)
        while page.odata_next_link:
            page = await self.calendar.calendar_view.delta.with_url(page.odata_next_link).get(asked("odata.maxpagesize=2"))
            rows += page.value
        return rows, page.odata_delta_link

    async def throttled(self):
        sim("DELETE", "requests")
        sim("POST", "rules", {"method": "GET", "path": "/v1.0/me", "fault": "throttle", "retry_after": 1})
        begun = time.monotonic()
        await self.me.get()
        assert time.monotonic() - begun > 0.9
        assert [entry["status"] for entry in sim("GET", "requests")["requests"]] == [429, 200]

    async def batch(self):
        def call(id, url, method=Method.GET, body=None, after=None):
            information = RequestInformation()
            information.url, information.http_method = f"{SIM}/v1.0{url}", method
            if body:
                information.headers.add("Content-Type", "application/json")
                information.content = json.dumps(body).encode()
            item = BatchRequestItem(information, id=id, depends_on=after or [])
            item.set_url(information.url)  # relative to the service, as Graph wants it
            return item

        new = {
            "subject": "In a batch", "start": {"dateTime": "2026-04-01T10:00:00", "timeZone": "UTC"},
            "end": {"dateTime": "2026-04-01T11:00:00", "timeZone": "UTC"},
        }
        content = BatchRequestContent()
        for item in (call("1", "/me/events", Method.POST, new), call("2", "/me/events", after=["1"]), call("3", "/me/nothing")):
            content.add_request(item.id, item)
        result = await self.client.batch.post(content)
        statuses = {id: result.responses[id].status for id in ("1", "2", "3")}
        assert statuses == {"1": 201, "2": 200, "3": 404}, statuses

    async def subscriptions(self):
        taken = []

        class Receiver(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                query = urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query)
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                token = query.get("validationToken", [""])[0]
                if not token:
                    taken.append(json.loads(body))
                self.send_response(200 if token else 202)
                self.send_header("Content-Type", "text/plain")
                self.send_header("Content-Length", str(len(token)))
                self.end_headers()
                self.wfile.write(token.encode())

            def log_message(self, *_):
                pass

        receiver = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
        threading.Thread(target=receiver.serve_forever, daemon=True).start()
        ends = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=2)
        wanted = Subscription(
            change_type="created,updated,deleted", resource="me/events", client_state="the state", expiration_date_time=ends,
            notification_url=f"http://127.0.0.1:{receiver.server_port}/hook",
        )
        made = await self.client.subscriptions.post(wanted, asked())
        try:
            await self.client.subscriptions.post(wanted)
            raise AssertionError("not refused with 409")
        except ODataError as error:
            assert error.response_status_code == 409, error
        event = Event(subject="Told", start=when("2026-03-05", 12), end=when("2026-03-05", 13))
        event = await self.me.events.post(event, asked())
        sim("GET", "idle")
        [told] = [item for letter in taken for item in letter["value"]]
        assert (told["subscriptionId"], told["clientState"], told["changeType"]) == (made.id, "the state", "created"), told
        assert told["resourceData"]["id"] == event.id, told
        one = self.client.subscriptions.by_subscription_id(made.id)
        longer = await one.patch(Subscription(expiration_date_time=ends + datetime.timedelta(days=3)))
        assert longer.expiration_date_time > made.expiration_date_time
        await one.delete()
        assert not (await self.client.subscriptions.get()).value
        receiver.shutdown()

    def quiet(self):
        assert own("mails") == 0, "nobody was sent a mail"


# ---- the table of types ------------------------------------------------------------------------------------------


class Probe:
    """Stands for a value that is read, and remembers as what."""

    PLAIN = {
        "get_str_value": "Edm.String", "get_uuid_value": "Edm.String", "get_bool_value": "Edm.Boolean", "get_int_value": "Edm.Int32",
        "get_float_value": "Edm.Double", "get_datetime_value": "Edm.DateTimeOffset", "get_date_value": "Edm.Date",
    }

    def __getattr__(self, name):
        def read(*kinds):
            named = [f"microsoft.graph.{kind.__name__[0].lower()}{kind.__name__[1:]}" for kind in kinds]
            if name in self.PLAIN:
                self.read = self.PLAIN[name]
            elif name in ("get_object_value", "get_enum_value"):
                self.read = named[0]
            elif name == "get_collection_of_primitive_values":
                self.read = f"Collection({ {'str': 'Edm.String'}.get(kinds[0].__name__, kinds[0].__name__) })".replace(" ", "")
            else:
                self.read = f"Collection({named[0]})"

        return read


def model(name):
    snake = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()
    return getattr(importlib.import_module(f"msgraph.generated.models.{snake}"), name[0].upper() + name[1:])


def table():
    """Each type and word that the simulator holds requests against is in the kit, and the kit has no other of these."""
    known = own("schema")
    # What leads to other objects, and is not played here.
    beyond = {
        "event": {"attachments", "calendar", "extensions", "instances", "multiValueExtendedProperties"},
        "calendar": {"calendarPermissions", "calendarView", "events", "multiValueExtendedProperties", "singleValueExtendedProperties"},
        "subscription": {"vapidPublicKey", "webPushEncryptionP256dhPublicKey", "webPushEncryptionSecret"},  # for browsers
    }
    for name, fields in known["types"].items():
        if name in ("resourceData", "changeNotification"):  # an open type; one that only receivers need
            continue
        theirs = {field: read for field, read in model(name)().get_field_deserializers().items() if "@" not in field}
        assert set(theirs) - beyond.get(name, set()) == set(fields), (name, set(theirs) ^ set(fields))
        for field, kind in fields.items():
            probe = Probe()
            theirs[field](probe)
            assert probe.read == kind, (name, field, kind, probe.read)
    for name, words in known["enums"].items():
        if name in ("changeType", "lifecycleEventType"):  # only in notifications
            continue
        theirs = [member.value for member in model(name) if member.value != "unknownFutureValue"]
        assert sorted(theirs) == sorted(words), (name, theirs)


def main():
    sign_in = SignIn()
    step("MSAL: consent, code and PKCE over TLS", sign_in.consent, needed=True)
    step("MSAL: refresh tokens rotate", sign_in.refresh)
    step("MSAL: a code is good once", sign_in.code_once)
    play = Play(connect(sign_in.token))
    step("a host that is not allowed gets no token, and the call is refused", play.without_authorization)
    step("calendars", play.calendars, needed=True)
    step("an event, its transaction id and its preferences", play.single, needed=True)
    step("an extended property marks and finds", play.marked)
    step("If-Match holds changes to a state", play.changes)
    step("what Graph does not know is refused", play.strict)
    step("a series with an exception and a gap", play.series, needed=True)
    step("rounds of a delta", play.rounds)
    step("429 with Retry-After is tried again by the kit", play.throttled)
    step("a batch", play.batch)
    step("a subscription with its handshake and a notification", play.subscriptions)
    step("the tables of types are those of the kit", table)
    step("no mail was sent to anybody", play.quiet)
    step("MSAL: consent taken back", sign_in.revoked)
    steps.done()


if __name__ == "__main__":
    main()
