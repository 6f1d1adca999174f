"""The servers that are measured: each starts on a folder and a free port, makes a calendar, and ends."""
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import time

from wire import Wire

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
USER, PASSWORD = "bench", "bench-secret-0123456789"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def tree(pid):
    """The process and everything below it."""
    out, waiting = [], [pid]
    while waiting:
        one = waiting.pop()
        out.append(one)
        try:
            for thread in os.listdir(f"/proc/{one}/task"):
                waiting += [int(child) for child in pathlib.Path(f"/proc/{one}/task/{thread}/children").read_text().split()]
        except OSError:
            pass
    return out


def memory(pid, field):
    """MiB of VmRSS or VmHWM over the process tree."""
    total = 0
    for one in tree(pid):
        try:
            for line in pathlib.Path(f"/proc/{one}/status").read_text().splitlines():
                if line.startswith(field + ":"):
                    total += int(line.split()[1])
        except OSError:
            pass
    return total / 1024


def folder_bytes(folder):
    """Blocks in use: what the disk gives, not what the files pretend."""
    return sum(path.stat().st_blocks * 512 for path in pathlib.Path(folder).rglob("*") if path.is_file())


class Server:
    name = ""
    protocol = True

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True)
        self.port = free_port()
        self.process = None
        self.peak = 0.0
        self.log = self.folder / "log"

    def wire(self, timeout=120):
        return Wire(self.port, USER, PASSWORD, timeout)

    def start(self):
        """Starts it and returns the milliseconds to the first good answer."""
        out = open(self.log, "ab")
        begun = time.monotonic()
        self.process = subprocess.Popen(self.command(), env=self.environment(), cwd=self.folder, stdout=out, stderr=out, start_new_session=True)
        out.close()
        wire = self.wire(10)
        while True:
            try:
                if wire.ask("PROPFIND", self.home, headers="Depth: 0\r\n").status == 207:
                    wire.close()
                    return (time.monotonic() - begun) * 1000
            except (OSError, EOFError):
                pass
            if self.process.poll() is not None or time.monotonic() - begun > 60:
                raise RuntimeError(f"{self.name} did not start: {self.log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.001)

    def stop(self):
        if self.process is None:
            return
        self.peak = max(self.peak, memory(self.process.pid, "VmHWM"))
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGTERM)
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()
        self.process = None

    def calendar(self, name):
        return f"{self.home}{name}/"

    def make(self, name):
        answer = self.wire().ask("MKCALENDAR", self.calendar(name))
        if answer.status != 201:
            raise RuntimeError(f"{self.name}: MKCALENDAR {answer.status} {answer.text[:300]}")
        return self.calendar(name)

    def load(self, name, events):
        """Fills a calendar over eight connections."""
        from concurrent.futures import ThreadPoolExecutor

        path = self.make(name)

        def part(mine):
            wire = self.wire()
            for event in mine:
                answer = wire.ask("PUT", path + event.name, event.ical())
                if answer.status != 201:
                    raise RuntimeError(f"{self.name}: PUT {event.name}: {answer.status} {answer.text[:300]}")
            wire.close()

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(part, [events[i::8] for i in range(8)]))
        return path

    def remove(self):
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


class Kalends(Server):
    name = "Kalends"

    def __init__(self, folder, binary):
        super().__init__(folder)
        self.binary = binary
        self.home = f"/dav/calendars/{USER}/"
        self.store = self.folder / "db"
        subprocess.run([binary, "user", "add", USER, "--password-stdin"], input=PASSWORD + "\n", text=True, env=self.environment(), cwd=self.folder, check=True, capture_output=True)

    def command(self):
        return [self.binary, "serve"]

    def environment(self):
        plain = {key: value for key, value in os.environ.items() if not key.startswith("KALENDS_")}
        address = f"127.0.0.1:{self.port}"
        return dict(plain, KALENDS_SERVER__LISTEN=address, KALENDS_SERVER__BASE_URL=f"http://{address}", KALENDS_LIMITS__REQUESTS_PER_MINUTE="0", KALENDS_LIMITS__REQUESTS_PER_MINUTE_DAV="0", KALENDS_STORE__URL=f"sled:{self.folder}/db")

    def version(self):
        return subprocess.run([self.binary, "--version"], capture_output=True, text=True, check=True).stdout.strip()


class Radicale(Server):
    name = "Radicale"

    def __init__(self, folder, python):
        super().__init__(folder)
        self.python = python
        self.home = f"/{USER}/"
        self.store = self.folder / "collections"
        hashed = subprocess.run([python, "-c", "import bcrypt, sys; print(bcrypt.hashpw(sys.argv[1].encode(), bcrypt.gensalt(10)).decode())", PASSWORD], capture_output=True, text=True, check=True)
        (self.folder / "htpasswd").write_text(f"{USER}:{hashed.stdout}")
        (self.folder / "config").write_text(
            f"[server]\nhosts = 127.0.0.1:{self.port}\nmax_connections = 64\ntimeout = 300\n"
            f"[auth]\ntype = htpasswd\nhtpasswd_filename = {self.folder}/htpasswd\nhtpasswd_encryption = bcrypt\ncache_logins = True\n"
            f"cache_successful_logins_expiry = 3600\n[storage]\nfilesystem_folder = {self.store}\n[logging]\nlevel = warning\n"
        )

    def command(self):
        return [self.python, "-m", "radicale", "-C", str(self.folder / "config")]

    def environment(self):
        return dict(os.environ)

    def version(self):
        done = subprocess.run([self.python, "-c", "import radicale; print('Radicale', radicale.VERSION)"], capture_output=True, text=True, check=True)
        return done.stdout.strip()

    def load(self, name, events):
        """Its files are written as it would write them: its PUT looks at every other event first."""
        path = self.make(name)
        folder = self.store / "collection-root" / USER / name
        for event in events:
            (folder / event.name).write_bytes(event.ical().encode())
        return path


class Hyper(Server):
    """The bare answer: nothing is stored, nothing is checked."""

    name = "hyper"
    protocol = False

    def __init__(self, folder, binary):
        super().__init__(folder)
        self.binary, self.home = binary, "/"

    def command(self):
        return [self.binary, str(self.port)]

    def environment(self):
        return dict(os.environ)

    def version(self):
        return "a fixed answer from hyper"


def binaries(check):
    """(kalends, hyper or None): as given, else what cargo built."""
    profile = "debug" if check else "release"
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / profile
    kalends = os.environ.get("KALENDS_BIN", str(target / "kalends"))
    hyper = os.environ.get("KALENDS_HYPER_BIN", str(target / "examples" / "hyper"))
    if not pathlib.Path(kalends).exists():
        sys.exit(f"no binary at {kalends}: cargo build {'' if check else '--release --bins --examples'}")
    return kalends, hyper if pathlib.Path(hyper).exists() else None
