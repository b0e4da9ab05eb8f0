#!/usr/bin/env python3
"""Sends what kubectl sends, request by request, and checks what kubectl needs of the answers. No kubectl is needed.

    play_traces.py --rutter PATH [--only REGEX] TRACES.yaml            against `rutter apiserver`, in a network namespace of its own
    play_traces.py --kubeconfig FILE [--forget COMMAND] TRACES.yaml    against any API server
    play_traces.py ... --kubectl PATH TRACES.yaml                      the other side: runs the real kubectl through a recording proxy and
                                                                       checks that it sends just these requests
    play_traces.py ... --flip TRACES.yaml                              the tester's own test: each expectation turned into another, one at a
                                                                       time, which must fail at just that step
    play_traces.py ... --kubectl PATH --show 'get svc -w' [--given service,..]     prints what kubectl sends

What a trace is, traces.py says. `forget`: a shell command that makes the server forget what happened so far (etcd: a compaction); `rutter
apiserver` is started anew for that. Last line: `N passed, N failed, N skipped`; exit code as play_api.py's."""
import argparse
import base64
import contextlib
import gzip
import json
import os
import re
import shlex
import signal
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.parse
import zlib
from http.client import HTTPException, HTTPSConnection

import yaml

import traces
from play_api import close, in_a_namespace, minor_version, start
from recording_proxy import Proxy

PATIENCE = 10


class Api:
    """An API server as a kubeconfig tells of it."""

    def __init__(self, kubeconfig):
        view = yaml.safe_load(open(kubeconfig))
        cluster, user = view["clusters"][0]["cluster"], view["users"][0]["user"]
        self.address = urllib.parse.urlsplit(cluster["server"])
        self.credentials = {"Authorization": "Bearer " + user["token"]} if "token" in user else {}
        self.tls, self.anonymous = ssl._create_unverified_context(), ssl._create_unverified_context()
        if "client-certificate-data" in user:
            with tempfile.TemporaryDirectory() as folder:
                for name in ("client-certificate", "client-key"):
                    with open(os.path.join(folder, name), "wb") as file:
                        file.write(base64.b64decode(user[name + "-data"]))
                self.tls.load_cert_chain(os.path.join(folder, "client-certificate"), os.path.join(folder, "client-key"))

    def open(self, method, path, headers=None, body=None, credentials=True):
        """The answer, its body not yet read."""
        # Go asks so on every request; http.client would ask for the opposite.
        headers = {"Accept-Encoding": "gzip", **(self.credentials if credentials else {}), **(headers or {})}
        tls = self.tls if credentials else self.anonymous
        connection = HTTPSConnection(self.address.hostname, self.address.port, context=tls, timeout=PATIENCE)
        connection.request(method, path, body=body, headers=headers)
        answer = connection.getresponse()
        answer.connection = connection
        return answer

    def json(self, method, path, body=None):
        """(status, document) of an ordinary request."""
        headers = {"Accept": "application/json", "Content-Type": "application/json"}
        with contextlib.closing(self.open(method, path, headers, json.dumps(body).encode() if body is not None else None)) as answer:
            text = body_text(answer)
            return answer.status, json.loads(text) if text[:1] == b"{" else text.decode("utf-8", "replace")


def body_text(answer):
    """What an answer says, unpacked."""
    data = answer.read()
    return gzip.decompress(data) if answer.headers.get("Content-Encoding") == "gzip" else data


class Events:
    """The lines of a watch; packed, too, each comes when it happens."""

    def __init__(self, answer):
        self.answer, self.rest = answer, b""
        self.packed = zlib.decompressobj(31) if answer.headers.get("Content-Encoding") == "gzip" else None

    def next(self):
        """One line; empty at the end."""
        while b"\n" not in self.rest:
            data = self.answer.read1(1 << 16)
            if not data:
                return b""
            self.rest += self.unpacked(data)
        line, _, self.rest = self.rest.partition(b"\n")
        return line

    def unpacked(self, data):
        if self.packed is None:
            return data
        text = b""
        while data:
            text, data = text + self.packed.decompress(data), self.packed.unused_data
            if self.packed.eof:
                # kube-apiserver packs the initial state for itself, and then what follows.
                self.packed = zlib.decompressobj(31)
        return text


class Target:
    """The server under test."""

    def __init__(self, api, forget):
        self.api, self.forget = api, forget


# === sending ===


def headers_of(step, file):
    accept = step.get("accept", "json")
    headers = {} if accept == "none" else {"Accept": file["headers"].get(accept, accept)}
    headers.update(step.get("headers", {}))
    if "protobuf" in step:
        headers["Content-Type"] = "application/vnd.kubernetes.protobuf"
    elif ("with" in step or "raw" in step) and step.get("type") != "none":
        headers["Content-Type"] = step.get("type", "application/json")
    return headers


def body_of(step, names):
    if "protobuf" in step:
        return traces.envelope(traces.fill(step["protobuf"], names))
    if "with" in step:
        return json.dumps(traces.fill(step["with"], names)).encode()
    return traces.fill(step["raw"], names).encode() if "raw" in step else None


def send(target, step, names, file):
    method, path = traces.fill(step["send"], names).split(" ", 1)
    headers = traces.fill(headers_of(step, file), names)
    return target.api.open(method, path, headers, body_of(step, names), step.get("credentials", True))


def judge(step, answer, names):
    """None, or what is wrong with an answer."""
    status, _, content_type = step["answer"].partition(" ")
    if str(answer.status) not in status.split("|"):
        return "wanted %s, got %d %s" % (status, answer.status, body_text(answer)[:2000])
    found = answer.headers.get("Content-Type", "")
    if content_type and found != content_type:
        return "wanted content type %s, got %s" % (content_type, found)
    if "watch" in step:
        return None
    text = body_text(answer)
    if "text" in step:
        return traces.differs(traces.fill(step["text"], names), text.decode("utf-8", "replace"))
    if found.startswith("application/vnd.kubernetes.protobuf"):
        # runtime.Unknown: what it is, and the object's own bytes.
        unknown = traces.field_numbers(text[4:])
        want = {1: {2: step["body"]["kind"]}} if "kind" in step.get("body", {}) else {}
        if "fields" in step:
            want[2] = traces.fill(step["fields"], names)
        return traces.differs(want, unknown, repeated=True)
    document = json.loads(text) if text[:1] == b"{" else None
    how = traces.differs(traces.fill(step["body"], names), document) if "body" in step else None
    if how is None:
        for name, path in step.get("save", {}).items():
            try:
                names[name] = str(traces.pointer(document, path))
            except (KeyError, IndexError, TypeError, ValueError):
                return "nothing at %s of %s" % (path, traces.short(document))
    return how


def await_events(step, stream, names):
    """None, or which event did not come."""
    seen = []
    for want in traces.fill(step["events"], names):
        while True:
            try:
                line = stream.next()
            except (OSError, HTTPException) as error:
                line, seen = b"", seen + [str(error)]
            if not line:
                return "no event like %s; there were %s" % (traces.short(want), seen)
            event = json.loads(line)
            how = traces.differs(want, event)
            if how is None:
                break
            if step.get("all"):
                return how
            seen.append(how)
    return None


def perform(target, step, names, streams, file):
    """None, or what is wrong."""
    if "forget" in step:
        return target.forget()
    if "from" in step:
        return await_events(step, streams[step["from"]], names)
    end = time.time() + PATIENCE
    while True:
        try:
            answer = send(target, step, names, file)
            how = judge(step, answer, names)
        except (OSError, HTTPException) as error:
            answer, how = None, "no answer: %s" % error
        if how is None and "watch" in step:
            streams[step["watch"]] = Events(answer)
            return None
        if answer is not None:
            answer.connection.close()
        # `until`: what a controller does comes a moment later.
        if how is None or not step.get("until") or time.time() > end:
            return how
        time.sleep(0.05)


def play(target, trace, names, file):
    """None, or what is wrong with the first step that failed."""
    streams = {}
    names["now"] = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    try:
        for n, step in enumerate(trace["steps"]):
            how = perform(target, step, names, streams, file)
            if how is not None:
                return "step %d (%s): %s" % (n + 1, step.get("send") or step.get("from") or "forget", how)
    finally:
        for stream in streams.values():
            stream.answer.connection.close()
    return None


@contextlib.contextmanager
def namespace(target, n, trace, file):
    """A namespace of its own with what is given in it."""
    names = {"ns": "trace-%s" % n}
    target.api.json("POST", "/api/v1/namespaces", {"metadata": {"name": names["ns"]}})
    end = time.time() + PATIENCE
    while target.api.json("GET", "/api/v1/namespaces/%s/serviceaccounts/default" % names["ns"])[0] != 200:
        if time.time() > end:
            raise RuntimeError("namespace %s has no service account" % names["ns"])
        time.sleep(0.02)
    try:
        for given in trace.get("given", []):
            path, body = traces.fill(file["objects"][given]["at"], names), traces.fill(file["objects"][given]["object"], names)
            status, said = target.api.json("POST", path, body)
            if status != 201:
                raise RuntimeError("given %s: %d %s" % (given, status, said))
        yield names
    finally:
        target.api.json("DELETE", "/api/v1/namespaces/" + names["ns"])


# === the other side ===


class Kubectl:
    """A kubectl whose requests are kept. It has a home of its own, and remembers there what the API serves."""

    def __init__(self, program, proxy, home):
        self.program, self.proxy = program, proxy
        config = os.path.join(home, "kubeconfig")
        with open(config, "w") as file:
            yaml.safe_dump({
                "apiVersion": "v1", "kind": "Config", "current-context": "it",
                "clusters": [{"name": "it", "cluster": {"server": proxy.url}}],
                "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}], "users": [{"name": "it", "user": {}}],
            }, file)
        self.env = dict(os.environ, HOME=home, KUBECONFIG=config, EDITOR="sed -i s/ort:.80/ort:\\ 81/")

    def sends(self, line, names, file, seconds=None):
        """(requests, what it says) of `kubectl LINE`. A word `@NAME` is a file that holds that object of the trace file."""
        self.proxy.requests.clear()
        words = [self.program, "-n", names["ns"], *shlex.split(traces.fill(line, names))]
        with tempfile.TemporaryDirectory() as folder:
            for n, word in enumerate(words):
                if word[:1] == "@":
                    words[n] = os.path.join(folder, word[1:] + ".json")
                    with open(words[n], "w") as out:
                        json.dump(file["objects"][word[1:]]["object"], out)
            pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
            process = subprocess.Popen(words, env=self.env, text=True, **pipes)
            try:
                said, _ = process.communicate(timeout=seconds or 20)
            except subprocess.TimeoutExpired:
                process.terminate()
                said, _ = process.communicate()
        return list(self.proxy.requests), said


def like(text):
    """A regular expression of a text in which names that the trace saves may be anything."""
    return ".+".join(re.escape(part) for part in traces.NAME.sub("\0", text).split("\0"))


def same(step, request, names, file):
    """None, or how a request differs from the step that stands for it."""
    method, path = traces.fill(step["send"], names).split(" ", 1)
    for parameter in step.get("any", []):
        path = re.sub(r"\b%s=[^&]*" % parameter, parameter + "={any}", path)
    wanted = traces.fill(headers_of(step, file), names)
    if method != request.method or not re.fullmatch(like(path), request.path):
        return "wanted %s %s" % (method, path)
    for header in ("Accept", "Content-Type"):
        if wanted.get(header, "") != request.headers.get(header, ""):
            return "wanted %s %s, got %s" % (header, wanted.get(header), request.headers.get(header))
    if "protobuf" in step:
        return None if body_of(step, names) == request.body else "another protobuf body: %s" % request.told_body()
    if "with" in step:
        want = traces.fill(step["with"], names)
        got = json.loads(request.body)
        if not re.fullmatch(like(json.dumps(want, sort_keys=True)), json.dumps(got, sort_keys=True), re.S):
            return "wanted body %s, got %s" % (traces.short(want), traces.short(got))
    return None


def check_sent(kubectl, minor, trace, names, file):
    """None, or where kubectl sends something else."""
    requests, said = kubectl.sends(trace["kubectl"], names, file, trace.get("seconds"))
    if not trace.get("cold"):
        requests = [it for it in requests if not re.match(r"/apis?(\?|$)", it.path)]
    steps = [step for step in trace["steps"] if "send" in step and "by" not in step and holds_for(step, minor)]
    for n, step in enumerate(steps):
        how = same(step, requests[n], names, file) if n < len(requests) else "nothing is sent"
        if how is not None:
            return "request %d: %s\n%s\nkubectl said: %s" % (n + 1, how, "\n".join(map(str, requests)), said)
    if len(requests) > len(steps):
        return "more is sent: %s\nkubectl said: %s" % ("\n".join(map(str, requests[len(steps):])), said)
    return None


# === main ===


def holds_for(trace, minor):
    first, _, last = trace.get("versions", "-").partition("-")
    return int(first[2:] or 0) <= minor <= int(last[2:] or 999)


def run(target, a):
    """(passed, failed, skipped)."""
    file = yaml.safe_load(open(a.file))
    if a.flip:
        # What does not come does not come later.
        global PATIENCE
        PATIENCE = 1
        return all_traces(file, a.only, lambda n, trace: expectations_hold(target, n, trace, file))
    if not a.kubectl:
        return all_traces(file, a.only, lambda n, trace: answered(target, n, trace, file))
    minor = minor_version(a.kubectl)
    with tempfile.TemporaryDirectory(prefix="play-traces-") as home, Proxy(target.api) as proxy:
        kubectl = Kubectl(a.kubectl, proxy, home)
        kubectl.sends("api-resources", {"ns": "default"}, file)
        if a.show:
            with namespace(target, 0, {"given": [it for it in a.given.split(",") if it]}, file) as names:
                requests, said = kubectl.sends(a.show, names, file, a.seconds)
            print("\n".join(str(it) for it in requests) + "\n\n" + said)
            return 1, 0, 0
        return all_traces(file, a.only, lambda n, trace: sent(kubectl, minor, target, n, trace, file))


def flipped(value):
    """The same expectation but for one leaf, and None where there is no leaf to turn."""
    if isinstance(value, dict):
        for key, item in value.items():
            turned = flipped(item)
            if turned is not None:
                return {**value, key: turned}
        return None
    if isinstance(value, list):
        return [flipped(value[0]), *value[1:]] if value else ["an item"]
    return "something else" if isinstance(value, (str, int)) else None


def expectations_hold(target, n, trace, file):
    """None, or which expectation can be turned without anybody noticing."""
    can_be_played(target, trace)
    for at, step in enumerate(trace["steps"]):
        for key in ("answer", "body", "text", "events"):
            turned = flipped(step.get(key)) if key in step else None
            if turned is None or key == "text" and turned == step[key]:
                continue
            other = {**step, key: "299" if key == "answer" else turned}
            if key == "body" and "fields" in step:
                # One of the two is looked at.
                other["fields"] = flipped(step["fields"])
            steps = [*trace["steps"][:at], other, *trace["steps"][at + 1:]]
            with namespace(target, "%d-%d-%s" % (n, at, key), trace, file) as names:
                how = play(target, {**trace, "steps": steps}, names, file)
            if how is None or not how.startswith("step %d " % (at + 1)):
                return "%s of step %d is turned, and %s" % (key, at + 1, how or "all is well")
    return None


class Skipped(Exception):
    """Why a trace is not played."""


def can_be_played(target, trace):
    if target.forget is None and any("forget" in step for step in trace["steps"]):
        raise Skipped("no --forget command")


def answered(target, n, trace, file):
    can_be_played(target, trace)
    with namespace(target, n, trace, file) as names:
        return play(target, trace, names, file)


def sent(kubectl, minor, target, n, trace, file):
    if "kubectl" not in trace:
        raise Skipped("no kubectl sends it")
    if not holds_for(trace, minor):
        raise Skipped("other kubectls do so")
    with namespace(target, n, trace, file) as names:
        return check_sent(kubectl, minor, trace, names, file)


def all_traces(file, only, do):
    passed = failed = skipped = 0
    for n, trace in enumerate(file["traces"]):
        name = trace["kubectl"] if "kubectl" in trace else trace["by hand"]
        if not re.search(only, name):
            continue
        try:
            how = do(n, trace)
        except Skipped as why:
            skipped += 1
            print("skip %s: %s" % (name, why))
        else:
            passed, failed = passed + (how is None), failed + (how is not None)
            if how is not None:
                print("FAIL %s\n  %s" % (name, how))
    return passed, failed, skipped


def on_rutter(a):
    """Against a `rutter apiserver` of its own."""
    with tempfile.TemporaryDirectory(prefix="play-traces-") as folder:
        server, kubeconfig = start(a.rutter, folder)

        def end():
            server.send_signal(signal.SIGTERM)
            server.wait(20)

        def forget():
            # What happened before the start is not remembered.
            nonlocal server
            end()
            server, _ = start(a.rutter, folder)

        try:
            counts = run(Target(Api(kubeconfig), forget), a)
            if server.poll() is not None:
                print("rutter apiserver has ended:\n" + open(os.path.join(folder, "log")).read())
                return counts[0], counts[1] + 1, counts[2]
            return counts
        finally:
            end()


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--rutter")
    p.add_argument("--kubeconfig")
    p.add_argument("--forget")
    p.add_argument("--kubectl")
    p.add_argument("--flip", action="store_true")
    p.add_argument("--show")
    p.add_argument("--given", default="")
    p.add_argument("--seconds", type=float)
    p.add_argument("--only", default="")
    p.add_argument("file")
    a = p.parse_args()
    if a.kubeconfig:
        forget = (lambda: subprocess.run(a.forget, shell=True, check=True) and None) if a.forget else None
        return close(*run(Target(Api(a.kubeconfig), forget), a))
    code = in_a_namespace()
    return close(*on_rutter(a)) if code is None else code


if __name__ == "__main__":
    sys.exit(main())
