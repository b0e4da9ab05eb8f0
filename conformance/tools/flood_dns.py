#!/usr/bin/env python3
"""Whether a DNS server's memory stays flat under names at random, and its cluster is answered meanwhile.

    flood_dns.py --rutter PATH [--seconds 120]

Twice: with an upstream that never answers, then with one that denies every name (what is denied is cached, so a cache must be full
and stay within its bound). Resident memory is looked at every second: the last quarter may not be above the second by more than
MAX_GROWTH_MB, since the first fills what is bounded. Once in a second a name of the cluster is asked by UDP and by TCP; as the flood
takes all that the machine has, one in a hundred may be late. Needs root; everything runs inside a network namespace of its own with
only loopback. Exits 1 where a server fails.
"""
import argparse
import json
import os
import random
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

MAX_GROWTH_MB = 4
MAX_LATE = 0.01
PORT, UPSTREAM = 5353, 5300
COREFILE = """.:%d {
    kubernetes cluster.local {
        startup_timeout 30s
    }
    forward . 127.0.0.1:%d
    cache 3600
}
"""
OBJECTS = [
    {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "default"}},
    {"apiVersion": "v1", "kind": "Service", "metadata": {"namespace": "default", "name": "web"},
     "spec": {"clusterIP": "10.96.0.1", "clusterIPs": ["10.96.0.1"], "ports": [{"name": "http", "port": 80}]}},
]


def query(labels, id_=7):
    name = b"".join(bytes([len(label)]) + label for label in labels)
    return struct.pack(">HHHHHH", id_, 0x0100, 1, 0, 0, 0) + name + b"\0\0\1\0\1"


CLUSTER = query([b"web", b"default", b"svc", b"cluster", b"local"])


def is_right(reply):
    return reply[3] & 15 == 0 and reply[-4:] == bytes([10, 96, 0, 1])


def ask_udp():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.connect(("127.0.0.1", PORT))
        # The flood fills the socket's buffer as well: a client asks again.
        for wait in (0.5, 1, 2):
            s.settimeout(wait)
            try:
                s.send(CLUSTER)
                return is_right(s.recv(4096))
            except OSError:
                continue
    return False


def ask_tcp():
    try:
        with socket.create_connection(("127.0.0.1", PORT), timeout=3) as s:
            s.sendall(struct.pack(">H", len(CLUSTER)) + CLUSTER)
            length = struct.unpack(">H", s.recv(2, socket.MSG_WAITALL))[0]
            return is_right(s.recv(length, socket.MSG_WAITALL))
    except (OSError, struct.error):
        return False


def flood(stop, counts):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.connect(("127.0.0.1", PORT))
        rng = random.Random(1)
        while not stop.is_set():
            try:
                s.send(query([b"%016x" % rng.getrandbits(64), b"example", b"com"], rng.getrandbits(16)))
                counts["asked"] += 1
                # What comes back makes room for more.
                s.recv(4096, socket.MSG_DONTWAIT)
            except OSError:
                pass


def upstream(stop, denies, counts):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.bind(("127.0.0.1", UPSTREAM))
        s.settimeout(0.2)
        soa = (b"\0\0\6\0\1" + struct.pack(">IH", 3600, 22) + b"\0\0" + struct.pack(">IIIII", 1, 7200, 1800, 86400, 3600))
        while not stop.is_set():
            try:
                asked, client = s.recvfrom(4096)
            except OSError:
                continue
            counts["forwarded"] += 1
            if denies:
                end = asked.index(b"\0", 12) + 5
                s.sendto(asked[:2] + b"\x81\x83" + struct.pack(">HHHH", 1, 0, 1, 0) + asked[12:end] + soa, client)


def resident_mb(pid):
    with open(f"/proc/{pid}/status") as f:
        return next(int(line.split()[1]) / 1024 for line in f if line.startswith("VmRSS"))


def measure(binary, work, denies, seconds):
    """Names of what is wrong."""
    stop, counts = threading.Event(), {"asked": 0, "forwarded": 0}
    with open(os.path.join(work, "log"), "ab") as log:
        server = subprocess.Popen([binary, "dns", "--corefile", os.path.join(work, "Corefile"), "--objects", os.path.join(work, "objects.json")],
                                  stdout=log, stderr=log, stdin=subprocess.DEVNULL)
    threads = [threading.Thread(target=upstream, args=(stop, denies, counts), daemon=True)]
    try:
        threads[0].start()
        deadline = time.time() + 30
        while not ask_udp():
            if time.time() > deadline or server.poll() is not None:
                return ["it does not start"]
        threads += [threading.Thread(target=flood, args=(stop, counts), daemon=True) for _ in range(2)]
        [thread.start() for thread in threads[1:]]
        sizes, failed, start = [], [], time.time()
        while time.time() - start < seconds:
            time.sleep(1)
            if server.poll() is not None:
                return ["it ended"]
            sizes.append(resident_mb(server.pid))
            failed += [protocol for protocol, ask in (("UDP", ask_udp), ("TCP", ask_tcp)) if not ask()]
        quarter = len(sizes) // 4
        before, after = max(sizes[quarter:2 * quarter]), max(sizes[-quarter:])
        print("upstream %s: %d asked, %d forwarded in %d s; resident MB: first quarter %.1f, second %.1f, last %.1f; %d of %d names of the cluster unanswered" % (
            "denies" if denies else "is silent", counts["asked"], counts["forwarded"], seconds, max(sizes[:quarter]), before, after,
            len(failed), 2 * len(sizes)), flush=True)
        wrong = [f"names of the cluster were not answered: {failed}"] if len(failed) > MAX_LATE * 2 * len(sizes) else []
        if after > before + MAX_GROWTH_MB:
            wrong.append(f"it grew from {before:.1f} to {after:.1f} MB")
        return wrong
    finally:
        stop.set()
        server.kill()
        server.wait()
        [thread.join(5) for thread in threads]


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ap.add_argument("--rutter", required=True)
    ap.add_argument("--seconds", type=int, default=120, help="for each of the two")
    args = ap.parse_args()
    signal.signal(signal.SIGTERM, lambda *a: sys.exit(1))
    if not os.environ.get("FLOOD_DNS_INNER"):
        ns = "flood-dns-%d" % os.getpid()
        try:
            subprocess.run(["ip", "netns", "add", ns], check=True)
            subprocess.run(["ip", "-n", ns, "link", "set", "lo", "up"], check=True)
            code = subprocess.run(["ip", "netns", "exec", ns, sys.executable, os.path.abspath(__file__)] + sys.argv[1:],
                                  env=dict(os.environ, FLOOD_DNS_INNER="1")).returncode
        finally:
            subprocess.run(["ip", "netns", "del", ns], check=False)
        sys.exit(code)
    work = tempfile.mkdtemp(prefix="flood-dns-")
    try:
        with open(os.path.join(work, "Corefile"), "w") as f:
            f.write(COREFILE % (PORT, UPSTREAM))
        with open(os.path.join(work, "objects.json"), "w") as f:
            json.dump({"apiVersion": "v1", "kind": "List", "items": OBJECTS}, f)
        wrong = [line for denies in (False, True) for line in measure(os.path.abspath(args.rutter), work, denies, args.seconds)]
    finally:
        shutil.rmtree(work, ignore_errors=True)
    for line in wrong:
        print("failed: " + line)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
