#!/usr/bin/env python3
"""Thunderbird, headless, both ways: finds the calendars, shows what the server has, writes, and hears of changes.

Drives the real program by its remote control: detection as in "New calendar, on the network", the calendar manager,
items, and a restart with the same profile (cached calendar and stored sync-token).
"""
import os
import shutil
import sys

from common import Dav, Steps, account, event, scratch, todo, unfold, wait_for
from marionette import Failure, Thunderbird

PREFERENCES = {
    "marionette.port": 0,
    "app.update.enabled": False,
    "app.update.auto": False,
    "extensions.update.enabled": False,
    "datareporting.policy.dataSubmissionEnabled": False,
    "datareporting.policy.dataSubmissionPolicyBypassNotification": True,
    "toolkit.telemetry.enabled": False,
    "app.donation.eoy.version.viewed": 999,
    "mail.spotlight.firstRunDone": True,
    "mail.provider.suppress_dialog_on_startup": True,
    "mailnews.start_page.enabled": False,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    "calendar.timezone.local": "Europe/Berlin",
    "calendar.timezone.useSystemTimezone": False,
    "calendar.debug.log": True,
    "calendar.network.allowHttp": True,
}

# What every script below starts with: the calendar modules, and a way to wait without a fixed pause.
MODULES = """
const { cal } = ChromeUtils.importESModule("resource:///modules/calendar/calUtils.sys.mjs");
const { setTimeout } = ChromeUtils.importESModule("resource://gre/modules/Timer.sys.mjs");
const pause = ms => new Promise(resolve => setTimeout(resolve, ms));
const named = name => cal.manager.getCalendars().find(c => c.name == name);
const all = calendar => calendar.getItemsAsArray(Ci.calICalendar.ITEM_FILTER_ALL_ITEMS, 0, null, null);
"""

# The certificate and password stores must be there before a password is kept.
SIGN_IN = """
const [origin, realm, user, password] = args;
const login = Cc["@mozilla.org/login-manager/loginInfo;1"].createInstance(Ci.nsILoginInfo);
login.init(origin, null, realm, user, password, "", "");
await Services.logins.initializationPromise;
await Services.logins.addLoginAsync(login);
return (await Services.logins.searchLoginsAsync({ origin })).length;
"""

DETECT = """
const [url, user, password] = args;
const found = await cal.provider.detection.detect(user, password, url, false, [], {});
const out = [];
for (const [provider, calendars] of found) {
  for (const calendar of calendars) {
    out.push({
      type: provider.type, name: calendar.name, uri: calendar.uri.spec, color: calendar.getProperty("color"),
      readOnly: calendar.readOnly, events: calendar.getProperty("capabilities.events.supported"),
      tasks: calendar.getProperty("capabilities.tasks.supported"),
    });
  }
}
return out;
"""

SUBSCRIBE = """
const [name, uri, user] = args;
const calendar = cal.manager.createCalendar("caldav", Services.io.newURI(uri));
calendar.name = name;
calendar.setProperty("username", user);
calendar.setProperty("cache.enabled", true);
cal.manager.registerCalendar(calendar);
return cal.manager.getCalendars().map(c => c.name);
"""

STATE = """
const calendar = named(args[0]);
if (!calendar) return null;
const items = await all(calendar);
return {
  events: calendar.getProperty("capabilities.events.supported"),
  tasks: calendar.getProperty("capabilities.tasks.supported"),
  disabled: calendar.getProperty("disabled"), status: calendar.getProperty("currentStatus"), readOnly: calendar.readOnly,
  items: items.map(item => ({
    id: item.id, title: item.title, recurs: !!item.recurrenceInfo,
    start: item.isEvent() ? item.startDate?.icalString : item.entryDate?.icalString,
    zone: item.isEvent() ? item.startDate?.timezone?.tzid : null, text: item.icalString,
  })),
};
"""

OCCURRENCES = """
const calendar = named(args[0]);
const found = await calendar.getItemsAsArray(
  Ci.calICalendar.ITEM_FILTER_TYPE_EVENT | Ci.calICalendar.ITEM_FILTER_CLASS_OCCURRENCES, 0,
  cal.createDateTime(args[1]), cal.createDateTime(args[2]));
return found.map(item => [item.startDate.getInTimezone(cal.dtz.UTC).icalString, item.title]).sort();
"""

REFRESH = "named(args[0]).refresh(); await pause(200); return true;"

ADD = """
const calendar = named(args[0]);
const { CalEvent } = ChromeUtils.importESModule("resource:///modules/CalEvent.sys.mjs");
const { CalTodo } = ChromeUtils.importESModule("resource:///modules/CalTodo.sys.mjs");
const item = args[1].includes("BEGIN:VTODO") ? new CalTodo(args[1]) : new CalEvent(args[1]);
return (await calendar.addItem(item)).id;
"""

RENAME = """
const calendar = named(args[0]);
const old = await calendar.getItem(args[1]);
const edited = old.clone();
edited.title = args[2];
return (await calendar.modifyItem(edited, old)).title;
"""

REMOVE = """
const calendar = named(args[0]);
await calendar.deleteItem(await calendar.getItem(args[1]));
return true;
"""

SERIES = event(
    "series@kalends.example",
    "Stand-up",
    "20260316T090000Z",
    "20260316T091500Z",
    "RRULE:FREQ=DAILY;COUNT=5",
    "EXDATE:20260318T090000Z",
).replace(
    "END:VCALENDAR",
    "BEGIN:VEVENT\r\nUID:series@kalends.example\r\nDTSTAMP:20260101T000000Z\r\nRECURRENCE-ID:20260317T090000Z\r\n"
    "DTSTART:20260317T140000Z\r\nDTEND:20260317T141500Z\r\nSUMMARY:Stand-up moved\r\nEND:VEVENT\r\nEND:VCALENDAR",
)


class Story:
    def __init__(self, url, user, password):
        self.url, self.user, self.password = url, user, password
        self.dav = Dav(url, user, password)
        self.folder = scratch("thunderbird")
        self.profile = self.folder / "profile"
        self.profile.mkdir()
        self.log = self.folder / "thunderbird.log"
        self.log.touch()
        self.steps = Steps("thunderbird")
        self.events = self.dav.make_calendar("tb-events", "TB events")
        self.tasks = self.dav.make_calendar("tb-tasks", "TB tasks", ("VTODO",))

    def open(self):
        binary = os.environ.get("THUNDERBIRD", "thunderbird")
        return Thunderbird(binary, self.profile, self.folder, self.log, PREFERENCES)

    def put(self, name, text):
        self.dav.expect((201, 204), "PUT", self.events + name, text)

    def state(self, bird, name):
        state = bird.run(MODULES + STATE, name)
        assert state, f"Thunderbird has no calendar {name}"
        return state

    def healthy(self, bird, name):
        state = self.state(bird, name)
        assert not state["disabled"], f"{name} is disabled"
        assert state["status"] in (None, 0), f"{name} has status {state['status']:#x}"
        assert not state["readOnly"], f"{name} is read-only"

    def titles(self, bird, name):
        return sorted(item["title"] for item in self.state(bird, name)["items"])

    def shows(self, bird, name, *titles):
        def look():
            bird.run(MODULES + REFRESH, name)
            return self.titles(bird, name) == sorted(titles)

        try:
            wait_for(f"{name} shows {titles}", look, 45, 0.7)
        except AssertionError as error:
            raise AssertionError(f"{error}; it shows {self.titles(bird, name)}") from None
        self.healthy(bird, name)

    def on_server(self, path, uid):
        """The one object of that UID as the server has it, or None."""
        for name, text in self.dav.objects(path).items():
            if f"UID:{uid}" in unfold(text):
                return name, text
        return None

    # The steps.

    def seed(self):
        self.put("one.ics", event("one@kalends.example", "Dentist", "20260310T090000Z", "20260310T100000Z", "X-OURS;P=\"a;b\":kept"))
        self.put("series.ics", SERIES)
        self.put("day.ics", event("day@kalends.example", "Holiday", "20260320", "20260321").replace("DTSTART:", "DTSTART;VALUE=DATE:").replace("DTEND:", "DTEND;VALUE=DATE:"))
        self.dav.expect(201, "PUT", self.tasks + "task.ics", todo("task@kalends.example", "Buy bread"))

    def sign_in(self, bird):
        answer = self.dav.ask("PROPFIND", self.events, Authorization="")
        assert answer.status == 401, f"without a password the server says {answer.status}"
        realm = answer.headers["WWW-Authenticate"].split('realm="', 1)[1].split('"', 1)[0]
        assert bird.run(SIGN_IN, self.url, realm, self.user, self.password) == 1

    def detect(self, bird):
        found = bird.run(MODULES + DETECT, self.url, self.user, self.password)
        calendars = {entry["name"]: entry for entry in found if entry["type"] == "caldav"}
        for name, path in (("TB events", self.events), ("TB tasks", self.tasks)):
            assert name in calendars, f"{name} is not among {sorted(calendars)}"
            assert calendars[name]["uri"].endswith(path), calendars[name]
        return calendars

    def subscribe(self, bird):
        for name, path in (("TB events", self.events), ("TB tasks", self.tasks)):
            bird.run(MODULES + SUBSCRIBE, name, self.url + path, self.user)
        self.shows(bird, "TB events", "Dentist", "Holiday", "Stand-up")
        self.shows(bird, "TB tasks", "Buy bread")
        events, tasks = self.state(bird, "TB events"), self.state(bird, "TB tasks")
        assert tasks["events"] is False and tasks["tasks"], "the task list takes events"
        assert events["tasks"] is False and events["events"], "the calendar takes tasks"

    def expands(self, bird):
        found = bird.run(MODULES + OCCURRENCES, "TB events", "20260316T000000Z", "20260321T000000Z")
        starts = [(start, title) for start, title in found if title.startswith("Stand-up")]
        expected = [
            ("20260316T090000Z", "Stand-up"),
            ("20260317T140000Z", "Stand-up moved"),
            ("20260319T090000Z", "Stand-up"),
            ("20260320T090000Z", "Stand-up"),
        ]
        assert starts == expected, starts

    def writes(self, bird):
        bird.run(MODULES + ADD, "TB events", event("born@kalends.example", "Born in Thunderbird ☃", "20260312T080000Z", "20260312T083000Z"))
        name, text = wait_for("the new event on the server", lambda: self.on_server(self.events, "born@kalends.example"))
        assert "Born in Thunderbird ☃" in unfold(text), text
        assert name.endswith(".ics"), name

    def edits(self, bird):
        bird.run(MODULES + RENAME, "TB events", "one@kalends.example", "Dentist, later")
        found = wait_for("the edit on the server", lambda: (self.on_server(self.events, "one@kalends.example") or ("", ""))[1].find("Dentist\\, later") > 0 and self.on_server(self.events, "one@kalends.example"))
        assert 'X-OURS;P="a;b":kept' in unfold(found[1]), f"the private property is gone:\n{found[1]}"
        assert found[0] == "one.ics", f"the object moved to {found[0]}"

    def removes(self, bird):
        bird.run(MODULES + REMOVE, "TB events", "day@kalends.example")
        wait_for("the deletion on the server", lambda: self.on_server(self.events, "day@kalends.example") is None)

    def task(self, bird):
        bird.run(MODULES + ADD, "TB tasks", todo("todo@kalends.example", "Water the plants", "DUE:20260401T120000Z"))
        wait_for("the task on the server", lambda: self.on_server(self.tasks, "todo@kalends.example"))

    def hears(self, bird):
        self.put("two.ics", event("two@kalends.example", "From elsewhere", "20260313T090000Z", "20260313T100000Z"))
        self.dav.expect((200, 204), "DELETE", self.events + "series.ics")
        self.shows(bird, "TB events", "Born in Thunderbird ☃", "Dentist, later", "From elsewhere")

    def conflict(self, bird):
        """Somebody else changed the event; Thunderbird's If-Match must be refused and the other edit must live."""
        self.put("two.ics", event("two@kalends.example", "Changed elsewhere", "20260313T090000Z", "20260313T100000Z"))
        answer = self.dav.ask("PUT", self.events + "two.ics", event("two@kalends.example", "Stale"), If_Match='"stale"')
        assert answer.status == 412, answer
        self.shows(bird, "TB events", "Born in Thunderbird ☃", "Changed elsewhere", "Dentist, later")

    def after_restart(self, bird):
        self.shows(bird, "TB events", "Born in Thunderbird ☃", "Changed elsewhere", "While closed")
        self.shows(bird, "TB tasks", "Buy bread", "Water the plants")

    def play(self):
        step = self.steps.step
        step("the server takes three events and a task", self.seed, needed=True)
        with self.open() as bird:
            version = bird.run("return Services.appinfo.version;")
            print(f"Thunderbird {version}, log {self.log}", flush=True)
            step("Thunderbird keeps the password for the server's realm", lambda: self.sign_in(bird), needed=True)
            # no 4xx and no spinning at first contact.
            step("it finds calendar and task list from the bare address", lambda: self.detect(bird))
            step("it shows what the server has, and stays enabled (Q-02)", lambda: self.subscribe(bird), needed=True)
            step("it expands the series with its exceptions", lambda: self.expands(bird))
            step("an event made in Thunderbird reaches the server", lambda: self.writes(bird))
            step("an edit keeps properties it does not know (Q-19)", lambda: self.edits(bird))
            step("a deletion reaches the server", lambda: self.removes(bird))
            step("a task made in Thunderbird reaches the server", lambda: self.task(bird))
            step("a new and a deleted event on the server are seen", lambda: self.hears(bird))
            step("an edit elsewhere wins over a stale one", lambda: self.conflict(bird))
        self.put("three.ics", event("three@kalends.example", "While closed", "20260314T090000Z", "20260314T100000Z"))
        self.dav.expect((200, 204), "DELETE", self.events + "one.ics")
        if not self.steps.broken:
            with self.open() as bird:
                step("after a restart it goes on from its stored sync-token (Q-05)", lambda: self.after_restart(bird))


def main():
    story = Story(*account())
    try:
        story.play()
    except Failure as error:
        story.steps.failed += 1
        print(f"not ok Thunderbird itself: {error}", flush=True)
    finally:
        if story.steps.failed:
            print("---- the end of Thunderbird's log", flush=True)
            lines = [l for l in story.log.read_text(errors="replace").splitlines() if "Gtk-CRITICAL" not in l and "glib warning" not in l and l.strip()]
            print("\n".join(lines[-60:]), flush=True)
        if "--keep" not in sys.argv:
            shutil.rmtree(story.folder, ignore_errors=True)
    story.steps.done()


if __name__ == "__main__":
    main()
