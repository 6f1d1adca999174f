"""What the client scripts share: the server's address, plain requests, steps that are told and counted.

A script is given KALENDS_URL (http://host:port), KALENDS_USER and KALENDS_PASSWORD; `NAME.py URL USER PASSWORD` works
too. It prints one line a step and exits 1 when a step failed.
"""
import base64
import http.client
import json
import os
import pathlib
import re
import sys
import tempfile
import time
import traceback
import urllib.error
import urllib.parse
import urllib.request
import xml.etree.ElementTree as ElementTree

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
TOOLS = pathlib.Path(os.environ.get("KALENDS_TEST_TOOLS", ROOT / ".test-tools"))
NAMES = {"D": "DAV:", "C": "urn:ietf:params:xml:ns:caldav", "CS": "http://calendarserver.org/ns/"}
NAMESPACES = " ".join(f'xmlns:{prefix}="{uri}"' for prefix, uri in NAMES.items())


def account():
    arguments = [a for a in sys.argv[1:] if not a.startswith("--")]
    names = ("KALENDS_URL", "KALENDS_USER", "KALENDS_PASSWORD")
    values = [arguments[i] if i < len(arguments) else os.environ.get(name) for i, name in enumerate(names)]
    if not all(values):
        sys.exit(f"usage: {sys.argv[0]} URL USER PASSWORD (or set {', '.join(names)})")
    return values[0].rstrip("/"), values[1], values[2]


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    @property
    def text(self):
        return self.body.decode("utf-8", "replace")

    def xml(self):
        return ElementTree.fromstring(self.body)

    def __repr__(self):
        return f"{self.status} {self.text[:300]!r}"


class Dav:
    """A plain WebDAV client: what a script needs to look at the server from outside the client under test."""

    def __init__(self, url, user, password):
        self.url, self.user, self.password = url, user, password
        self.base = urllib.parse.urlsplit(url)
        self.token = base64.b64encode(f"{user}:{password}".encode()).decode()

    def ask(self, method, path, body=None, **headers):
        connection = http.client.HTTPConnection(self.base.hostname, self.base.port, timeout=60)
        sent = {"Authorization": f"Basic {self.token}"}
        sent.update({name.replace("_", "-"): value for name, value in headers.items()})
        if isinstance(body, str):
            body = body.encode()
        if body and "Content-Type" not in sent:
            sent["Content-Type"] = "text/calendar" if method == "PUT" else "application/xml"
        connection.request(method, path, body, sent)
        response = connection.getresponse()
        answer = Answer(response.status, response.headers, response.read())
        connection.close()
        return answer

    def expect(self, statuses, method, path, body=None, **headers):
        answer = self.ask(method, path, body, **headers)
        statuses = (statuses,) if isinstance(statuses, int) else statuses
        if answer.status not in statuses:
            raise AssertionError(f"{method} {path}: {answer} instead of {statuses}")
        return answer

    def properties(self, path, *names, depth="0"):
        """href → {name: element} of what came with status 200."""
        inner = "".join(f"<{name}/>" for name in names)
        body = f"<D:propfind {NAMESPACES}><D:prop>{inner}</D:prop></D:propfind>"
        answer = self.expect(207, "PROPFIND", path, body, Depth=depth)
        found = {}
        for response in answer.xml().iter("{DAV:}response"):
            href = urllib.parse.unquote(urllib.parse.urlsplit(response.findtext("{DAV:}href")).path)
            here = found.setdefault(href, {})
            for propstat in response.iter("{DAV:}propstat"):
                if " 200" in (propstat.findtext("{DAV:}status") or ""):
                    here.update({element.tag: element for element in propstat.find("{DAV:}prop")})
        return found

    def home(self):
        """The calendar home, found as a client finds it."""
        path = "/.well-known/caldav"
        answer = self.ask("PROPFIND", path, f"<D:propfind {NAMESPACES}><D:prop/></D:propfind>", Depth="0")
        if answer.status in (301, 302, 307, 308):
            path = urllib.parse.urlsplit(answer.headers["Location"]).path
        principal = next(iter(self.properties(path, "D:current-user-principal").values()))
        principal = principal["{DAV:}current-user-principal"].findtext("{DAV:}href")
        home = next(iter(self.properties(principal, "C:calendar-home-set").values()))
        return home["{%s}calendar-home-set" % NAMES["C"]].findtext("{DAV:}href")

    def make_calendar(self, name, title, components=("VEVENT",)):
        path = f"{self.home()}{name}/"
        comps = "".join(f'<C:comp name="{c}"/>' for c in components)
        body = (
            f"<C:mkcalendar {NAMESPACES}><D:set><D:prop><D:displayname>{title}</D:displayname>"
            f"<C:supported-calendar-component-set>{comps}</C:supported-calendar-component-set>"
            "</D:prop></D:set></C:mkcalendar>"
        )
        self.ask("DELETE", path)
        self.expect(201, "MKCALENDAR", path, body)
        return path

    def members(self, path):
        """Names of the objects in a collection."""
        found = self.properties(path, "D:getetag", depth="1")
        return sorted(href.rsplit("/", 1)[1] for href in found if not href.endswith("/"))

    def objects(self, path):
        return {name: self.expect(200, "GET", path + urllib.parse.quote(name)).text for name in self.members(path)}


def event(uid, title, start="20260310T090000Z", end="20260310T100000Z", *more):
    lines = ["BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:-//kalends//client tests//EN", "BEGIN:VEVENT", f"UID:{uid}"]
    lines += ["DTSTAMP:20260101T000000Z", f"DTSTART:{start}", f"DTEND:{end}", f"SUMMARY:{title}", *more]
    lines += ["END:VEVENT", "END:VCALENDAR", ""]
    return "\r\n".join(lines)


def todo(uid, title, *more):
    lines = ["BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:-//kalends//client tests//EN", "BEGIN:VTODO", f"UID:{uid}"]
    lines += ["DTSTAMP:20260101T000000Z", f"SUMMARY:{title}", *more, "END:VTODO", "END:VCALENDAR", ""]
    return "\r\n".join(lines)


def wait_for(what, look, seconds=60, pause=0.3):
    """Waits until `look()` gives something true and returns it."""
    end = time.monotonic() + seconds
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() > end:
            raise AssertionError(f"{what}: not within {seconds} s (last: {found!r})")
        time.sleep(pause)


class Steps:
    """Runs steps, tells each as a line, counts; `done()` ends the script."""

    def __init__(self, name):
        self.name, self.passed, self.failed, self.broken = name, 0, 0, False

    def step(self, title, action, needed=False):
        """`needed`: what follows makes no sense when this one failed."""
        if self.broken:
            return None
        begun = time.monotonic()
        try:
            result = action()
        except Exception as error:  # a failed step is told, whatever it raised
            self.failed += 1
            self.broken = needed
            print(f"not ok {title}: {type(error).__name__}: {error}", flush=True)
            if not isinstance(error, AssertionError):
                traceback.print_exc(file=sys.stdout)
            return None
        self.passed += 1
        print(f"ok {title} ({time.monotonic() - begun:.1f} s)", flush=True)
        return result

    def done(self):
        print(f"{self.name}: {self.passed} passed, {self.failed} failed", flush=True)
        sys.exit(1 if self.failed else 0)


def sim(method, path, body=None):
    """A request to the paths of a simulator's own; KALENDS_SIM is its address."""
    data = None if body is None else json.dumps(body).encode()
    url = f"{os.environ['KALENDS_SIM'].rstrip('/')}/_sim/{path}"
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def act(act, **more):
    """The simulated far side does something by itself."""
    return sim("POST", "act", {"act": act, **more})


class NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_):
        return None


def redirected(url):
    """Goes where a browser would and returns the address that it is sent on to."""
    try:
        urllib.request.build_opener(NoRedirect).open(url, timeout=30)
    except urllib.error.HTTPError as answer:
        assert answer.code == 302, answer.code
        return answer.headers["Location"]
    raise AssertionError(f"{url} leads nowhere")


def forget_proxies():
    """What runs on this machine is not asked for elsewhere."""
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        del os.environ[name]


def expected_failures(path):
    """`name: reason` lines of a list of expected failures; an entry without a reason is an error."""
    listed = {}
    for line in pathlib.Path(path).read_text().splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        name, _, reason = line.partition(": ")
        if not reason.strip():
            sys.exit(f"{path}: {name} has no reason")
        listed[name.strip()] = reason.strip()
    return listed


def scratch(name):
    return pathlib.Path(tempfile.mkdtemp(prefix=f"kalends-{name}-"))


def unfold(text):
    return re.sub(r"\r?\n[ \t]", "", text)
