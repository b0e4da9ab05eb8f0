"""Corefiles made up at random, whole and broken, and the upstream that they forward to; for compare_dns.py.

Owns what a directive may say and which questions would show it.  Must not know a server, nor what is right.
"""
import dataclasses
import ipaddress
import re
import struct

import play_dns as play
import random_dns
from random_dns import OUTSIDE, some

UPSTREAM = "127.0.0.1:5454"
ENVIRONMENT = {"RD_TTL": "17", "RD_ZONE": "env.test", "RD_NAME": "a1." + OUTSIDE, "RD_PORT": "53"}
STATUS = ["errors", "log", "health :8080", "ready :8181", "prometheus :9153"]


@dataclasses.dataclass
class Made:
    text: str
    objects: list = dataclasses.field(default_factory=list)
    files: dict = dataclasses.field(default_factory=dict)
    names: list = dataclasses.field(default_factory=list)
    """Names worth asking for, or whole questions."""
    clients: list = dataclasses.field(default_factory=lambda: [None])
    zones: list = dataclasses.field(default_factory=list)
    slack: int = 0

    def questions(self, rng, n):
        out = []
        # In every other round all are queries in order, so that both servers count alike.
        odd = some(rng, 0.5)
        for _ in range(n):
            name = rng.choice(self.names)
            q = random_dns.question(rng, *(name if isinstance(name, tuple) else (name,)))
            q |= {"client": rng.choice(self.clients), "id": len(out)} | ({} if odd else random_dns.PLAIN)
            if q["qtype"] in ("AXFR", "IXFR"):
                q |= {"tcp": some(rng, 0.8), "serial": 1 if q["qtype"] == "IXFR" else None, "options": []}
            elif odd and some(rng, 0.04):
                q |= {"tcp": False, "packet": random_dns.broken(rng, random_dns.wire(q, q["id"]))}
            out.append(q)
        return out


# ----------------------------------------------------------------- upstream --
def rr(name, rtype, ttl, data):
    return play.pack_name(name) + struct.pack("!2HIH", play.TYPES[rtype], 1, ttl, len(data)) + data


def address(name, ip, ttl=300):
    ip = ipaddress.ip_address(ip)
    return rr(name, "A" if ip.version == 4 else "AAAA", ttl, ip.packed)


def upstream_answer(qname, number, buf, end, udp):
    """(rcode, answer, authority, TC, OPT record) by the first label; rcode None: silence."""
    kinds = [label.lower() for label in qname.split(".")]
    kind = next((k for k in kinds if k in random_dns.UPSTREAM_KINDS), None)
    edns, size = buf[end:], 512
    opt = b""
    if edns:
        size = max(512, struct.unpack_from("!H", edns, 3)[0])
        opt = b"\0" + struct.pack("!2HIH", 41, 4096, struct.unpack_from("!I", edns, 5)[0] & 0x8000, 0)
    soa = [play.pack_rr({"name": OUTSIDE, "type": "SOA", "ttl": 60, "data": "ns.%s h.%s 7 7200 1800 86400 30" % (OUTSIDE, OUTSIDE)})]
    if kind == "dead":
        return None, [], [], 0, b""
    if qname == "." and number == play.TYPES["NS"]:
        return 0, [rr(".", "NS", 3600, play.pack_name("a.root."))], [], 0, opt
    if kind is None or kind == "nx":
        return 3, [], soa, 0, opt
    code = {"servfail": 2, "refused": 5, "notimp": 4}.get(kind)
    if code:
        return code, [], [], 0, opt
    target = qname
    answer = []
    for hop in {"cname1": ["a1"], "cname2": ["cname1", "a1"], "cnameout": ["gone"]}.get(kind, []):
        to = hop + "." + (OUTSIDE if hop != "gone" else "other.test.")
        answer.append(rr(target, "CNAME", 120, play.pack_name(to)))
        target = to
    of = {
        "a1": [address(target, "192.0.2.1")], "up": [address(target, "127.0.0.1")], "a3": [address(target, "192.0.2.%d" % i) for i in (1, 2, 3)], "aaaa1": [address(target, "2001:db8::1")],
        "both": [address(target, "192.0.2.2"), address(target, "2001:db8::2")], "big": [address(target, "192.0.2.%d" % i) for i in range(60)],
        "huge": [address(target, "198.18.%d.%d" % (i // 250, i % 250)) for i in range(400)], "ttl0": [address(target, "192.0.2.3", 0)],
        "ttl1": [address(target, "192.0.2.4", 1)], "ttlmix": [address(target, "192.0.2.5", 10), address(target, "192.0.2.6", 100)],
        "mx": [rr(target, "MX", 300, struct.pack("!H", n) + play.pack_name("mx%d.%s" % (n, OUTSIDE))) for n in (10, 20)],
        "txt": [rr(target, "TXT", 300, b"\5hello\5world")], "srv": [rr(target, "SRV", 300, struct.pack("!3H", 1, 2, 80) + play.pack_name("a1." + OUTSIDE))],
        "ns": [rr(target, "NS", 300, play.pack_name("ns1." + OUTSIDE))],
        "soa": [play.pack_rr({"name": target, "type": "SOA", "ttl": 60, "data": "ns.%s h.%s 7 7200 1800 86400 30" % (OUTSIDE, OUTSIDE)})],
    }
    of["cname1"] = of["cname2"] = of["a1"] if target != qname else []
    if kind == "echo":
        asked = seen(qname, number, buf, edns).encode()
        of["echo"] = [rr(target, "TXT", 300, bytes([len(asked)]) + asked), address(target, "192.0.2.9")]
    type_at = len(play.pack_name(target))
    fitting = [r for r in of.get(kind, []) if number in (255, struct.unpack_from("!H", r, type_at)[0])]
    if number == play.TYPES["CNAME"]:
        answer = answer[:1]
        fitting = []
    answer += fitting
    authority = [] if answer or kind == "bare" else soa
    if udp and 12 + len(qname) + 6 + sum(map(len, answer + authority)) + len(opt) > size:
        return 0, [], [], 1, opt
    return 0, answer, authority, 0, opt


def seen(qname, number, buf, edns):
    """What the upstream was asked, as far as both servers have to ask alike."""
    found = []
    at = 11
    while edns and at + 4 <= len(edns):
        code, length = struct.unpack_from("!2H", edns, at)
        found.append("%d:%s" % (code, edns[at + 4:at + 4 + length].hex()))
        at += 4 + length
    return "%s %d cd%d %s" % (qname.lower(), number, buf[3] >> 4 & 1, ",".join(sorted(found)))


# --------------------------------------------------------------- directives --
def block(head, lines):
    return [head + " {", *("    " + line for line in lines), "}"] if lines else [head]


# Fields that both servers have to fill alike.
FIELDS = "{>id} {type} {class} {name} {proto} {size} {rcode} {>rflags} {>opcode} {>do} {>bufsize} {/log/class} {/log/type}" \
    + "".join(" <{/kubernetes/%s}>" % label for label in ("endpoint", "service", "namespace", "kind", "port-name", "protocol", "zone", "client-namespace", "client-pod-name", "client-label/expose"))


def status(rng):
    """What operators see; in half of the Corefiles as most write it."""
    lines = list(STATUS)
    if some(rng, 0.5):
        return lines
    lines[0:1] = block("errors", rng.choice([[], ['consolidate 10s ".* i/o timeout$"'], ['consolidate 1h "no next plugin" warning show_first', "stacktrace"], ['consolidate 1h "." error']]))
    logs = rng.choice([["log"], ['log . "told ' + FIELDS + '"'], ["log ext.test", 'log test . "told ' + FIELDS + '"'], block("log", ["class denial error"]), block("log .", ["class success"]),
                       block('log . "told ' + FIELDS + '"', ["class " + rng.choice(["success", "denial", "error", "all"])]), block("log svc.cluster.local", ["class error"]) + ["log"], ["log . {combined}"]])
    lines[lines.index("log"):lines.index("log") + 1] = logs
    lines[lines.index("health :8080"):lines.index("health :8080") + 1] = block("health :8080", rng.choice([[], ["lameduck 1s"]]))
    return lines + [line for chance, line in [(0.2, "loop"), (0.2, "reload 30s 10s"), (0.4, rng.choice(["metadata", "metadata", "metadata test svc.cluster.local"]))] if some(rng, chance)]


def kubernetes(rng, zones, zone):
    lines = ["endpoint http://127.0.0.1:%d" % play.API_PORT]
    pods = rng.choice([None, "disabled", "insecure", "insecure", "verified", "verified"])
    if pods:
        lines.append("pods " + pods)
    for chance, line in [
            (0.5, "ttl %s" % rng.choice(["0", "1", "30", "300", "301", "3600", "{$RD_TTL}"])), (0.15, "namespaces " + " ".join(rng.sample(random_dns.NAMESPACES, 3))),
            (0.25, "endpoint_pod_names"), (0.08, "noendpoints"), (0.15, "ignore empty_service"), (0.1, "labels expose=yes"),
            (0.1, "labels expose in (yes, maybe)"), (0.2, "zonal"), (0.05, "startup_timeout 3s"), (0.05, "apiserver_qps 50")]:
        if some(rng, chance):
            lines.append(line)
    if "noendpoints" in lines:
        lines = [line for line in lines if line != "zonal"]
    if not any(line.startswith("namespaces") for line in lines) and some(rng, 0.15):
        lines.append("namespace_labels " + rng.choice(["team=a", "team in (a, b)", "team", "!team"]))
    if "clusterset.test" in zones:
        lines.append("multicluster clusterset.test")
    if some(rng, 0.4):
        lines.append("fallthrough" + rng.choice(["", " in-addr.arpa ip6.arpa", " " + zone.rstrip("."), " svc." + zone.rstrip("."), " 10.0.0.0/8"]))
    rng.shuffle(lines)
    return block("kubernetes " + " ".join(zones), lines)


def cluster(rng):
    """A Corefile around `kubernetes`."""
    zone = rng.choice(["cluster.local.", "cluster.local.", "cluster.local.", "Cluster.Test.", "k8s.example.org.", "local."])
    zones = [zone.rstrip(".")] + rng.choice([[], ["in-addr.arpa", "ip6.arpa"], ["in-addr.arpa", "ip6.arpa"], ["10.0.0.0/8"], ["10.96.0.0/15", "fd00::/16"], ["96.10.in-addr.arpa"]])
    if some(rng, 0.2):
        zones.append(rng.choice(["other.test", "b." + zone.rstrip(".")]))
    if some(rng, 0.25):
        zones.append("clusterset.test")
    if some(rng, 0.1):
        zones.reverse()
    lines = status(rng)
    lines += kubernetes(rng, zones, zone)
    made = Made("", random_dns.cluster(rng, zone))
    forward = [z for z in (z.rstrip(".") + "." for z in zones) if "arpa" not in z and "/" not in z]
    for z in forward:
        made.names += random_dns.cluster_names(rng, made.objects, z)
    made.names += random_dns.reverse_names(rng, made.objects) * 2 + random_dns.outside_names(rng)
    made.zones = forward
    made.clients = [None] * 6 + ["10.244.0.1", "fd00:244::1"]
    if some(rng, 0.3):
        lines += balance(rng, made)
    if some(rng, 0.25):
        lines += block("transfer" + rng.choice(["", "", " " + zone.rstrip("."), " svc.example.org " + zone.rstrip(".")]), ["to " + rng.choice(["*", "*", "127.0.0.1", "10.244.0.1 192.0.2.250"])])
        if some(rng, 0.2):
            lines += block("transfer svc.example.org", ["to *", "source 127.0.0.1"])
        made.names += [(z, t) for z in forward + ["svc." + zone, "svc.example.org."] for t in ("AXFR", "IXFR")] * 3
    if some(rng, 0.3):
        lines += external(rng, made, zone)
    if some(rng, 0.2):
        lines += hosts(rng, made)
    if some(rng, 0.15):
        lines += rewrite(rng, made) + rng.choice([[], [rng.choice(["rewrite name suffix .%s .svc.%s", "rewrite continue name suffix .short.test .default.svc.%.0s%s answer auto"]) % (zone, zone)]])
        made.names += ["web.short.test.", "api.short.test.", "web.default." + zone]
        if some(rng, 0.4):
            lines.append("rewrite name regex ^([^.]+)[.]short[.]test[.]$ {1}.{kubernetes/%s}.svc.%s metadata answer auto" % (rng.choice(["client-namespace", "client-label/expose", "service"]), zone))
            made.clients += ["10.244.0.1", "10.244.1.2"] * 2
    if some(rng, 0.15):
        lines += acl(rng, made)
    if some(rng, 0.2):
        lines.append("autopath @kubernetes")
        made.clients += ["10.244.0.1", "10.244.1.2"] * 3
        for namespace in random_dns.NAMESPACES:
            for name in ["a1." + OUTSIDE, "both." + OUTSIDE, "nx." + OUTSIDE, "web.", "web.default.", "web.default.svc.", "cname1." + OUTSIDE, "nodata." + OUTSIDE, "a1.", ""]:
                made.names.append("%s%s.svc.%s" % (name, namespace, zone))
                made.names.append("%ssvc.%s" % (name, zone))
    if some(rng, 0.3):
        # As kubeadm writes it.
        lines += block("cache 30", ["disable success " + zone.rstrip("."), "disable denial " + zone.rstrip(".")])
        made.slack = 1
    if some(rng, 0.2):
        lines.append("forward stub.test 127.0.0.1:5455")
        made.names += ["a1.stub.test.", "both.stub.test.", "nx.stub.test."] * 3
    if some(rng, 0.75):
        lines.append("forward . " + UPSTREAM)
    keys = rng.choice([["."], ["."], ["."], [".:53"], ["dns://.:53"], zones])
    if keys == ["."] and some(rng, 0.2):
        keys = zones
    made.text = "\n".join(block(" ".join(keys), lines)) + "\n"
    if keys is zones and some(rng, 0.5):
        made.text += "\n".join(block(".", ["forward . " + UPSTREAM])) + "\n"
    if some(rng, 0.2):
        # As users write a stub zone.
        made.text += "\n".join(block("stub.test:53", ["errors", "cache 30", "forward . 127.0.0.1:5455"])) + "\n"
        made.names += ["a1.stub.test.", "both.stub.test.", "nx.stub.test.", "servfail.stub.test."] * 4
        made.slack = 1
    made.text = bound(rng, made.text)
    return made


def bound(rng, text):
    """Now and then served on some addresses alone, which all blocks have to say then."""
    return re.sub(r"^([^\s(][^\n]*\{)$", r"\1\n    bind 127.0.0.1 ::1", text, flags=re.M) if some(rng, 0.1) else text


def balance(rng, made):
    made.files["weights"] = "# of the test\n\na3.ext.test\n192.0.2.1 3\n192.0.2.2 1\n"
    prefer = rng.choice([[], [], ["prefer 192.0.2.2/32 10.96.0.0/12", "prefer fd00::/8"]])
    return block("loadbalance" + rng.choice(["", "", " round_robin"]), prefer) if some(rng, 0.8) else block("loadbalance weighted weights", rng.choice([[], ["reload 5s"], ["reload 0s"]]))


def external(rng, made, zone):
    zones = ["svc.example.org"] + rng.choice([[], [], ["in-addr.arpa"], ["in-addr.arpa", "ip6.arpa"]])
    lines = [line for chance, line in [(0.3, "apex " + rng.choice(["dns", "testdns", "x"])), (0.5, "ttl " + rng.choice(["0", "7", "3600"])), (0.5, "headless"),
                                       (0.2, "fallthrough" + rng.choice(["", " in-addr.arpa", " svc.example.org"]))] if some(rng, chance)]
    names = random_dns.cluster_names(rng, made.objects, "svc.example.org.")
    made.names += [n.replace(".svc.svc.example", ".svc.example") for n in names] + ["ns1.dns.svc.example.org.", "ns1.testdns.svc.example.org.", "dns.svc.example.org.",
                                                                                  "testdns.svc.example.org.", "hostmaster.dns.svc.example.org."]
    return block("k8s_external " + " ".join(zones), lines)


# ------------------------------------------------------------ other plugins --
HOSTS = """# of the test
192.0.2.30 alpha.test Alpha.Two.test
192.0.2.31 alpha.test
2001:db8::30 alpha.test beta.test # trailing
fe80::1%eth0 link.test
nonsense gamma.test
192.0.2.32
192.0.2.33\tgamma.test\tdelta.example.
10.0.0.300 bad.test
::ffff:192.0.2.34 mapped.test
192.0.2.35 *.wild.test under_score.test -dash.test
"""
HOST_NAMES = ["alpha.test.", "alpha.two.test.", "beta.test.", "link.test.", "gamma.test.", "delta.example.", "bad.test.", "mapped.test.", "*.wild.test.", "x.wild.test.",
              "under_score.test.", "-dash.test.", "inline.test.", "two.inline.test.", "in.example.", "sub.alpha.test.", "localhost.", "none.test.",
              *(random_dns.reverse(ip) for ip in ("192.0.2.30", "192.0.2.31", "192.0.2.33", "192.0.2.34", "192.0.2.36", "192.0.2.99", "2001:db8::30", "127.0.0.1"))]


def hosts(rng, made):
    made.files["hosts"] = HOSTS
    made.names += HOST_NAMES * 2
    lines = [line for chance, line in [
        (0.5, "192.0.2.36 inline.test two.inline.test"), (0.3, "2001:db8::36 inline.test in.example"), (0.2, "192.0.2.30 inline.test"), (0.4, "ttl " + rng.choice(["1", "60", "65535"])),
        (0.2, "no_reverse"), (0.2, "reload " + rng.choice(["0", "0s", "10s"])), (0.85, "fallthrough" + rng.choice(["", "", "", " test", " example in-addr.arpa"]))] if some(rng, chance)]
    return block("hosts " + rng.choice(["hosts", "hosts", "hosts test", "hosts test 192.0.2.0/24", "missing", "hosts ."]), lines)


def template(rng, made):
    made.names += ["ip-10-1-2-3.tpl.test.", "ip-10-1-2-300.tpl.test.", "a.tpl.test.", "tpl.test.", "x.y.tpl.test.", "b.env.test.", "IP-1-2-3-4.TPL.test."] * 3
    zone = rng.choice(["", " tpl.test", " tpl.test", " tpl.test env.test", " {$RD_ZONE}", " ."])
    head = "template %s %s%s" % (rng.choice(["IN", "IN", "ANY", "CH"]), rng.choice(["A", "A", "AAAA", "ANY", "TXT", "MX", "SRV", "CNAME", "HTTPS"]), zone)
    lines = []
    if some(rng, 0.6):
        lines.append("match " + rng.choice(['"^ip-(?P<a>[0-9]*)-(?P<b>[0-9]*)-(?P<c>[0-9]*)-(?P<d>[0-9]*)[.]tpl[.]test[.]$"', "(.*)[.]tpl[.]test[.]$", "^a[.]", "[.]", '"^x[.]" "^a[.]"']))
    if some(rng, 0.25):
        lines += rng.choice([["var ip replace(group(1), '-', '.')"], ["var n len(name())", "var short n < 12 ? 'yes' : 'no'"], ["var parts split(name(), '.')", "var first parts[0]"], ["var a upper(type()) + '/' + proto()"]])
    if some(rng, 0.2):
        lines.append("expr " + rng.choice(["name() startsWith 'a'", "type() in ['A', 'AAAA', 'TXT']", "client_ip() != '10.244.0.1' && size() > 5", '"any([\'127.0.0.0/8\', \'10.0.0.0/8\'], incidr(client_ip(), #))"', "not (name() matches '^ip-[0-9]+')",
                                           "name() contains 'tpl' or group(0) == 'x'", "group('a') == '10'", "len(split(name(), '.')) - 1 >= 2 ** 1", "do() || bufsize() > 512", "int(group(1)) > 3", "metadata('kubernetes/service') == ''"]))
    if some(rng, 0.7):
        lines.append("answer " + rng.choice([
            '"{{ .Name }} 60 IN TXT {{ if eq .Type \\"A\\" }}a{{ else if .Group.a }}b{{ else }}c{{ end }}"', '"{{ .Name }} 60 IN TXT {{ range .Match }}x{{ end }}y"', '"{{- .Name }} {{ 60 }} IN TXT {{ printf \\"%s-%03d\\" .Class (len .Name) -}} "',
            '"{{ .Name }} 60 IN A 192.0.2.{{ parseInt (index .Match 0 | len | printf `%d`) 10 8 }}"', '"{{ .Name }} 60 IN TXT {{ .Var.ip }}{{ .Var.short }}{{ .Var.first }}{{ .Var.a }}"', '"{{ with .Var.n }}{{ $.Name }} 60 IN TXT {{ . }}{{ else }}{{ .Name }} 60 IN TXT none{{ end }}"',
            '"{{ .Name }} 60 IN A 192.0.2.77"', '"{{ .Name }} 60 IN A {{ .Group.a }}.{{ .Group.b }}.{{ .Group.c }}.{{ .Group.d }}"', '"{{ .Name }} 60 IN A 192.0.2.{{ index .Match 1 }}"',
            '"{{ .Name }} IN A 192.0.2.78"', '"{{ .Name }} 60 IN CNAME a1.%s"' % OUTSIDE, '"{{ .Name }} 60 IN TXT \\"{{ .Zone }} {{ .Class }} {{ .Type }} {{ .Remote }}\\""',
            '"{{ .Name }} 60 IN MX 10 mx.{{ .Zone }}" "{{ .Name }} 60 IN MX 20 mx2.tpl.test."', '"{{ .Name }} 60 IN AAAA 2001:db8::{{ index .Match 0 }}"',
            '"{{ .Name }} 60 IN SRV 1 2 80 {{ .Name }}"', '"{{ .Name }} 60 IN HTTPS 1 . alpn=h2"', '"{{ .Name }} 60 IN CAA 0 issue \\"x\\""', '"ns.{{ .Zone }} 60 IN NS ns.{{ .Zone }}"', '"{{ .Name }} 60 IN A 192.0.2.81" "{{ .Name }} 60 IN AAAA 2001:db8::81"', '"{{ .Name }} 1h IN A 192.0.2.79"', '"{{.Name}} 60 {{.Class}} {{.Type}} 192.0.2.80"']))
    if some(rng, 0.2):
        lines.append('authority "{{ .Zone }} 60 IN SOA ns.tpl.test. h.tpl.test. (1 60 60 60 60)"')
    if some(rng, 0.15):
        lines.append('additional "ns.tpl.test. 60 IN A 192.0.2.53"')
    if some(rng, 0.35):
        lines.append("rcode " + rng.choice(["NXDOMAIN", "NOERROR", "SERVFAIL", "REFUSED"]))
    if some(rng, 0.15):
        lines.append('ederror ' + rng.choice(["21", '21 "blocked"', "15 no"]))
    if some(rng, 0.7 if zone not in ("", " .") else 0.9):
        lines.append("fallthrough" + rng.choice(["", "", " tpl.test", " example"]))
    return block(head, lines)


def rewrite(rng, made):
    made.names += ["rw.test.", "a.rw.test.", "x.a.rw.test.", "a-rw.test.", "one.two.rw.test.", "echo.rw.test.", "txt.rw.test.", "a1.rw.test.", "cname1.rw.test.", "both.rw.test.", "srv.rw.test.",
                   "mx.rw.test.", "nx.rw.test.", "cname2." + OUTSIDE, ("echo." + OUTSIDE, "TXT"), ("echo.rw.test.", "TXT")] * 3
    mode = rng.choice(["", "", "continue ", "stop "])
    kind = rng.choice(["name", "name", "name", "name", "type", "class", "ttl", "ttl", "edns0", "edns0", "rcode", "cname"])
    answer = rng.choice(["", "", " answer auto", " answer name (.*)[.]ext[.]test[.] {1}.rw.test.", " answer value (.*)[.]ext[.]test[.] {1}.rw.test.", " answer name a1[.](.*)[.] b1.{1} answer value (.*)[.]test[.] {1}.rw"])
    matched = rng.choice(["exact a1.rw.test", "a1.rw.test.", "exact A1.RW.test.", "prefix a", "suffix .rw.test", "suffix .rw.test.", "substring rw", "regex (.*)[.]rw[.]test[.]", "regex ^a(.*)$",
                          "suffix .ext.test.", "exact both.ext.test", "regex .*"])
    if kind == "name":
        rule = rng.choice([
            "exact a1.rw.test a1.%s" % OUTSIDE, "rw.test. both." + OUTSIDE, "a1.rw.test {$RD_NAME}", "exact A1.Rw.Test a1." + OUTSIDE, "prefix a. both.", "prefix x", "suffix .rw.test .ext.test", "suffix .rw.test. .ext.test.",
            "suffix rw.test ext.test", "substring rw.test ext.test", "substring -rw .ext", "substring rw ext", r"regex (.*)[.]rw[.]test[.]? {1}.ext.test.", r"regex (.*)\.(.*)\.rw\.test {2}.ext.test", "regex ^x.(.*)$ {1}",
            "regex (.*)[.]rw[.]test {1}.ext.test", "exact . a1." + OUTSIDE, "regex (nx|nodata)[.](.*) {2}"])
        if rule == "prefix x":
            rule = "prefix x.a. a1."
        return ["rewrite %sname %s%s" % (mode, rule, answer)]
    if kind == "ttl":
        return ["rewrite %sttl %s %s" % (mode, matched, rng.choice(["0", "10", "5-20", "100-", "-7", "3600"]))]
    if kind == "rcode":
        return ["rewrite %srcode %s %s" % (mode, matched, rng.choice(["NXDOMAIN NOERROR", "SERVFAIL NXDOMAIN", "NOERROR REFUSED", "3 0", "nxdomain noerror"]))]
    if kind == "cname":
        return ["rewrite %scname %s %s" % (mode, rng.choice(["exact a1.ext.test.", "a1." + OUTSIDE, "suffix ext.test. other.test." , "prefix cname", "regex (.*)[.]ext[.]test[.]"]).replace(" other.test.", ""), "both." + OUTSIDE)]
    if kind == "type":
        return ["rewrite %stype %s" % (mode, rng.choice(["A AAAA", "AAAA A", "ANY HINFO", "TXT A", "srv a"]))]
    if kind == "class":
        return ["rewrite %sclass %s" % (mode, rng.choice(["CH IN", "IN CH", "HS IN"]))]
    return ["rewrite %sedns0 %s" % (mode, rng.choice([
        "local set 0xffee 0x61626364", "local append 0xffed hello", "local replace 0xffee new", "local set 65001 {client_ip}", "local set 0xffee {qname}", "local set 0xffee {qtype}",
        "local set 0xffee {protocol}", "local set 0xffec {server_port}", "local set 0xffec {server_ip}", "nsid set", "nsid append", "subnet set 24 56", "subnet set 32 128", "subnet append 0 0", "local unset 0xffee",
        "subnet unset", "nsid unset", "local set 0xffee 0x6162 revert", "local set 0xffee {kubernetes/service}", "local set 0xffee {kubernetes/client-namespace}"]))]


def acl(rng, made):
    made.clients += CLIENTS
    rules = []
    for _ in range(rng.choice([1, 2, 3])):
        rule = rng.choice(["allow", "block", "block", "filter", "filter", "drop"])
        for part in rng.sample(["type " + rng.choice(["A", "AAAA", "A AAAA", "*", "ANY", "TXT", "MX SRV"]),
                                "net " + rng.choice(["10.244.0.0/16", "10.244.0.1", "fd00::/8", "*", "127.0.0.1/32 192.0.2.0/24", "::1", "0.0.0.0/0", "::/0"])], rng.choice([0, 1, 2, 2])):
            rule += " " + part
        rules.append(rule)
    return block("acl" + rng.choice(["", "", " ext.test", " test", " 10.0.0.0/8 rw.test"]), rules)


CLIENTS = ["10.244.0.1", "10.244.1.2", "192.0.2.250", "fd00:244::1", "2001:db8:c::1"]


def cache(rng, made):
    made.slack = 1
    head = "cache" + rng.choice(["", "", " 30", " 1", " 60 ext.test", " ext.test rw.test", " 0"])
    lines = [line for chance, line in [
        (0.3, "success " + rng.choice(["100", "1000 20", "1000 60 10", "1000 3600 0"])), (0.3, "denial " + rng.choice(["100", "1000 20", "1000 60 10", "1000 5 0"])), (0.2, "prefetch " + rng.choice(["2", "2 1m", "3 1m 20%", "0"])),
        (0.2, "serve_stale" + rng.choice(["", " 1h", " 1h verify", " 1h immediate", " 1h immediate 30s 10s", " 1h verify 100ms 30s", "\n        serve_stale_policy prefer_positive"])), (0.2, "servfail " + rng.choice(["0", "10s", "5m"])),
        (0.2, "disable " + rng.choice(["success", "denial", "success ext.test", "denial ext.test rw.test"])), (0.2, "keepttl")] if some(rng, chance)]
    return block(head, lines)


def forward(rng, made, zone="."):
    head = "forward %s %s" % (zone, rng.choice([UPSTREAM, UPSTREAM, UPSTREAM, UPSTREAM + " 127.0.0.1:5455", "dns://" + UPSTREAM, "up.ext.test:5454", "resolv.conf"]))
    made.files["resolv.conf"] = "nameserver 127.0.0.1:5454\n"
    lines = [line for chance, line in [
        (0.15, "except " + rng.choice(["other.test", "rw.test ext.test", "10.0.0.0/8"])), (0.2, rng.choice(["force_tcp", "prefer_udp"])), (0.15, "expire 20s"), (0.15, "max_fails " + rng.choice(["0", "3"])),
        (0.2, "policy " + rng.choice(["random", "round_robin", "sequential"])), (0.15, "health_check " + rng.choice(["1s", "0.5s no_rec", "5s domain ext.test", "1s no_rec domain example."])), (0.15, "max_concurrent 1000"),
        (0.1, "next " + rng.choice(["NXDOMAIN", "SERVFAIL REFUSED"])), (0.1, "failover " + rng.choice(["SERVFAIL", "SERVFAIL REFUSED", "NXDOMAIN"])), (0.1, "failfast_all_unhealthy_upstreams"), (0.1, "max_idle_conns 2"),
        (0.1, "max_connect_attempts 3"), (0.1, "next_on_nodata"), (0.1, "max_age 1h"), (0.9 if "up.ext" in head else 0.05, "resolver 127.0.0.1:5454")] if some(rng, chance)]
    return block(head, lines)


def plugins(rng):
    """A Corefile of several blocks around what is not of the cluster."""
    made = Made("")
    made.names += random_dns.outside_names(rng) * 2 + ["txt." + OUTSIDE, ("chaos." + OUTSIDE, "TXT")]
    made.clients = [None] * 5 + CLIENTS
    text = []
    keys = rng.choice([["."], ["."], [". test"], [".", "rw.test"], [".", "ext.test:53 tpl.test"], [".", "10.0.0.0/8 192.0.2.0/25"], ["test", "example"], [".:53", "test:{$RD_PORT}"]])
    for key in keys:
        lines = status(rng) if key == keys[0] else rng.choice([["errors"], ["log", "errors"], []])
        for chance, make in [(0.5, rewrite), (0.4, rewrite), (0.3, rewrite), (0.4, template), (0.2, template), (0.5, hosts), (0.25, acl), (0.4, cache), (0.85, forward), (0.07, forward)]:
            if some(rng, chance):
                lines += make(rng, made)
        if key == keys[0] and some(rng, 0.1):
            made.files["search.conf"] = "search s1.ext.test ext.test\n"
            lines.append("autopath " + rng.choice([". search.conf", "test search.conf"]))
            made.names += ["%s.s1.ext.test." % kind for kind in ("a1", "both", "nx", "nodata", "cname1", "servfail", "web", "a1.ext.test", "mx")] * 4
        for chance, line in [(0.15, "bufsize" + rng.choice(["", " 512", " 1232", " 4096"])), ]:
            if some(rng, chance):
                lines.append(line)
        if some(rng, 0.2):
            lines += balance(rng, made)
        if some(rng, 0.2):
            cut = rng.choice(["import snip", "import conf.d/*.override", "import conf.d/none*.override"])
            made.files["conf.d/a.override"] = "\n".join(hosts(rng, made)) if not any(line.startswith("hosts") for line in lines) else ""
            text = ["(snip) {", "    loadbalance" if "loadbalance" not in str(lines) else "", "}"] * (cut == "import snip" and "(snip) {" not in text) + text
            lines.append(cut)
        text += block(key, lines or ["errors"])
    made.text = "\n".join(text) + "\n"
    made.text = bound(rng, made.text)
    return made


def whole(rng):
    return rng.choice([cluster, cluster, plugins])(rng)


# ------------------------------------------------------------------- broken --
JUNK = ["x", "-1", "0", "1", "99999", "1s", "5", "abc.", "a..b", "10.0.0.0/33", "10.0.0.0/8", "{", "}", '"', "#", "cluster.local", "on", "1.5", "::1", "*", "%", "0x1", "name", "NOERROR", "A", "regex", "tls://1.1.1.1", "(", "("]
EXTRA = ["upstream", "resyncperiod 5m", "frobnicate", "errors {\n stacktrace\n}", "errors {\n consolidate 5m \"^x\"\n}", "log . {\n class error\n}", "log test {combined}", "log . \"{remote} {name}\"", "log {\n class all denial\n}",
         "loop", "reload", "reload 10s", "reload 1s", "reload 10s 5s", "reload 10s x", "loadbalance round_robin", "loadbalance weighted w", "loadbalance weighted w {\n reload 0s\n}", "loadbalance random", "metadata", "metadata x", "metadata {\n x\n}", "cache {\n serve_stale_policy prefer_positive\n}", "forward . nowhere.test {\n resolver 127.0.0.1:5454\n}", "forward . 1.1.1.1 {\n resolver x\n}", "transfer {\n to *\n source x\n}", "template IN A {\n var len 1\n}", "template IN A {\n expr x\n}", "bufsize", "bufsize 100", "bufsize 1232 5",
         "bind 127.0.0.1", "bind lo", "bind 127.0.0.1 ::1", "bind nosuch0", "bind", "ready", "ready :8182", "ready x", "health", "health localhost:8081", "health {\n lameduck 1s\n}", "health {\n lameduck\n}", "prometheus", "prometheus localhost:9154",
         "prometheus :x", "header {\n response set ra\n}", "whoami", "cancel", "chaos", "dnssec", "any", "minimal", "transfer", "transfer {\n to *\n}", "transfer {\n to\n}", "transfer x {\n to * 1.2.3.4\n}",
         "autopath", "autopath @kubernetes", "autopath . resolv.conf", "autopath @erratic", "k8s_external", "k8s_external example.org", "acl", "acl {\n allow\n}", "debug", "root /tmp", "tls", "hosts {\n 1.2.3.4\n}", "cache 5 {\n}",
         "errors {\n consolidate\n}", "rewrite", "rewrite stop {\n name regex (.*)[.]a {1}.b\n answer name (.*)[.]b {1}.a\n}", "rewrite continue {\n ttl regex (.*) 5\n}", "rewrite a b", "rewrite name a", "forward", "forward . ", "forward . 1.1.1.1 8.8.8.8",
         "forward . tls://9.9.9.9 {\n tls_servername dns.quad9.net\n}", "forward . https://1.1.1.1/dns-query", "template IN", "template IN A", "import nowhere", "import *.nowhere"]


def broken(rng):
    """A Corefile to be started only: mostly small, mostly with a mistake or two."""
    made = whole(rng)
    lines = made.text.split("\n")
    for _ in range(rng.choice([0, 1, 1, 1, 2])):
        at = rng.randrange(len(lines))
        what = rng.random()
        if what < 0.35:
            inside = [i for i, line in enumerate(lines) if line.startswith("    ") and not line.startswith("        ") and line.strip() != "}"]
            at = rng.choice(inside or [at])
            lines[at:at] = ["    " + line for line in rng.choice(EXTRA).split("\n")]
        elif what < 0.45:
            lines.insert(at, lines[at])
        elif what < 0.55 and "endpoint" not in lines[at]:
            del lines[at]
        elif "endpoint" not in lines[at] and lines[at].strip():
            words = lines[at].split(" ")
            w = rng.choice([i for i, word in enumerate(words) if word])
            rng.choice([lambda: words.__setitem__(w, rng.choice(JUNK)), lambda: words.insert(w + 1, rng.choice(JUNK)), lambda: words.pop(w), lambda: words.append(rng.choice(JUNK))])()
            lines[at] = " ".join(words)
    made.text = "\n".join(lines)
    return made
