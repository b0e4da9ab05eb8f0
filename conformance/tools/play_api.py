#!/usr/bin/env python3
"""Plays the API cases with kubectl against `rutter apiserver`, in a network namespace of its own.

    play_api.py --rutter PATH [--kubectl PATH] [--only REGEX] [--skip REGEX] [--differences FILE.md] CASES.json...

The cases and what is compared are api_cases.py's. FILE.md tells of other words and other answers, in tables:
- rows `| VERSIONS | STEPS | RECORDED | SAYS |`: kubectls of VERSIONS (`1.34-`, `-1.32`, `1.31-1.33`) say something else than the recorded
  one. RECORDED is a regular expression, SAYS what stands in its place; what comes out is expected to the letter, in every step whose
  name STEPS (a regular expression) matches. So a row hides nothing: it fails a kubectl that still says the old words.
- rows `| GROUP/STEP | ..`: a step that we answer otherwise on purpose, or (second cell VERSIONS) that these kubectls answer by chance. If it
  fails it is counted as skipped.
Last line: `N passed, N failed, N skipped`. Exit code: 0 if something passed and nothing failed, 1 if something failed, 77 if nothing was
played (no kubectl, or everything left out)."""
import argparse
import contextlib
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import api_cases

NOTHING_PLAYED = 77


def minor_version(kubectl):
    """32 for a kubectl 1.32."""
    said = subprocess.run([kubectl, "version", "--client", "-o", "json"], capture_output=True, text=True, check=True).stdout
    version = json.loads(said)["clientVersion"]
    return int(re.match(r"\d+", version.get("minor") or version["gitVersion"].split(".")[1]).group())


class Differences:
    """What FILE.md says for a kubectl."""

    VERSIONS = re.compile(r"(?:1\.(\d+))?-(?:1\.(\d+))?$")

    def __init__(self, path, minor):
        self.steps, self.rules = set(), []
        for line in open(path) if path else []:
            cells = [cell.strip().removeprefix("`").removesuffix("`").replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line.strip())[1:-1]]
            if len(cells) < 3 or not all(self.of(cell, minor) for cell in cells[:2]):
                continue
            if re.match(r"[\w-]+/\d+$", cells[0]):
                self.steps.add(cells[0])
            elif len(cells) == 4 and self.VERSIONS.match(cells[0]):
                steps, recorded, says = cells[1:]
                self.rules.append((re.compile("(?:%s)$" % steps), re.compile(recorded, re.M), says))

    def of(self, cell, minor):
        """Whether a cell speaks of this kubectl: all do that name no versions."""
        versions = self.VERSIONS.match(cell)
        return versions is None or int(versions.group(1) or 0) <= minor <= int(versions.group(2) or 999)

    def words(self, group, n, key, text):
        if key in ("stdout", "stderr"):
            for steps, recorded, says in self.rules:
                if steps.match("%s/%d" % (group, n)):
                    text = recorded.sub(says, text)
        return text


def start(rutter, folder):
    """(process, kubeconfig) of a `rutter apiserver` that is ready, or raises with what it said."""
    kubeconfig, log = os.path.join(folder, "kubeconfig"), os.path.join(folder, "log")
    with open(log, "w") as out:
        server = subprocess.Popen([rutter, "apiserver", "--data-dir", folder, "--kubeconfig-out", kubeconfig], stdout=out, stderr=out)
    end = time.time() + 20
    while "ready\n" not in open(log).read():
        if server.poll() is not None or time.time() > end:
            server.kill()
            raise RuntimeError("rutter apiserver is not ready:\n" + open(log).read())
        time.sleep(0.02)
    return server, kubeconfig


def inside(kubectl, a):
    """In the namespace: (passed, failed, skipped)."""
    differences = Differences(a.differences, minor_version(kubectl))
    passed = failed = skipped = 0
    with tempfile.TemporaryDirectory(prefix="play-api-") as folder:
        server, kubeconfig = start(a.rutter, folder)
        try:
            target = api_cases.Server(kubeconfig, kubectl)
            for group in (group for path in a.files for group in json.load(open(path))):
                if not re.search(a.only, group["name"]):
                    continue
                if a.skip and re.search(a.skip, group["name"]):
                    print("skip", group["name"], "is left out")
                    skipped += len(group["steps"])
                    continue
                said = io.StringIO()
                with contextlib.redirect_stdout(said):
                    good, _ = api_cases.play(target, group, True, words=differences.words)
                passed += good
                for failure in re.split(r"^(?=FAIL|ok  )", said.getvalue(), flags=re.M):
                    name = re.match(r"FAIL ([\w-]+/\d+)", failure)
                    if name and name.group(1) in differences.steps:
                        skipped += 1
                        print("skip", name.group(1), "is listed as a difference")
                    elif name:
                        failed += 1
                        print("\n".join(line[:2000] for line in failure.strip().splitlines()))
            if server.poll() is not None:
                print("rutter apiserver has ended:\n" + open(os.path.join(folder, "log")).read())
                failed += 1
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(20)
    return passed, failed, skipped


def in_a_namespace():
    """This command again, in a network namespace of its own: its exit code. None if this is already inside."""
    if "PLAY_INSIDE" in os.environ:
        return None
    net = "play-api-%d" % os.getpid()
    subprocess.run(["ip", "netns", "add", net], check=True)
    try:
        # The API tells clients its address by Service `kubernetes`: any that is not loopback.
        for words in ("link set lo up", "link add api0 type bridge", "addr add 192.0.2.1/24 dev api0", "link set api0 up"):
            subprocess.run(["ip", "-n", net, *words.split()], check=True)
        return subprocess.run(["ip", "netns", "exec", net, sys.executable, *sys.argv], env=dict(os.environ, PLAY_INSIDE=net)).returncode
    finally:
        subprocess.run(["ip", "netns", "del", net], check=False)


def close(passed, failed, skipped):
    """The last line and the exit code of a player."""
    print("%d passed, %d failed, %d skipped" % (passed, failed, skipped))
    return 1 if failed else 0 if passed else NOTHING_PLAYED


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--rutter", required=True)
    p.add_argument("--kubectl", default=os.environ.get("KUBECTL", "kubectl"))
    p.add_argument("--only", default="")
    p.add_argument("--skip")
    p.add_argument("--differences")
    p.add_argument("files", nargs="+")
    a = p.parse_args()
    kubectl = shutil.which(a.kubectl)
    if kubectl is None:
        print("skip the API cases: no kubectl here (environment KUBECTL, the PATH)")
        return close(0, 0, sum(len(g["steps"]) for path in a.files for g in json.load(open(path))))
    code = in_a_namespace()
    return close(*inside(kubectl, a)) if code is None else code


if __name__ == "__main__":
    sys.exit(main())
