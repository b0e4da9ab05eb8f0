#!/usr/bin/env python3
"""Ask CoreDNS and rutter the same questions, about clusters and under Corefiles made up at random.

    compare_dns.py --coredns PATH --rutter PATH [--rounds N] [--corefiles N] [--seed N] [--questions N]

Python 3 standard library only; run as root (a network namespace for each of the two, with only loopback; removed at the end). A round is one
cluster, one Corefile, and questions of every kind; both servers get the same and have to answer the same: return code, flags, sections, TTLs, EDNS,
truncation. Beside the rounds Corefiles are only started, a good part of them broken: both have to take them, or both to refuse.
Random choice (order, which of several addresses) is not compared. What differs on purpose is counted by reason, see UNLIKE.
A difference is printed with the seed, the round and the Corefile: `--seed S --only R` plays that round alone.
"""
import argparse
import collections
import concurrent.futures
import ctypes
import json
import os
import random
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

import play_dns as play
import random_corefile
import random_dns
from unlike_coredns import purpose, purpose_of_corefile, purpose_of_metric

CLIENTS = ["10.244.0.1", "10.244.1.2", "192.0.2.250", "fd00:244::1", "2001:db8:c::1"]
WAIT = 0.4  # for an answer that may not come; a server that answers does so in a millisecond
LIBC = ctypes.CDLL(None, use_errno=True)


class Net:
    """A network namespace with only loopback, and a thread inside it."""

    def __init__(self, name, addresses):
        self.name, self.etc = name, "/etc/netns/" + name
        os.makedirs(self.etc)
        self.file("resolv.conf", "nameserver 127.0.0.1:5454\n")
        self.file("hosts", "127.0.0.1 localhost\n::1 localhost\n")
        subprocess.run(["ip", "netns", "add", name], check=True)
        subprocess.run(["ip", "-n", name, "link", "set", "lo", "up"], check=True)
        for ip in addresses:
            subprocess.run(["ip", "-n", name, "addr", "add", ip + ("/128" if ":" in ip else "/32"), "dev", "lo"] + ["nodad"] * (":" in ip), check=True)
        self.inside = concurrent.futures.ThreadPoolExecutor(1, initializer=self.enter)
        self.call(lambda: None)

    def enter(self):
        there = os.open("/run/netns/" + self.name, os.O_RDONLY)
        if LIBC.setns(there, 0x40000000):
            raise OSError(ctypes.get_errno(), "setns")
        os.close(there)

    def file(self, name, text):
        with open(os.path.join(self.etc, name), "w") as f:
            f.write(text)

    def call(self, what, *args):
        return self.inside.submit(what, *args).result()

    def close(self):
        self.inside.shutdown()
        subprocess.run(["ip", "netns", "del", self.name], check=False)
        shutil.rmtree(self.etc, ignore_errors=True)


class Upstream(play.StubDNS):
    """Answers by the first label of the name: what kind of answer is wanted of it."""

    def reply(self, buf, udp):
        ident, flags, _, _, _, _ = struct.unpack_from("!6H", buf)
        qname, off = play.unpack_name(buf, 12)
        number = struct.unpack_from("!H", buf, off)[0]
        rcode, answer, authority, tc, opt = random_corefile.upstream_answer(qname, number, buf, off + 4, udp)
        if rcode is None:
            return None
        flags = 0x8000 | flags & 0x7910 | 0x80 | tc << 9 | rcode
        question = buf[12:off + 4]
        return struct.pack("!6H", ident, flags, 1, len(answer), len(authority), bool(opt)) + question + b"".join(answer + authority) + opt


class Side:
    """One of the two servers, in a network of its own."""

    def __init__(self, name, binary, workdir):
        self.name, self.binary, self.proc, self.api = name, binary, None, None
        self.net = Net("dd-%d-%s" % (os.getpid(), name), CLIENTS + random_dns.SERVER)
        self.work = os.path.join(workdir, name)
        os.makedirs(self.work)
        self.stubs = [self.net.call(Upstream, port) for port in (5454, 5455)]

    def start(self, text, files, objects):
        """Whether the server takes the Corefile; what it says is in `self.said()`."""
        for name, content in {"Corefile": text, **files}.items():
            path = os.path.join(self.work, name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "w") as f:
                f.write(content)
        argv = self.argv(objects)
        self.log = open(os.path.join(self.work, "log"), "wb")
        self.proc = subprocess.Popen(["ip", "netns", "exec", self.net.name, *argv], stdout=self.log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                                     cwd=self.work, env={**os.environ, **random_corefile.ENVIRONMENT})
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline and self.proc.poll() is None:
            if self.is_up():
                return True
            time.sleep(0.01)
        return self.proc.poll() is None

    def said(self):
        self.log.flush()
        with open(os.path.join(self.work, "log"), "rb") as f:
            return f.read().decode(errors="replace")

    def stop(self):
        if self.proc:
            self.proc.kill()
            self.proc.wait()
            self.log.close()
            self.proc = None
        if self.api:
            self.api.stop()
            self.api = None

    def close(self):
        self.stop()
        for stub in self.stubs:
            stub.stop()
        self.net.close()

    def get(self, port, path):
        """An HTTP page: (code, body), or None where nobody listens."""
        def fetch():
            try:
                with urllib.request.urlopen("http://127.0.0.1:%d%s" % (port, path), timeout=5) as page:
                    return page.status, page.read().decode()
            except urllib.error.HTTPError as error:
                return error.code, error.read().decode()
            except OSError:
                return None
        return self.net.call(fetch)


class CoreDNS(Side):
    def argv(self, objects):
        self.api = self.net.call(play.FakeAPI, play.API_PORT, objects)
        return [self.binary, "-conf", os.path.join(self.work, "Corefile")]

    def is_up(self):
        return "CoreDNS-1" in self.said()


class Rutter(Side):
    def argv(self, objects):
        path = os.path.join(self.work, "objects.json")
        with open(path, "w") as f:
            json.dump({"apiVersion": "v1", "kind": "List", "items": objects}, f)
        return [self.binary, "dns", "--corefile", os.path.join(self.work, "Corefile"), "--objects", path]

    def is_up(self):
        return re.search("^ready$", self.said(), re.M)


# ------------------------------------------------------------------ answers --
def ask(q, wait=WAIT):
    """How one question ends, in words that can be compared."""
    ident = q["id"]
    packet = q["packet"] if "packet" in q else random_dns.wire(q, ident)
    client = q["client"]
    family = socket.AF_INET6 if client and ":" in client else socket.AF_INET
    whole = q["tcp"] and q["qtype"] in ("AXFR", "IXFR")
    try:
        with socket.socket(family, socket.SOCK_STREAM if q["tcp"] else socket.SOCK_DGRAM) as s:
            s.settimeout(wait)
            if client:
                s.bind((client, 0))
            s.connect(("::1" if family == socket.AF_INET6 else "127.0.0.1", q.get("port", 53)))
            if not q["tcp"]:
                s.send(packet)
                return outcome(ident, [s.recv(65535)])
            s.sendall(struct.pack("!H", len(packet)) + packet)
            messages, soas = [], 0
            with s.makefile("rb") as f:
                while True:
                    head = f.read(2)
                    if len(head) < 2:
                        return {"end": "closed"}
                    messages.append(f.read(struct.unpack("!H", head)[0]))
                    if not whole:
                        break
                    read = play.Message(messages[-1])
                    soas += sum(r["type"] == "SOA" for r in read.sections["answer"])
                    if read.rcode != "NOERROR" or soas >= 2 or not read.sections["answer"]:
                        break
                    if q["qtype"] == "IXFR" and soas == 1 and len(read.sections["answer"]) == 1:
                        break
            return outcome(ident, messages)
    except TimeoutError:
        return {"end": "silence"}
    except ConnectionError as error:
        return {"end": type(error).__name__}
    except (ValueError, IndexError, struct.error) as error:
        return {"end": "unreadable: %s" % error}


def outcome(ident, messages):
    try:
        read = [play.Message(m) for m in messages]
    except (ValueError, IndexError, struct.error) as error:
        return {"end": "unreadable: %s" % error, "bytes": messages[0].hex()}
    first = read[0]
    rows = {s: [row(r) for m in read for r in m.sections[s]] for s in SECTIONS}
    return {"end": "answer", "rcode": first.rcode, "id": first.id == ident, "question": first.question, "opcode": first.opcode,
            **{flag: getattr(first, flag) for flag in ("qr", "aa", "tc", "rd", "ra", "ad", "cd")}, "opt": options(messages[0], first), **rows,
            "size": len(messages[0])}


def options(buf, message):
    if message.opt is None:
        return None
    return {k: message.opt[k] for k in ("size", "version", "do")} | {"error": extended_error(buf[len(buf) - message.opt["rdlen"]:])}


def extended_error(data):
    """What an OPT record, the last one of its message, tells of RFC 8914; other options are echoes."""
    while len(data) >= 4:
        code, length = struct.unpack_from("!2H", data)
        if code == 15:
            return "%d %s" % (struct.unpack_from("!H", data, 4)[0], data[6:4 + length].decode(errors="replace"))
        data = data[4 + length:]
    return None


def row(r):
    data = r["data"]
    if r["type"] == "SOA":
        # The serial is a time.
        f = data.split()
        data = " ".join(f[:2] + ["*"] + f[3:])
    return r["name"], r["type"], r["ttl"], data


SECTIONS = ("answer", "authority", "extra")
FIELDS = ["end", "rcode", "id", "question", "opcode", "qr", "aa", "tc", "rd", "ra", "ad", "cd", "opt", "answer", "authority", "extra"]


def differences(peer, ours, slack):
    """The fields in which two outcomes differ. `slack`: seconds by which TTLs may."""
    found = []
    cut = peer.get("tc") and ours.get("tc")
    for field in FIELDS:
        a, b = peer.get(field), ours.get(field)
        if field in SECTIONS:
            # Of what was cut, which part stands is chance.
            if not cut and not same_rows(a or [], b or [], slack):
                found.append(field)
        elif a != b:
            found.append(field)
    if not cut and not found and sum((names(peer, s) for s in SECTIONS), []) != sum((names(ours, s) for s in SECTIONS), []):
        found.append("letter case")
    order = play.compressed_order([{"name": n, "type": t, "data": d} for n, t, _, d in ours.get("answer", [])])
    if order and not play.compressed_order([{"name": n, "type": t, "data": d} for n, t, _, d in peer.get("answer", [])]):
        found.append("order: " + order)
    return found


def names(o, section):
    """The owners of a section's records, in their letter case."""
    return sorted(n for n, _, _, _ in o.get(section, []))


def same_rows(a, b, slack):
    plain = lambda rows: sorted((n.lower(), t, d if t == "TXT" else d.lower(), ttl) for n, t, ttl, d in rows)
    a, b = plain(a), plain(b)
    return len(a) == len(b) and all(x[:3] == y[:3] and abs(x[3] - y[3]) <= slack for x, y in zip(a, b))


def in_words(o):
    if o["end"] != "answer":
        return o["end"]
    flags = " ".join(f for f in ("aa", "tc", "rd", "ra", "ad", "cd") if o[f])
    sections = "".join("\n          %s: %s" % (s, "; ".join("%s %d %s %s" % (n, ttl, t, d) for n, t, ttl, d in sorted(o[s]))) for s in SECTIONS if o[s])
    return "%s [%s] opt %s, %d octets%s" % (o["rcode"], flags, o["opt"], o["size"], sections)


def question_in_words(q):
    if "packet" in q:
        return "packet %s%s" % (q["packet"].hex(), " from " + q["client"] if q["client"] else "")
    odd = {k: v for k, v in q.items() if k in ("qclass", "opcode", "version", "qdcount", "options", "port", "serial") and v not in ({"qclass": 1, "qdcount": 1}.get(k, 0), [])}
    flags = [f for f in ("rd", "ad", "cd", "do", "tcp") if q[f]]
    return "%s %s %s edns %s%s%s" % (q["qname"], q["qtype"], "+".join(flags), q["edns"], " from " + q["client"] if q["client"] else "", " %s" % odd if odd else "")


# ------------------------------------------------------- what is seen outside --
LOG_LINE = re.compile(r'^\[INFO\] (\S+):\d+ - (\d+) "(.*)" (\S+) (\S*) \d+ \S+s$')
# The same in a format of `random_corefile`.
TOLD_LINE = re.compile(r"^\[INFO\] told (\d+) (.*) (NOERROR|[A-Z]\S+|-) (\S*) (\d+ (?:true|false) \d+ .*)$")
# What failed, without the port that a question left from.
ERROR_LINE = re.compile(r"^\[ERROR\] plugin/errors: (\d+ \S+ \S+: .*)$", re.M)
COUNTED = re.compile(r"^(coredns_\w+(?:_total|_count|_enabled|_entries))(?:\{(.*)\})? (\S+)$", re.M)


def logged(text):
    """The lines of `log` in its common format, but for ports, sizes of replies and times: {(id, the rest)}. What was not answered (`-`) is left out."""
    lines = text.splitlines()
    common = {(m[2], m[1], m[3].replace("_UDP_", ""), m[4], m[5]) for m in map(LOG_LINE.match, lines) if m and m[4] != "-"}
    return common | {(m[1], "told", m[2] + " " + m[5], m[3], m[4]) for m in map(TOLD_LINE.match, lines) if m and m[3] != "-"}


def failures(text, made):
    """The lines of `errors`, each once."""
    # CoreDNS's rewrite says 0 of what failed behind it.
    code = "*" if "rewrite" in made.text else r"\g<0>"
    # The cache stands in front of what answers for the block there, and behind it here.
    last = "*" if "cache" in made.text else r"\g<0>"
    told = lambda line: re.sub(r"plugin/\w+(?=: no next plugin)", last, line)
    plain = lambda line: re.sub(r"^\d+", code, re.sub(r": dns: .*", ": dns: *", re.sub(r"\S+:\d+->", "", line)))
    return {plain(told(line)) for line in ERROR_LINE.findall(text)}


def counted(page):
    """What is counted: {family: {labels: number}}."""
    found = {}
    for name, labels, number in COUNTED.findall(page):
        found.setdefault(name, {})[",".join(sorted(labels.split('",')))] = float(number)
    return found


def spoiled(o):
    """An answer made wrong in ways that nothing may excuse: [(what, outcome)]."""
    yield "silence", {"end": "silence"}
    for rcode in ("NOERROR", "NXDOMAIN", "SERVFAIL", "REFUSED"):
        if rcode != o["rcode"]:
            yield "rcode " + rcode, o | {"rcode": rcode}
            yield "nothing but " + rcode, o | {"rcode": rcode} | {s: [] for s in SECTIONS}
    if o["answer"]:
        yield "no answer", o | {"answer": []}
        yield "a record missing", o | {"answer": o["answer"][:-1]}
        yield "a record too many", o | {"answer": o["answer"] + [(o["answer"][0][0], "A", o["answer"][0][2], "203.0.113.99")]}
        other = lambda r: (*r[:3], {"A": "203.0.113.99", "AAAA": "2001:db8:bad::99", "TXT": '"spoiled"'}.get(r[1], "1 2 3 spoiled.test."))
        yield "other data", o | {"answer": [other(r) for r in o["answer"]]}
        yield "another TTL", o | {"answer": [(r[0], r[1], r[2] + 1000, r[3]) for r in o["answer"]]}
        yield "TTL 0", o | {"answer": [(r[0], r[1], 0, r[3]) for r in o["answer"]]}
    if o["authority"]:
        yield "no authority", o | {"authority": []}
    yield "aa", o | {"aa": not o["aa"]}


# ------------------------------------------------------------------- rounds --
class Play:
    def __init__(self, sides, seed, verbose, doubt):
        self.sides, self.seed, self.verbose, self.doubt = sides, seed, verbose, doubt
        self.doubts = collections.defaultdict(list)
        self.counts, self.reasons = collections.Counter(), collections.Counter()

    def both(self, what, *args):
        """The same in both networks, at the same time."""
        waiting = [side.net.inside.submit(what, *args) for side in self.sides]
        return [w.result() for w in waiting]

    def start(self, made):
        return [side.start(made.text, made.files, made.objects) for side in self.sides]

    def judge(self, ok, where, text, detail=""):
        self.counts["passed" if ok else "failed"] += 1
        if not ok:
            print("FAIL %s: %s" % (where, text) + ("\n" + detail if detail else ""))
            sys.stdout.flush()
        elif self.verbose:
            print("ok   %s: %s" % (where, text))

    def stop(self):
        for side in self.sides:
            side.stop()

    def corefile(self, n):
        """One Corefile, only started."""
        rng = random.Random("%s/corefile/%d" % (self.seed, n))
        made = random_corefile.broken(rng)
        try:
            peer, ours = self.start(made)
            said = ["\n".join(side.said().strip().splitlines()[-3:]) for side in self.sides]
        finally:
            self.stop()
        reason = purpose_of_corefile(peer, said) if peer != ours else None
        if reason:
            self.reasons[reason] += 1
        word = {True: "takes it", False: "refuses it"}
        self.judge(peer == ours or bool(reason), "--seed %s --only c%d" % (self.seed, n), "CoreDNS %s, rutter %s: %s" % (word[peer], word[ours], said),
                   made.text if peer != ours and not reason else "")

    def round(self, n, n_questions):
        rng = random.Random("%s/%d" % (self.seed, n))
        made = random_corefile.whole(rng)
        where = "--seed %s --only %d" % (self.seed, n)
        shown, alike = False, set()
        try:
            peer, ours = self.start(made)
            if not peer and not ours:
                return self.judge(True, where, "both refuse it")
            if not (peer and ours):
                said = [side.said()[-500:] for side in self.sides]
                self.judge(False, where, "did not start: CoreDNS %s, rutter %s: %s" % (peer, ours, said), made.text)
                return
            questions = made.questions(rng, n_questions)
            for q in questions:
                peer, ours = self.both(ask, q)
                found = differences(peer, ours, made.slack)
                reason = purpose(made, q, peer, ours, found) if found else None
                again = bool(found and not reason)
                if again:
                    # A busy machine is late now and then; a server that differs does so again.
                    peer, ours = self.both(ask, q, 4)
                    found = differences(peer, ours, made.slack)
                    reason = purpose(made, q, peer, ours, found) if found else None
                if reason:
                    self.reasons[reason] += 1
                elif not found and not again:
                    alike.add(str(q["id"]))
                    if self.doubt and ours["end"] == "answer" and "packet" not in q:
                        self.spoil(where, made, q, peer, ours)
                ok = not found or bool(reason)
                self.judge(ok, where, "%s: %s" % (question_in_words(q), ", ".join(found)),
                           "" if ok else ("" if shown else made.text + "\n") + "  CoreDNS %s\n  rutter  %s" % (in_words(peer), in_words(ours)))
                shown = shown or not ok
            if not shown:
                self.outside(where, made, questions, alike)
        finally:
            self.stop()

    def spoil(self, where, made, q, peer, ours):
        """Which reasons would excuse an answer that is wrong."""
        for what, wrong in spoiled(ours):
            found = differences(peer, wrong, made.slack)
            reason = purpose(made, q, peer, wrong, found) if found else None
            if reason:
                self.doubts[what, reason].append("%s %s" % (where, question_in_words(q)))

    def outside(self, where, made, questions, alike):
        """What operators see after the same questions: pages, the query log, counters. `alike`: the ids of those that ended alike."""
        for port, path in ((8080, "/health"), (8181, "/ready"), (8080, "/nowhere"), (8181, "/nowhere"), (9153, "/nowhere")):
            peer, ours = (side.get(port, path) for side in self.sides)
            # What a page that is not there says is nobody's business.
            same = peer == ours or peer and ours and peer[0] == ours[0] == 404
            self.judge(same, where, "http://:%d%s: CoreDNS %s, rutter %s" % (port, path, peer, ours), "" if same else made.text)
        # CoreDNS's lines tell the question's OPT record as it is once plugins have changed it, and its size.
        changed = "edns0" in made.text or "bufsize" in made.text
        plain = lambda line: re.sub(r" (udp|tcp) \d+ ", r" \1 * ", line) if "rewrite" in made.text else line
        # CoreDNS answers twice where a template says REFUSED, and logs the second.
        flags = lambda line: line[:4] + (line[4].replace("aa,", ""),) if line[3] == "REFUSED" and "template" in made.text else line
        told = {str(q["id"]): " %s " % q["qname"].lower() for q in questions if not (changed or q["options"] or "packet" in q or "XFR" in q["qtype"])}
        deadline = time.monotonic() + 2
        while True:
            # What CoreDNS asks itself on the way it logs as well.
            peer, ours = ({flags((*line[:2], plain(line[2]), *line[3:])) for line in logged(side.said()) if line[0] in alike and told.get(line[0], "\n") in line[2]} for side in self.sides)
            if peer == ours or time.monotonic() > deadline:
                break
            time.sleep(0.05)
        self.judge(peer == ours, where, "the query log", "%s  CoreDNS %s\n  rutter  %s" % (made.text, sorted(peer - ours)[:5], sorted(ours - peer)[:5]))
        peer, ours = (failures(side.said(), made) for side in self.sides)
        # The upstream's port stands in no resolv.conf: nobody is asked then, which each says in words of its own.
        same = peer == ours or len(alike) < len(questions) or "resolv.conf" in made.text
        self.judge(same, where, "the lines of errors", "" if same else "%s  CoreDNS %s\n  rutter  %s" % (made.text, sorted(peer - ours)[:5], sorted(ours - peer)[:5]))
        pages = [counted((side.get(9153, "/metrics") or (0, ""))[1]) for side in self.sides]
        odd = any("packet" in q or any(q[k] != v for k, v in random_dns.PLAIN.items()) for q in questions)
        for family in sorted(pages[0]):
            peer, ours = (page.get(family) for page in pages)
            if ours is None:
                self.reasons["metric %s is not there" % family] += 1
                continue
            reason = None if peer == ours else purpose_of_metric(family, peer, ours, odd, len(alike) < len(questions))
            same = peer == ours or bool(reason)
            if reason:
                self.reasons[reason] += 1
            self.judge(same, where, "metric " + family, "  CoreDNS %s\n  rutter  %s" % tuple(
                {k: v for k, v in a.items() if b.get(k) != v} for a, b in ((peer, ours), (ours, peer))))


def main():
    a = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    a.add_argument("--coredns", required=True)
    a.add_argument("--rutter", required=True)
    a.add_argument("--rounds", type=int, default=10)
    a.add_argument("--corefiles", type=int, default=0, help="Corefiles that are only started")
    a.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4), "big"))
    a.add_argument("--questions", type=int, default=400, help="of each round")
    a.add_argument("--only", action="append", help="a round by its number, or a Corefile (c7); may be repeated")
    a.add_argument("--doubt", action="store_true", help="spoil answers that are right, and tell which reasons would excuse that")
    a.add_argument("-v", action="store_true", help="print every question")
    a = a.parse_args()
    if not os.path.exists(a.coredns):
        print(f"SKIP compare dns: no {a.coredns}\n0 passed, 0 failed, 1 skipped")
        sys.exit(77)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    workdir, sides = tempfile.mkdtemp(prefix="hdd-"), []
    print(f"compare dns: seed {a.seed}")
    try:
        sides.append(CoreDNS("peer", os.path.abspath(a.coredns), workdir))
        sides.append(Rutter("ours", os.path.abspath(a.rutter), workdir))
        plays = Play(sides, a.seed, a.v, a.doubt)
        for n in range(a.corefiles):
            if not a.only or f"c{n}" in a.only:
                plays.corefile(n)
        for n in range(a.rounds):
            if not a.only or str(n) in a.only:
                plays.round(n, a.questions)
    finally:
        for side in sides:
            side.close()
        shutil.rmtree(workdir, ignore_errors=True)
    for reason, n in sorted(plays.reasons.items()):
        print(f"{n} on purpose: {reason}")
    for (what, reason), where in sorted(plays.doubts.items(), key=lambda of: -len(of[1])):
        print(f"{len(where)} would be excused, {what}: {reason}, as in {where[0]}")
    print(f"{plays.counts['passed']} passed, {plays.counts['failed']} failed, 0 skipped")
    sys.exit(1 if plays.counts["failed"] or not plays.counts["passed"] else 0)


if __name__ == "__main__":
    main()
