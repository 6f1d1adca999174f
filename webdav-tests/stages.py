"""The stages of `webdav-tests/run`: what each runs, how it is counted, and the summary at the end."""
import argparse
import hashlib
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent
TESTS = ROOT / "webdav-tests"
TOOLS = pathlib.Path(os.environ.get("KALENDS_TEST_TOOLS", ROOT / ".test-tools"))
VENV = TOOLS / "venv"
LOGS = TOOLS / "logs"
CARGO_DENY = "0.20.2"
USER, PASSWORD = "anna", "secret-of-anna-0123"

# Stages that play a client against a freshly started server: name → script, seconds allowed.
CLIENTS = {
    "litmus": ("clients/litmus.py", 300),
    "server-tester": ("clients/server_tester.py", 600),
    "python-caldav": ("clients/python_caldav.py", 900),
    "vdirsyncer": ("clients/vdirsyncer.py", 300),
    "tsdav": ("clients/tsdav.sh", 300),
    "metrics": ("clients/metrics.py", 60),
    "thunderbird": ("clients/thunderbird.py", 420),
}


# Stages that play a provider's own kit against its simulator: name → simulator, folder below clients/, script, seconds.
KITS = {
    "google-python": ("google", "google", "check.py", 300),
    "google-node": ("google", "google", "check.mjs", 300),
    "outlook-python": ("outlook", "outlook", "check.py", 300),
    "outlook-node": ("outlook", "outlook", "check.mjs", 300),
    "cozi-python": ("cozi", "cozi", "check.py", 300),
}


def say(text):
    print(text, flush=True)


def target():
    return pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))


def binary():
    return pathlib.Path(os.environ.get("KALENDS_BIN", target() / "debug" / "kalends"))


class Failed(Exception):
    pass


class Result:
    def __init__(self, passed, failed, note=""):
        self.passed, self.failed, self.note = passed, failed, note


class Run:
    """One command: its output goes to a log, a line is told now and then, it is ended when it takes too long."""

    def __init__(self, name, command, seconds, **more):
        self.log = LOGS / f"{name}.log"
        self.name = name
        begun = time.monotonic()
        with open(self.log, "ab") as out:
            out.write(("$ " + " ".join(str(part) for part in command) + "\n").encode())
            out.flush()
            process = subprocess.Popen(
                [str(part) for part in command], cwd=ROOT, stdout=out, stderr=subprocess.STDOUT, start_new_session=True, **more
            )
        told = begun
        self.late = False
        while process.poll() is None:
            time.sleep(0.2)
            now = time.monotonic()
            if now - told > 30:
                told = now
                say(f"    … {name}: {now - begun:.0f} s, {self.last_line()}")
            if now - begun > seconds:
                self.late = True
                for sign in (signal.SIGTERM, signal.SIGKILL):
                    try:
                        os.killpg(process.pid, sign)
                        process.wait(10)
                    except (ProcessLookupError, subprocess.TimeoutExpired):
                        continue
                    break
                break
        self.status = process.wait()
        self.text = self.log.read_text(errors="replace")
        if self.late:
            self.text += f"\nnot within {seconds} s\n"

    def last_line(self):
        lines = self.log.read_text(errors="replace").strip().splitlines()
        return lines[-1][:100] if lines else ""

    @property
    def good(self):
        return self.status == 0 and not self.late

    def tail(self, lines=60):
        return "\n".join(self.text.splitlines()[-lines:])

    def one(self):
        """Counts the whole command as one check."""
        if self.good:
            return Result(1, 0)
        say(self.tail())
        return Result(0, 1)


class Server:
    """`kalends serve` on a fresh folder and a free port, with one user or none, and settings as in the environment."""

    def __init__(self, name, user=True, rights=(), **settings):
        self.user, self.rights = user, rights
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="kalends-data-"))
        with socket.socket() as probe, socket.socket() as other:
            probe.bind(("127.0.0.1", 0))
            other.bind(("127.0.0.1", 0))
            self.port, metrics = probe.getsockname()[1], other.getsockname()[1]
        self.metrics = f"http://127.0.0.1:{metrics}/metrics"
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = LOGS / f"{name}.server.log"
        self.environment = {key: value for key, value in os.environ.items() if not key.startswith("KALENDS_")}
        self.environment.update(
            KALENDS_SERVER__LISTEN=f"127.0.0.1:{self.port}",
            KALENDS_SERVER__BASE_URL=self.url,
            KALENDS_STORE__URL=f"sled:{self.folder}/db",
            KALENDS_METRICS__LISTEN=f"127.0.0.1:{metrics}",
            RUST_BACKTRACE="1",
            **settings,
        )

    def __enter__(self):
        added = self.user and subprocess.run(
            [binary(), "user", "add", USER, "--password-stdin", "--email", f"{USER}@kalends.example", *self.rights],
            input=PASSWORD + "\n", text=True, env=self.environment, cwd=self.folder, capture_output=True, timeout=60,
        )
        if added and added.returncode:
            raise Failed(f"kalends user add: {added.stdout}{added.stderr}")
        out = open(self.log, "wb")
        self.process = subprocess.Popen([binary(), "serve"], env=self.environment, cwd=self.folder, stdout=out, stderr=out)
        out.close()
        end = time.monotonic() + 30
        while True:
            try:
                urllib.request.urlopen(self.url + "/ready", timeout=5).close()
                return self
            except urllib.error.HTTPError as error:
                raise Failed(f"/ready answers {error.code}") from None
            except OSError:
                if self.process.poll() is not None or time.monotonic() > end:
                    self.process.kill()
                    raise Failed(f"kalends serve did not come up:\n{self.log.read_text(errors='replace')[-3000:]}") from None
                time.sleep(0.05)

    def token(self, *scopes):
        """A new token of the user's."""
        command = [binary(), "token", "add", USER, "tests", "--json", *(word for scope in scopes for word in ("--scope", scope))]
        made = subprocess.run(command, text=True, env=self.environment, cwd=self.folder, capture_output=True, timeout=60)
        if made.returncode:
            raise Failed(f"kalends token add: {made.stdout}{made.stderr}")
        return json.loads(made.stdout)["token"]

    def __exit__(self, kind, value, trace):
        ended = self.process.poll()
        if ended is None:
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        text = self.log.read_text(errors="replace")
        shutil.rmtree(self.folder, ignore_errors=True)
        if kind is not None:
            return False
        if ended is not None:
            raise Failed(f"the server ended by itself with status {ended}:\n{text[-3000:]}")
        if self.process.returncode:
            raise Failed(f"SIGTERM ended the server with status {self.process.returncode}:\n{text[-3000:]}")
        if "panicked at" in text:
            raise Failed(f"the server panicked:\n{text[text.index('panicked at'):][:3000]}")
        return False


class Simulator:
    """`kalends simulate KIND` on a free port, to be scripted from outside."""

    def __init__(self, kind, *more):
        self.command = [binary(), "simulate", kind, "--listen", "127.0.0.1:0", "--control", *more]

    def __enter__(self):
        self.process = subprocess.Popen(self.command, cwd=TOOLS, stdout=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        found = re.search(r"http://[0-9.]+:[0-9]+", line)
        if not found:
            self.process.kill()
            self.process.wait()
            raise Failed(f"kalends simulate did not come up: {line}")
        self.url = found[0]
        return self

    def __exit__(self, kind, value, trace):
        ended = self.process.poll()
        self.process.terminate()
        self.process.wait(20)
        self.process.stdout.close()
        if kind is None and (ended is not None or self.process.returncode):
            raise Failed(f"the simulator ended with status {ended or self.process.returncode}")
        return False


# ---- the stages -------------------------------------------------------------------------------------------------


def format_():
    return Run("format", ["cargo", "fmt", "--check"], 120).one()


def lint():
    return Run("lint", ["cargo", "clippy", "--all-targets", "--locked", "--", "-D", "warnings"], 1200).one()


def deny():
    wait_for_deny()
    fetched = Run("deny", ["cargo", "fetch", "--locked"], 600)
    if not fetched.good:
        return fetched.one()
    return Run("deny", [TESTS / "supply" / "check"], 300).one()


# So many tests may have failed because others ran beside them; more are a fault of the program.
SHAKY = 3


def tests():
    run = Run("tests", ["cargo", "test", "--locked", "--no-fail-fast"], 1500)
    passed = failed = 0
    for good, bad in re.findall(r"^test result: \w+\. (\d+) passed; (\d+) failed", run.text, re.M):
        passed += int(good)
        failed += int(bad)
    if not run.good:
        failed = max(failed, 1)
        broken = run.text.find("\nfailures:\n")
        say(run.text[broken : broken + 15000] if broken >= 0 else run.tail(120))
    if passed < 50:
        say(f"only {passed} tests ran")
        return Result(passed, max(failed, 1))
    names = sorted(set(re.findall(r"^test (\S+) \.\.\. FAILED$", run.text, re.M)))
    if run.good or run.late or not 0 < len(names) == failed <= SHAKY:
        return Result(passed, failed)
    # A failure is told either way. What fails by itself, too, is broken; what does not met a machine with too much to do.
    alone = Run("tests-alone", ["cargo", "test", "--locked", "--no-fail-fast", "--", "--exact", "--test-threads=1", *names], 600)
    if not alone.good:
        say(alone.tail(60))
        return Result(passed, failed)
    say(f"    passed only when they ran alone, please mend them: {', '.join(names)}")
    return Result(passed + failed, 0, f"{failed} only when run alone")


def build():
    return Run("build", ["cargo", "build", "--locked"], 1200).one()


def pages():
    lists = Run("pages", [sys.executable, TESTS / "requirements", "--check"], 60).one()
    files = Run("pages", [sys.executable, TESTS / "map", "--check"], 60).one()
    return Result(lists.passed + files.passed, lists.failed + files.failed)


def counted(run, name):
    """A script's own last line: `name: 12 passed, 0 failed`."""
    found = re.findall(r"(\d+) passed, (\d+) failed", run.text)
    passed, failed = (int(found[-1][0]), int(found[-1][1])) if found else (0, 1)
    if not run.good:
        failed = max(failed, 1)
    if passed == 0:
        failed = max(failed, 1)
    if failed:
        say(run.tail(80))
    notes = re.findall(r"(\d+ failed as expected)", run.text)
    return Result(passed, failed, notes[-1] if notes else "")


def client(name):
    script, seconds = CLIENTS[name]
    with Server(name) as server:
        environment = dict(os.environ, KALENDS_URL=server.url, KALENDS_USER=USER, KALENDS_PASSWORD=PASSWORD)
        environment.update(KALENDS_METRICS=server.metrics, KALENDS_BIN=str(binary()), KALENDS_PYTHON=str(VENV / "bin" / "python"), KALENDS_TEST_TOOLS=str(TOOLS))
        python = [VENV / "bin" / "python"] if script.endswith(".py") else []
        run = Run(name, [*python, TESTS / script], seconds, env=environment)
        return counted(run, name)


def openapi():
    """The OpenAPI document, and every route's answers as it tells them."""
    source = TESTS / "clients" / "openapi"
    make_venv(TOOLS / "openapi-venv", source / "requirements.txt")
    with Server("openapi", rights=["--admin"]) as server:
        tokens = {scope: server.token(scope) for scope in ("read", "events", "bookings", "bridges", "admin")}
        environment = dict(os.environ, KALENDS_URL=server.url, KALENDS_TOKENS=json.dumps(tokens))
        command = [TOOLS / "openapi-venv" / "bin" / "python", source / "check.py"]
        return counted(Run("openapi", command, 600, env=environment), "openapi")


def feeds():
    """Published feeds, as two libraries of others read them."""
    source = TESTS / "clients" / "feeds"
    modules = make_modules(TOOLS / "feeds-node", source)
    with Server("feeds") as server:
        environment = dict(os.environ, KALENDS_URL=server.url, KALENDS_USER=USER, KALENDS_PASSWORD=PASSWORD)
        environment.update(KALENDS_TOKEN=server.token("read", "events"), KALENDS_NODE=str(modules))
        return counted(Run("feeds", [VENV / "bin" / "python", source / "check.py"], 300, env=environment), "feeds")


def examples():
    """The programs of docs/examples, run."""
    source = TESTS / "clients" / "examples"
    modules = make_modules(TOOLS / "examples-node", source)
    with Server("examples") as server:
        token = server.token("read", "events", "bookings")
        environment = dict(os.environ, KALENDS_URL=server.url, KALENDS_TOKEN=token, KALENDS_NODE=str(modules))
        return counted(Run("examples", [VENV / "bin" / "python", source / "check.py"], 300, env=environment), "examples")


def kit(name):
    kind, folder, script, seconds = KITS[name]
    source = TESTS / "clients" / folder
    if script.endswith(".py"):
        make_venv(TOOLS / f"{folder}-venv", source / "requirements.txt")
        command = [TOOLS / f"{folder}-venv" / "bin" / "python", source / script]
    else:
        command = ["node", make_modules(TOOLS / f"{folder}-node", source) / script]
    certificate, key = make_certificate()
    with Simulator(kind, "--tls-cert", certificate, "--tls-key", key) as simulator:
        # The same port takes TLS; some kits send no token without.
        secure = f"https://localhost:{simulator.url.rsplit(':', 1)[1]}"
        environment = dict(os.environ, KALENDS_SIM=simulator.url, KALENDS_SIM_TLS=secure, KALENDS_SIM_CA=str(certificate))
        environment["NODE_EXTRA_CA_CERTS"] = str(certificate)
        return counted(Run(name, command, seconds, env=environment), name)


# Topics of the pages, in their order, by the server that they share: who books a time wants calendars that nobody else filled.
TOPICS = {
    "web": "calendar,accounts,conflicts,mappings,log,settings,connecting,devices,administration,leaving",
    "web-more": "sharing,trash,webhooks,bookings",
}


def web():
    """The pages in Debian's Chromium: fresh servers beside simulated far sides, then the demo. Pictures go to the folder `shots`."""
    built = build()
    if built.failed:
        return built
    source = TESTS / "clients" / "web"
    folder = make_modules(TOOLS / "web-node", source)
    with Simulator("caldav") as caldav, Simulator("google") as google, Simulator("outlook") as outlook, Simulator("cozi") as cozi:
        providers = {"client_id": "kalends", "client_secret": "hidden-client-secret", "api_base": f"{google.url}/", "auth_url": f"{google.url}/o/oauth2/v2/auth"}
        providers.update(token_url=f"{google.url}/token", revoke_url=f"{google.url}/revoke")
        settings = {f"KALENDS_PROVIDERS__GOOGLE__{key.upper()}": value for key, value in providers.items()}
        at = f"{outlook.url}/common/oauth2/v2.0"
        own = {"client_id": "kalends", "client_secret": "hidden-client-secret", "api_base": f"{outlook.url}/v1.0"}
        own.update(auth_url=f"{at}/authorize", token_url=f"{at}/token")
        settings.update({f"KALENDS_PROVIDERS__OUTLOOK__{key.upper()}": value for key, value in own.items()})
        settings.update(KALENDS_PROVIDERS__ICLOUD__URL=f"{caldav.url}/", KALENDS_PROVIDERS__COZI__API_BASE=f"{cozi.url}/")
        settings.update(KALENDS_BRIDGE__ALLOW_PRIVATE="true", KALENDS_LIMITS__MANUAL_SYNC="1000")
        results = []
        for name, topics in TOPICS.items():
            with Server(name, user=False, **settings) as server:
                end = time.monotonic() + 30
                while not (link := re.search(r"http://\S+/setup\?code=\w+\n", server.log.read_text())):
                    if time.monotonic() > end:
                        raise Failed("no set-up link was printed")
                    time.sleep(0.05)
                environment = dict(os.environ, KALENDS_SETUP=link[0].strip(), KALENDS_SIM_CALDAV=caldav.url, KALENDS_SIM_GOOGLE=google.url)
                environment.update(KALENDS_TOPICS=os.environ.get("KALENDS_TOPICS", topics), KALENDS_SHOTS=str(TOOLS / "shots"), KALENDS_SIM=caldav.url)
                environment.update(KALENDS_PYTHON=str(VENV / "bin" / "python"), KALENDS_SEEN=str(source / "seen.py"))
                environment.update(KALENDS_BIN=str(binary()), KALENDS_FOLDER=str(server.folder), KALENDS_SERVER=json.dumps(server.environment))
                results.append(counted(Run(name, ["node", folder / "check.mjs"], 1800, env=environment), "web"))
    results.append(demo(folder))
    return Result(sum(one.passed for one in results), sum(one.failed for one in results))


def demo(folder):
    """`kalends demo` in the browser, and the four pictures of the documents, made of its calendars."""
    with tempfile.TemporaryDirectory(prefix="kalends-demo-place-") as place:
        command = [binary(), "demo", "--listen", "127.0.0.1:0", "--seed", "1"]
        clean = {key: value for key, value in os.environ.items() if not key.startswith("KALENDS_")}
        process = subprocess.Popen(command, cwd=place, env=dict(clean, TMPDIR=place), stdout=subprocess.PIPE, text=True)
        try:
            said = []
            for line in process.stdout:
                said.append(line)
                if "Ctrl-C ends it." in line:
                    break
            said = "".join(said)
            url = re.search(r"page +(http://[0-9.:]+)/", said)
            google = re.search(r"(http://[0-9.:]+)/_sim/act", said)
            if not url or not google:
                raise Failed(f"kalends demo did not come up: {said}")
            environment = dict(os.environ, KALENDS_DEMO=url[1], KALENDS_DEMO_GOOGLE=google[1], KALENDS_SETUP="")
            environment.update(KALENDS_SHOTS=str(TOOLS / "shots"), KALENDS_PICTURES=str(TOOLS / "shots" / "pictures"))
            result = counted(Run("web-demo", ["node", folder / "demo.mjs"], 600, env=environment), "web-demo")
            if os.environ.get("KALENDS_WRITE"):
                for name in ("calendar-week", "calendar-phone", "conflict", "connections-dark"):
                    shutil.copy(TOOLS / "shots" / "pictures" / f"{name}.png", ROOT / "docs" / "pictures")
            return result
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(60)
            process.stdout.close()
            left = os.listdir(place)
            if left:
                raise Failed(f"the demo left {left}")


def readme():
    environment = dict(os.environ, KALENDS_BIN=str(binary()), KALENDS_PYTHON=str(VENV / "bin" / "python"))
    return counted(Run("readme", [TESTS / "clients" / "readme.py"], 300, env=environment), "readme")


def webhooks():
    """What receivers get, verified with the public library, and the receivers of docs/webhooks.md."""
    node = make_modules(TOOLS / "webhooks-node", TESTS / "clients" / "webhooks-node")
    environment = dict(os.environ, KALENDS_BIN=str(binary()), KALENDS_NODE=str(node))
    command = [VENV / "bin" / "python", TESTS / "clients" / "webhooks.py"]
    return counted(Run("webhooks", command, 300, env=environment), "webhooks")


def bench():
    """The benchmark at a small size: every answer is compared with what is right; speed is not judged here."""
    environment = dict(os.environ, KALENDS_BIN=str(binary()), KALENDS_PYTHON=str(VENV / "bin" / "python"))
    return counted(Run("bench", [sys.executable, TESTS / "bench" / "bench.py", "--check"], 600, env=environment), "bench")


def bridges():
    """The bridge's figures at a small size: after each both sides have the same events; speed is not judged here."""
    environment = dict(os.environ, KALENDS_BIN=str(binary()))
    return counted(Run("bridges", [sys.executable, TESTS / "bench" / "bridge.py", "--check"], 600, env=environment), "bridges")


STAGES = {
    "format": format_,
    "lint": lint,
    "tests": tests,
    "pages": pages,
    "build": build,
    "readme": readme,
    "webhooks": webhooks,
    **{name: (lambda name=name: client(name)) for name in CLIENTS},
    **{name: (lambda name=name: kit(name)) for name in KITS},
    "openapi": openapi,
    "feeds": feeds,
    "examples": examples,
    "web": web,
    "bench": bench,
    "bridges": bridges,
    "deny": deny,
}

# ---- what must be installed first --------------------------------------------------------------------------------


def make_venv(venv=VENV, requirements=TESTS / "clients" / "requirements.txt"):
    stamp = venv / "installed"
    mark = hashlib.sha256(requirements.read_bytes()).hexdigest()
    if stamp.exists() and stamp.read_text() == mark:
        return
    say(f"installing Python packages into .test-tools/{venv.name}")
    if not (venv / "bin" / "python").exists():
        subprocess.run([sys.executable, "-m", "venv", venv], check=True)
    pip = [venv / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile"]
    done = Run("install", [*pip, "-r", requirements], 900)
    if not done.good:
        say(done.tail())
        raise SystemExit("the Python packages could not be installed")
    stamp.write_text(mark)


def make_modules(folder, source):
    """Puts a kit for Node and the scripts that use it into a folder of their own."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in [source / "package.json", source / "package-lock.json", *source.glob("*.mjs")]:
        shutil.copy(file, folder)
    shutil.copy(source.parent / "steps.mjs", folder.parent)
    stamp = folder / "installed"
    mark = hashlib.sha256((source / "package-lock.json").read_bytes()).hexdigest()
    if not (stamp.exists() and stamp.read_text() == mark):
        say(f"installing npm packages into .test-tools/{folder.name}")
        done = Run("install", ["npm", "--prefix", folder, "ci", "--no-audit", "--no-fund", "--omit=dev", "--loglevel=error"], 600)
        if not done.good:
            say(done.tail())
            raise Failed("the npm packages could not be installed")
        stamp.write_text(mark)
    return folder


def make_certificate():
    """A certificate of our own for localhost, new for each run; its files."""
    certificate, key = TOOLS / "localhost.pem", TOOLS / "localhost.key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    command += ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", key, "-out", certificate]
    made = Run("certificate", command, 60)
    if not made.good:
        raise Failed(f"no certificate could be made:\n{made.tail(20)}")
    return certificate, key


DENY_THREAD = None


def start_deny():
    """Builds cargo-deny beside the other stages; it is only needed for the last one."""
    global DENY_THREAD
    have = TOOLS / "bin" / "cargo-deny"
    if os.environ.get("CARGO_DENY"):
        return
    if have.exists():
        version = subprocess.run([have, "--version"], capture_output=True, text=True).stdout
        if CARGO_DENY in version:
            return
    quick = {  # it runs for a second: building it quickly matters more
        "CARGO_PROFILE_RELEASE_LTO": "off",
        "CARGO_PROFILE_RELEASE_CODEGEN_UNITS": "16",
        "CARGO_PROFILE_RELEASE_OPT_LEVEL": "0",
        "CARGO_PROFILE_RELEASE_STRIP": "none",
        "CARGO_TARGET_DIR": str(TOOLS / "deny-target"),
    }
    command = ["nice", "cargo", "install", "cargo-deny", "--version", CARGO_DENY, "--locked", "--root", TOOLS]

    def work():
        run = Run("deny-install", command, 1200, env=dict(os.environ, **quick))
        shutil.rmtree(TOOLS / "deny-target", ignore_errors=True)
        if not run.good:
            say(f"cargo-deny could not be built:\n{run.tail(20)}")

    DENY_THREAD = threading.Thread(target=work, daemon=True)
    DENY_THREAD.start()


def wait_for_deny():
    if DENY_THREAD:
        DENY_THREAD.join()


def main():
    parser = argparse.ArgumentParser(prog="webdav-tests/run", description="Runs all tests of Kalends.")
    parser.add_argument("--only", metavar="STAGES", help="names with commas")
    parser.add_argument("--skip", metavar="STAGES", default="", help="names with commas")
    parser.add_argument("--list", action="store_true", help="names the stages")
    chosen = parser.parse_args()
    if chosen.list:
        print("\n".join(STAGES))
        return 0
    only = chosen.only.split(",") if chosen.only else list(STAGES)
    skip = chosen.skip.split(",") if chosen.skip else []
    for name in [*only, *skip]:
        if name not in STAGES:
            parser.error(f"no stage {name}; there are {', '.join(STAGES)}")
    names = [name for name in STAGES if name in only and name not in skip]
    served = ("openapi", "feeds", "examples", "webhooks", "bench", "bridges", "readme")
    if chosen.only and any(name in CLIENTS or name in KITS or name in served for name in names) and "build" not in names:
        names.insert(0, "build")

    LOGS.mkdir(parents=True, exist_ok=True)
    for old in LOGS.glob("*.log"):
        if old.name.split(".")[0] in [*names, "install", "deny-install"]:
            old.unlink()
    begun = time.monotonic()
    make_venv()
    os.environ.setdefault("KALENDS_PYTHON", str(VENV / "bin" / "python"))
    os.environ.setdefault("RUST_BACKTRACE", "1")
    if "deny" in names:
        start_deny()

    results = []
    for name in names:
        say(f"== {name}")
        start = time.monotonic()
        try:
            result = STAGES[name]()
        except (Failed, OSError, subprocess.SubprocessError) as error:
            say(str(error))
            result = Result(0, 1)
        seconds = time.monotonic() - start
        results.append((name, result, seconds))
        say(f"   {name}: {result.passed} passed, {result.failed} failed, {seconds:.0f} s")

    say("")
    say(f"{'stage':15} {'passed':>7} {'failed':>7} {'seconds':>8}")
    for name, result, seconds in results:
        say(f"{name:15} {result.passed:7} {result.failed:7} {seconds:8.0f}  {result.note}")
    passed = sum(result.passed for _, result, _ in results)
    failed = sum(result.failed for _, result, _ in results)
    say(f"{'':15} {passed:7} {failed:7} {time.monotonic() - begun:8.0f}")
    if failed:
        say(f"logs are in {LOGS.relative_to(ROOT) if LOGS.is_relative_to(ROOT) else LOGS}")
    say(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
