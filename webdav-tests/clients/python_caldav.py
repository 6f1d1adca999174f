#!/usr/bin/env python3
"""python-caldav: the tests that it runs against every server, from its source package on PyPI.

Every test must pass or be skipped by its own rules; the only failures allowed stand in
python-caldav/expected-failures.txt with the reason. What the server does not offer stands in python-caldav/features.txt.
"""
import json
import os
import shutil
import subprocess
import sys
import tarfile
import xml.etree.ElementTree as ElementTree

from common import HERE, TOOLS, account, expected_failures, scratch

VERSION = "3.6.0"  # the one in requirements.txt


def features():
    """feature → (what is found, why)."""
    found = {}
    for name, rest in expected_failures(HERE / "python-caldav" / "features.txt").items():
        value, _, why = rest.partition(": ")
        if not why:
            sys.exit(f"python-caldav/features.txt: {name} has no reason")
        found[name] = (value, why)
    return found


def sources():
    """The unpacked source package; fetched once."""
    folder = TOOLS / f"caldav-{VERSION}"
    if not (folder / "tests" / "test_caldav.py").exists():
        pip = [TOOLS / "venv" / "bin" / "python", "-m", "pip", "download", "--quiet", "--no-deps"]
        command = [*pip, "--no-binary", "caldav", f"caldav=={VERSION}", "--dest", TOOLS]
        subprocess.run([str(part) for part in command], check=True, timeout=300)
        with tarfile.open(TOOLS / f"caldav-{VERSION}.tar.gz") as archive:
            archive.extractall(TOOLS, filter="data")
    return folder


def main():
    url, user, password = account()
    folder, work = sources(), scratch("python-caldav")
    off = {"type": "embedded", "enabled": False}
    ours = {
        "type": "external",
        "enabled": True,
        "url": url + "/",
        "username": user,
        "password": password,
        "features": {name: {"support": value} for name, (value, _) in features().items()},
    }
    servers = {"radicale": off, "xandikos": off, "kalends": ours}
    (folder / "tests" / "caldav_test_servers.json").write_text(json.dumps({"test-servers": servers}))
    report = work / "report.xml"
    command = [TOOLS / "venv" / "bin" / "python", "-m", "pytest", "tests/test_caldav.py", "tests/test_async_integration.py"]
    command += ["-k", "kalends", "-q", "--tb=short", "-p", "no:cacheprovider", f"--junitxml={report}"]
    # Its own tests call what it has deprecated itself.
    command += ["-o", "asyncio_default_fixture_loop_scope=function", "-W", "default::DeprecationWarning"]
    environment = dict(os.environ, HOME=str(work), PYTHON_CALDAV_TEST_DOCKER="0", TMPDIR=str(work))
    done = subprocess.run(
        [str(part) for part in command], cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=900
    )
    text = done.stdout.decode("utf-8", "replace")
    if not report.exists():
        print(text[-5000:])
        sys.exit("python-caldav: 0 passed, 1 failed (pytest wrote no report)")
    allowed = expected_failures(HERE / "python-caldav" / "expected-failures.txt")
    passed, skipped, excused, bad = 0, 0, set(), []
    for case in ElementTree.parse(report).iter("testcase"):
        name = f"{case.get('classname').rsplit('.', 1)[-1]}.{case.get('name')}"
        problem = case.find("failure") if case.find("failure") is not None else case.find("error")
        if problem is None:
            skipped += case.find("skipped") is not None
            passed += case.find("skipped") is None
            if name in allowed:
                bad.append(f"{name} passes now: take it off the list of expected failures")
        elif name in allowed:
            excused.add(name)
            print(f"expected failure {name}: {allowed[name]}")
        else:
            bad.append(f"{name}: {problem.get('message', '')[:600]}")
    for name in sorted(set(allowed) - excused):
        if not any(line.startswith(name) for line in bad):
            bad.append(f"{name} was not run: take it off the list of expected failures")
    if passed < 50:
        bad.append(f"only {passed} tests passed: the suite did not run as it should")
    for line in bad:
        print(f"not ok {line}")
    if bad:
        print(text[-20000:])
    else:
        shutil.rmtree(work, ignore_errors=True)
    print(f"python-caldav: {passed} passed, {len(bad)} failed ({skipped} skipped, {len(excused)} failed as expected)")
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
