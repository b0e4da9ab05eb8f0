"""Clusters, Corefiles and questions made up at random, for compare_dns.py.

Everything is drawn from the generator that it is given, so that a seed gives the same round each time.  Owns what may be asked for;
must not know a server, nor what is right.
"""
import ipaddress
import re

import play_dns as play

NAMESPACES = ["default", "kube-system", "team-a", "svc", "pod", "empty"]
SERVICES = ["web", "db", "api", "tcp", "http", "dns", "ns", "a-b", "svc", "x1", "kube-dns", "late"]
PORT_NAMES = ["http", "https", "dns", "dns-tcp", "metrics", "p"]
PROTOCOLS = ["TCP", "TCP", "UDP", "SCTP"]
HOSTNAMES = ["web-0", "web-1", "db-0", "a", "10-0-0-1"]
SERVER = ["10.96.0.10", "fd00:96::10"]  # addresses that the servers listen on, which endpoints may have as well
OUTSIDE = "ext.test."
TYPES = ["A", "A", "A", "AAAA", "AAAA", "SRV", "SRV", "CNAME", "TXT", "SOA", "NS", "PTR", "MX", "ANY", "HTTPS", "DS", "CAA", "TYPE65280"]


def some(rng, chance):
    return rng.random() < chance


def reverse(ip):
    return ipaddress.ip_address(ip).reverse_pointer + "."


# ----------------------------------------------------------------- clusters --
def cluster_ip(rng, family):
    return "10.96.%d.%d" % (rng.randint(0, 3), rng.randint(1, 250)) if family == 4 else "fd00:96::%x" % rng.randint(1, 4000)


def pod_ip(rng, family):
    if some(rng, 0.05):
        return SERVER[family == 6]
    if family == 4:
        return "10.244.%d.%d" % (rng.randint(0, 1), rng.randint(1, 12))
    return rng.choice(["fd00:244::%x", "fd00:244::%x:0:0", "2001:db8::1:%x"]) % rng.randint(1, 12)


def service_ports(rng, headless):
    n = rng.choice([0, 1, 1, 2, 3]) if headless else rng.choice([1, 1, 2, 3])
    if n == 1 and some(rng, 0.4):
        return [{"port": 80, "protocol": rng.choice(PROTOCOLS)}]
    names = rng.sample(PORT_NAMES, n)
    return [{"name": name, "port": rng.choice([53, 80, 443, 8080]) + i, "protocol": rng.choice(PROTOCOLS)} for i, name in enumerate(names)]


def external_name(rng, zone):
    local = lambda: "%s.%s.svc.%s" % (rng.choice(SERVICES), rng.choice(NAMESPACES), zone)
    return rng.choice([
        lambda: "a1." + OUTSIDE, lambda: "a1." + OUTSIDE.rstrip("."), lambda: "both." + OUTSIDE, lambda: "cname2." + OUTSIDE, lambda: "nx." + OUTSIDE,
        lambda: "nodata." + OUTSIDE, lambda: "servfail." + OUTSIDE, local, local, local, lambda: local() + ".",
        lambda: "10-244-0-1.default.pod." + zone, lambda: "web-0." + local(), lambda: "_http._tcp." + local(), lambda: zone,
        lambda: "192.0.2.7", lambda: "A1." + OUTSIDE.upper()])()


def service(rng, namespace, name, zone):
    kind = rng.choice(["ClusterIP"] * 4 + ["headless"] * 4 + ["ExternalName"] * 2 + ["NodePort", "LoadBalancer", "LoadBalancer"])
    meta = {"namespace": namespace, "name": name, "labels": rng.choice([{}, {"expose": "yes"}, {"expose": "no"}])}
    if kind == "ExternalName":
        return {"apiVersion": "v1", "kind": "Service", "metadata": meta,
                "spec": {"type": kind, "externalName": external_name(rng, zone), **rng.choice([{}, {"ports": service_ports(rng, True)}])}}
    families = rng.choice([[4], [4], [6], [4, 6], [6, 4]])
    ips = ["None"] if kind == "headless" else [cluster_ip(rng, f) for f in families]
    spec = {"type": "ClusterIP" if kind == "headless" else kind, "clusterIP": ips[0], "clusterIPs": ips,
            "ipFamilies": ["IPv%d" % f for f in families], "ports": service_ports(rng, kind == "headless")}
    if some(rng, 0.2):
        spec["publishNotReadyAddresses"] = True
    if kind != "headless" and some(rng, 0.3):
        spec["externalIPs"] = ["192.0.2.%d" % rng.randint(1, 9)] + ["2001:db8:e::%d" % rng.randint(1, 9)] * some(rng, 0.3)
    out = {"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": spec}
    if kind == "LoadBalancer" and some(rng, 0.8):
        out["status"] = {"loadBalancer": {"ingress": [rng.choice([
            {"ip": "198.51.100.%d" % rng.randint(1, 9)}, {"ip": "2001:db8:f::%d" % rng.randint(1, 9)}, {"hostname": "lb%d.%s" % (i, OUTSIDE.rstrip("."))}])
            for i in range(rng.choice([1, 1, 2]))]}}
    return out


def endpoint(rng, family, namespace):
    out = {"addresses": [pod_ip(rng, family)]}
    out["conditions"] = rng.choice([
        {"ready": True}, {"ready": True}, {"ready": True, "serving": True, "terminating": False}, {}, {"ready": False},
        {"ready": False, "serving": True, "terminating": True}, {"ready": False, "serving": False, "terminating": True}])
    if some(rng, 0.4):
        out["hostname"] = rng.choice(HOSTNAMES)
    if some(rng, 0.5):
        out["targetRef"] = {"kind": "Pod", "namespace": namespace,
                            "name": rng.choice(["web-0", "db-7d9c5-x2", "p-" + "x" * rng.choice([60, 61, 62, 80])])}
    if some(rng, 0.5):
        out["zone"] = rng.choice(["zone-a", "zone-b"])
    if some(rng, 0.3):
        out["nodeName"] = "node-1"
    return out


def slices(rng, svc, labels=None, prefix=""):
    namespace, name = svc["metadata"]["namespace"], svc["metadata"]["name"]
    out = []
    for i in range(rng.choice([0, 1, 1, 2, 3])):
        family = rng.choice([4, 4, 6])
        ports = [{"name": p.get("name", ""), "port": 8000 + p["port"], "protocol": p["protocol"]} for p in svc["spec"].get("ports") or []]
        if some(rng, 0.1):
            ports = ports[1:]
        if some(rng, 0.05):
            ports = [{**p, "name": p["name"].upper()} for p in ports]
        endpoints = [endpoint(rng, family, namespace) for _ in range(rng.choice([0, 1, 2, 3, 5]))]
        if endpoints and some(rng, 0.2):
            endpoints.append(endpoint(rng, family, namespace) | {"addresses": endpoints[0]["addresses"]})
        meta = {"namespace": namespace, "name": "%s%s-%d" % (prefix, name, i),
                "labels": {**(labels or {"kubernetes.io/service-name": name}), **(svc["metadata"].get("labels") or {})}}
        out.append({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": meta, "addressType": "IPv%d" % family,
                    "ports": ports, "endpoints": endpoints})
    return out


def pod(rng, i):
    families = rng.choice([[4], [6], [4, 6]])
    ips = [pod_ip(rng, f) for f in families]
    return {"apiVersion": "v1", "kind": "Pod",
            "metadata": {"namespace": rng.choice(NAMESPACES[:4]), "name": "pod-%d" % i, "labels": rng.choice([{}, {"expose": "yes"}])},
            "spec": {"containers": [], **rng.choice([{}, {}, {"hostNetwork": True}])},
            "status": {"phase": rng.choice(["Running", "Running", "Pending", "Succeeded", "Failed", "Unknown"]), "podIP": ips[0],
                       "podIPs": [{"ip": ip} for ip in ips]}}


def imports(rng):
    """ServiceImports with the slices of the clusters that they come from."""
    for name in rng.sample(SERVICES, 3):
        namespace = rng.choice(NAMESPACES[:3])
        kind = rng.choice(["ClusterSetIP", "Headless"])
        made = {"apiVersion": "multicluster.x-k8s.io/v1alpha1", "kind": "ServiceImport",
                "metadata": {"namespace": namespace, "name": name},
                "spec": {"type": kind, "ports": service_ports(rng, False), **({"ips": [cluster_ip(rng, rng.choice([4, 4, 6]))]} if kind == "ClusterSetIP" else {})}}
        yield made
        for where in rng.sample(["east", "west"], rng.choice([1, 2])):
            yield from slices(rng, made, {"multicluster.kubernetes.io/service-name": name, "multicluster.kubernetes.io/source-cluster": where}, where + "-")


def cluster(rng, zone):
    """Objects of a cluster whose domain is `zone`."""
    out = [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": n, "labels": rng.choice([{}, {"team": "a"}, {"team": "b"}])}}
           for n in NAMESPACES]
    for namespace in NAMESPACES[:5]:
        for name in rng.sample(SERVICES, rng.choice([1, 2, 4, 6])):
            svc = service(rng, namespace, name, zone)
            out.append(svc)
            if svc["spec"]["type"] != "ExternalName" or some(rng, 0.2):
                out += slices(rng, svc)
    out += slices(rng, {"metadata": {"namespace": "default", "name": "nobody"}, "spec": {}})
    out += [pod(rng, i) for i in range(12)]
    out += list(imports(rng))
    return out


# ---------------------------------------------------------------- questions --
def cased(rng, name):
    if some(rng, 0.7):
        return name
    return "".join(c.upper() if some(rng, 0.5) else c.lower() for c in name)


def cluster_names(rng, objects, zone):
    """Names at every depth of what exists, and their neighbours that do not."""
    out = [zone, "svc." + zone, "pod." + zone, "dns." + zone, "ns.dns." + zone, "x.dns." + zone, "dns-version." + zone, "x.dns-version." + zone,
           "_zone.svc." + zone, "nope." + zone, "a.nope." + zone, "svc.svc." + zone, "nons.svc." + zone, "web.nons.svc." + zone, "nons.pod." + zone]
    for namespace in NAMESPACES:
        out += ["%s.svc.%s" % (namespace, zone), "%s.pod.%s" % (namespace, zone), "nosuch.%s.svc.%s" % (namespace, zone)]
        for ip in ("10-244-0-%d" % rng.randint(1, 12), "10-244-1-%d" % rng.randint(1, 12), "fd00-244--%x" % rng.randint(1, 12),
                   "300-1-1-1", "10-244-0", "nopod", "1-2-3-4", "fd00--1--2"):
            out.append("%s.%s.pod.%s" % (ip, namespace, zone))
        out.append("x.1-2-3-4.%s.pod.%s" % (namespace, zone))
    for o in objects:
        if o["kind"] in ("Service", "ServiceImport"):
            base = "%s.%s.svc.%s" % (o["metadata"]["name"], o["metadata"]["namespace"], zone)
            out += [base] * 12 + ["x." + base, "_tcp." + base, "_udp." + base, "tcp." + base, "a.b.c." + base, "*." + base, "_nope._tcp." + base,
                    "_zone." + base, "zone-a.pin._zone." + base, "zone-c.prefer._zone." + base, "prefer._zone." + base, "x.zone-a.pin._zone." + base]
            for p in o["spec"].get("ports") or []:
                name, proto = p.get("name", ""), p["protocol"].lower()
                out += ["_%s._%s.%s" % (name or "x", proto, base)] * 6 + ["%s.%s.%s" % (name or "x", proto, base), "_%s._%s.%s" % (name or "x", "tcp", base),
                        "_%s.%s.%s" % (name or "x", proto, base), "x._%s._%s.%s" % (name or "x", proto, base)]
        if o["kind"] == "EndpointSlice":
            labels = o["metadata"]["labels"]
            name = labels.get("kubernetes.io/service-name") or labels.get("multicluster.kubernetes.io/service-name")
            base = "%s.%s.svc.%s" % (name, o["metadata"]["namespace"], zone)
            cluster_id = labels.get("multicluster.kubernetes.io/source-cluster")
            for e in o["endpoints"]:
                dashed = re.sub("[.:]", "-", e["addresses"][0])
                for label in {dashed, dashed + "0", e.get("hostname", dashed), (e.get("targetRef") or {}).get("name", dashed)}:
                    if len(label) < 64:
                        out += ["%s.%s" % (label, base)] * 4 + ["%s.east.%s" % (label, base)]
                        if cluster_id:
                            out.append("%s.%s.%s" % (label, cluster_id, base))
    return out


def reverse_names(rng, objects):
    out = ["in-addr.arpa.", "10.in-addr.arpa.", "96.10.in-addr.arpa.", "0.96.10.in-addr.arpa.", "ip6.arpa.", "d.f.ip6.arpa.", "x.10.in-addr.arpa.",
           "300.0.96.10.in-addr.arpa.", "1.2.3.4.5.in-addr.arpa.", "7.0.2.192.in-addr.arpa.", "01.0.96.10.in-addr.arpa.", "web.default.svc.in-addr.arpa."]
    for o in objects:
        for ip in o["spec"].get("clusterIPs", []) + o["spec"].get("externalIPs", []) + o["spec"].get("ips", []) if o["kind"] in ("Service", "ServiceImport") else []:
            if ip != "None":
                out.append(reverse(ip))
        for i in (o.get("status") or {}).get("loadBalancer", {}).get("ingress", []):
            if "ip" in i:
                out.append(reverse(i["ip"]))
        for e in o.get("endpoints", []):
            out.append(reverse(e["addresses"][0]))
    out += [reverse(cluster_ip(rng, 4)), reverse(cluster_ip(rng, 6)), reverse(SERVER[0]), reverse(SERVER[1])]
    out += ["x." + reverse("10.96.0.10"), reverse("fd00:96::1")[4:]]
    return out


UPSTREAM_KINDS = ["a1", "a3", "aaaa1", "both", "cname1", "cname2", "cnameout", "nx", "nodata", "servfail", "refused", "notimp", "big", "huge", "mx", "txt", "srv",
                  "ns", "up", "bare", "ttl0", "ttl1", "ttlmix", "echo", "soa", "dead"]


def outside_names(rng):
    return [k + "." + OUTSIDE for k in UPSTREAM_KINDS if k != "dead"] + ["www.%s.%s" % (rng.choice(UPSTREAM_KINDS[:-1]), OUTSIDE), OUTSIDE, "test.", ".", "a1.other.test."]


PLAIN = {"version": 0, "qclass": 1, "opcode": 0, "qdcount": 1, "options": []}


def question(rng, name, qtype=None):
    """How `name` is asked for."""
    if qtype is None:
        ptr = name.lower().endswith(".arpa.")
        srv = name.startswith("_")
        qtype = "PTR" if ptr and some(rng, 0.75) else "SRV" if srv and some(rng, 0.6) else rng.choice(TYPES)
    q = {"qname": cased(rng, name), "qtype": qtype, "edns": rng.choice([None, None, 0, 512, 1232, 1232, 4096, 65535]), "do": some(rng, 0.15), "rd": some(rng, 0.9),
         "ad": some(rng, 0.15), "cd": some(rng, 0.15), "tcp": some(rng, 0.15), "client": None, **PLAIN}
    if q["edns"] is None:
        q["do"] = False
    elif some(rng, 0.1) and "echo" not in name:
        q["options"] = rng.sample([(3, b""), (10, b"\1\2\3\4\5\6\7\x08"), (12, b"\0\0\0\0"), (8, b"\0\1\x18\0\n\0\0"), (65001, b"hi"), (11, b"")], rng.choice([1, 2]))
    odd = rng.random()
    if odd < 0.02:
        q["qclass"] = rng.choice([3, 4, 254, 255, 0, 77])
    elif odd < 0.03:
        q["opcode"] = rng.choice([1, 2, 3, 4, 5, 6, 15])
    elif odd < 0.04 and q["edns"] is not None:
        q["version"] = rng.choice([1, 255])
    elif odd < 0.05:
        q["qdcount"] = rng.choice([0, 2])
    return q


def questions(rng, names, n):
    return [question(rng, rng.choice(names)) for _ in range(n)]


def wire(q, ident):
    """A question's packet."""
    flags = q["opcode"] << 11 | q["rd"] << 8 | q["ad"] << 5 | q["cd"] << 4
    number = play.TYPES.get(q["qtype"]) or int(q["qtype"][4:])
    out = ident.to_bytes(2, "big") + flags.to_bytes(2, "big") + q["qdcount"].to_bytes(2, "big") + bytes([0, 0]) \
        + (1 if q.get("serial") is not None else 0).to_bytes(2, "big") + (q["edns"] is not None).to_bytes(2, "big")
    for _ in range(q["qdcount"]):
        out += play.pack_name(q["qname"]) + number.to_bytes(2, "big") + q["qclass"].to_bytes(2, "big")
    if q.get("serial") is not None:
        out += play.pack_rr({"name": q["qname"], "type": "SOA", "ttl": 0, "data": "a. b. %d 0 0 0 0" % q["serial"]})
    if q["edns"] is not None:
        options = b"".join(code.to_bytes(2, "big") + len(data).to_bytes(2, "big") + data for code, data in q["options"])
        out += b"\0" + (41).to_bytes(2, "big") + q["edns"].to_bytes(2, "big") + (q["version"] << 16 | q["do"] << 15).to_bytes(4, "big") \
            + len(options).to_bytes(2, "big") + options
    return out


def broken(rng, packet):
    """A packet with mistakes in it."""
    packet = bytearray(packet)
    for _ in range(rng.choice([1, 1, 2, 3])):
        what = rng.random()
        if what < 0.35 and len(packet) > 4:
            del packet[rng.randrange(3, len(packet)):]
        elif what < 0.85:
            packet[rng.randrange(2, len(packet))] = rng.choice([0, 1, 0xFF, 0xC0, 0x3F, 0x40, rng.randrange(256)])
        else:
            packet += bytes(rng.choice([[0], [0xC0, 12], list(range(12))]))
    return bytes(packet)
