#!/usr/bin/env python3
"""vdirsyncer: discovery, two-way sync of folders, deletions, conflicts both ways; khal and todoman read what it fetched."""
import os
import shutil
import subprocess
import sys

from common import TOOLS, Dav, Steps, account, event, scratch, todo, unfold

BIN = TOOLS / "venv" / "bin"

CONFIG = """
[general]
status_path = "{folder}/status/"

[pair kalends]
a = "disk"
b = "server"
collections = {collections}
conflict_resolution = {resolution}
metadata = ["displayname", "color"]

[storage disk]
type = "filesystem"
path = "{folder}/disk/"
fileext = ".ics"

[storage server]
type = "caldav"
url = "{url}/"
username = "{user}"
password = "{password}"
"""

KHAL = """
[calendars]
[[{name}]]
path = {folder}/disk/{name}/
[locale]
local_timezone = UTC
default_timezone = UTC
timeformat = %H:%M
dateformat = %Y-%m-%d
longdateformat = %Y-%m-%d
datetimeformat = %Y-%m-%d %H:%M
longdatetimeformat = %Y-%m-%d %H:%M
[default]
default_calendar = {name}
[sqlite]
path = {folder}/khal.db
"""

TODOMAN = """
path = "{folder}/disk/*"
date_format = "%Y-%m-%d"
time_format = "%H:%M"
default_list = "{tasks}"
cache_path = "{folder}/todoman.sqlite"
"""


class Story:
    def __init__(self):
        self.url, self.user, self.password = account()
        self.dav = Dav(self.url, self.user, self.password)
        self.folder = scratch("vdirsyncer")
        self.environment = dict(os.environ, HOME=str(self.folder), XDG_CONFIG_HOME=f"{self.folder}/.config", LC_ALL="C.UTF-8", TZ="UTC")
        self.events = self.dav.make_calendar("vd-events", "vd events", ("VEVENT",))
        self.tasks = self.dav.make_calendar("vd-tasks", "vd tasks", ("VTODO",))
        self.disk = self.folder / "disk" / "vd-events"
        self.new = self.dav.home() + "vd-made/"
        self.dav.ask("DELETE", self.new)

    def write_config(self, resolution="null", collections='["vd-events", "vd-tasks"]'):
        path = self.folder / "config"
        path.write_text(
            CONFIG.format(
                folder=self.folder, collections=collections, resolution=resolution, url=self.url, user=self.user, password=self.password
            )
        )
        return path

    def tool(self, name, *arguments, answer=None, status=0):
        done = subprocess.run(
            [str(BIN / name), *arguments],
            env=self.environment,
            input=answer,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=180,
        )
        if status is not None:
            assert done.returncode == status, f"{name} {' '.join(arguments)} ended with {done.returncode}:\n{done.stdout[-3000:]}"
        return done.stdout

    def sync(self, *more, status=0):
        return self.tool("vdirsyncer", "-v", "WARNING", "-c", str(self.folder / "config"), "sync", *more, status=status)

    def on_disk(self, folder=None):
        return {path.stem: unfold(path.read_text()) for path in sorted((folder or self.disk).glob("*.ics"))}

    def on_server(self, path=None):
        return {name: unfold(text) for name, text in self.dav.objects(path or self.events).items()}

    def find(self, uid):
        return next(path for path in self.disk.glob("*.ics") if f"UID:{uid}" in path.read_text())

    # The steps.

    def discover(self):
        self.write_config()
        self.tool("vdirsyncer", "-c", str(self.folder / "config"), "discover", "--list", answer="y\n" * 8)
        assert self.disk.is_dir(), "the folder was not made"

    def fetch(self):
        self.dav.expect(201, "PUT", self.events + "one.ics", event("one@kalends.example", "Dentist"))
        series = event("series@kalends.example", "Stand-up", "20260316T090000Z", "20260316T091500Z", "RRULE:FREQ=DAILY;COUNT=3")
        self.dav.expect(201, "PUT", self.events + "series.ics", series)
        self.dav.expect(201, "PUT", self.tasks + "bread.ics", todo("bread@kalends.example", "Buy bread", "DUE:20260401T120000Z"))
        self.sync()
        assert len(self.on_disk()) == 2, self.on_disk()
        assert "SUMMARY:Dentist" in self.find("one@kalends.example").read_text()

    def push(self):
        (self.disk / "born.ics").write_text(event("born@kalends.example", "Born on disk ☃", "20260312T080000Z", "20260312T083000Z", "X-OURS;P=\"a;b\":kept"))
        self.sync()
        found = [text for text in self.on_server().values() if "UID:born@kalends.example" in text]
        assert len(found) == 1 and "Born on disk ☃" in found[0] and 'X-OURS;P="a;b":kept' in found[0], found

    def edit(self):
        path = self.find("one@kalends.example")
        path.write_text(path.read_text().replace("SUMMARY:Dentist", "SUMMARY:Dentist moved"))
        self.dav.expect((200, 204), "PUT", self.events + "series.ics", event("series@kalends.example", "Stand-up edited", "20260316T090000Z", "20260316T091500Z", "RRULE:FREQ=DAILY;COUNT=3"))
        self.sync()
        assert "Dentist moved" in self.on_server()["one.ics"]
        assert "Stand-up edited" in self.find("series@kalends.example").read_text()

    def read_with_khal(self):
        (self.folder / "khal.conf").write_text(KHAL.format(folder=self.folder, name="vd-events"))
        out = self.tool("khal", "-c", str(self.folder / "khal.conf"), "list", "--format", "{start-date} {start-time} {title}", "2026-03-09", "14d")
        for line in ("2026-03-10 09:00 Dentist moved", "2026-03-12 08:00 Born on disk ☃", "2026-03-16 09:00 Stand-up edited", "2026-03-18 09:00 Stand-up edited"):
            assert line in out, f"{line} is not in\n{out}"
        assert out.count("Stand-up edited") == 3, out

    def read_with_todoman(self):
        config = self.folder / "todoman.py"
        config.write_text(TODOMAN.format(folder=self.folder, tasks="vd-tasks"))
        out = self.tool("todo", "--config", str(config), "--porcelain", "list")
        assert "Buy bread" in out, out
        self.tool("todo", "--config", str(config), "done", "1")
        self.sync()
        task = next(iter(self.on_server(self.tasks).values()))
        assert "STATUS:COMPLETED" in task, task

    def remove(self):
        self.dav.expect((200, 204), "DELETE", self.events + "series.ics")
        (self.disk / "born.ics").unlink()
        self.sync()
        assert [text for text in self.on_disk().values() if "series@" in text] == []
        assert [text for text in self.on_server().values() if "born@" in text] == []

    def clash(self, disk, server):
        path = self.find("one@kalends.example")
        old = path.read_text()
        before = next(line for line in old.splitlines() if line.startswith("SUMMARY:"))
        path.write_text(old.replace(before, f"SUMMARY:{disk}"))
        self.dav.expect((200, 204), "PUT", self.events + "one.ics", event("one@kalends.example", server))

    def conflict(self):
        self.clash("Disk says so", "Server says so")
        out = self.sync(status=1)
        assert "conflict" in out.lower(), out
        assert "Server says so" in self.on_server()["one.ics"], "a refused sync changed the server"
        assert "Disk says so" in self.find("one@kalends.example").read_text(), "a refused sync changed the folder"

    def server_wins(self):
        self.write_config('"b wins"')
        self.sync()
        assert "Server says so" in self.find("one@kalends.example").read_text()

    def disk_wins(self):
        self.write_config('"a wins"')
        self.clash("Disk again", "Server again")
        self.sync()
        assert "Disk again" in self.on_server()["one.ics"]

    def empty_guard(self):
        """vdirsyncer refuses to empty one side because the other became empty; the server must not have lied (Q-06)."""
        for name in self.on_server():
            self.dav.expect((200, 204), "DELETE", self.events + name)
        out = self.sync(status=1)
        assert "emptied" in out.lower(), out
        self.sync("--force-delete")
        assert not self.on_disk()

    def make(self):
        self.write_config('"a wins"', '["vd-made"]')
        (self.folder / "disk" / "vd-made").mkdir()
        self.tool("vdirsyncer", "-c", str(self.folder / "config"), "discover", answer="y\n" * 8)
        (self.folder / "disk" / "vd-made" / "x.ics").write_text(event("x@kalends.example", "In a new calendar"))
        (self.folder / "disk" / "vd-made" / "color").write_text("#ff8800")
        (self.folder / "disk" / "vd-made" / "displayname").write_text("Made by vdirsyncer")
        self.sync()
        assert len(self.on_server(self.new)) == 1
        self.tool("vdirsyncer", "-c", str(self.folder / "config"), "metasync")
        found = self.dav.properties(self.new, "D:displayname")
        name = next(iter(found.values()))["{DAV:}displayname"].text
        assert name == "Made by vdirsyncer", name

    def play(self):
        steps = Steps("vdirsyncer, khal, todoman")
        step = steps.step
        step("vdirsyncer discovers the calendars", self.discover, needed=True)
        step("it fetches events and tasks", self.fetch, needed=True)
        step("khal shows them, the series expanded", self.read_first)
        step("a new file becomes an event, byte for byte", self.push)
        step("edits travel both ways", self.edit)
        step("khal reads the result", self.read_with_khal)
        step("todoman reads a task and completes it", self.read_with_todoman)
        step("deletions travel both ways", self.remove)
        step("a conflict is told and changes neither side", self.conflict)
        step("a conflict resolved for the server", self.server_wins)
        step("a conflict resolved for the folder", self.disk_wins)
        step("a calendar that became empty is not taken for an accident by the server (Q-06)", self.empty_guard)
        step("it makes a calendar, with name and colour", self.make)
        return steps

    def read_first(self):
        (self.folder / "khal.conf").write_text(KHAL.format(folder=self.folder, name="vd-events"))
        out = self.tool("khal", "-c", str(self.folder / "khal.conf"), "list", "--format", "{start-date} {title}", "2026-03-09", "14d")
        assert "2026-03-10 Dentist" in out and out.count("Stand-up") == 3, out


def main():
    story = Story()
    steps = story.play()
    if "--keep" not in sys.argv:
        shutil.rmtree(story.folder, ignore_errors=True)
    steps.done()


if __name__ == "__main__":
    main()
