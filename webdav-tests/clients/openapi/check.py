#!/usr/bin/env python3
"""The OpenAPI document by itself, and the running server measured by it.

1. The document is a right OpenAPI 3.1 document (openapi-spec-validator).
2. schemathesis, with a token of each scope and every operation that it may ask for: no answer is 5xx, and each has a status, a media type, headers and a shape that
   the document names; what the schemas forbid is refused. Fixed seed, as many requests in each run.
3. A member that no schema knows is refused with 422 and its path, in every body and in the objects within.

KALENDS_URL is a server's; KALENDS_TOKENS the tokens, JSON by scope.

Checks of schemathesis that are not used:
* positive_data_acceptance: `wishes.py` has a stricter word for word one in its place.
* ignored_auth: it guesses tokens, and whoever guesses is slowed; webdav-tests/operation.rs asks every route without a token, and
  door.rs with wrong ones.
* missing_required_header: there is none but Authorization, which a fixed header takes the place of.
* use_after_free, ensure_resource_availability, object_level_authorization: they need links between operations;
  webdav-tests/operation.rs asks for somebody else's things on every route.
"""
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
from common import Steps, forget_proxies  # noqa: E402

URL = os.environ["KALENDS_URL"].rstrip("/")
API = URL + "/api/v1"
TOKENS = json.loads(os.environ["KALENDS_TOKENS"])
CHECKS = [
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
    "unsupported_method",
    "allow_header_conformance",
    "the_schema_says_what_is_refused",
]
# These ask a far side out there, if the caller may: the simulators' own tests have them, and those of webhooks.
OUTSIDE = r"^(post_connections(_caldav|_cozi|_icloud|_ics)?|post_connections_connection_reconnect|post_webhooks_webhook_test|post_webhooks_webhook_deliveries_delivery_redeliver)$"
CONFIG = """
request-timeout = 20
max-stream-events = 1
# What was changed meanwhile is not looked at any further.
checks.negative_data_rejection.expected-statuses = [400, 401, 403, 404, 405, 406, 409, 410, 412, 413, 415, 422, 429]
"""


def ask(token, method, path, body=None):
    request = urllib.request.Request(API + path, method=method, data=None if body is None else json.dumps(body).encode())
    request.add_header("Authorization", f"Bearer {token}")
    request.add_header("Content-Type", "application/json")
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, json.loads(answer.read() or b"null")
    except urllib.error.HTTPError as refused:
        return refused.code, json.loads(refused.read() or b"null")


def made(*wish):
    status, thing = ask(*wish)
    assert status in (200, 201), f"{wish[1:]}: {status} {thing}"
    return thing


def document():
    with urllib.request.urlopen(API + "/openapi.json", timeout=30) as answer:
        return json.load(answer)


def valid(found):
    from openapi_spec_validator import OpenAPIV31SpecValidator

    wrong = [f"{'/'.join(map(str, error.absolute_path))}: {error.message}" for error in OpenAPIV31SpecValidator(found).iter_errors()]
    assert not wrong, "\n".join(wrong[:20])


def furnish():
    """Something of each kind, and the names that stand for it in paths."""
    events, bookings = TOKENS["events"], TOKENS["bookings"]
    calendar = next(c["id"] for c in ask(events, "GET", "/calendars")[1]["items"] if "VEVENT" in c["components"])
    there = {"calendar": calendar, "uid": "kept@kalends.example"}
    place = f"/calendars/{calendar}/events/{there['uid']}"
    for title in ("First", "Second"):
        made(events, "PUT", place, {"title": title, "start": "2030-01-07T09:00:00Z", "duration": "PT1H"})
    there["version"] = ask(events, "GET", place + "/versions")[1]["items"][0]["id"]
    there["feed"] = made(events, "POST", "/feeds", {"calendars": [calendar]})["id"]
    there["webhook"] = made(events, "POST", "/webhooks", {"url": "https://kalends.invalid/", "events": ["calendar.*"]})["id"]
    lost = f"/calendars/{calendar}/events/lost@kalends.example"
    made(events, "PUT", lost, {"title": "Lost", "start": "2030-01-08T09:00:00Z", "duration": "PT1H"})
    assert ask(events, "DELETE", lost)[0] == 204
    there["item"] = ask(events, "GET", "/trash")[1]["items"][0]["id"]
    booking = {"start": "2030-01-09T09:00:00Z", "duration": "PT1H", "outside_rules": True}
    # Whoever is changed and given passwords is not whoever asks.
    there["user"] = made(TOKENS["admin"], "POST", "/users", {"name": "guest"})["name"]
    there["booking"] = made(bookings, "POST", "/bookings", booking)["id"]
    return there


def of_scope(found, scope):
    """The operations that a token of this scope may ask for; the others refuse it, as webdav-tests/operation.rs shows."""
    all_of_them = [operation for path in found["paths"].values() for operation in path.values()]
    return [o["operationId"] for o in all_of_them if f"`{scope}`" in o["description"] and not re.search(OUTSIDE, o["operationId"])]


def machine(operations, scope, there, phase, *more):
    with tempfile.TemporaryDirectory() as folder:
        config = pathlib.Path(folder) / "schemathesis.toml"
        config.write_text(CONFIG)
        command = [
            pathlib.Path(sys.executable).parent / "schemathesis", "--config-file", config, "run", API + "/openapi.json",
            "--phases", phase, "--checks", ",".join(CHECKS), "--seed", "4", "--workers", "1", "--continue-on-failure",
            "--generation-database", "none", "--no-shrink", "--no-color", "--warnings", "off", "--suppress-health-check", "all",
            "-H", f"Authorization: Bearer {TOKENS[scope]}", *more,
        ]
        command += ["--include-operation-id-regex", f"^({'|'.join(operations)})$"]
        environment = dict(os.environ, SCHEMATHESIS_HOOKS="wishes", PYTHONPATH=str(HERE), KALENDS_THERE=json.dumps(there))
        done = subprocess.run(command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    asked = re.search(r"(\d+) generated", done.stdout)
    asked = int(asked[1]) if asked else 0
    assert done.returncode == 0, f"{asked} requests\n{done.stdout[-15000:]}"
    assert asked > 3 * len(operations), f"only {asked} requests\n{done.stdout[-3000:]}"
    print(f"   {scope}, {phase}: {asked} requests", flush=True)


class Bodies:
    """Smallest bodies that fit their schemas, with one member too many."""

    SAMPLES = {"trigger": "-PT15M"}

    def __init__(self, found):
        self.schemas = found["components"]["schemas"]

    def follow(self, schema):
        while "$ref" in schema:
            schema = self.schemas[schema["$ref"].rsplit("/", 1)[1]]
        return schema

    def least(self, schema):
        """The smallest value that fits."""
        schema = self.follow(schema)
        if "enum" in schema:
            return schema["enum"][0]
        kind = schema.get("type", "object")
        kind = kind[0] if isinstance(kind, list) else kind
        if kind == "object":
            members = schema.get("properties", {})
            return {name: self.SAMPLES.get(name) or self.least(members[name]) for name in schema.get("required", [])}
        if kind == "array":
            return [self.least(schema["items"]) for _ in range(schema.get("minItems", 0))]
        return {"string": "PT1H" if schema.get("format") == "duration" else "x", "integer": 1, "number": 1, "boolean": False}[kind]

    def with_one_more(self, schema, path=""):
        """Yields values in which one object has a member that nobody knows, and the path of that member."""
        schema = self.follow(schema)
        if schema.get("additionalProperties") is False:
            yield {**self.least(schema), "no_such_member": 1}, f"{path}no_such_member"
        for name, inner in schema.get("properties", {}).items():
            inner = self.follow(inner)
            if not {"properties", "items"} & inner.keys():
                continue
            listed = "items" in inner
            where = f"{path}{name}[0]." if listed else f"{path}{name}."
            for value, wrong in self.with_one_more(inner["items"] if listed else inner, where):
                yield {**self.least(schema), name: [value] if listed else value}, wrong


def unknown_members(found, there):
    bodies, tried, failed = Bodies(found), 0, []
    for path, operations in found["paths"].items():
        for method, operation in operations.items():
            schema = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")
            if schema is None:
                continue
            place = re.sub(r"\{(\w+)\}", lambda name: there.get(name[1], "0"), path.removeprefix("/api/v1"))
            for body, wrong in bodies.with_one_more(schema):
                tried += 1
                status, answer = ask(TOKENS["admin"], method.upper(), place, body)
                # What is not there is told first by some.
                there_is_none = status == 404 and "{" in path
                if not there_is_none and (status, (answer or {}).get("field")) != (422, wrong):
                    failed.append(f"{method} {place} {wrong}: {status} {answer}")
    assert not failed, "\n".join(failed)
    assert tried > 40, tried


def main():
    forget_proxies()
    steps = Steps("openapi")
    found = document()
    steps.step("the document is valid OpenAPI 3.1", lambda: valid(found))
    there = steps.step("something of each kind is there", furnish, needed=True)
    steps.step("unknown members are refused with their path", lambda: unknown_members(found, there))
    for scope in TOKENS:
        operations = of_scope(found, scope)
        if operations:
            steps.step(f"a token for {scope}: the edges of what is told", lambda s=scope, o=operations: machine(o, s, there, "coverage"))
    for scope in ("events", "bookings"):
        operations = [o for o in of_scope(found, scope) if not o.startswith("get_")]
        made_up = lambda s=scope, o=operations: machine(o, s, there, "fuzzing", "--max-examples", "12")  # noqa: E731
        steps.step(f"a token for {scope}: bodies that are made up", made_up)
    steps.done()


if __name__ == "__main__":
    main()
