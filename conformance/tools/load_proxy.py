#!/usr/bin/env python3
"""Counts what is lost of thousands of connections a second while the service proxy under them changes, is killed, is replaced.

    load_proxy.py --rutter PATH [--kube-proxy PATH] [--only TEXT] [--skip TEXT] [--seconds N] [--rounds N] [--hogs N]

| scenario | what happens under load |
|---|---|
| flap | endpoints 3-2-3, any of them, 1,000 changes a second for N seconds; one that left before must see nobody |
| zero | to no endpoint and back: refused at once while there is none, served at once after |
| kill | kill -9 and a start, with another endpoint gone in between |
| udp | one socket asks on and on while the endpoints behind it change, go to none, and come back: it hears of it each time |
| upgrade MODE | kube-proxy (nftables, iptables over nft, iptables over legacy) ends, rutter starts, and the way back |

Load are processes that connect without a pause to the cluster IP from a pod and from the node, to the node port and to a
load-balancer address from outside, and connections that are kept and asked again and again. Lost is what is not connected within
0.9 s (a lost SYN is sent again after a second), refused, reset, or answered by an endpoint that was out of force before.
A packet that left the node, or came into it, with a Service's address is counted as well: it went past the rules.
A scenario without its peer is named and counted as skipped. Root; the network is that of play_proxy.py.
"""
import argparse, collections, contextlib, errno, itertools, json, mmap, os, random, re, resource, shutil, signal, socket, struct, subprocess, sys
import tempfile, threading, time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import play_proxy as play  # noqa: E402

NODE, NODE_IP, CLUSTER_IP, LB_IP, NODE_PORT = "test-node", "192.168.0.2", "172.30.1.1", "1.2.3.4", 30080
# So many for each that no client comes from the same address and port again soon: for connection tracking that would be the connection of
# before, which goes where it went (if its end was not seen for sure), whatever the rules say by now.
PODS, OUTSIDE, ON_NODE = [[f"{net}.{n}" for n in range(2, 34)] for net in ("10.0.0", "203.0.113", "192.168.7")]
PORTS, N_SHARES = range(20000, 65000), 8  # those of one process are no other's
CONNECT, ANSWER = 0.9, 5.0
N_KEPT = 20
NOBODY = 63  # the number of the endpoint that refuses
UDP_PORT = 5353


def endpoint(n):
    return f"10.180.0.{n}"


# ---------------------------------------------------------------- the load

class Shared:
    """What the processes of the load and their parent tell each other: a byte to stop, one for each endpoint out of force, counts."""
    def __init__(self):
        self.memory = mmap.mmap(-1, 4096)

    stop = property(lambda self: self.memory[0], lambda self, on: self.memory.__setitem__(0, on))

    def allow(self, endpoints):
        """`endpoints` may answer from now on, and nobody at all if there are none."""
        for n in endpoints or [NOBODY]:
            self.memory[n] = 0

    def forbid_others(self, endpoints):
        """No others than `endpoints` are in force any more."""
        for n in range(1, NOBODY + 1):
            self.memory[n] = n not in (endpoints or [NOBODY])

    def count(self, worker, n=None):
        if n is not None:
            struct.pack_into("Q", self.memory, 64 + 8 * worker, n)
        return struct.unpack_from("Q", self.memory, 64 + 8 * worker)[0]


    def answered(self, worker, n=None):
        """Who answered last."""
        if n is not None:
            self.memory[1024 + worker] = n
        return self.memory[1024 + worker]


def connect(source, to):
    s = socket.socket()
    s.setsockopt(*play.TRANSPARENT[4], 1)
    # Not with SO_SNDTIMEO: over a veth the refusal is back while a connect(2) that waits has the socket, which then hears the next one, 1 s later.
    s.settimeout(CONNECT)
    # Reset when closed, so that no port waits in TIME_WAIT.
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    try:
        s.bind(source)
        s.connect(to)
    except OSError:
        s.close()
        raise
    s.settimeout(ANSWER)
    return s


def said(error):
    return "no answer" if isinstance(error, TimeoutError) else errno.errorcode.get(error.errno, str(error))


class Worker:
    """One process in a namespace that does `round` over and over and writes down what was not as it has to be."""
    def __init__(self, load, number, what, ns, sources=(), to=None):
        self.load, self.number, self.what, self.ns, self.to = load, number, what, ns, to
        self.sources = itertools.cycle((address, port) for address in sources for port in PORTS[number % N_SHARES::N_SHARES])
        self.path, self.n_lost = os.path.join(load.folder, f"{number}.json"), 0

    def start(self):
        self.pid = os.fork()
        if self.pid:
            return self
        code = 1
        try:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            with open(self.path, "w", buffering=1) as self.log, play.inside(self.ns):
                self.run()
            code = 0
        finally:
            os._exit(code)

    def run(self):
        n, shared = 0, self.load.shared
        while not shared.stop:
            self.round()
            n += 1
            shared.count(self.number, n)

    def lost(self, why, source):
        """`source` is looked for in what the node remembers."""
        self.n_lost += 1
        at, seen = time.monotonic() - self.load.began, ""
        if self.n_lost <= 5:
            found = subprocess.run(["ip", "netns", "exec", self.load.t.node, "conntrack", "-L", "-p", "tcp", "--orig-port-src", str(source[1]),
                                    "--orig-dst", self.to[0]], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout
            seen = " ".join(found.split())
        self.log.write(json.dumps([at, why, source, seen]) + "\n")

    def forbidden(self, n, before):
        """Not if it was allowed meanwhile."""
        return before[n] and self.load.shared.memory[n]

    def judge(self, answer, before, source):
        if self.forbidden(int(answer.rsplit(b".", 1)[1]), before):
            self.lost(f"answered by {answer.decode()}, which was out of force", source)


class Connecting(Worker):
    def round(self):
        before, source = self.load.shared.memory[:64], next(self.sources)
        try:
            s = connect(source, self.to)
        except OSError as e:
            if e.errno != errno.ECONNREFUSED or self.forbidden(NOBODY, before):
                self.lost(f"connect: {said(e)}", source)
            return
        try:
            answer = s.recv(64)
            if answer:
                self.judge(answer, before, source)
            else:
                self.lost("closed without an answer", source)
        except OSError as e:
            self.lost(f"answer: {said(e)}", source)
        s.close()


class Keeping(Worker):
    def run(self):
        self.kept = []
        for _ in range(N_KEPT):
            source = next(self.sources)
            s = connect(source, self.to)
            self.kept.append((s, source, s.recv(64)))
        super().run()

    def round(self):
        s, source, first = self.kept[self.load.shared.count(self.number) % N_KEPT]
        try:
            s.send(b"?")
            answer = s.recv(64)
            if answer != first:
                self.lost(f"{first} has become {answer}", source)
        except OSError as e:
            self.lost(f"kept: {said(e)}", source)
        time.sleep(0.002)


class Serving(Worker):
    """The endpoints: says its address when connected to, and for each byte that comes.

    Never closes first. The end that does waits in TIME_WAIT, and there a masqueraded SYN of another client from the same port looks old and
    is not answered for a second (TcpExtPAWSTimewait): 14 of 92,430 connections, kube-proxy or rutter, also when nothing changes at all."""
    def run(self):
        import select
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.setsockopt(*play.TRANSPARENT[4], 1)
        listener.bind(("0.0.0.0", 8080))
        listener.listen(4096)
        listener.setblocking(False)
        poll, open_ = select.epoll(), {}
        poll.register(listener, select.EPOLLIN)
        while True:
            for fd, _ in poll.poll():
                if fd == listener.fileno():
                    with contextlib.suppress(BlockingIOError):
                        for _ in range(64):
                            c, _ = listener.accept()
                            me = c.getsockname()[0].encode()
                            open_[c.fileno()] = c, me
                            poll.register(c, select.EPOLLIN)
                            with contextlib.suppress(OSError):
                                c.send(me)
                    continue
                c, me = open_[fd]
                try:
                    data = c.recv(64)
                    if data:
                        c.send(me)
                        continue
                except OSError:
                    pass
                poll.unregister(fd)
                del open_[fd]
                c.close()


class Asking(Worker):
    """One socket that asks over UDP and never stops: its flow is remembered for as long as it asks. Only what it is told matters, not
    what is lost on the way; a refusal is an answer too."""
    def run(self):
        self.socket = socket.socket(type=socket.SOCK_DGRAM)
        self.socket.setsockopt(*play.TRANSPARENT[4], 1)
        self.socket.bind(next(self.sources))
        self.socket.connect(self.to)
        self.socket.settimeout(0.1)
        super().run()

    def round(self):
        try:
            self.socket.send(b"?")
            n = int(self.socket.recv(64).rsplit(b".", 1)[1])
        except TimeoutError:
            n = 0
        except OSError:
            n = NOBODY
        self.load.shared.answered(self.number, n)
        time.sleep(0.001)


class Echoing(Worker):
    """The endpoints of UDP."""
    def run(self):
        s = socket.socket(type=socket.SOCK_DGRAM)
        s.setsockopt(*play.TRANSPARENT[4], 1)
        s.setsockopt(socket.SOL_IP, 8, 1)  # IP_PKTINFO
        s.bind(("0.0.0.0", UDP_PORT))
        while True:
            _, control, _, peer = s.recvmsg(64, 64)
            me = control[0][2][8:12]
            s.sendmsg([socket.inet_ntoa(me).encode()], [(socket.SOL_IP, 8, bytes(4) + me + bytes(4))], 0, peer)


class Hogging(Worker):
    def run(self):
        while True:
            sum(range(10000))


class Load:
    def __init__(self, topology, folder, n_hogs=0):
        self.t, self.folder, self.shared, self.workers = topology, folder, Shared(), []
        os.makedirs(folder, exist_ok=True)
        self.began = time.monotonic()
        for _ in range(2):
            self.add(Serving, "serving", topology.pods)
        for _ in range(n_hogs):
            self.add(Hogging, "hogging", topology.pods)

    def add(self, kind, what, ns, sources=(), to=None):
        self.workers.append(kind(self, len(self.workers), what, ns, sources, to).start())

    def begin(self):
        t = self.t
        for kind, how in ((Connecting, "connections"), (Keeping, "kept connections")):
            self.add(kind, f"{how} of a pod to the cluster IP", t.pods, PODS, (CLUSTER_IP, 80))
            self.add(kind, f"{how} of the node to the cluster IP", t.node, ON_NODE, (CLUSTER_IP, 80))
            self.add(kind, f"{how} of outside to the node port", t.out, OUTSIDE, (NODE_IP, NODE_PORT))
            self.add(kind, f"{how} of outside to the load balancer", t.out, OUTSIDE, (LB_IP, 80))
        self.asking = [w for w in self.workers if isinstance(w, (Connecting, Keeping))]
        self.goes_on_for(1)

    def goes_on_for(self, n, seconds=0):
        """Until each of them has done `n` more rounds, and for so many seconds."""
        end, aims = time.monotonic() + seconds, [(w, self.shared.count(w.number) + n) for w in self.asking]
        while time.monotonic() < end or any(self.shared.count(w.number) < aim for w, aim in aims):
            if any(os.waitpid(w.pid, os.WNOHANG)[0] for w in self.workers) or time.monotonic() > end + 60:
                raise RuntimeError("a process of the load has ended, or does nothing any more")
            time.sleep(0.005)

    def end(self):
        """(what, rounds, lost) of each."""
        self.shared.stop = 1
        for w in self.asking:
            os.waitpid(w.pid, 0)
        self.took = time.monotonic() - self.began
        lost = lambda w: [json.loads(line) for line in open(w.path)]
        return [(w.what, self.shared.count(w.number), lost(w)) for w in self.asking]


# ---------------------------------------------------------------- what the node says

WATCH = f"""
table inet watch {{
    chain past {{ type filter hook postrouting priority 300; ip daddr {{ 172.30.0.0/16, {LB_IP} }} counter; }}
    chain into {{ type filter hook input priority 300; tcp dport {NODE_PORT} counter; }}
}}"""
TELLING = ["TcpRetransSegs", "TcpAttemptFails", "TcpExtTCPSynRetrans", "TcpExtListenOverflows", "TcpExtListenDrops", "TcpExtPAWSTimewait",
           "TcpExtPAWSActive", "TcpExtTCPChallengeACK", "TcpExtTCPACKSkippedSynRecv", "TcpExtTCPTimeouts", "TcpExtTCPBacklogDrop", "IpInDiscards",
           "IpOutDiscards", "IpOutNoRoutes"]


class Witness:
    """Counters of the namespaces: what they were, and what has changed since."""
    def __init__(self, topology):
        self.t = topology
        play.run("ip", "netns", "exec", topology.node, "nft", "-f", "-", input=WATCH)
        self.before = self.look()

    def past(self):
        """Packets that went past the rules."""
        listed = play.run("ip", "netns", "exec", self.t.node, "nft", "list", "table", "inet", "watch")
        return sum(int(n) for n in re.findall(r"counter packets (\d+)", listed))

    def guards(self):
        """Packets that a rule of rutter's choosing chains has dropped, since they found no endpoint."""
        listed = play.run("ip", "netns", "exec", self.t.node, "nft", "list", "ruleset")
        chains = re.findall(r"chain (\S+) \{(.*?)\n\t\}", listed, re.S)
        return sum(int(n) for name, body in chains if "pick" in name for n in re.findall(r"counter packets (\d+) bytes \d+ drop", body))

    def look(self):
        found = collections.Counter()
        for ns in (self.t.node, self.t.pods, self.t.out):
            said = json.loads(play.run("ip", "netns", "exec", ns, "nstat", "-aszj"))["kernel"]
            found.update({f"{ns.rsplit('-')[-1]} {key}": said.get(key, 0) for key in TELLING})
        for line in play.run("ip", "netns", "exec", self.t.node, "conntrack", "-S").splitlines():
            found.update({f"conntrack {k}": int(v) for k, v in re.findall(r"(\w+)=(\d+)", line) if k not in ("cpu", "found", "search_restart")})
        found["backlog drops"] = sum(int(line.split()[1], 16) for line in open("/proc/net/softnet_stat"))
        return found

    def changes(self):
        return {k: v - self.before[k] for k, v in self.look().items() if v != self.before[k]}


# ---------------------------------------------------------------- objects

def configuration(mode):
    c = {"nodeName": NODE, "nodeIPs": [NODE_IP], "nodeLabels": {}, "ipFamily": "IPv4", "serviceCIDRs": ["172.30.0.0/16"],
         "localDetector": {"mode": "ClusterCIDR", "clusterCIDR": "10.0.0.0/8"}, "nodePortAddresses": {}}
    return c, play.proxy_config(c, mode)


def web(endpoints, protocol="TCP"):
    meta = {"name": "web", "namespace": "default"}
    ports = [{"name": "echo", "protocol": "UDP", "port": UDP_PORT, "targetPort": UDP_PORT, "nodePort": NODE_PORT} if protocol == "UDP" else
             {"name": "tcp", "protocol": "TCP", "port": 80, "targetPort": 8080, "nodePort": NODE_PORT}]
    return [
        {"apiVersion": "v1", "kind": "Service", "metadata": meta,
         "spec": {"type": "LoadBalancer", "clusterIP": CLUSTER_IP, "clusterIPs": [CLUSTER_IP], "ipFamilies": ["IPv4"], "sessionAffinity": "None",
                  "externalTrafficPolicy": "Cluster", "internalTrafficPolicy": "Cluster", "ports": ports},
         "status": {"loadBalancer": {"ingress": [{"ip": LB_IP}]}}},
        {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
         "metadata": {"name": "web-1", "namespace": "default", "labels": {"kubernetes.io/service-name": "web"}},
         "endpoints": [{"addresses": [endpoint(n)], "conditions": {"ready": True, "serving": True, "terminating": False}} for n in endpoints],
         "ports": [{"name": p["name"], "protocol": p["protocol"], "port": p["targetPort"]} for p in ports]}]


class Scene:
    """A network, the load on it, and the proxy of the moment."""
    def __init__(self, args, name):
        self.args, self.name, self.generation = args, name, 0
        self.workdir = tempfile.mkdtemp(prefix="hp-load-")
        self.t = play.Topology()
        self.t.up()
        self.t.node_addresses([NODE_IP, *ON_NODE])
        self.load = Load(self.t, os.path.join(self.workdir, "load"), args.hogs)
        self.c, _ = configuration("nftables")
        self.drivers, self.api = {}, None
        self.world = play.World(self.t)
        self.world.listen([("UDP", play.SENTINEL_PORT)])
        self.endpoints = []

    def driver(self, kind, binary, iptables=None):
        """One that shares the API of all others."""
        make = {"rutter": play.RutterOnApi, "kube-proxy": play.KubeProxy}[kind]
        folder = os.path.join(self.workdir, f"{kind}-{len(self.drivers)}")
        os.makedirs(folder)
        driver = make.__new__(make)
        play.Driver.__init__(driver, binary, self.t, folder, iptables=iptables)
        self.api = self.api or play.Api(self.t.node)
        driver.api = self.api
        self.drivers[folder] = driver
        return driver

    def objects(self):
        return [*play.cluster(self.c), *web(self.endpoints, "UDP" if self.name == "udp" else "TCP")]

    def put(self, endpoints, last=()):
        self.endpoints = endpoints
        self.api.store.replace(self.objects(), last)

    def in_force(self, driver, endpoints):
        """Has these endpoints put in force."""
        self.generation += 1
        vip, last = play.sentinel(self.generation, 4)
        self.load.shared.allow(endpoints)
        self.put(endpoints, last)
        if not driver.wait_synced(lambda: self.world.ask(vip, play.SENTINEL_PORT) == play.SENTINEL_BACKEND[4]):
            raise RuntimeError(f"{driver.name} did not follow: {driver.last_words()}")
        self.load.shared.forbid_others(endpoints)

    def start(self, driver, mode, endpoints):
        self.generation += 1
        vip, last = play.sentinel(self.generation, 4)
        self.endpoints = endpoints
        self.load.shared.allow(endpoints)
        driver.start(configuration(mode)[1], self.objects(), last)
        if not driver.wait_synced(lambda: self.world.ask(vip, play.SENTINEL_PORT) == play.SENTINEL_BACKEND[4]):
            raise RuntimeError(f"{driver.name} did not start: {driver.last_words()}")
        self.load.shared.forbid_others(endpoints)

    def tell(self, what):
        self.args.v and print(f"     {time.monotonic() - self.load.began:.3f} s: {what}", flush=True)

    def begin(self):
        self.witness = Witness(self.t)
        self.load.begin()

    def close(self):
        for driver in self.drivers.values():
            driver.stop()
        if self.api:
            self.api.close()
        for w in self.load.workers:
            with contextlib.suppress(ChildProcessError, ProcessLookupError):
                os.kill(w.pid, signal.SIGKILL)
                os.waitpid(w.pid, 0)
        self.t.down()
        if self.args.keep:
            print(f"     kept {self.workdir}")
        else:
            shutil.rmtree(self.workdir, ignore_errors=True)

    def verdict(self):
        """Ends the load; what was wrong."""
        tallies, wrong = self.load.end(), []
        n, lost = sum(n for what, n, _ in tallies if not what.startswith("kept")), sum(len(lost) for *_, lost in tallies)
        past, guards = self.witness.past(), self.witness.guards()
        took = self.load.took
        print(f"     {self.name}: {n} {'questions' if self.name == 'udp' else 'connections'}, {n / took:.0f}/s, {lost} lost; {past} packets past the rules, {guards} dropped by a guard")
        for what, rounds, lost in tallies:
            if not rounds:
                wrong.append(f"{what}: nothing was done")
            for at, why, source, seen in lost[:5]:
                wrong.append(f"{what}: {why} after {at:.3f} s, from {source}; {seen}")
            if len(lost) > 5:
                wrong.append(f"{what}: {len(lost) - 5} more")
        if past:
            wrong.append(f"{past} packets went past the rules")
        if guards:
            wrong.append(f"{guards} packets found no endpoint and were dropped by a guard")
        if wrong or self.args.v:
            wrong and wrong.append(f"counters: {self.witness.changes()}")
            self.args.v and print(f"     counters: {self.witness.changes()}")
        return wrong


# ---------------------------------------------------------------- scenarios

def flap(scene):
    rutter = scene.driver("rutter", scene.args.rutter)
    scene.start(rutter, "nftables", [1, 2, 3, 4])
    scene.begin()
    scene.in_force(rutter, [1, 2, 3])
    before = transactions(rutter)
    start, n = time.monotonic(), 0
    while (now := time.monotonic()) < start + scene.args.seconds:
        if n <= (now - start) * scene.args.rate:
            scene.api.store.apply(web([1, 2, 3] if n % 2 else random.sample([1, 2, 3], 2))[1])
            n += 1
        else:
            time.sleep(0.0003)
    scene.in_force(rutter, [1, 2, 3])
    print(f"     {n} changes, {transactions(rutter) - before:.0f} transactions")


def transactions(driver):
    return sum(float(line.rsplit(" ", 1)[1]) for line in driver.metrics().splitlines() if line.startswith("rutter_proxy_transactions_total"))


def zero(scene):
    rutter = scene.driver("rutter", scene.args.rutter)
    scene.start(rutter, "nftables", [1, 2])
    scene.begin()
    for i in range(scene.args.rounds):
        scene.in_force(rutter, [])
        scene.load.goes_on_for(20)
        scene.in_force(rutter, [1, 2] if i % 2 else [2, 3])
        scene.load.goes_on_for(20)


def kill(scene):
    rutter = scene.driver("rutter", scene.args.rutter)
    scene.start(rutter, "nftables", [1, 2, 3])
    scene.begin()
    for i in range(scene.args.rounds):
        if i % 2:
            rutter.stop()
        else:
            rutter.process.kill()
            rutter.process.wait()
        scene.load.goes_on_for(20)
        scene.start(rutter, "nftables", [[1, 2], [2, 3], [3], [1, 2, 3]][i % 4])
        scene.load.goes_on_for(20)


def udp(scene):
    rutter = scene.driver("rutter", scene.args.rutter)
    load, t = scene.load, scene.t
    scene.start(rutter, "nftables", [1])
    scene.witness = Witness(t)
    load.add(Echoing, "echoing", t.pods)
    load.add(Asking, "a pod asking the cluster IP", t.pods, PODS, (CLUSTER_IP, UDP_PORT))
    load.add(Asking, "the node asking the cluster IP", t.node, ON_NODE, (CLUSTER_IP, UDP_PORT))
    load.add(Asking, "outside asking the node port", t.out, OUTSIDE, (NODE_IP, NODE_PORT))
    load.asking = [w for w in load.workers if isinstance(w, Asking)]
    for i in range(scene.args.rounds):
        for endpoints in ([2], [1, 3], [], [1], [], [2, 3], [3]):
            scene.in_force(rutter, endpoints)
            end = time.monotonic() + play.GIVE_UP
            while any(load.shared.answered(w.number) not in (endpoints or [NOBODY]) for w in load.asking):
                if time.monotonic() > end:
                    flows = play.run("ip", "netns", "exec", t.node, "conntrack", "-L", "-p", "udp", check=False)
                    raise RuntimeError("\n     ".join([f"with endpoints {endpoints}:", *(
                        f"{w.what} hears of {load.shared.answered(w.number)}" for w in load.asking), *flows.splitlines()]))
                time.sleep(0.002)
            load.goes_on_for(3)


def upgrade(mode, iptables=None):
    def play_it(scene):
        peer, rutter = scene.driver("kube-proxy", scene.args.kube_proxy, iptables), scene.driver("rutter", scene.args.rutter)
        scene.start(peer, mode, [1, 2, 3, 4])
        scene.begin()
        for _ in range(scene.args.rounds):
            scene.load.goes_on_for(200, 1)
            scene.tell("kube-proxy ends")
            peer.stop()
            scene.load.goes_on_for(50)
            # One that leaves while nobody looks.
            scene.tell("rutter starts")
            scene.start(rutter, "nftables", [1, 2, 3])
            scene.tell("rutter has started")
            scene.load.goes_on_for(200, 2)
            left = [tool for tool in ("nft list ruleset", "iptables-legacy-save")
                    if re.search("kube-proxy|KUBE-SVC", play.run("ip", "netns", "exec", scene.t.node, *tool.split(), check=False))]
            if left:
                raise RuntimeError(f"rules of kube-proxy are still there: {left}")
            scene.in_force(rutter, [1, 2])
            scene.load.goes_on_for(50)
            rutter.stop()
            scene.load.goes_on_for(50)
            scene.tell("kube-proxy starts")
            scene.start(peer, mode, [1, 2, 4])
            scene.load.goes_on_for(50, 1)
            scene.tell("our rules go")
            play.run("ip", "netns", "exec", scene.t.node, scene.args.rutter, "cleanup", "--keep-kube-proxy")
            scene.in_force(peer, [1, 2, 3, 4])
            scene.load.goes_on_for(200, 1)
    return play_it


SCENARIOS = {"flap": flap, "zero": zero, "kill": kill, "udp": udp, "upgrade nftables": upgrade("nftables"),
             "upgrade iptables-nft": upgrade("iptables", "nft"), "upgrade iptables-legacy": upgrade("iptables", "legacy")}


def main():
    a = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    a.add_argument("--rutter", required=True)
    a.add_argument("--kube-proxy", default=os.path.join(os.environ.get("PEERS", ".cache/peers"), "kube-proxy"))
    a.add_argument("--only", default="", help="scenarios whose name holds this text")
    a.add_argument("--skip", help="scenarios whose name holds this text are not played")
    a.add_argument("--seconds", type=float, default=10, help="how long endpoints flap")
    a.add_argument("--rate", type=int, default=1000, help="changes a second")
    a.add_argument("--rounds", type=int, default=3, help="of the other scenarios")
    a.add_argument("--hogs", type=int, default=0, help="processes that take the CPU away from all others")
    a.add_argument("--keep", action="store_true", help="keep the folder with logs")
    a.add_argument("-v", action="store_true", help="tell counters of the kernel in any case")
    a = a.parse_args()
    sys.setswitchinterval(0.0002)
    a.rutter, a.kube_proxy = os.path.abspath(a.rutter), os.path.abspath(a.kube_proxy)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    passed = failed = skipped = 0
    for name, scenario in SCENARIOS.items():
        if a.only not in name or a.skip and a.skip in name:
            continue
        if name.startswith("upgrade") and not os.path.exists(a.kube_proxy):
            print(f"SKIP {name}: no {a.kube_proxy}")
            skipped += 1
            continue
        scene = Scene(a, name)
        try:
            scenario(scene)
            wrong = scene.verdict()
        except RuntimeError as e:
            wrong = [str(e)]
        finally:
            scene.close()
        passed, failed = passed + (not wrong), failed + bool(wrong)
        print("\n     ".join([f"{'FAIL' if wrong else 'ok  '} {name}", *wrong]), flush=True)
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    sys.exit(1 if failed else 0 if passed else 77)


if __name__ == "__main__":
    main()
