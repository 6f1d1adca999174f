#!/usr/bin/env python3
"""The examples of docs/examples, run against a server: each has to say what it says in the pages, and its receiver has to know a
genuine webhook from one that is not.

KALENDS_URL, KALENDS_TOKEN: a server and a token with `read`, `events` and `bookings`; KALENDS_NODE: the folder of the TypeScript
compiler and `receive.mjs`.
"""
import base64
import hashlib
import hmac
import importlib.util
import json
import os
import pathlib
import shutil
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
from common import ROOT, Steps, forget_proxies  # noqa: E402

EXAMPLES = ROOT / "docs" / "examples"
NODE = pathlib.Path(os.environ["KALENDS_NODE"])
ENVIRONMENT = dict(os.environ, KALENDS=os.environ["KALENDS_URL"], TOKEN=os.environ["KALENDS_TOKEN"])
SECRET = "whsec_" + base64.b64encode(b"a secret of at least 24 bytes").decode()

STORY = [
    "calendar ", "event ", "refused 412 stale", "booked confirmed True", "rival None", "changes put", "stream deleted True",
]


def run(command):
    done = subprocess.run([str(part) for part in command], env=ENVIRONMENT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, f"{done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout.splitlines()


def tells(lines, wanted):
    assert len(lines) == len(wanted) and all(line.startswith(start) for line, start in zip(lines, wanted)), "\n".join(lines)


def curl():
    lines = run(["sh", EXAMPLES / "curl.sh"])
    tells(lines, [
        "calendar ", "event ", "SUMMARY:Team meeting", '"start":', '"start":', '"start":', "booked once",
        "409 This time is no longer free", '"change":"put"',
    ])


def python():
    tells(run([sys.executable, EXAMPLES / "kalends.py"]), STORY)


def compiled():
    """With every check that the compiler has."""
    shutil.copy(EXAMPLES / "kalends.ts", NODE)
    options = ["--strict", "--noUncheckedIndexedAccess", "--noUnusedLocals", "--noImplicitReturns", "--exactOptionalPropertyTypes"]
    compiler = NODE / "node_modules" / "typescript" / "bin" / "tsc"
    run(["node", compiler, *options, "--target", "es2022", "--module", "nodenext", "--types", "node", "--typeRoots", NODE / "node_modules/@types", NODE / "kalends.ts"])


def typescript():
    words = {"True": "true", "None": "null"}
    wanted = [" ".join(words.get(word, word) for word in line.split(" ")) for line in STORY]
    tells(run(["node", NODE / "kalends.js"]), wanted)


def sign(ident, stamp, body, secret=SECRET):
    mac = hmac.new(base64.b64decode(secret.removeprefix("whsec_")), f"{ident}.{stamp}.".encode() + body, hashlib.sha256)
    return "v1," + base64.b64encode(mac.digest()).decode()


def post(port, ident, stamp, body, signature):
    request = urllib.request.Request(f"http://127.0.0.1:{port}/", body, method="POST")
    for name, value in (("webhook-id", ident), ("webhook-timestamp", str(stamp)), ("webhook-signature", signature)):
        request.add_header(name, value)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status
    except urllib.error.HTTPError as refused:
        return refused.code


def tries(port, heard):
    """https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md"""
    now, body = int(time.time()), b'{"type": "booking.created", "data": {"title": "Stra\\u00dfe"}}'
    good = sign("msg_1", now, body)
    other = sign("msg_1", now, body, "whsec_" + base64.b64encode(b"the secret that came before it").decode())
    for what, status, *message in [
        ("genuine", 204, "msg_1", now, body, good),
        ("the same again", 204, "msg_1", now, body, good),
        ("another body", 401, "msg_2", now, body + b" ", sign("msg_2", now, body)),
        ("another id", 401, "msg_3", now, body, good),
        ("another secret", 401, "msg_1", now, body, other),
        ("too old", 401, "msg_4", now - 600, body, sign("msg_4", now - 600, body)),
        ("from the future", 401, "msg_5", now + 600, body, sign("msg_5", now + 600, body)),
        ("no signature", 401, "msg_6", now, body, ""),
        ("another version", 401, "msg_7", now, body, sign("msg_7", now, body).replace("v1,", "v2,")),
        ("two signatures", 204, "msg_1", now, body, f"{other} {good}"),
        ("a second one", 204, "msg_8", now, b"{}", sign("msg_8", now, b"{}")),
    ]:
        assert post(port, *message) == status, what
    assert heard() == [json.loads(body), {}], heard()


def receives_python():
    spec = importlib.util.spec_from_file_location("kalends", EXAMPLES / "kalends.py")
    kalends = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(kalends)
    # The signature that the standard's own documents show.
    shown = {"webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek", "webhook-timestamp": "1614265330"}
    shown["webhook-signature"] = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    assert kalends.genuine("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", shown, b'{"test": 2432232314}', 1614265330)
    heard = []
    server = kalends.receiver(SECRET, heard.append)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        tries(server.server_address[1], lambda: heard)
    finally:
        server.shutdown()


def receives_typescript():
    process = subprocess.Popen(["node", NODE / "receive.mjs", SECRET], stdout=subprocess.PIPE, text=True)
    try:
        port = int(process.stdout.readline())
        tries(port, lambda: told or told.extend(json.loads(process.stdout.readline()) for _ in range(2)) or told)
    finally:
        process.terminate()
        rest = process.communicate(timeout=20)[0]
    assert not rest, f"heard twice: {rest}"


told = []


def main():
    forget_proxies()
    for name in [name for name in ENVIRONMENT if name.lower().endswith("_proxy")]:
        del ENVIRONMENT[name]
    steps = Steps("examples")
    steps.step("curl", curl)
    steps.step("Python", python)
    steps.step("TypeScript compiles", compiled)
    steps.step("TypeScript", typescript)
    steps.step("a receiver in Python", receives_python)
    steps.step("a receiver in TypeScript", receives_typescript)
    steps.done()


if __name__ == "__main__":
    main()
