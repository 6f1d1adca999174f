"""Kalends from Python, with nothing but the standard library.

    KALENDS=https://calendar.example.org TOKEN=kal_… python3 kalends.py
"""
import base64
import datetime
import hashlib
import hmac
import http.server
import json
import os
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid


class Refused(Exception):
    """A refusal: problem details (RFC 9457). `kind` is made for programs and stays, `detail` is for people."""

    def __init__(self, status, problem, retry_after=None):
        super().__init__(f"{status} {problem.get('detail', '')}")
        self.status, self.problem, self.retry_after = status, problem, retry_after
        self.kind = problem.get("type", "").rsplit("/", 1)[-1]


class Kalends:
    def __init__(self, address, token):
        self.address, self.token = address.rstrip("/") + "/api/v1", token

    def request(self, method, path, body=None, **headers):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.address + path, data, method=method)
        request.add_header("Authorization", f"Bearer {self.token}")
        request.add_header("User-Agent", "shop/1.0")  # told in the history of every event that this program writes
        if data is not None:
            request.add_header("Content-Type", "application/json")
        for name, value in headers.items():
            request.add_header(name.replace("_", "-"), value)
        return request

    def ask(self, method, path, body=None, timeout=30, **headers):
        try:
            with urllib.request.urlopen(self.request(method, path, body, **headers), timeout=timeout) as answer:
                return json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as refused:
            problem = json.loads(refused.read() or b"{}")
            raise Refused(refused.code, problem, refused.headers.get("Retry-After")) from None

    def all(self, path):
        """Every item of a list, page by page."""
        cursor = None
        while True:
            mark = "&" if "?" in path else "?"
            page = self.ask("GET", path + (f"{mark}cursor={urllib.parse.quote(cursor)}" if cursor else ""))
            yield from page["items"]
            cursor = page["next_cursor"]
            if cursor is None:
                return

    def book(self, wish, tries=5):
        """Books once, however often it has to be sent: the key is the same each time.

        Returns the booking, or None if somebody else was quicker.
        """
        key = str(uuid.uuid4())
        for attempt in range(tries):
            try:
                return self.ask("POST", "/bookings", wish, Idempotency_Key=key)
            except Refused as refused:
                if refused.kind == "slot-taken":
                    return None
                if refused.status not in (429, 503):
                    raise
                wait = float(refused.retry_after or 2**attempt)
            except OSError:
                wait = 2**attempt  # no answer: nobody knows whether it was booked, so the same is asked again
            time.sleep(wait)
        raise TimeoutError("no answer")

    def changes(self, since, wait=25):
        """What was written after a position, for ever: (items, the next position). Keep the position with what you made of the items."""
        while True:
            query = urllib.parse.urlencode({"wait": wait, **({"since": since} if since else {})})
            page = self.ask("GET", f"/changes?{query}", timeout=wait + 30)
            since = page["next_cursor"]
            if page["items"]:
                yield page["items"], since

    def stream(self, last=None):
        """The same as server-sent events: (id, item). After a break go on with the last id."""
        headers = {"Last_Event_ID": last} if last else {}
        with urllib.request.urlopen(self.request("GET", "/changes/stream", **headers), timeout=90) as lines:
            event, data, ident = "message", "", last
            for line in lines:
                name, _, value = line.decode().rstrip("\n").partition(": ")
                if name == "id":
                    ident = value
                elif name == "event":
                    event = value
                elif name == "data":
                    data += value
                elif not name:
                    if event == "change":
                        yield ident, json.loads(data)
                    event, data = "message", ""


def genuine(secret, headers, body, now=None):
    """Tells whether a webhook came from the server and is fresh (https://www.standardwebhooks.com)."""
    ident, stamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not stamp.isdigit() or abs((now or time.time()) - int(stamp)) > 300:
        return False
    key = base64.b64decode(secret.removeprefix("whsec_"))
    mac = hmac.new(key, f"{ident}.{stamp}.".encode() + body, hashlib.sha256).digest()
    wanted = "v1," + base64.b64encode(mac).decode()
    # While a secret is changed there are two signatures.
    return any(hmac.compare_digest(wanted, one) for one in headers.get("webhook-signature", "").split())


def receiver(secret, heard, port=0):
    """A server for webhooks; `heard` is given each message once."""
    seen = set()  # keep this where it survives a restart

    class Door(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if not genuine(secret, self.headers, body):
                return self.answer(401)
            if self.headers["webhook-id"] not in seen:
                seen.add(self.headers["webhook-id"])
                heard(json.loads(body))  # something quick: the answer is waited for
            return self.answer(204)

        def answer(self, status):
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    return http.server.ThreadingHTTPServer(("127.0.0.1", port), Door)


def main():
    kalends = Kalends(os.environ["KALENDS"], os.environ["TOKEN"])
    calendar = next(c for c in kalends.all("/calendars") if "VEVENT" in c["components"])
    print("calendar", calendar["display_name"])

    day = datetime.date.today() + datetime.timedelta(days=31)
    events = f"/calendars/{calendar['id']}/events"
    made = kalends.ask("POST", events, {"title": "Planning", "start": f"{day}T09:00:00", "duration": "PT1H", "time_zone": "Europe/Berlin"})
    # Change it only if nobody else did meanwhile.
    changed = kalends.ask("PATCH", f"{events}/{made['uid']}", {"location": "Room 2"}, If_Match=f'"{made["etag"]}"')
    print("event", changed["title"], changed["location"])
    try:
        kalends.ask("PATCH", f"{events}/{made['uid']}", {"location": "Room 3"}, If_Match=f'"{made["etag"]}"')
    except Refused as refused:
        print("refused", refused.status, refused.kind)

    query = urllib.parse.urlencode({"from": f"{day}T12:00:00Z", "to": f"{day}T16:00:00Z", "duration": "PT45M"})
    free = kalends.ask("GET", f"/availability?{query}")["slots"]
    wish = {"start": free[0]["start"], "duration": "PT45M", "service": "Haircut", "customer": {"name": "Eva Example", "email": "eva@example.org"}}
    booking = kalends.book(wish)
    print("booked", booking["status"], booking["start"] == free[0]["start"])
    print("rival", kalends.book(wish))

    position = kalends.ask("GET", "/calendars/" + calendar["id"])["sync_token"]
    kalends.ask("DELETE", f"/bookings/{booking['id']}")
    items, position = next(kalends.changes(position))
    print("changes", items[0]["change"])
    kalends.ask("DELETE", f"{events}/{made['uid']}")
    for ident, item in kalends.stream(position):
        print("stream", item["change"], ident != position)
        break


if __name__ == "__main__":
    main()
