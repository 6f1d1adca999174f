#!/usr/bin/env python3
"""caldav-server-tester: what it finds must be "full", but for what python-caldav/features.txt says and why."""
import json
import os
import shutil
import subprocess
import sys

from common import TOOLS, account, scratch
from python_caldav import features


def main():
    url, user, password = account()
    work = scratch("server-tester")
    command = [TOOLS / "venv" / "bin" / "caldav-server-tester", "--caldav-url", url + "/", "--caldav-username", user]
    command += ["--caldav-password", password, "--format", "json"]
    done = subprocess.run(
        [str(part) for part in command], env=dict(os.environ, HOME=str(work)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=600
    )
    errors = done.stderr.decode("utf-8", "replace")
    try:
        found = json.loads(done.stdout)["features"]
    except (ValueError, KeyError):
        print(done.stdout.decode("utf-8", "replace")[-3000:], errors[-6000:], sep="\n")
        print(f"server-tester: 0 passed, 1 failed (it ended with status {done.returncode})")
        sys.exit(1)
    expected = features()
    passed, bad = 0, []
    for name, finding in sorted(found.items()):
        support = finding.get("support", "full")
        words = finding.get("behaviour") or finding.get("description") or ""
        if name in expected:
            value, why = expected[name]
            if support == value:
                passed += 1
                print(f"ok {name} is {support}, as expected: {why}")
            else:
                bad.append(f"{name} is {support}, the list says {value} {words}")
        elif support == "full":
            passed += 1
        else:
            bad.append(f"{name} is {support}: {words}")
    for name in sorted(set(expected) - set(found)):
        print(f"note: {name} was not looked at")
    if len(found) < 15:
        bad.append(f"only {len(found)} findings: {errors[-2000:]}")
    for line in bad:
        print(f"not ok {line}")
    shutil.rmtree(work, ignore_errors=True)
    print(f"server-tester: {passed} passed, {len(bad)} failed")
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
