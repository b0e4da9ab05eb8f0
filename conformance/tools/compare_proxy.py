#!/usr/bin/env python3
"""Sends the same packets through kube-proxy and through rutter and compares where they end, for Services made up at random.

    compare_proxy.py --kube-proxy PATH --rutter PATH [--mode nftables|iptables] [--rounds N] [--seed N] [--packets N] [--flip] [-v]

Each round makes up a node's configuration and a dozen Services: all types, both families, TCP, UDP and SCTP, both traffic policies,
source ranges, affinity, external and load-balancer addresses, topology hints, endpoints that are ready, terminating or gone, here and
elsewhere. The same seed makes up the same. In mode iptables, rutter runs as `auto`, which is what people coming from there get.

What differs on purpose is counted by reason (`purpose`); anything else is printed with what it takes to see it again, and fails.
Needs root; the network is that of play_proxy.py, once for each of the two.
"""
import argparse, collections, copy, json, os, random, resource, shutil, signal, sys, tempfile, time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import play_proxy as play  # noqa: E402

NODE = "test-node"
NODE_IPS = {4: ["192.168.0.2", "192.168.1.2"], 6: ["2001:db8::1", "2001:db8:1::2"]}
PODS = {4: ["10.0.0.2", "10.0.3.4"], 6: ["fd00:10::2", "fd00:10::3:4"]}
OUTSIDE = {4: ["203.0.113.2", "198.51.100.7"], 6: ["2001:db8:99::2", "2001:db8:77::7"]}
RANGES = {4: ["203.0.113.0/25", "10.0.0.0/24", "192.168.0.0/24", "198.51.100.7/32"],
          6: ["2001:db8:99::/48", "fd00:10::/112", "2001:db8::/64", "2001:db8:77::7/128"]}
CIDR = {4: "172.30.0.0/16", 6: "fd00:172:30::/112"}
ZONES = ["zone-a", "zone-b"]
N_TRIES = play.tries(3)

# What ends otherwise in mode iptables: (what packets are for, how they end with kube-proxy, how with rutter, why).
UNLIKE_IPTABLES = [
    ({"unused port"}, "no-rule", "reject", "an unused port of a cluster IP is refused at once, as in nftables mode"),
    ({"no service", "service", "unused port"}, "no-rule", "drop",
     "an address of a ServiceCIDR that no Service of ours has is silent, as in nftables mode"),
    ({"service"}, "reject", "drop", "whom source ranges leave out is told nothing, with endpoints or without, as in nftables mode"),
    ({"service"}, "no-rule", "reject", "a Service without endpoints refuses the node's own connections to external addresses, as in nftables mode"),
    *(({"node port"}, verdict, "no-rule", "a node port without endpoints is refused or silent where node ports are, and nowhere else, as in nftables mode")
      for verdict in ("reject", "drop")),
    *(({"loopback"}, verdict, "no-rule", "nobody listens on loopback for a node port without endpoints: whoever else listens there is reached")
      for verdict in ("reject", "drop")),
    *(({"udp on loopback"}, verdict, "no-rule", "node ports on loopback are TCP's alone: a listener of our own, no route_localnet")
      for verdict in ("dnat", "reject", "drop")),
]
# kube-proxy's nftables mode knows the endpoints of its own node there, its iptables mode all.
HAIRPIN = "an endpoint of another node that comes to itself by way of this one is masqueraded, else it would answer itself"


def address(fam, kind, n):
    """An address of family `fam`: kinds that do not overlap."""
    v4 = {"cluster": f"172.30.1.{n}", "external": f"192.0.2.{n}", "lb": f"1.2.3.{n}", "pod": f"10.180.0.{n}"}
    v6 = {"cluster": f"fd00:172:30::{n:x}", "external": f"2001:db8:2::{n}", "lb": f"2001:db8:3::{n}", "pod": f"fd00:10:180::{n}"}
    return play.plain((v4 if fam == 4 else v6)[kind])


def configuration(rng, mode):
    fams = rng.choice([[4], [4, 6], [6, 4]])
    node_ports = rng.choice([[], [], ["primary"], ["192.168.0.0/16", "2001:db8::/64"], ["all"]])
    return {
        "nodeName": NODE, "nodeIPs": NODE_IPS[4] + NODE_IPS[6], "nodeLabels": {"topology.kubernetes.io/zone": "zone-a"},
        "ipFamily": "IPv4", "families": fams,
        "localDetector": rng.choice([{"mode": "ClusterCIDR", "clusterCIDR": "10.0.0.0/8,fd00:10::/32"}] * 3 + [{}]),
        "serviceCIDRs": [CIDR[4], CIDR[6]], "nodePortAddresses": {mode: node_ports}, "masqueradeAll": rng.random() < 0.15,
        "localhostNodePorts": mode == "iptables",
    }


def service(rng, i, fams, serial):
    """One Service with its slices."""
    kind = rng.choice(["ClusterIP", "ClusterIP", "NodePort", "LoadBalancer", "LoadBalancer", "headless", "ExternalName"])
    mine = list(fams) if rng.random() < 0.6 else [rng.choice(fams)]
    meta = {"name": f"s{i}", "namespace": "default"}
    if rng.random() < 0.04:
        meta["labels"] = {"service.kubernetes.io/service-proxy-name": "another"}
    if kind == "ExternalName":
        return {"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": {"type": kind, "externalName": "example.com"}}, []
    protocols = rng.sample(["TCP", "UDP", "SCTP"], rng.choice([1, 1, 2]))
    ports = [{"name": p.lower(), "protocol": p, "port": 80, "targetPort": 8080} for p in protocols]
    if rng.random() < 0.3:
        ports.append({"name": "more", "protocol": "TCP", "port": 81, "targetPort": 8081})
    ips = ["None"] if kind == "headless" else [address(f, "cluster", i + 1) for f in mine]
    spec = {"type": "ClusterIP" if kind == "headless" else kind, "clusterIP": ips[0], "clusterIPs": ips,
            "ipFamilies": [f"IPv{f}" for f in mine], "sessionAffinity": "None", "ports": ports,
            "internalTrafficPolicy": rng.choice(["Cluster", "Cluster", "Local"])}
    if rng.random() < 0.2:
        spec |= {"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 10800}}}
    status = {}
    if kind in ("NodePort", "LoadBalancer"):
        spec["externalTrafficPolicy"] = rng.choice(["Cluster", "Local"])
        for port in ports:
            port["nodePort"] = 30000 + serial * 64 % 2700 + i * 4 + ports.index(port)
    if kind != "headless" and rng.random() < 0.3:
        spec["externalIPs"] = [address(f, "external", i + 1) for f in mine]
        spec.setdefault("externalTrafficPolicy", "Cluster")
    if kind == "LoadBalancer":
        status = {"loadBalancer": {"ingress": [{"ip": address(f, "lb", i + 1), **rng.choice([{}, {}, {"ipMode": "VIP"}, {"ipMode": "Proxy"}])} for f in mine]}}
        if rng.random() < 0.5:
            spec["loadBalancerSourceRanges"] = [r for f in mine for r in rng.sample(RANGES[f], rng.choice([1, 2]))]
    hinted = rng.random() < 0.3
    states = rng.choice([["ready"] * 4, ["ready", "gone", "ready", "terminating"], ["terminating", "terminating", "gone"], ["gone"], []])
    slices = []
    for f in mine:
        endpoints = []
        for n, state in enumerate(rng.sample(states, min(len(states), rng.choice([1, 2, 3])))):
            e = {"addresses": [address(f, "pod", i * 4 + n + 1)], "nodeName": rng.choice([NODE, "other-node"]),
                 "conditions": {"ready": {"ready": True, "serving": True, "terminating": False},
                                "gone": {"ready": False, "serving": False, "terminating": False},
                                "terminating": {"ready": False, "serving": True, "terminating": True}}[state]}
            if hinted and rng.random() < 0.9:
                e["hints"] = {"forZones": [{"name": rng.choice(ZONES)}]}
            endpoints.append(e)
        if endpoints or rng.random() < 0.5:
            slices.append({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": f"IPv{f}",
                           "metadata": {"name": f"s{i}-v{f}", "namespace": "default", "labels": {"kubernetes.io/service-name": f"s{i}"}},
                           "endpoints": endpoints, "ports": [{"name": p["name"], "protocol": p["protocol"], "port": p["targetPort"]} for p in ports]})
    return {"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": spec, "status": status}, slices


def probes(rng, config, services, slices, n):
    """Packets worth sending, `n` of them: (what for, source, protocol, destination, port, whether affinity holds)."""
    found = []
    for s in services:
        spec = s["spec"]
        lbs = [i["ip"] for i in (s.get("status") or {}).get("loadBalancer", {}).get("ingress", [])]
        own = [e["addresses"][0] for x in slices if x["metadata"]["labels"]["kubernetes.io/service-name"] == s["metadata"]["name"] for e in x["endpoints"]]
        affine = spec.get("sessionAffinity") == "ClientIP"
        for port in spec.get("ports", []):
            to = [("service", a, port["port"]) for a in [a for a in spec["clusterIPs"] if a != "None"] + spec.get("externalIPs", []) + lbs]
            if "nodePort" in port:
                fams = {play.family(a) for a in spec["clusterIPs"]}
                to += [("node port", a, port["nodePort"]) for f in fams for a in NODE_IPS[f]]
                to += [("loopback" if port["protocol"] == "TCP" else "udp on loopback", "127.0.0.1", port["nodePort"])] * (4 in fams and port["protocol"] != "SCTP")
            for what, a, number in to:
                f = play.family(a)
                sources = [*PODS[f], *OUTSIDE[f], NODE_IPS[f][0], *[o for o in own if play.family(o) == f]]
                found += [(what, src, port["protocol"], a, number, affine) for src in (["127.0.0.1"] if "loopback" in what else sources)]
        for a in [a for a in spec.get("clusterIPs", []) if a != "None"]:
            f = play.family(a)
            found += [("unused port", src, "TCP", a, 4242, False) for src in (PODS[f][0], OUTSIDE[f][0])]
    for f in config["families"]:
        found += [("no service", src, "TCP", address(f, "cluster", 250 if f == 4 else 99), 80, False) for src in (PODS[f][0], NODE_IPS[f][0])]
    # SCTP is played over IPv4 alone.
    found = [p for p in found if p[2] != "SCTP" or play.family(p[3]) == 4]
    return rng.sample(found, min(n, len(found)))


class Side:
    """One of the two, in a network of its own."""
    def __init__(self, name, driver, binary, mode, workdir):
        self.name, self.t = name, play.Topology()
        for ns in ("node", "pods", "out"):
            setattr(self.t, ns, f"{getattr(self.t, ns)}-{name}")
        self.t.up()
        folder = os.path.join(workdir, name)
        os.makedirs(folder)
        self.driver = driver(binary, self.t, folder)
        self.player = play.Player(self.t, self.driver, mode, False)

    def outcomes(self, group, packets):
        """How each packet ends under the rules of a group."""
        for fam in group["config"]["families"]:
            why = self.player.program({**group, "config": {**group["config"], "ipFamily": f"IPv{fam}"}})
            if why:
                raise RuntimeError(why)
        ports = {(p[2], p[4]) for p in packets} | {("UDP", play.SENTINEL_PORT)} | {(q, n) for q in ("TCP", "UDP") for n in (8080, 8081)}
        self.player.world.listen(ports)
        return self.play(group, packets)

    def play(self, group, packets):
        """How each packet ends: sets of (verdict, backend, masqueraded)."""
        ended = []
        for i in range(0, len(packets), 12):
            shots = [[play.Probe(p[1], p[2], p[3], p[4]) for _ in range(N_TRIES)] for p in packets[i:i + 12]]
            self.player.world.play([(self.player.namespace(group["config"], q.src), q, play.ANSWER_WAIT) for probes in shots for q in probes])
            ended += [{q.outcome() for q in probes} for probes in shots]
        return ended

    def close(self):
        self.driver.close()
        self.t.down()


def in_words(outcomes):
    return ", ".join(sorted(f"{v}{' ' + b if b else ''}{' masqueraded' if m else ''}" for v, b, m in outcomes))


def without_own(outcomes, src):
    """The outcomes but for those at the sender itself."""
    return {(v, b, m) for v, b, m in outcomes if not b or play.plain(b.rsplit(":", 1)[0].strip("[]")) != play.plain(src)}


def same(packet, peer, ours):
    src, affine = packet[1], packet[5]
    if affine:  # which endpoint is chance, and first packets that come at once may find more than one
        for part in (lambda outcomes: without_own(outcomes, src), lambda outcomes: outcomes - without_own(outcomes, src)):
            one, other = ({m for _, _, m in part(outcomes)} for outcomes in (peer, ours))
            if one and other and one != other:
                return False
        return {v for v, _, _ in peer} == {v for v, _, _ in ours}
    return peer == ours


def flips(packet, peer, outcomes):
    """The outcomes, wrong in one way each that shows beside those of the peer."""
    others = lambda outcomes: without_own(outcomes, packet[1])
    yield {("drop" if {v for v, _, _ in outcomes} != {"drop"} else "reject", None, False)}
    if any(b for _, b, _ in outcomes) and (others(peer) and others(outcomes) or peer - others(peer) and outcomes - others(outcomes)):
        yield {(v, b, not m) for v, b, m in outcomes}
    if any(b for _, b, _ in outcomes) and not packet[5]:
        yield outcomes | {("dnat", "10.99.99.99:9", False)}
        yield {(v, "10.99.99.99:9", m) for v, _, m in outcomes}
        if len(outcomes) > 1:
            yield set(sorted(outcomes)[1:])


def purpose(mode, packet, peer, ours):
    what, src = packet[:2]
    own = lambda outcomes: outcomes - without_own(outcomes, src)
    if own(peer) and without_own(peer, src) == without_own(ours, src) and not any(m for _, _, m in own(peer)) and all(m for _, _, m in own(ours)):
        return HAIRPIN
    verdicts = lambda outcomes: {v for v, _, _ in outcomes}
    for of, theirs, mine, reason in UNLIKE_IPTABLES if mode == "iptables" else []:
        if what in of and verdicts(peer) == {theirs} and verdicts(ours) == {mine}:
            return reason
    return None


def main():
    a = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    a.add_argument("--kube-proxy", required=True)
    a.add_argument("--rutter", required=True)
    a.add_argument("--mode", choices=["nftables", "iptables"], default="nftables")
    a.add_argument("--rounds", type=int, default=10)
    a.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4), "big"))
    a.add_argument("--packets", type=int, default=72, help="packets of each round")
    a.add_argument("--flip", action="store_true", help="test the test: what rutter does is made wrong in each way, which has to be noticed")
    a.add_argument("-v", action="store_true", help="print every packet")
    a = a.parse_args()
    if not os.path.exists(a.kube_proxy):
        print(f"SKIP compare {a.mode}: no {a.kube_proxy}\n0 passed, 0 failed, 1 skipped")
        sys.exit(77)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    workdir, sides, counts, reasons = tempfile.mkdtemp(prefix="hp-"), [], collections.Counter(), collections.Counter()
    print(f"compare {a.mode}: seed {a.seed}")
    try:
        sides = [Side("kp", play.KubeProxy, a.kube_proxy, a.mode, workdir)]
        sides.append(Side("ours", play.Rutter, a.rutter, "auto" if a.mode == "iptables" else a.mode, workdir))
        for r in range(a.rounds):
            rng = random.Random(f"{a.seed}/{r}")
            config = configuration(rng, a.mode)
            made = [service(rng, i, config["families"], r) for i in range(12)]
            group = {"name": f"round {r}", "config": config, "services": [s for s, _ in made], "endpointslices": [x for _, xs in made for x in xs]}
            packets = probes(rng, config, group["services"], group["endpointslices"], a.packets)
            of_ours = copy.deepcopy(group)
            of_ours["config"]["nodePortAddresses"]["auto"] = config["nodePortAddresses"][a.mode]
            peer, ours = sides[0].outcomes(group, packets), sides[1].outcomes(of_ours, packets)
            for p, theirs, mine in zip(packets, peer, ours):
                what, src, proto, dst, dport, _ = p
                differs = lambda: not same(p, theirs, mine) and not purpose(a.mode, p, theirs, mine)
                for _ in range(2):
                    # A busy machine loses an answer now and then; a rule does not. kube-proxy hears of its Node, so of its zone, behind its first sync.
                    if differs():
                        time.sleep(1)
                        theirs, mine = sides[0].play(group, [p])[0], sides[1].play(group, [p])[0]
                reason = None if same(p, theirs, mine) else purpose(a.mode, p, theirs, mine)
                ok = not differs()
                for wrong in flips(p, theirs, mine) if a.flip and ok and not reason else ():
                    if same(p, theirs, wrong):
                        ok = False
                        print(f"not noticed: {in_words(wrong)} in place of {in_words(theirs)}")
                    counts["excused flips" if purpose(a.mode, p, theirs, wrong) else "flips"] += 1
                counts["passed" if ok else "failed"] += 1
                if reason:
                    reasons[reason] += 1
                if not ok or a.v:
                    print(f"{'FAIL' if not ok else 'ok  '} --seed {a.seed}, round {r}, {what}: {src} {proto} {play.hostport(dst, dport)}: "
                          f"kube-proxy {in_words(theirs)}; rutter {in_words(mine)}")
                if not ok and not a.v:
                    print("     " + json.dumps([s for s in group["services"] if dst in json.dumps(s) or f'"nodePort": {dport}' in json.dumps(s)]))
    finally:
        for side in sides:
            side.close()
        shutil.rmtree(workdir, ignore_errors=True)
    for reason, n in sorted(reasons.items()):
        print(f"{n} on purpose: {reason}")
    if a.flip:
        print(f"{counts['flips']} wrong outcomes were noticed, {counts['excused flips']} are what differs on purpose elsewhere")
    print(f"{counts['passed']} passed, {counts['failed']} failed, 0 skipped")
    sys.exit(1 if counts["failed"] or not counts["passed"] else 0)


if __name__ == "__main__":
    main()
