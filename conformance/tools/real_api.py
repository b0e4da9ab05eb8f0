#!/usr/bin/env python3
"""Proves `rutter proxy` and `rutter dns` on a real kube-apiserver: starts, outages, expiry, credentials, late objects, thousands of Services.

    real_api.py --rutter PATH [--peers DIR] [--only NAME ...] [--sizes 1000,10000] [--keep DIR]

Needs root and the peers etcd, kube-apiserver and kubectl. The network is that of play_proxy.py with one namespace more, hp-PID-api, where
etcd and the API server are, so that the node can be cut off from them. Rutter may do what deploy/ allows it and nothing else: the audit
log of the API server tells what it asked for, and a 403 there fails. "No rule rewritten" is the kernel's word: the number of the
rule set's generation, which each transaction counts up, and the handles of the rules.

One line for each scenario, with figures; those are of a shared machine.
"""
import argparse, base64, collections, http.client, ipaddress, json, os, re, resource, shutil, signal, socket, ssl, struct, subprocess, sys, tempfile, time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.dont_write_bytecode = True
import bench_dns as D  # noqa: E402
import bench_kubeproxy as B  # noqa: E402
import play_proxy as P  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))
DEPLOY = os.path.join(HERE, "../../deploy")
NEEDED = ("etcd", "kube-apiserver", "kubectl")
NODE_SIDE, API = "100.64.79.1", "100.64.79.2"
API_PORT = 6443
CIDR = B.NODE["serviceCIDRs"][0]
WITNESS, KUBE_DNS = "172.31.255.1", "172.16.0.10"
# Not 8080, which manifests of deploy/ use on the node.
BACKEND_PORT = 9000
HELD, HELD_BACKEND, HELD_PORT = "172.31.255.2", "10.254.0.3", 9
POD = "10.0.0.2"
KINDS = {"Service": ("/api/v1", "services"), "EndpointSlice": ("/apis/discovery.k8s.io/v1", "endpointslices"), "Node": ("/api/v1", "nodes"),
         "Namespace": ("/api/v1", "namespaces"), "ServiceCIDR": ("/apis/networking.k8s.io/v1", "servicecidrs"), "Secret": ("/api/v1", "secrets")}
ACCOUNTS = {"proxy": "rutter-proxy", "dns": "rutter-node-local-dns"}
LIMIT = 120
# A turn of rutter's, the pause before a list, and the list, on a shared machine.
QUICK = 4


class Failed(Exception):
    """What is not as it must be."""


def need(holds, why):
    if not holds:
        raise Failed(why)


def until(what, holds, limit=LIMIT, pause=0.02):
    """Seconds until `holds()`."""
    start = time.monotonic()
    while time.monotonic() - start < limit:
        if holds():
            return round(time.monotonic() - start, 2)
        time.sleep(pause)
    raise Failed(f"not within {limit} s: {what}")


# ---------------------------------------------------------------- network and kernel

class Network(P.Topology):
    """The node with its pods and the outside, and a namespace for the API."""
    def __init__(self):
        super().__init__()
        self.api = f"hp-{os.getpid()}-api"

    def up(self):
        super().up()
        P.run("ip", "netns", "add", self.api)
        P.run("ip", "link", "add", "api0", "netns", self.node, "type", "veth", "peer", "name", "eth0", "netns", self.api)
        for ns, dev, address in ((self.node, "api0", NODE_SIDE), (self.api, "eth0", API)):
            P.run("ip", "-n", ns, "addr", "add", f"{address}/30", "dev", dev)
            P.run("ip", "-n", ns, "link", "set", dev, "up")
        P.run("ip", "-n", self.api, "link", "set", "lo", "up")
        P.run("ip", "-n", self.api, "route", "add", "default", "via", NODE_SIDE)

    def down(self):
        super().down()
        P.run("ip", "netns", "del", self.api, check=False)

    def cut(self):
        """Ends the node's connections to the API, and has new ones refused."""
        self.filter(input=f"ip saddr {NODE_SIDE} tcp dport {API_PORT} reject with tcp reset")
        P.run("ip", "netns", "exec", self.node, "ss", "-Kt", "dst", f"{API}:{API_PORT}")

    def silence(self):
        """Has the node's connections to the API lead nowhere, without a word to either end; new ones work."""
        text = P.run("ip", "netns", "exec", self.node, "ss", "-Htn", "state", "established", "dst", f"{API}:{API_PORT}")
        ports = ", ".join(sorted(set(re.findall(rf"{re.escape(NODE_SIDE)}:(\d+)", text))))
        self.filter(input=f"ip saddr {NODE_SIDE} tcp sport {{ {ports} }} drop", output=f"ip daddr {NODE_SIDE} tcp dport {{ {ports} }} drop")

    def filter(self, **rules):
        chains = [f"chain {hook} {{ type filter hook {hook} priority 0; {rule}; }}\n" for hook, rule in rules.items()]
        self.nft("table ip cut {\n" + "".join(chains) + "}")

    def mend(self):
        self.nft("delete table ip cut")

    def nft(self, text):
        P.run("ip", "netns", "exec", self.api, "nft", "-f", "-", input=text)


def generation(ns):
    """How many transactions the rule set of a namespace has seen (NFT_MSG_GETGEN)."""
    with P.inside(ns):
        s = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12)
    with s:
        s.send(struct.pack("=IHHII4x", 20, 10 << 8 | 16, 1, 1, 0))
        answer = s.recv(4096)
    size, kind = struct.unpack("=HH", answer[20:24])
    assert kind == 1, "no NFTA_GEN_ID"
    return struct.unpack(">I", answer[24:20 + size])[0]


class Held:
    """A connection from the node through a Service, which stays open."""
    def __init__(self, topology):
        with P.inside(topology.pods):
            server = P.World.socket(4, "TCP")
        server.bind(("0.0.0.0", HELD_PORT))
        server.listen(8)
        server.settimeout(5)
        with P.inside(topology.node):
            self.ends = [socket.create_connection((HELD, HELD_PORT), timeout=5)]
        self.ends.append(server.accept()[0])
        server.close()

    def lives(self):
        """Whether a byte gets through both ways."""
        try:
            for one, other in (self.ends, self.ends[::-1]):
                one.settimeout(2), other.settimeout(2)
                one.sendall(b"x")
                if other.recv(1) != b"x":
                    return False
            return True
        except OSError:
            return False

    def close(self):
        for end in self.ends:
            end.close()


# ---------------------------------------------------------------- the control plane

class ControlPlane(D.API):
    """etcd and kube-apiserver in a namespace of their own; no controllers."""
    def __init__(self, topology, peers, work, cidr=CIDR):
        self.t, self.peers, self.work, self.cidr = topology, peers, work, cidr
        self.etcd = self.server = None
        self.audit = os.path.join(work, "audit.log")
        os.makedirs(work)
        P.run("openssl", "genrsa", "-out", f"{work}/sa.key", "2048")
        with open(f"{work}/tokens.csv", "w") as f:
            f.write('token-admin,admin,uid-admin,"system:masters"\n')
            for account in ACCOUNTS.values():
                f.write(f'token-{account},system:serviceaccount:kube-system:{account},uid-{account},"system:serviceaccounts"\n')
        with open(f"{work}/audit.yaml", "w") as f:
            json.dump({"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"],
                       "rules": [{"level": "Metadata", "userGroups": ["system:serviceaccounts"]}, {"level": "None"}]}, f)
        self.access = f"kubeconfig {self.credentials('admin')}"
        self.etcd = self.spawn("etcd", "--data-dir", f"{work}/etcd", "--listen-client-urls", "http://127.0.0.1:2379", "--advertise-client-urls",
                               "http://127.0.0.1:2379", "--listen-peer-urls", "http://127.0.0.1:2380", "--initial-advertise-peer-urls",
                               "http://127.0.0.1:2380", "--initial-cluster", "default=http://127.0.0.1:2380", "--unsafe-no-fsync")
        try:
            self.start_server()
            self.wait_ready()
        except BaseException:
            self.stop()
            raise

    def spawn(self, program, *argv):
        with open(f"{self.work}/{program}.log", "ab") as log:
            return subprocess.Popen(["ip", "netns", "exec", self.t.api, os.path.join(self.peers, program), *argv],
                                    stdout=log, stderr=log, stdin=subprocess.DEVNULL)

    def start_server(self, *flags):
        key = f"{self.work}/sa.key"
        self.server = self.spawn(
            "kube-apiserver", "--etcd-servers=http://127.0.0.1:2379", f"--secure-port={API_PORT}", "--bind-address=0.0.0.0",
            f"--advertise-address={API}", f"--cert-dir={self.work}/pki", "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={key}", f"--service-account-signing-key-file={key}", f"--token-auth-file={self.work}/tokens.csv",
            "--authorization-mode=RBAC", "--allow-privileged=true", f"--service-cluster-ip-range={self.cidr}",
            "--disable-admission-plugins=ServiceAccount", f"--audit-policy-file={self.work}/audit.yaml", f"--audit-log-path={self.audit}", *flags)

    def kill_server(self):
        self.server.kill()
        self.server.wait()

    def wait_ready(self):
        """Seconds until the server says that it is ready, and its RBAC rules are read."""
        def ready():
            need(self.server.poll() is None and self.etcd.poll() is None, f"the control plane ended; see {self.work}")
            try:
                return self.ask("GET", "/readyz")[0] == 200 and self.ask("GET", "/apis/networking.k8s.io/v1/servicecidrs/kubernetes")[0] == 200
            except (OSError, http.client.HTTPException):
                return False
        return until("the API server is ready", ready, limit=180, pause=0.1)

    def connect(self):
        with P.inside(self.t.api):
            connection = http.client.HTTPSConnection("127.0.0.1", API_PORT, context=ssl._create_unverified_context(), timeout=30)
            connection.connect()
        return connection

    def ask(self, method, path, body=None, content_type="application/json"):
        """(code, JSON or text) of a request by the administrator."""
        connection = self.connect()
        try:
            connection.request(method, path, body and json.dumps(body), {"Content-Type": content_type, "Authorization": "Bearer token-admin"})
            answer = connection.getresponse()
            text = answer.read()
        finally:
            connection.close()
        try:
            return answer.status, json.loads(text)
        except ValueError:
            return answer.status, text

    def do(self, method, path, body=None, content_type="application/json"):
        code, answer = self.ask(method, path, body, content_type)
        need(code < 300, f"{method} {path}: {code} {str(answer)[:300]}")
        return answer

    @staticmethod
    def path(o, name=True):
        group, plural = KINDS[o["kind"]]
        meta = o["metadata"]
        return "/".join([group, *(["namespaces", meta["namespace"]] if "namespace" in meta else []), plural, *([meta["name"]] if name else [])])

    def put(self, *objects):
        """Makes each be as it is here, as far as it says."""
        for o in objects:
            code, answer = self.ask("PATCH", self.path(o), o, "application/merge-patch+json")
            if code == 404:
                self.do("POST", self.path(o, name=False), o)
            elif code >= 300:
                raise Failed(f"PATCH {self.path(o)}: {code} {str(answer)[:300]}")
            if "status" in o:
                self.do("PATCH", self.path(o) + "/status", {"status": o["status"]}, "application/merge-patch+json")

    def delete(self, o):
        self.do("DELETE", self.path(o))

    def kubectl(self, *argv):
        return P.run("ip", "netns", "exec", self.t.api, os.path.join(self.peers, "kubectl"), "--kubeconfig", self.credentials("admin"), *argv)

    def credentials(self, user):
        """The path of a kubeconfig."""
        path = os.path.join(self.work, f"kubeconfig-{user}")
        with open(path, "w") as f:
            json.dump({"apiVersion": "v1", "kind": "Config", "current-context": "x", "users": [{"name": "u", "user": {"token": f"token-{user}"}}],
                       "clusters": [{"name": "c", "cluster": {"server": f"https://{API}:{API_PORT}", "insecure-skip-tls-verify": True}}],
                       "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}]}, f)
        return path

    def load(self, objects):
        with P.inside(self.t.api):
            super().load(objects)

    def etcd_call(self, path, body):
        with P.inside(self.t.api):
            connection = http.client.HTTPConnection("127.0.0.1", 2379, timeout=60)
            connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
            answer = connection.getresponse()
            text = answer.read()
        connection.close()
        need(answer.status == 200, f"etcd {path}: {answer.status} {text[:300]}")
        return json.loads(text)

    def unload(self, o):
        key = "/".join(["/registry", D.STORED_AS[o["kind"]], o["metadata"]["namespace"], o["metadata"]["name"]])
        self.etcd_call("/v3/kv/deleterange", {"key": base64.b64encode(key.encode()).decode()})

    def compact(self):
        """Has etcd forget everything but what is."""
        revision = self.etcd_call("/v3/kv/range", {"key": base64.b64encode(b"/").decode()})["header"]["revision"]
        self.etcd_call("/v3/kv/compaction", {"revision": revision, "physical": True})

    def asked(self, since=0):
        """What rutter asked for, from a place in the audit log on: (verb, resource, path, code), and the place where it ends."""
        if not os.path.exists(self.audit):
            return [], 0
        with open(self.audit, "rb") as f:
            f.seek(since)
            # The last line may be under way.
            lines = f.read().rpartition(b"\n")[0]
        rows, end = [], since + len(lines)
        for line in filter(None, lines.split(b"\n")):
            e = json.loads(line)
            # A watch is told twice: when it starts and when it ends.
            if e["stage"] == ("ResponseStarted" if e["verb"] == "watch" and e["responseStatus"]["code"] < 300 else "ResponseComplete"):
                rows.append((e["verb"], (e.get("objectRef") or {}).get("resource", "?"), e["requestURI"], e["responseStatus"]["code"]))
        return rows, end

    def stop(self):
        for process in (self.server, self.etcd):
            if process:
                process.kill()
                process.wait()


def lists(rows):
    """How many lists were begun, by kind; later pages are of the same list."""
    return dict(collections.Counter(r for verb, r, path, _ in rows if verb == "list" and "continue=" not in path))


# ---------------------------------------------------------------- rutter

class Proxy(P.Driver):
    """`rutter proxy` on the node, as the ServiceAccount of deploy/."""
    name = "rutter"

    def start(self, kubeconfig, detector=None):
        config = P.proxy_config(B.NODE, "nftables") | {"clientConnection": {"kubeconfig": kubeconfig}}
        if detector:
            config |= {"detectLocalMode": detector, "clusterCIDR": ""}
        self.spawn("proxy", "--config", self.write("config.json", config))

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.process = None


class InPod:
    """A container of a DaemonSet on the host's network, started by hand: its command, its mounted files, its capabilities, a read-only root."""
    SETUP = """set -e
mount -t tmpfs none /run
mkdir -p /run/secrets/kubernetes.io /run/rutter
ln -s "$POD/serviceaccount" /run/secrets/kubernetes.io/serviceaccount
mount -t tmpfs none /etc
ln -s "$POD/config" /etc/rutter
echo 'nameserver 192.0.2.53' > /etc/resolv.conf
mount -o remount,bind,ro /
[ -z "$CAPS" ] || set -- setpriv --no-new-privs --inh-caps="$CAPS" --bounding-set="$CAPS" "$@"
exec "$@"
"""

    def __init__(self, rig, name, container, config, account):
        self.rig, self.account, self.n_tokens = rig, account, 0
        self.name, self.container, self.folder = name, container, os.path.join(rig.work, f"pod-{name}")
        links = os.path.join(rig.work, "bin")
        os.makedirs(links, exist_ok=True)
        for program in ("rutter", "kube-proxy"):
            if not os.path.exists(os.path.join(links, program)):
                os.symlink(rig.rutter, os.path.join(links, program))
        os.makedirs(os.path.join(self.folder, "config"))
        for file, text in config.items():
            with open(os.path.join(self.folder, "config", file), "w") as f:
                f.write(text)
        self.path = links + ":" + os.environ["PATH"]
        self.process = None

    def mount(self, token):
        """Lays the credentials out as a kubelet does: behind two links that are swapped at once."""
        at = os.path.join(self.folder, "serviceaccount")
        self.n_tokens += 1
        data = os.path.join(at, f"..{self.n_tokens}")
        os.makedirs(data)
        shutil.copy(f"{self.rig.api.work}/pki/apiserver.crt", os.path.join(data, "ca.crt"))
        for file, text in (("token", token), ("namespace", "kube-system")):
            with open(os.path.join(data, file), "w") as f:
                f.write(text)
        os.symlink(f"..{self.n_tokens}", os.path.join(at, "..data_tmp"))
        os.rename(os.path.join(at, "..data_tmp"), os.path.join(at, "..data"))
        if self.n_tokens == 1:
            for file in ("ca.crt", "token", "namespace"):
                os.symlink(f"..data/{file}", os.path.join(at, file))

    def command(self):
        return [word.replace("$(NODE_NAME)", B.NODE["nodeName"]) for word in self.container["command"]]

    def start(self):
        context = self.container.get("securityContext") or {}
        caps = "" if context.get("privileged") else ",".join(["-all", *("+" + c.lower() for c in context["capabilities"]["add"])])
        env = {"POD": self.folder, "CAPS": caps, "PATH": self.path, "NODE_NAME": B.NODE["nodeName"],
               "KUBERNETES_SERVICE_HOST": API, "KUBERNETES_SERVICE_PORT": str(API_PORT)}
        with open(self.folder + ".log", "ab") as log:
            self.process = subprocess.Popen(["ip", "netns", "exec", self.rig.t.node, "sh", "-c", self.SETUP, "sh", *self.command()],
                                            stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=env)

    def said(self):
        with open(self.folder + ".log", errors="replace") as f:
            return f.read()

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(15)
        self.process = None


class Rig:
    """Everything that scenarios share."""
    def __init__(self, rutter, peers, work):
        self.rutter, self.peers, self.work = os.path.abspath(rutter), os.path.abspath(peers), work
        self.t, self.api, self.world, self.pods, self.held, self.n_loaded = Network(), None, None, [], None, 0
        self.proxy = Proxy(rutter, self.t, work)

    def up(self):
        self.t.up()
        self.t.node_addresses(B.NODE["nodeIPs"])
        self.world = P.World(self.t)
        self.world.listen([("UDP", P.SENTINEL_PORT), ("TCP", P.SENTINEL_PORT), ("TCP", BACKEND_PORT)])
        self.cluster()

    def control_plane(self, name="cluster", cidr=CIDR):
        """A new one, with all of deploy/."""
        if self.api:
            self.api.stop()
        self.api = ControlPlane(self.t, self.peers, os.path.join(self.work, name), cidr)
        folder = os.path.join(self.api.work, "deploy")
        os.makedirs(folder)
        for file in sorted(f for f in os.listdir(DEPLOY) if f.endswith(".yaml")):
            with open(os.path.join(DEPLOY, file)) as f, open(os.path.join(folder, file), "w") as to:
                to.write(re.sub(r"clusterIP: [0-9.]+", f"clusterIP: {ipaddress.ip_network(cidr)[10]}", f.read()))
        self.applied = self.api.kubectl("apply", f"-f={folder}")

    def cluster(self):
        """A Node, the witness, and a Service for a connection that stays."""
        self.control_plane()
        node = next(P.cluster(B.NODE))
        self.api.put({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "bench"}}, node, *B.witness(B.WITNESS[0]),
                     *B.service("held", HELD, HELD_PORT, "TCP", [HELD_BACKEND], HELD_PORT))

    def start(self, **kw):
        self.proxy.start(self.api.credentials(ACCOUNTS["proxy"]), **kw)
        return B.Usage(self.proxy.process.pid)

    def running(self):
        """Makes sure that a proxy runs and its rules are in force."""
        if self.proxy.process is None or self.proxy.process.poll() is not None:
            self.start()
        until("the proxy is healthy", self.healthy)
        if not self.held or not self.held.lives():
            self.held = Held(self.t)

    def stop(self):
        """Ends whatever proxy runs, and takes its rules away."""
        for pod in self.pods:
            pod.stop()
        if self.held:
            self.held.close()
            self.held = None
        self.proxy.stop()
        self.t.wipe()

    def page(self, port, path):
        """The code of a page of the node's."""
        try:
            with P.inside(self.t.node):
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
                connection.connect()
            connection.request("GET", path)
            return connection.getresponse().status
        except OSError:
            return None

    def healthy(self):
        return self.page(10256, "/healthz") == 200

    def outcome(self, src, dst, port, proto="TCP", ns=None):
        """How one packet ends: (verdict, backend, masqueraded)."""
        probe = P.Probe(src, proto, dst, port)
        self.world.play([(ns or self.t.pods, probe, 0.4)])
        return probe.outcome()

    def move_witness(self, to):
        """Moves the witness to its backend `to`; seconds from the API's answer until a packet goes there."""
        self.api.put(B.witness(B.WITNESS[to])[1])
        return round(B.reaches(self.world, WITNESS, B.WITNESS[to], "TCP", LIMIT), 3)

    def served(self, n):
        """Whether Service `n` of those loaded answers."""
        return self.world.ask(address(n), 80, "TCP", 0.3) in B.backends(n, 2)

    def ask_for(self, seconds):
        """New connections for so long: how many, and how many of them failed."""
        asked = lost = 0
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            asked, lost = asked + 1, lost + (self.world.ask(WITNESS, P.SENTINEL_PORT, "TCP", 1) not in B.WITNESS)
            time.sleep(0.005)
        return asked, lost

    def load(self, n):
        """Loads Services until there are `n`, each with the address object that an API server would make for it."""
        if n > self.n_loaded:
            objects = [o for i in range(self.n_loaded, n) for o in loaded(i)]
            addresses = [ip_address(o) for o in objects if o["kind"] == "Service"]
            self.api.load([*addresses, *objects])
            self.n_loaded = n

    def recover(self):
        """Leaves nothing of a scenario that broke off."""
        P.run("ip", "netns", "exec", self.t.api, "nft", "flush", "ruleset", check=False)
        self.stop()
        if self.api.server.poll() is not None and self.api.etcd.poll() is None:
            self.api.start_server()
            self.api.wait_ready()

    def close(self):
        for pod in self.pods:
            pod.stop()
        self.proxy.stop()
        if self.api:
            self.api.stop()
        self.t.down()


def address(n):
    return f"172.20.{n >> 8}.{n & 255}"


def loaded(n, endpoints=None):
    return list(B.service(f"svc-{n}", address(n), 80, "TCP", endpoints or B.backends(n, 2), BACKEND_PORT, local=n % 2))


def ip_address(service):
    meta, ip = service["metadata"], service["spec"]["clusterIP"]
    return {"apiVersion": "networking.k8s.io/v1", "kind": "IPAddress",
            "metadata": {"name": ip, "labels": {"ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io", "ipaddress.kubernetes.io/ip-family": "IPv4"}},
            "spec": {"parentRef": {"group": "", "resource": "services", "namespace": meta["namespace"], "name": meta["name"]}}}


def touched(o):
    """The same with a note that changes nothing."""
    return o | {"metadata": o["metadata"] | {"annotations": {"at": str(time.monotonic())}}}


class Watching:
    """What happens to the kernel's rules and at the API from here on."""
    def __init__(self, rig):
        self.rig = rig
        self.generation, self.handles = generation(rig.t.node), B.handles(rig.t.node)
        self.place = rig.api.asked()[1]

    def transactions(self):
        return generation(self.rig.t.node) - self.generation

    def rewritten(self):
        return len(B.handles(self.rig.t.node) ^ self.handles)

    def asked(self):
        return self.rig.api.asked(self.place)[0]


# ---------------------------------------------------------------- scenarios
# Each takes the rig and gives figures in words; it raises Failed. They come in this order, on a cluster that grows.

def late_node(rig):
    """Node and its pod CIDR come late and change, detector NodeCIDR"""
    rig.stop()
    node = next(P.cluster(B.NODE))
    rig.api.delete(node)
    rig.start(detector="NodeCIDR")
    first = until("a Service is served without a Node", lambda: rig.world.ask(WITNESS, P.SENTINEL_PORT, "TCP", 0.3) in B.WITNESS)
    took = []
    for cidr, inside, elsewhere in (("10.0.0.0/24", "10.0.0.2", "10.0.3.4"), ("10.0.3.0/24", "10.0.3.4", "10.0.0.2")):
        rig.api.put(node | {"spec": {"podCIDR": cidr, "podCIDRs": [cidr]}})
        masqueraded = lambda src: rig.outcome(src, WITNESS, P.SENTINEL_PORT)[2]
        took.append(until(f"{elsewhere} is masqueraded, {inside} is not", lambda: masqueraded(elsewhere) and not masqueraded(inside), 10))
        rig.api.delete(node)
    rig.api.put(node)
    rig.stop()
    return f"served without a Node after {first} s; its pod CIDR obeyed after {took[0]} s, another one's after {took[1]} s"


def service_cidr(rig):
    """A ServiceCIDR is added, widened, and goes"""
    rig.running()
    more = lambda cidrs: {"apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR", "metadata": {"name": "more"}, "spec": {"cidrs": cidrs}}
    v4, v6 = ("10.88.0.9", POD), ("fd00:10:88::9", "fd00:10::2")
    ends = lambda packet: rig.outcome(packet[1], packet[0], BACKEND_PORT)[0]
    need(ends(v4) == "no-rule" and ends(v6) == "no-rule", f"before: {ends(v4)}, {ends(v6)}")
    took = []
    rig.api.put(more(["10.88.0.0/16"]))
    took.append(until("an unallocated address of the new range is dropped", lambda: ends(v4) == "drop", 10))
    need(ends(v6) == "no-rule", "the other family is dropped as well")
    rig.api.put(more(["10.88.0.0/16", "fd00:10:88::/112"]))
    took.append(until("the range of the other family is dropped", lambda: ends(v6) == "drop", 10))
    rig.api.delete(more([]))
    took.append(until("it is let go", lambda: ends(v4) == ends(v6) == "no-rule", 10))
    return "obeyed after {} s, widened {} s, gone {} s (of it the packet that is not answered 0.4 s)".format(*took)


def manifests(rig):
    """deploy/ as it is: applied, and its containers started by hand"""
    rig.stop()
    need(all(line.endswith(" created") for line in rig.applied.splitlines()), rig.applied)
    watching = Watching(rig)
    proxy, dns = (pod_of(rig, name) for name in ACCOUNTS.values())
    init = pod_of(rig, ACCOUNTS["proxy"], init=True)
    init.mount("none")
    init.start()
    need(init.process.wait(30) == 0, f"the init container: {init.said()}")
    began = time.monotonic()
    for pod in (proxy, dns):
        pod.mount(token(rig, pod.account)[0])
        pod.start()
    asks = {"livenessProbe": [], "readinessProbe": []}
    for pod in (proxy, dns):
        for probe, took in asks.items():
            get = pod.container[probe]["httpGet"]
            need(get.get("host", "127.0.0.1") == "127.0.0.1", str(get))

            def well():
                need(pod.process.poll() is None, f"{pod.name} ended: {pod.said()[-800:]}")
                return rig.page(get["port"], get["path"]) == 200
            until(f"{pod.name}: {probe} {get}: {pod.said()[-800:]}", well, 30)
            took.append(round(time.monotonic() - began, 2))
    need(rig.world.ask(WITNESS, P.SENTINEL_PORT, "TCP", 1) in B.WITNESS, "the proxy serves nothing")
    answer = lambda: named(rig, "witness.bench.svc.cluster.local.", KUBE_DNS)
    until("a pod is answered at the address of kube-dns", lambda: answer() == [WITNESS], 10)
    wrong = [row for row in watching.asked() if row[3] in (401, 403)]
    need(not wrong, f"refused: {wrong}")
    for pod in (proxy, dns):
        pod.stop()
    rig.t.wipe()
    return f"{len(rig.applied.splitlines())} objects accepted; init, proxy and node-local DNS run, ready after {asks['readinessProbe']} s; packets and names answered"


def pod_of(rig, daemon_set, init=False):
    """A container of a DaemonSet that the API holds, and the files of its ConfigMap."""
    spec = rig.api.do("GET", f"/apis/apps/v1/namespaces/kube-system/daemonsets/{daemon_set}")["spec"]["template"]["spec"]
    container = spec["initContainers" if init else "containers"][0]
    volume = {v["name"]: v for v in spec["volumes"]}["config"]["configMap"]["name"]
    files = rig.api.do("GET", f"/api/v1/namespaces/kube-system/configmaps/{volume}")["data"]
    pod = InPod(rig, f"{daemon_set}-{len(rig.pods)}", container, files, spec["serviceAccountName"])
    rig.pods.append(pod)
    return pod


def token(rig, account):
    """A token for 600 s, and the Secret with which it ends."""
    name = f"{account}-{time.monotonic_ns()}"
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": "kube-system"}}
    rig.api.put(secret)
    asked = {"spec": {"expirationSeconds": 600, "boundObjectRef": {"apiVersion": "v1", "kind": "Secret", "name": name}}}
    answer = rig.api.do("POST", f"/api/v1/namespaces/kube-system/serviceaccounts/{account}/token", asked)
    return answer["status"]["token"], secret


def named(rig, name, server):
    """The addresses that a server tells a pod for a name."""
    with P.inside(rig.t.pods), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.settimeout(1)
        try:
            s.connect((server, 53))
            s.send(D.build_query(name, "A", 4711))
            return sorted(r["data"] for r in D.Message(s.recv(65535)).sections["answer"])
        except (OSError, ValueError):
            return None


def credentials(rig):
    """In-cluster credentials: the token is replaced before and after it ends"""
    rig.stop()
    pod = pod_of(rig, ACCOUNTS["proxy"])
    old, secret = token(rig, pod.account)
    pod.mount(old)
    pod.start()
    until("the proxy is healthy", rig.healthy, 30)
    rig.move_witness(1)
    took, watching = [], Watching(rig)
    def end(secret):
        """Ends a token and every connection; the API server believes in a token that it knows for 10 s more."""
        rig.api.delete(secret)
        time.sleep(11)
        rig.t.cut()
        rig.t.mend()

    # In time: the new token is there when the old one ends.
    new, next_secret = token(rig, pod.account)
    pod.mount(new)
    end(secret)
    took.append(rig.move_witness(0))
    # Late: the old one is refused for a while.
    end(next_secret)
    until("the old token is refused", lambda: "Unauthorized" in pod.said(), 20)
    time.sleep(3)
    pod.mount(token(rig, pod.account)[0])
    took.append(rig.move_witness(1))
    rows = watching.asked()
    need(not lists(rows), f"lists: {lists(rows)}")
    need(watching.transactions() == 2 and not watching.rewritten(), f"{watching.transactions()} transactions, {watching.rewritten()} rules rewritten")
    # An Event is the one thing that it may write.
    name = {"name": "oddly-balanced", "namespace": "bench"}
    rig.api.put({"apiVersion": "v1", "kind": "Service", "metadata": name | {"annotations": {"rutter.dev/balance": "nonsense"}},
                 "spec": {"ports": [{"port": 80}]}})
    events = lambda: [e for e in rig.api.do("GET", "/api/v1/namespaces/bench/events")["items"] if e["involvedObject"]["name"] == name["name"]]
    event = until("an Event tells of a bad object", events, 20)
    rig.api.delete({"kind": "Service", "metadata": name})
    forbidden = [row for row in watching.asked() if row[3] == 403]
    need(not forbidden, f"forbidden: {forbidden}")
    pod.stop()
    rig.t.wipe()
    return (f"after a token ended a change is in the kernel in {took[0]} s; {took[1]} s after a token that came late; "
            f"{len(rows)} requests, no list, no rule rewritten; an Event {events()[0]['reason'] if events() else ''} after {event} s")


def from_nothing(n):
    def scenario(rig):
        rig.stop()
        began = time.monotonic()
        rig.load(n)
        loaded_in = time.monotonic() - began
        began = time.monotonic()
        usage = rig.start()
        took = until("the last Service answers", lambda: rig.served(n - 1), pause=0.005)
        need(rig.proxy.process.poll() is None, rig.proxy.last_words())
        cpu = usage.cpu()
        usage.settled()
        memory = usage.memory()
        usage.running = False
        silent = [i for i in range(0, n, max(1, n // 200)) if not rig.served(i)]
        need(not silent, f"Services without an answer: {silent}")
        return f"{took} s, {cpu:.2f} s of CPU ({usage.cpu():.2f} s when settled), {memory['VmRSS']} MB resident, at most {memory['VmHWM']} MB (loaded in {loaded_in:.0f} s)"
    scenario.__doc__ = f"{n} Services x 2 from nothing"
    return scenario


def killed(n):
    def scenario(rig):
        rig.running()
        watching = Watching(rig)
        rig.proxy.kill()
        asked, lost = rig.ask_for(2)
        began = time.monotonic()
        usage = rig.start()
        while not rig.healthy():
            need(time.monotonic() - began < LIMIT, "the proxy is not healthy")
            more, fewer = rig.ask_for(0.1)
            asked, lost = asked + more, lost + fewer
        took = time.monotonic() - began
        usage.settled()
        usage.running = False
        need(not lost, f"{lost} of {asked} new connections lost")
        need(rig.held.lives(), "the connection that was open is lost")
        need(not watching.transactions() and not watching.rewritten(), f"{watching.transactions()} transactions, {watching.rewritten()} rules rewritten")
        change = rig.move_witness(1)
        rig.move_witness(0)
        return (f"healthy after {took:.2f} s, {usage.cpu():.2f} s of CPU, {usage.memory()['VmRSS']} MB resident; no transaction; "
                f"of {asked} new connections none lost, the open one lives; the next change in the kernel in {change} s")
    scenario.__doc__ = f"{n} Services: rutter killed and started again"
    return scenario


def outage(rig):
    """The API server is killed, 5 s later it starts again"""
    rig.running()
    rig.move_witness(0)
    watching = Watching(rig)
    rig.api.kill_server()
    asked, lost = rig.ask_for(5)
    rig.api.start_server()
    started = rig.api.wait_ready()
    took = rig.move_witness(1)
    time.sleep(15)
    rows = watching.asked()
    often = {kind: n for kind, n in lists(rows).items() if n > 1}
    need(not lost and rig.held.lives(), f"{lost} of {asked} new connections lost")
    need(not often, f"listed more than once: {often}")
    need(took < QUICK, f"a change made when the API server was back was in the kernel after {took} s only")
    need(watching.transactions() == 1 and not watching.rewritten(), f"{watching.transactions()} transactions, {watching.rewritten()} rules rewritten")
    back = rig.move_witness(0)
    return (f"back after {started} s; a change made then in the kernel in {took} s, the next in {back} s; {in_words(rows)}; "
            f"one transaction, no rule rewritten; of {asked} new connections none lost")


def changed_meanwhile(rig):
    """The API server is gone for 20 s in which objects change, come and go, and etcd forgets how"""
    rig.running()
    watching = Watching(rig)
    rig.api.kill_server()
    n = rig.n_loaded
    moved = [loaded(i, ["10.250.0.1"])[1] for i in range(0, min(n, 100), 2)]
    gone, new = loaded(1), loaded(n)
    rig.api.load([*moved, ip_address(new[0]), *new])
    for o in [*gone, ip_address(gone[0]) | {"metadata": {"namespace": "", "name": address(1)}}]:
        rig.api.unload(o)
    rig.api.compact()
    asked, lost = rig.ask_for(20)
    need(rig.served(1) and rig.held.lives() and not lost, "rules did not stay")
    rig.api.start_server()
    started = rig.api.wait_ready()
    took = until("the new Service answers", lambda: rig.served(n))
    until("moved Services follow", lambda: all(rig.world.ask(address(i), 80, "TCP", 0.3) == "10.250.0.1" for i in range(0, min(n, 100), 2)), 10)
    until("the deleted Service is gone", lambda: rig.outcome(POD, address(1), 80)[0] == "drop", 10)
    rows, often = watching.asked(), {kind: k for kind, k in lists(watching.asked()).items() if k > 1}
    need(not often, f"listed more than once: {often}")
    need(not watching.rewritten(), f"{watching.rewritten()} rules rewritten")
    transactions = watching.transactions()
    rig.api.load([*[loaded(i)[1] for i in range(0, min(n, 100), 2)], ip_address(gone[0]), *gone])
    for o in new:
        rig.api.delete(o)
    until("all is as before", lambda: all(rig.served(i) for i in range(0, min(n, 100))))
    return (f"back after {started} s; {len(moved)} moved, one new, one gone in the kernel {took} s later; {in_words(rows)}; "
            f"{transactions} transactions, no rule rewritten; of {asked} new connections none lost")


def expired(rig):
    """Cut off while etcd forgets: 410 for EndpointSlices alone"""
    rig.running()
    # Without a cache of this kind the API server asks etcd, which has forgotten; the other kinds' watches resume from their caches.
    rig.api.kill_server()
    rig.api.start_server("--watch-cache-sizes=endpointslices.discovery.k8s.io#0")
    rig.api.wait_ready()
    rig.move_witness(1)
    time.sleep(3)
    watching = Watching(rig)
    rig.t.cut()
    rig.api.put(*(touched(o) for o in B.witness(B.WITNESS[1])))
    rig.api.compact()
    time.sleep(2)
    rig.t.mend()
    until("EndpointSlices are listed", lambda: lists(watching.asked()).get("endpointslices"), 60)
    time.sleep(15)
    rows = watching.asked()
    need(lists(rows) == {"endpointslices": 1}, f"lists: {lists(rows)}")
    need(not watching.transactions() and not watching.rewritten(), f"{watching.transactions()} transactions, {watching.rewritten()} rules rewritten")
    took = rig.move_witness(0)
    rig.api.kill_server()
    rig.api.start_server()
    rig.api.wait_ready()
    return f"{in_words(rows)}; no transaction; the next change in the kernel in {took} s"


def half_open(rig):
    """The connections to the API die without a word"""
    rig.running()
    rig.move_witness(1)
    watching = Watching(rig)
    rig.t.silence()
    rig.api.put(B.witness(B.WITNESS[0])[1])
    took = round(B.reaches(rig.world, WITNESS, B.WITNESS[0], "TCP", 200), 1)
    rig.t.mend()
    need(not lists(watching.asked()), f"lists: {lists(watching.asked())}")
    need(took < 60, f"a change was in the kernel after {took} s only")
    return f"a change in the kernel after {took} s; {in_words(watching.asked())}"


def names(n, endpoints):
    """DNS on a control plane of its own, whose ServiceCIDR holds the addresses."""
    def scenario(rig):
        rig.stop()
        rig.control_plane(f"names-{n}", "10.96.0.0/11")
        objects = D.cluster(n, endpoints)
        addresses = [ip_address(o) for o in objects if o["kind"] == "Service" and o["spec"]["clusterIP"] != "None"]
        rig.api.load([*addresses, *objects])
        server = D.Server("rutter", rig.rutter, rig.work)
        last = "svc%d.ns%d.svc.cluster.local." % (n - 1, (n - 1) % 20)
        with P.inside(rig.t.node):
            server.start(objects, f"kubeconfig {rig.api.credentials(ACCOUNTS['dns'])} x")
            try:
                _, took = D.wait_answer(server, last)
                need(took, f"{last} is not answered")
                until("ready", D.ready_url)
                cpu = sum(server.cpu())
                usage = B.Usage(server.proc.pid)
                usage.settled()
                memory = usage.memory()
                place = rig.api.asked()[1]
                rig.api.kill_server()
                late = list(B.service("late", "10.97.200.1", 80, "TCP", ["10.128.0.1"], BACKEND_PORT))
                for o in late:
                    o["metadata"]["namespace"] = "ns1"
                moved = [dict(o, endpoints=[dict(o["endpoints"][0], addresses=["10.200.0.1"])]) for o in objects if o["metadata"]["name"] == "hdl7-x"]
                rig.api.load([ip_address(late[0]), *late, *moved])
                time.sleep(5)
                need(D.ask(last, "A").sections["answer"], "names were not kept")
                rig.api.start_server()
                started = rig.api.wait_ready()
                answer = lambda name: [r["data"] for r in D.ask(name, "A").sections["answer"]]
                back = until("what came during the outage is answered", lambda: answer("late.ns1.svc.cluster.local.") == ["10.97.200.1"])
                until("what changed during the outage is answered", lambda: answer("hdl7.ns7.svc.cluster.local.") == ["10.200.0.1"], 10)
                rows = rig.api.asked(place)[0]
                often = {kind: k for kind, k in lists(rows).items() if k > 1}
                need(not often, f"listed more than once: {often}")
                usage.running = False
                again = usage.memory()
            finally:
                server.stop()
        return (f"the last name answered after {took:.2f} s, {cpu:.2f} s of CPU, {memory['VmRSS']} MB resident; API server gone for 5 s, back after {started} s: "
                f"changes made meanwhile answered {back} s later, {in_words(rows)}, at most {again['VmHWM']} MB")
    scenario.__doc__ = f"DNS: {n} Services x {endpoints}, and an outage"
    return scenario


def in_words(rows):
    """Lists and watches, by kind."""
    watches = collections.Counter(r for verb, r, *_ in rows if verb == "watch")
    words = [f"{n} list{'s' * (n > 1)} of {kind}" for kind, n in sorted(lists(rows).items())] or ["no list"]
    return ", ".join(words) + f", {sum(watches.values())} watches"


def scenarios(sizes):
    yield "node", late_node
    yield "servicecidr", service_cidr
    yield "manifests", manifests
    yield "credentials", credentials
    for n in sizes:
        yield f"start-{n}", from_nothing(n)
        yield f"restart-{n}", killed(n)
    yield "outage", outage
    yield "changed", changed_meanwhile
    yield "expired", expired
    yield "half-open", half_open
    for n in sizes:
        yield f"dns-{n}", names(n, 15)


def main():
    a = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    a.add_argument("--rutter", required=True)
    a.add_argument("--peers", default=os.path.join(HERE, "../../.cache/peers"), help="folder of etcd, kube-apiserver and kubectl")
    a.add_argument("--sizes", default="1000,10000", type=lambda s: [int(n) for n in s.split(",")], help="numbers of Services, growing")
    a.add_argument("--only", action="append", help="scenario; repeatable")
    a.add_argument("--keep", help="folder that keeps all logs")
    a = a.parse_args()
    missing = [p for p in NEEDED if not os.access(os.path.join(a.peers, p), os.X_OK)]
    if missing:
        print(f"SKIP real API: no {', '.join(missing)} in {os.path.relpath(a.peers)}\n0 passed, 0 failed, {len(list(scenarios(a.sizes)))} skipped")
        sys.exit(77)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    work, rig, passed, failed = a.keep or tempfile.mkdtemp(prefix="hp-"), None, 0, 0
    try:
        rig = Rig(a.rutter, a.peers, work)
        rig.up()
        for name, scenario in scenarios(a.sizes):
            if a.only and name not in a.only:
                continue
            try:
                print(f"ok {name}: {scenario.__doc__}: {scenario(rig)}", flush=True)
                passed += 1
            except (Failed, SystemExit, RuntimeError, OSError) as why:
                print(f"FAIL {name}: {scenario.__doc__}: {why}", flush=True)
                failed += 1
                rig.recover()
    finally:
        if rig:
            rig.close()
        if not a.keep:
            shutil.rmtree(work, ignore_errors=True)
    print(f"{passed} passed, {failed} failed, 0 skipped")
    sys.exit(1 if failed or not passed else 0)


if __name__ == "__main__":
    main()
