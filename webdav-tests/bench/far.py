"""Kalends beside a simulated Google, each a process of its own, connected as a browser would connect them."""
import http.client
import json
import os
import pathlib
import re
import signal
import subprocess
import time
import urllib.parse

from servers import USER, Kalends, memory

PERSON = "anna@example.com"


class Json:
    """Asks for JSON over one connection that is kept."""

    def __init__(self, port, token=None):
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
        self.headers = {"Authorization": f"Bearer {token}"} if token else {}

    def raw(self, method, path, body=None, headers=None):
        """(status, headers, bytes)."""
        data = None if body is None else json.dumps(body)
        sent = dict(self.headers, **(headers or {}))
        if data is not None:
            sent["Content-Type"] = "application/json"
        for attempt in (1, 2):
            try:
                self.connection.request(method, path, data, sent)
                answer = self.connection.getresponse()
                return answer.status, answer.headers, answer.read()
            except (ConnectionError, http.client.BadStatusLine):
                self.connection.close()
                if attempt == 2 or method != "GET":
                    raise
        raise RuntimeError("not reached")

    def ask(self, method, path, body=None, wanted=(200, 201, 202, 204)):
        status, _, data = self.raw(method, path, body)
        if status not in wanted:
            raise RuntimeError(f"{method} {path}: {status} {data[:400].decode(errors='replace')}")
        return json.loads(data) if data else {}


class Far:
    """`kalends simulate google`."""

    def __init__(self, binary, folder, events, latency, seed):
        self.latency = latency
        self.log = open(pathlib.Path(folder) / "far.log", "ab")
        command = [binary, "simulate", "google", "--listen", "127.0.0.1:0", "--control", "--events", str(events), "--seed", str(seed)]
        command += ["--latency", f"{latency}ms"]
        self.process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=self.log, text=True, start_new_session=True)
        line = self.process.stdout.readline()
        found = re.search(r"http://127\.0\.0\.1:(\d+)", line)
        if not found:
            raise RuntimeError(f"kalends simulate did not come up: {line}{pathlib.Path(self.log.name).read_text()[-500:]}")
        self.port = int(found[1])
        self.url = found[0]
        self.control = Json(self.port)
        granted = self.own("grant")
        self.api = Json(self.port, granted["access_token"])

    def act(self, what, **more):
        return self.control.ask("POST", "/_sim/act", {"act": what, **more})

    def own(self, name, **more):
        return self.act("own", name=name, **{"with": more})

    def create(self, calendar, title, start, minutes=30):
        """Somebody writes an event there. Returns its id."""
        moment = lambda at: {"dateTime": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))}
        made = self.act("create_elsewhere", calendar=calendar, object={"summary": title, "start": moment(start), "end": moment(start + minutes * 60)})
        return made["id"]

    def edit(self, identifier, title, calendar=PERSON):
        self.act("edit_elsewhere", calendar=calendar, id=identifier, patch={"summary": title})

    def notify(self, whether):
        """Lets notifications through, or loses them all."""
        self.act("webhook", loss=0.0 if whether else 1.0)

    def idle(self):
        self.control.ask("GET", "/_sim/idle")

    def requests(self):
        return self.control.ask("GET", "/_sim/requests")["requests"]

    def forget(self):
        self.control.ask("DELETE", "/_sim/requests")

    def count(self):
        return self.control.ask("GET", "/_sim/")["requests"]

    def titles(self, calendar=PERSON):
        """The titles of all events that are not cancelled; exceptions of series do not count."""
        out, page = [], ""
        while page is not None:
            more = f"&pageToken={urllib.parse.quote(page)}" if page else ""
            path = f"/calendar/v3/calendars/{urllib.parse.quote(calendar)}/events?maxResults=2500{more}"
            answer = self.api.ask("GET", path)
            live = (item for item in answer["items"] if item["status"] != "cancelled" and "recurringEventId" not in item)
            out += [item.get("summary", "") for item in live]
            page = answer.get("nextPageToken")
        return sorted(out)

    def end(self):
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGTERM)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()
        self.process.stdout.close()
        self.log.close()


class House(Kalends):
    """`kalends serve` with the simulator as its Google. `settings` are further keys, as the environment names them."""

    def __init__(self, folder, binary, far, settings=None):
        self.far, self.settings, self.api = far, settings or {}, None
        super().__init__(folder, binary)
        made = subprocess.run([binary, "token", "add", USER, "bench", "--scope", "read,events,bridges"], text=True, env=self.environment(), cwd=self.folder, check=True, capture_output=True)
        self.token = made.stdout.split()[-1]

    def environment(self):
        of = lambda name: f"KALENDS_PROVIDERS__GOOGLE__{name}"
        # Runs are begun by hand far more often than a person may.
        more = {"KALENDS_BRIDGE__ALLOW_PRIVATE": "true", "KALENDS_LIMITS__MANUAL_SYNC": "10000", of("CLIENT_ID"): "client", of("CLIENT_SECRET"): "secret"}
        more[of("API_BASE")] = self.far.url + "/"
        more[of("AUTH_URL")] = self.far.url + "/o/oauth2/v2/auth"
        more[of("TOKEN_URL")] = self.far.url + "/token"
        more[of("REVOKE_URL")] = self.far.url + "/revoke"
        return {**super().environment(), **more, **self.settings}

    def start(self):
        took = super().start()
        self.api = Json(self.port, self.token)
        return took

    def call(self, method, path, body=None):
        return self.api.ask(method, f"/api/v1{path}", body)

    def connect(self):
        """Goes where the consent page is and back; the simulator consents at once. Returns the connection's id."""
        status, headers, data = self.api.raw("POST", "/api/v1/connections/google", {})
        if status != 201:
            raise RuntimeError(f"no consent can be asked for: {status} {data[:300]}")
        made, cookie = json.loads(data), headers["Set-Cookie"].split(";")[0]
        away = urllib.parse.urlsplit(made["authorization_url"])
        status, headers, data = Json(self.far.port).raw("GET", f"{away.path}?{away.query}")
        back = urllib.parse.urlsplit(headers.get("Location") or "")
        if not back.query:
            raise RuntimeError(f"no way back from the consent: {status} {data[:300]}")
        status, _, data = Json(self.port).raw("GET", f"{back.path}?{back.query}", headers={"Cookie": cookie})
        if status >= 400:
            raise RuntimeError(f"the consent did not land: {status} {data[:300]}")
        return made["id"]

    def calendars(self):
        """Ids of the calendars here by name."""
        out, cursor = {}, ""
        while cursor is not None:
            answer = self.call("GET", "/calendars?limit=100" + (f"&cursor={urllib.parse.quote(cursor)}" if cursor else ""))
            out.update({item["name"]: item["id"] for item in answer["items"]})
            cursor = answer["next_cursor"]
        return out

    def map(self, calendar, connection, remote=PERSON, **more):
        """Maps two calendars both ways, whatever the time of an event."""
        wanted = {"calendar": calendar, "connection": connection, "remote_calendar": remote, "direction": "both", "conflict_policy": "newest"}
        return self.call("POST", "/mappings", {**wanted, "window_past": "all", "window_future": "all", **more})["id"]

    def good_runs(self, mapping):
        """The runs of a mapping, the last first; raises when one failed."""
        runs = self.call("GET", f"/runs?mapping={mapping}")["items"]
        for run in runs:
            if run["status"] in ("failed", "partial_failure"):
                raise RuntimeError(f"a run {run['status']}: {run['failures'][:3]}")
        return runs

    def first(self, mapping, seconds=1800):
        """Waits until the first run has come through, put off or not. Returns all runs until then."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            runs = self.good_runs(mapping)
            if any(run["status"] == "success" for run in runs):
                return runs
            time.sleep(0.02)
        raise RuntimeError(f"the first run does not end: {runs[:1]}")

    def run(self, mapping, seconds=1800):
        """Asks for a run and waits for its end."""
        wanted = self.call("POST", f"/mappings/{mapping}/sync", {})["run"]
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            run = self.call("GET", f"/runs/{wanted}")
            if run["status"] not in ("running", None):
                if run["status"] != "success":
                    raise RuntimeError(f"a run {run['status']}: {run['failures'][:3]}")
                return run
            time.sleep(0.01)
        raise RuntimeError("a run does not end")

    def rest(self, mapping):
        """Waits until nothing is told and no run is under way."""
        quiet = 0
        while quiet < 3:
            self.far.idle()
            quiet = quiet + 1 if self.call("GET", f"/mappings/{mapping}")["status"] == "active" else 0
            time.sleep(0.1)

    def resident(self):
        return memory(self.process.pid, "VmRSS")

    def forget_peak(self):
        """The peak counts from here on."""
        pathlib.Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")

    def most_resident(self):
        return memory(self.process.pid, "VmHWM")

    def processor(self):
        """Seconds of processor time so far."""
        fields = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
