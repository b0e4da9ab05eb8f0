#!/usr/bin/env python3
"""Plays the API cases with kubectl against `rutter apiserver`, in a network namespace of its own.

    play_api.py --rutter PATH [--kubectl PATH] [--only REGEX] [--skip REGEX] [--differences FILE.md] CASES.json...

The cases and what is compared are api_cases.py's. A step that stands in FILE.md is one that we answer otherwise on purpose, or that
another kubectl than the recorded one words otherwise: if it fails it is counted as skipped. Rows of tables there start with
`| GROUP/STEP`, and hold under a heading `## kubectl 1.N` for that kubectl alone. Without kubectl everything is skipped.
Last line: `N passed, N failed, N skipped`."""
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


def minor_version(kubectl):
    """`1.32` of this kubectl."""
    said = subprocess.run([kubectl, "version", "--client", "-o", "json"], capture_output=True, text=True, check=True).stdout
    version = json.loads(said)["clientVersion"]
    return "1." + re.match(r"\d+", version.get("minor") or version["gitVersion"].split(".")[1]).group()


def listed(path, version):
    """`group/step` of every row that holds for this kubectl."""
    steps, holds = set(), True
    for line in open(path) if path else []:
        if line.startswith("## "):
            of = re.match(r"## kubectl (1\.\d+)", line)
            holds = of is None or of.group(1) == version
        row = re.match(r"\| ([\w-]+/\d+)", line)
        if row and holds:
            steps.add(row.group(1))
    return steps


def inside(kubectl, a):
    """In the namespace: (passed, failed, skipped)."""
    differences = listed(a.differences, minor_version(kubectl))
    passed = failed = skipped = 0
    with tempfile.TemporaryDirectory(prefix="play-api-") as folder:
        kubeconfig, log = os.path.join(folder, "kubeconfig"), open(os.path.join(folder, "log"), "w+")
        server = subprocess.Popen([a.rutter, "apiserver", "--data-dir", folder, "--kubeconfig-out", kubeconfig], stdout=log, stderr=log)
        try:
            end = time.time() + 20
            while "ready\n" not in open(log.name).read():
                if server.poll() is not None or time.time() > end:
                    print("rutter apiserver is not ready:\n" + open(log.name).read())
                    return 0, 1, 0
                time.sleep(0.02)
            target = api_cases.Server(kubeconfig, kubectl)
            for group in (group for path in a.files for group in json.load(open(path))):
                if not re.search(a.only, group["name"]) or a.skip and re.search(a.skip, group["name"]):
                    continue
                said = io.StringIO()
                with contextlib.redirect_stdout(said):
                    good, bad = api_cases.play(target, group, True)
                passed += good
                for failure in re.split(r"^(?=FAIL|ok  )", said.getvalue(), flags=re.M):
                    name = re.match(r"FAIL ([\w-]+/\d+)", failure)
                    if name and name.group(1) in differences:
                        skipped += 1
                        print("skip", name.group(1), "is listed as a difference")
                    elif name:
                        failed += 1
                        print("\n".join(line[:2000] for line in failure.strip().splitlines()))
            if server.poll() is not None:
                print("rutter apiserver has ended:\n" + open(log.name).read())
                failed += 1
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(20)
    return passed, failed, skipped


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
        print("no kubectl here (environment KUBECTL): the API is not played")
        print("0 passed, 0 failed, {} skipped".format(sum(len(g["steps"]) for path in a.files for g in json.load(open(path)))))
        return 0
    if "PLAY_INSIDE" not in os.environ:
        net = "play-api-%d" % os.getpid()
        subprocess.run(["ip", "netns", "add", net], check=True)
        try:
            # The API tells clients its address by Service `kubernetes`: any that is not loopback.
            for words in ("link set lo up", "link add api0 type bridge", "addr add 192.0.2.1/24 dev api0", "link set api0 up"):
                subprocess.run(["ip", "-n", net, *words.split()], check=True)
            return subprocess.run(["ip", "netns", "exec", net, sys.executable, *sys.argv], env=dict(os.environ, PLAY_INSIDE=net)).returncode
        finally:
            subprocess.run(["ip", "netns", "del", net], check=False)
    passed, failed, skipped = inside(kubectl, a)
    print("%d passed, %d failed, %d skipped" % (passed, failed, skipped))
    return 0 if passed and not failed else 1


if __name__ == "__main__":
    sys.exit(main())
