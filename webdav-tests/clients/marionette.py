"""Speaks Marionette, the remote control built into Thunderbird: runs scripts inside it, with its own modules."""
import json
import os
import signal
import socket
import subprocess
import time


class Failure(AssertionError):
    pass


class Thunderbird:
    """A headless Thunderbird on a profile folder; a context manager."""

    def __init__(self, binary, profile, home, log, preferences):
        self.binary, self.profile, self.home, self.log = binary, profile, home, log
        lines = [f"user_pref({json.dumps(name)}, {json.dumps(value)});" for name, value in preferences.items()]
        (profile / "user.js").write_text("\n".join(lines) + "\n")
        self.count = 0

    def __enter__(self):
        port_file = self.profile / "MarionetteActivePort"
        port_file.unlink(missing_ok=True)
        environment = dict(os.environ, HOME=str(self.home), MOZ_HEADLESS="1", MOZ_CRASHREPORTER_DISABLE="1", TZ="UTC")
        command = [self.binary, "--headless", "--marionette", "--remote-allow-system-access", "--no-remote"]
        command += ["--profile", str(self.profile)]
        out = open(self.log, "ab")
        # A process group of its own, so that the whole of it can be ended.
        self.process = subprocess.Popen(command, env=environment, stdout=out, stderr=out, start_new_session=True)
        out.close()
        end = time.monotonic() + 120
        while True:
            if self.process.poll() is not None:
                raise Failure(f"Thunderbird ended by itself, status {self.process.returncode}; see {self.log}")
            try:
                port = int(port_file.read_text())
                self.socket = socket.create_connection(("127.0.0.1", port), timeout=180)
                break
            except (OSError, ValueError):
                if time.monotonic() > end:
                    self.stop()
                    raise Failure("Thunderbird did not open its remote control in 120 s") from None
                time.sleep(0.2)
        self.read()
        self.send("WebDriver:NewSession", {"capabilities": {"alwaysMatch": {}}})
        self.send("Marionette:SetContext", {"value": "chrome"})
        self.send("WebDriver:SetTimeouts", {"script": 150_000})
        return self

    def read(self):
        size = b""
        while not size.endswith(b":"):
            byte = self.socket.recv(1)
            if not byte:
                raise Failure("Thunderbird closed its remote control")
            size += byte
        left, parts = int(size[:-1]), []
        while left:
            part = self.socket.recv(left)
            if not part:
                raise Failure("Thunderbird closed its remote control")
            parts.append(part)
            left -= len(part)
        return json.loads(b"".join(parts))

    def send(self, command, parameters):
        self.count += 1
        message = json.dumps([0, self.count, command, parameters]).encode()
        self.socket.sendall(str(len(message)).encode() + b":" + message)
        while True:
            answer = self.read()
            if isinstance(answer, list) and answer[:2] == [1, self.count]:
                break
        if answer[2]:
            raise Failure(f"{answer[2].get('error')}: {answer[2].get('message')}\n{answer[2].get('stacktrace', '')[:1500]}")
        return answer[3]

    def run(self, script, *arguments):
        """The value of an async function's body, run with Thunderbird's rights; `arguments` are its arguments."""
        body = (
            "const done = arguments[arguments.length - 1]; const args = Array.from(arguments).slice(0, -1);"
            "(async () => {" + script + "})().then(value => done({value: value === undefined ? null : value}),"
            " error => done({error: String(error) + '\\n' + (error && error.stack || '')}));"
        )
        result = self.send("WebDriver:ExecuteAsyncScript", {"script": body, "args": list(arguments), "newSandbox": True})
        value = result["value"]
        if "error" in value:
            raise Failure(value["error"])
        return value["value"]

    def stop(self):
        if self.process.poll() is None:
            try:
                os.killpg(self.process.pid, signal.SIGTERM)
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait(15)

    def __exit__(self, kind, value, trace):
        try:
            if kind is None:
                self.send("Marionette:Quit", {"flags": ["eForceQuit"]})
                self.process.wait(30)
        except (Failure, OSError, subprocess.TimeoutExpired):
            pass
        self.socket.close()
        self.stop()
        return False
