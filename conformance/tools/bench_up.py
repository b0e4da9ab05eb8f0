#!/usr/bin/env python3
"""Measures `rutter up` and its API: start, memory, apply to first answer, writes under watchers, a long list. Root; a namespace of its own.

    bench_up.py --rutter PATH [--kubectl PATH] [--watchers 100] [--writes 5000] [--pods 10000]

Prints figures and asserts none. Clients (this script, curl) share the machine with what is measured."""
import argparse
import base64
import http.client
import json
import multiprocessing
import os
import shutil
import signal
import ssl
import statistics
import subprocess
import sys
import tempfile
import time

WRITERS = 3
MANIFEST = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: bench}
spec:
  selector: {matchLabels: {app: bench}}
  template:
    metadata: {labels: {app: bench}}
    spec: {containers: [{name: c, image: rutter/echo, ports: [{containerPort: 80}]}]}
---
apiVersion: v1
kind: Service
metadata: {name: bench}
spec: {clusterIP: 10.96.0.80, selector: {app: bench}, ports: [{port: 80}]}
"""


class Started:
    """`rutter COMMAND` on a data folder; `seconds` until it said `ready`."""

    def __init__(self, rutter, command, folder):
        begun = time.monotonic()
        self.folder = folder
        self.process = subprocess.Popen([rutter, *command, "--data-dir", folder], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        for line in self.process.stdout:
            if line == "ready\n":
                break
        else:
            raise SystemExit(" ".join(command) + " is not ready")
        self.seconds = time.monotonic() - begun
        # What it says later is read by nobody: a full pipe would stop it.
        multiprocessing.Process(target=drain, args=(self.process.stdout,), daemon=True).start()

    def megabytes(self):
        fields = dict(line.split(":", 1) for line in open("/proc/%d/smaps_rollup" % self.process.pid) if ":" in line)
        return {name: int(fields[name].split()[0]) // 1024 for name in ("Rss", "Pss", "Private_Dirty")}

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(30)


def drain(stream):
    for _ in stream:
        pass


class Api:
    def __init__(self, folder):
        # Rutter writes it as JSON, which is YAML too.
        found = json.load(open(os.path.join(folder, "kubeconfig")))["users"][0]["user"]
        self.files = {}
        for key, name in (("client-certificate-data", "bench.crt"), ("client-key-data", "bench.key")):
            self.files[key] = os.path.join(folder, name)
            open(self.files[key], "wb").write(base64.b64decode(found[key]))
        self.context = ssl._create_unverified_context()
        self.context.load_cert_chain(self.files["client-certificate-data"], self.files["client-key-data"])

    def connect(self):
        return http.client.HTTPSConnection("127.0.0.1", 6443, context=self.context)

    def curl(self, path, *options):
        return ["curl", "-sSkN", "--cert", self.files["client-certificate-data"], "--key", self.files["client-key-data"], *options,
                "https://127.0.0.1:6443" + path]


def send(connection, method, path, body):
    connection.request(method, path, json.dumps(body), {"Content-Type": "application/json"})
    answer = connection.getresponse()
    text = answer.read()
    if answer.status > 299:
        raise SystemExit("%s %s: %d %s" % (method, path, answer.status, text[:300]))


def create(api, path, objects, gate, done):
    """A writer: one connection, one object after another."""
    connection = api.connect()
    connection.connect()
    gate.wait()
    for each in objects:
        send(connection, "POST", path, each)
    done.put(time.monotonic())


def write(api, path, objects):
    """All objects by WRITERS connections at once: seconds."""
    gate, done = multiprocessing.Event(), multiprocessing.Queue()
    writers = [multiprocessing.Process(target=create, args=(api, path, objects[n::WRITERS], gate, done)) for n in range(WRITERS)]
    for each in writers:
        each.start()
    time.sleep(0.3)  # Until all are connected.
    begun = time.monotonic()
    gate.set()
    ended = [done.get() for _ in writers]
    return max(ended) - begun


def bench_up(rutter, kubectl, folder):
    data = os.path.join(folder, "up")
    times = []
    for _ in range(5):
        up = Started(rutter, ["up", "--node-name", "node1"], data)
        times.append(up.seconds)
        if len(times) < 5:
            up.end()
    print("up: ready after %.2f s the first time, %.2f s on what is stored (median of 4)" % (times[0], statistics.median(times[1:])))
    time.sleep(3)
    print("up: at rest, no pods: %(Rss)d MB resident, %(Private_Dirty)d MB of it its own and written" % up.megabytes())
    if kubectl:
        begun = time.monotonic()
        subprocess.run([kubectl, "--kubeconfig", os.path.join(data, "kubeconfig"), "apply", "-f", "-"], input=MANIFEST, text=True, check=True,
                       stdout=subprocess.DEVNULL)
        applied = time.monotonic()
        while True:
            connection = http.client.HTTPConnection("10.96.0.80", 80, timeout=1)
            try:
                connection.request("GET", "/")
                if connection.getresponse().status == 200:
                    break
            except OSError:
                time.sleep(0.002)
        print("up: a Service's new pod answers %.3f s after kubectl apply returned (which took %.2f s)"
              % (time.monotonic() - applied, applied - begun))
    else:
        print("up: no kubectl here: apply to first answer is skipped")
    up.end()
    subprocess.run([rutter, "cleanup", "--data-dir", data], stdout=subprocess.DEVNULL)


def bench_api(rutter, folder, n_watchers, n_writes, n_pods):
    data = os.path.join(folder, "api")
    server = Started(rutter, ["apiserver", "--without-controllers"], data)
    try:
        measure_api(server, Api(data), folder, n_watchers, n_writes, n_pods)
    finally:
        server.end()


def measure_api(server, api, folder, n_watchers, n_writes, n_pods):
    config_maps = [{"metadata": {"name": "c%d" % n}, "data": {"n": str(n)}} for n in range(n_writes)]
    seconds = write(api, "/api/v1/namespaces/kube-public/configmaps", config_maps)
    print("api: %d writes in %.2f s: %d a second, no watcher" % (n_writes, seconds, n_writes / seconds))
    path = "/api/v1/namespaces/default/configmaps"
    outs = [os.path.join(folder, "watch-%d" % n) for n in range(n_watchers)]
    watchers = [subprocess.Popen(api.curl(path + "?watch=1", "-o", out)) for out in outs]
    time.sleep(2)  # Until all are there.
    begun = time.monotonic()
    seconds = write(api, path, config_maps)
    lines = lambda: sum(open(out, "rb").read().count(b"\n") for out in outs if os.path.exists(out))
    while lines() < n_writes * n_watchers and time.monotonic() - begun < 60:
        time.sleep(0.1)
    print("api: %d writes in %.2f s: %d a second with %d watchers, which heard %d of %d events"
          % (n_writes, seconds, n_writes / seconds, n_watchers, lines(), n_writes * n_watchers))
    for each in watchers:
        each.kill()
        each.wait()
    pod = {"spec": {"containers": [{"name": "c", "image": "rutter/echo", "ports": [{"containerPort": 80}]}]}}
    pods = [dict(pod, metadata={"name": "p%d" % n, "labels": {"app": "a%d" % (n % 100)}}) for n in range(n_pods)]
    send(api.connect(), "POST", "/api/v1/namespaces/default/serviceaccounts", {"metadata": {"name": "default"}})
    seconds = write(api, "/api/v1/namespaces/default/pods", pods)
    print("api: %d pods in %.2f s: %d a second" % (n_pods, seconds, n_pods / seconds))
    for name, accept in (("JSON", "application/json"), ("protobuf", "application/vnd.kubernetes.protobuf")):
        times = []
        for _ in range(5):
            done = subprocess.run(api.curl("/api/v1/pods", "-H", "Accept: " + accept, "-o", "/dev/null", "-w",
                                           "%{time_appconnect} %{time_total} %{size_download}"), capture_output=True, text=True, check=True)
            tls, total, size = (float(word) for word in done.stdout.split())
            times.append(total - tls)
        print("api: list of %d pods in %s: %.0f ms (median of 5, best %.0f ms), %.1f MB"
              % (n_pods, name, 1000 * statistics.median(times), 1000 * min(times), size / 1e6))
    print("api: with all that stored: %(Rss)d MB resident" % server.megabytes())


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--rutter", required=True)
    p.add_argument("--kubectl", default=os.environ.get("KUBECTL", "kubectl"))
    p.add_argument("--watchers", type=int, default=100)
    p.add_argument("--writes", type=int, default=5000)
    p.add_argument("--pods", type=int, default=10000)
    a = p.parse_args()
    if "BENCH_INSIDE" not in os.environ:
        net = "bench-up-%d" % os.getpid()
        subprocess.run(["ip", "netns", "add", net], check=True)
        try:
            subprocess.run(["ip", "-n", net, "link", "set", "lo", "up"], check=True)
            return subprocess.run(["ip", "netns", "exec", net, sys.executable, *sys.argv], env=dict(os.environ, BENCH_INSIDE=net)).returncode
        finally:
            subprocess.run(["ip", "netns", "del", net], check=False)
    with tempfile.TemporaryDirectory(prefix="bench-up-") as folder:
        bench_up(a.rutter, shutil.which(a.kubectl), folder)
        bench_api(a.rutter, folder, a.watchers, a.writes, a.pods)
    return 0


if __name__ == "__main__":
    sys.exit(main())
