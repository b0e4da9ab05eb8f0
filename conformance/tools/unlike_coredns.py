"""Where rutter answers otherwise than CoreDNS on purpose, and why; for compare_dns.py.

A purpose is a function of the Corefile (as made), the question, and both outcomes with the fields in which they differ; the first that holds names the reason.
"""
import collections
import ipaddress
import re

import play_dns as play
import random_corefile

SECTIONS = {"answer", "authority", "extra"}


# ------------------------------------------------------------ what was answered --
def plain(rows):
    """Records without TTLs and letter case."""
    return sorted((n.lower(), t, d.lower()) for n, t, _, d in rows)


def but_ttl(o):
    return [plain(o[s]) for s in sorted(SECTIONS)]


def ttls(o):
    return [r[2] for s in SECTIONS for r in o[s]] or [0]


def has_soa(o):
    return any(r[1] == "SOA" for r in o["authority"])


def is_nodata(o):
    """A name that exists without such records, as it is to be told."""
    return o["rcode"] == "NOERROR" and not o["answer"] and has_soa(o)


def is_denial(o):
    return o["rcode"] == "NXDOMAIN" and not o["answer"] and has_soa(o)


def denied(peer, ours):
    """The peer denies a name that ours knows to exist without such records."""
    return peer["rcode"] == "NXDOMAIN" and is_nodata(ours)


def only_rcode(made, found):
    """The TTL of the SOA may differ as well, where CoreDNS caches it."""
    return found == ["rcode"] or "cache" in made.text and set(found) == {"rcode", "authority"}


def beyond(made, peer, ours):
    """CoreDNS asks the next plugin about a name that it does not know, and ours knows."""
    return "fallthrough" in made.text and is_nodata(ours) and ours["aa"]


def of_upstream(made, o):
    """An answer without records that the upstream gave."""
    return "forward" in made.text and not o["aa"] and not o["answer"] and all(r[0].lower() == "ext.test." for r in o["authority"])


def service_of(target):
    """`name.namespace` in what a PTR record says."""
    return ".".join(target.lower().rsplit(".svc.", 1)[0].split(".")[-2:])


# TTLs of the upstream's records and SOAs, of CoreDNS's defaults, of templates.
TTLS = {1, 5, 10, 30, 60, 100, 120, 300, 3600}


def as_told(made, q, o):
    """Whether all TTLs are such that somebody has said so: the Corefile, or the upstream."""
    said = {int(n) for line in re.findall(r"(?:ttl|cache|success|denial) .*", made.text) for n in re.findall(r"\d+", line)} | ({17} if "RD_TTL" in made.text else set())
    rewritten = {0, 20, 7} if "rewrite ttl" in made.text else set()
    allowed = TTLS | said | rewritten | ({0} if "ttl0" in q["qname"].lower() else set())
    return all(ttl in allowed or ttl > 0 and ttl + 1 in allowed for ttl in ttls(o))


# --------------------------------------------------------------- what there is --
def names(made):
    return [z.lower() for z in made.zones]


def is_reverse(name):
    return name.lower().endswith((".in-addr.arpa.", ".ip6.arpa.")) or name.lower() in ("in-addr.arpa.", "ip6.arpa.")


def n_labels(name):
    return len([label for label in name.split(".") if label])


class Cluster:
    """What a round's objects say there is."""

    def __init__(self, objects):
        self.services, self.addresses, self.hidden, self.below = {}, {}, {}, {}
        for o in objects:
            namespace = o["metadata"].get("namespace")
            if o["kind"] in ("Service", "ServiceImport"):
                ports = self.below.setdefault((o["metadata"]["name"], namespace), set())
                ports |= {"%s.%s" % (p.get("name", "").lower(), p["protocol"].lower()) for p in o["spec"].get("ports") or []}
                self.services[o["metadata"]["name"], namespace] = o
                ingress = (o.get("status") or {}).get("loadBalancer", {}).get("ingress", [])
                for ip in o["spec"].get("clusterIPs", []) + o["spec"].get("externalIPs", []) + o["spec"].get("ips", []) + [i["ip"] for i in ingress if "ip" in i]:
                    if ip != "None":
                        self.addresses.setdefault(ipaddress.ip_address(ip), set()).add("%s.%s." % (o["metadata"]["name"], namespace))
            elif o["kind"] == "EndpointSlice":
                labels = o["metadata"]["labels"]
                name = labels.get("kubernetes.io/service-name") or labels.get("multicluster.kubernetes.io/service-name")
                below = self.below.setdefault((name, namespace), set())
                below |= {"%s.%s" % (p.get("name", "").lower(), p["protocol"].lower()) for p in o["ports"]}
                for e in o["endpoints"]:
                    below |= {re.sub("[.:]", "-", e["addresses"][0]), e.get("hostname", ""), (e.get("targetRef") or {}).get("name", "")}
                    self.addresses.setdefault(ipaddress.ip_address(e["addresses"][0]), set()).add("%s.%s." % (name, namespace))
            elif o["kind"] == "Namespace":
                self.hidden[o["metadata"]["name"]] = o["metadata"].get("labels") or {}
        self.reversed = {ip.reverse_pointer + "." for ip in self.addresses}

    def has(self, qname, zones, itself=False):
        """Whether there is a name of a Service, or (but for `itself`) below one that it has."""
        for zone in zones:
            if qname == "svc." + zone or qname == "pod." + zone or qname == zone:
                return not itself
            if not qname.endswith(".svc." + zone):
                continue
            *front, name, namespace = ["", *qname[:-len(".svc." + zone)].split(".")]
            front = [label for label in front if label]
            if not name:
                return not itself and namespace in self.hidden
            if (name, namespace) not in self.services or itself and front:
                return not itself and not front and (name, namespace) in self.below
            below = self.below[name, namespace]
            plain = [label[label.startswith("_"):] for label in front]
            # Of an imported Service the cluster stands between; `_zone` has names below it.
            return not front or ".".join(plain) in below or front[-1] in ("east", "west") and front[0] in below or front[-1] == "_zone"
        return False

    def shows(self, namespace, text):
        """Whether `namespace_labels` of the Corefile shows it."""
        labels = self.hidden.get(namespace, {})
        selector = re.search(r"namespace_labels (.*)", text)
        team = labels.get("team")
        return not selector or {"team=a": team == "a", "team in (a, b)": team in ("a", "b"), "team": team is not None, "!team": team is None}[selector[1].strip()]


def cluster(made):
    if not hasattr(made, "cluster"):
        made.cluster = Cluster(made.objects)
    return made.cluster


def exists(made, name):
    """Whether a name of the cluster may have records at all."""
    special = any(name in ("dns-version." + z, "ns.dns." + z) or name.endswith(".pod." + z) for z in names(made))
    apex = any("kubernetes" in line and name.rstrip(".") in line.split() for line in made.text.splitlines())
    return special or apex or cluster(made).has(name, names(made)) or name in cluster(made).reversed or name.endswith("svc.example.org.")


# ------------------------------------------------------------------- the purposes --
def empty_non_terminal(made, q, peer, ours, found):
    name = q["qname"].lower()
    first, _, above = name.partition(".")
    if first not in ("_tcp", "_udp", "_sctp", "dns", "_zone", "pin", "prefer") or not cluster(made).has(above, names(made)):
        return False
    return beyond(made, peer, ours) or only_rcode(made, found) and denied(peer, ours)


def part_of_an_address(made, q, peer, ours, found):
    name = q["qname"].lower()
    part = is_reverse(name) and n_labels(name) < (34 if name.endswith("ip6.arpa.") else 6) and all(re.fullmatch("[0-9a-f]{1,3}", label) for label in name.split(".")[:-3])
    return part and only_rcode(made, found) and denied(peer, ours)


def other_types_of_an_address(made, q, peer, ours, found):
    if q["qname"].lower() not in cluster(made).reversed or q["qtype"] == "PTR":
        return False
    return beyond(made, peer, ours) or only_rcode(made, found) and denied(peer, ours)


def other_types_at_a_name(made, q, peer, ours, found):
    name = q["qname"].lower()
    if not exists(made, name):
        return False
    if name.startswith("dns-version.") and denied(peer, ours):
        return True
    other = q["qtype"] not in ("A", "AAAA", "SRV", "PTR") or q["qtype"] == "PTR" and name.startswith("ns.dns.")
    return other and (beyond(made, peer, ours) or only_rcode(made, found) and denied(peer, ours))


def soa_of_nothing(made, q, peer, ours, found):
    name = q["qname"].lower()
    inside = is_reverse(name) or any(name.endswith("." + zone) for zone in [*names(made), "svc.example.org."])
    # Of an upstream's answers the other purposes and questions tell.
    beyond = "fallthrough" in made.text and (not ours["aa"] and "forward" in made.text or not ours["answer"] and ours["rcode"] in ("NXDOMAIN", "SERVFAIL"))
    return q["qtype"] == "SOA" and inside and peer["rcode"] == "NOERROR" and not peer["answer"] and peer["aa"] and (is_denial(ours) and ours["aa"] or beyond)


def header_of_an_error(made, q, peer, ours, found):
    return set(found) <= {"ad", "rd"} and peer["rcode"] == ours["rcode"] and peer["rcode"] in ("FORMERR", "NOTIMP")


def notify(made, q, peer, ours, found):
    return q["opcode"] == 4 and set(found) <= {"rd", "cd"}


def bad_version(made, q, peer, ours, found):
    return found == ["opt"] and peer["rcode"] == ours["rcode"] == "BADVERS"


def opt_unasked(made, q, peer, ours, found):
    return found == ["opt"] and q["edns"] is None and not ours["opt"]


def other_classes(made, q, peer, ours, found):
    refused = ours["rcode"] in ("REFUSED", "SERVFAIL") and not any(ours[s] for s in SECTIONS)
    other = q["qclass"] != 1 or re.search("rewrite .*class IN (CH|HS)", made.text)
    return bool(other) and not ours["aa"] and (refused or peer["aa"] and "forward" in made.text)


def pod_srv(made, q, peer, ours, found):
    return q["qtype"] == "SRV" and ".pod." in q["qname"].lower() and is_nodata(ours) and bool(peer["answer"]) and all(" 0 " in r[3] for r in peer["answer"])


def letter_case_denied(made, q, peer, ours, found):
    """CoreDNS compares the letter case of the zone where it looks for its own name servers."""
    name = q["qname"].lower()
    apex = name in names(made) or name in ("in-addr.arpa.", "ip6.arpa.")
    mixed = q["qname"] != name and (apex and q["qtype"] == "NS" or name.startswith("ns.dns."))
    return mixed and not peer["answer"] and (ours["rcode"] == "NOERROR" and (bool(ours["answer"]) or has_soa(ours)))


def question_of_a_rewrite(made, q, peer, ours, found):
    changed = "rewrite" in made.text or "autopath" in made.text
    number = play.TYPES.get(q["qtype"]) or int(q["qtype"][4:])
    return changed and found == ["question"] and [(q["qname"], number, q["qclass"])] == ours["question"]


def pointer_into_a_reverse_zone(made, q, peer, ours, found):
    """CoreDNS takes `ip6.arpa` for no reverse zone where it stands first."""
    inside = lambda o: sorted(r[3].lower().rsplit(".svc.", 1)[0] for r in o["answer"])
    return q["qtype"] == "PTR" and found == ["answer"] and any(r[3].endswith(".arpa.") for r in peer["answer"]) and inside(peer) == inside(ours)


def records_of_a_transfer(made, q, peer, ours, found):
    """CoreDNS repeats what stands in two slices; its cache gives every record the least TTL."""
    rows = lambda o: {(n.lower(), t, d.lower(), None if "cache" in made.text else ttl) for n, t, ttl, d in o["answer"]}
    return q["qtype"] in ("AXFR", "IXFR") and found == ["answer"] and rows(peer) == rows(ours)


def transfer_of_what_is_outside(made, q, peer, ours, found):
    """CoreDNS sends one SRV record of each name, whatever ports and addresses there are, that of a headless Service twice, and the TTL of
    kubernetes with it; an alias it follows."""
    weightless = lambda r: (r[0], r[1], re.sub(r"^0 \d+ ", "", r[2]) if r[1] == "SRV" else r[2])
    rows = lambda o, *types: {weightless(r) for r in plain(o["answer"]) if r[1] in types}
    aliases = {r[0] for r in rows(ours, "CNAME")}
    addresses = {r for r in rows(peer, "A", "AAAA") if r[0] not in aliases and r[0].endswith(".svc.example.org.")}
    if q["qname"].lower() != "svc.example.org.":
        return False
    if q["qtype"] == "IXFR" and [r[1] for r in peer["answer"]] == ["SOA"]:
        # Its serial is that of the last change outside, and 0 where there was none.
        return set(found) <= {"aa", "answer"} and len(ours["answer"]) > 2
    # Where a balancer has a name CoreDNS's targets are parts of that.
    servers = {r for r in rows(peer, "SRV") if r[0] not in aliases and r[2].endswith(".svc.example.org.")}
    return q["qtype"] in ("AXFR", "IXFR") and found == ["answer"] and addresses <= rows(ours, "A", "AAAA") and servers <= rows(ours, "SRV") and rows(peer, "NS") == rows(ours, "NS")


def imported_endpoints(made, q, peer, ours, found):
    of = lambda o: {re.sub(r"\.(east|west)\.", ".", " ".join(r)) for r in plain(o["answer"])}
    return q["qtype"] in ("AXFR", "IXFR") and q["qname"].lower() == "clusterset.test." and found == ["answer"] and of(peer) == of(ours)


def alias_of_the_server(made, q, peer, ours, found):
    """An ExternalName with an endpoint where the server is has no address, which CoreDNS tries to write as one."""
    return q["qtype"] in ("AXFR", "IXFR") and q["tcp"] and peer["rcode"] == "SERVFAIL" and ours["rcode"] == "NOERROR"


def below_a_pod(made, q, peer, ours, found):
    below = ".pod." in q["qname"].lower() and n_labels(q["qname"].lower().rsplit(".pod.", 1)[0]) > 2
    return below and not ours["answer"] and (is_denial(ours) and ours["aa"] or "fallthrough" in made.text) and ours["rcode"] in ("NXDOMAIN", "SERVFAIL") and (bool(peer["answer"]) or peer["rcode"] != ours["rcode"])


def are_those_left(made, q, peer, ours):
    """Whether ours has the PTR records of the peer but for those of hidden namespaces, and of endpoints without a Service."""
    shown = lambda r: ".nobody." not in r[2] and cluster(made).shows(service_of(r[2]).split(".")[-1], made.text)
    # Into which zone they point is another purpose.
    inside = lambda rows: sorted(r[2].rsplit(".svc.", 1)[0] for r in rows)
    left = [r for r in plain(peer["answer"]) if shown(r)]
    of_reverse = q["qtype"] == "PTR" and is_reverse(q["qname"]) and len(left) < len(peer["answer"])
    return of_reverse and inside(left) == inside(plain(ours["answer"])) and ours["rcode"] in (("NOERROR",) if left else ("NOERROR", "NXDOMAIN", "SERVFAIL"))


def orphans(made, q, peer, ours, found):
    return any(".nobody." in r[3] for r in peer["answer"]) and are_those_left(made, q, peer, ours)


def orphan_at_the_server(made, q, peer, ours, found):
    """CoreDNS takes an endpoint where it is itself for a name server, and then finds no Service for it."""
    servers = [any(r[1] == "NS" for r in o["answer"]) for o in (peer, ours)]
    return q["qtype"] in ("NS", "AXFR", "IXFR") and servers == [False, True] and any(r[1] == "NS" and r[3].lower().startswith("ns.dns.") for r in ours["answer"])


def ixfr_by_udp(made, q, peer, ours, found):
    return q["qtype"] == "IXFR" and not q["tcp"] and peer["rcode"] == "REFUSED" and [r[1] for r in ours["answer"]] == ["SOA"]


def denial_ttl(made, q, peer, ours, found):
    least = lambda o: min(r[2] for r in o["authority"])
    if "cache" not in made.text or found != ["authority"] or plain(peer["authority"]) != plain(ours["authority"]):
        return False
    minimum = min(int(r[3].split()[-1]) for r in ours["authority"] if r[1] == "SOA")
    # No round takes longer than that.
    return least(ours) < least(peer) and max(0, min(minimum, least(peer)) - 60) <= least(ours) <= minimum


def ttl_zero(made, q, peer, ours, found):
    zero = "cache" in made.text and found == ["answer"] and "ttl0." in q["qname"].lower()
    return zero and plain(peer["answer"]) == plain(ours["answer"]) and all(r[2] == 0 for r in ours["answer"])


def own_names_are_not_cached(made, q, peer, ours, found):
    """The cache stands behind hosts, template and kubernetes here, and in front of them in CoreDNS."""
    left, right = but_ttl(peer), but_ttl(ours)
    # What fits of the additional section is one of the other reasons.
    extra = q["tcp"] or set(left[2]) <= set(right[2]) or set(right[2]) <= set(left[2])
    return "cache" in made.text and ours["aa"] and set(found) <= SECTIONS and left[:2] == right[:2] and extra and as_told(made, q, ours)


def client_of_the_cache(made, q, peer, ours, found):
    """CoreDNS's cache tells a client what template told another of itself."""
    of_client = ".Remote" in made.text or "client_ip" in made.text or "bufsize()" in made.text
    others = lambda o: [r for r in plain(o["answer"]) if r[1] != "TXT"]
    same = len(peer["answer"]) == len(ours["answer"]) and others(peer) == others(ours)
    return "cache" in made.text and of_client and ours["aa"] and found == ["answer"] and same and as_told(made, q, ours)


def ttl_of_what_is_not_kept(made, q, peer, ours, found):
    return "cache" in made.text and set(found) <= SECTIONS and but_ttl(peer) == but_ttl(ours) and max(ttls(peer)) <= max(ttls(ours)) and as_told(made, q, ours)


def endpoints_outside(made, q, peer, ours, found):
    """CoreDNS reads over the first label where a Service has addresses outside."""
    name = q["qname"].lower()
    outside = "k8s_external" in made.text and name.endswith("svc.example.org.") and n_labels(name) == 6
    service = cluster(made).services.get(tuple(name.split(".")[1:3]))
    denial = is_denial(ours) or "rewrite rcode" in made.text and is_nodata(ours)
    return outside and bool(service) and peer["rcode"] == "NOERROR" and (denial or "fallthrough" in made.text and not ours["answer"] and (ours["rcode"] in ("NXDOMAIN", "SERVFAIL") or of_upstream(made, ours)))


def authority_of_the_end(made, q, peer, ours, found):
    if found != ["authority"] or peer["authority"] or not ours["answer"] or ours["answer"][0][1] != "CNAME":
        return False
    return {r[1] for r in ours["authority"]} == {"SOA"} and not any(r[1] == q["qtype"] for r in ours["answer"])


def size_of_a_rewrite(made, q, peer, ours, found):
    """CoreDNS takes the OPT record that `rewrite edns0` made for the client's."""
    return bool(re.search(r"rewrite (\w+ )?edns0", made.text)) and q["edns"] is None and ours["tc"] and not peer["tc"] and peer["rcode"] == ours["rcode"]


def labels_of_imports(made, q, peer, ours, found):
    """CoreDNS selects ServiceImports by the labels that namespaces are to have."""
    return "namespace_labels" in made.text and ".clusterset.test." in q["qname"].lower() and peer["rcode"] == "NXDOMAIN" and ours["rcode"] == "NOERROR"


def largest_datagram(made, q, peer, ours, found):
    return not q["tcp"] and ours["tc"] and not peer["tc"] and peer["size"] > 4096 and peer["rcode"] == ours["rcode"]


def fewer_additional(made, q, peer, ours, found):
    left, right = ({r[::3] for r in o["extra"]} for o in (ours, peer))
    return found == ["extra"] and not q["tcp"] and (left < right and ours["size"] > 400 or right < left and ours["size"] <= 512)


def part_of_a_zone(made, q, peer, ours, found):
    return q["qtype"] in ("AXFR", "IXFR") and q["qname"].lower() not in names(made) and ours["rcode"] in ("REFUSED", "SERVFAIL") and not ours["answer"] and set(found) - {"aa"} != set()


def letter_case(made, q, peer, ours, found):
    of_the_question = lambda name: q["qname"].endswith(name) or not q["qname"].lower().endswith(name.lower())
    return found == ["letter case"] and all(of_the_question(r[0]) for s in ("answer", "authority") for r in ours[s])


def name_of_a_rewrite(made, q, peer, ours, found):
    """CoreDNS's cache has names in the letter case of who asked first, which the patterns of rewrite do not fit then."""
    of = lambda o: sorted(r[1:] for r in o["answer"])
    cased = any(r[0] != r[0].lower() for r in peer["answer"])
    back = all(r[0].lower() == q["qname"].lower() for r in ours["answer"] if r[1] != "CNAME")
    return "rewrite" in made.text and "cache" in made.text and found == ["answer"] and cased and back and of(peer) == of(ours)


def end_of_alias(o):
    """Where the aliases of an answer lead."""
    return [r[3] for r in o["answer"] if r[1] == "CNAME"][-1].lower()


def alias_to_nothing(made, q, peer, ours, found):
    """CoreDNS drops an alias whose target the zone does not have, and has NOERROR for every end of an alias."""
    followed = q["qtype"] in ("A", "AAAA") or "rewrite cname" in made.text or "rewrite type" in made.text
    if not followed or not ours["answer"] or ours["answer"][0][1] != "CNAME" or peer["rcode"] != "NOERROR" or any(r[1] == q["qtype"] for r in ours["answer"]):
        return False
    end = end_of_alias(ours)
    alike = plain(peer["answer"]) == plain(ours["answer"])
    targets = {(o["spec"].get("externalName") or "").rstrip(".").lower() + "." for o in made.objects if o["kind"] == "Service"}
    ours_alone = not peer["answer"] and ours["answer"][0][3].lower() in targets
    code = {"servfail": "SERVFAIL", "a1": "NOERROR", "nodata": "NOERROR", "both": "NOERROR"}.get(end.split(".")[0])
    told = ours["rcode"] == code if code and end.endswith("ext.test.") else ours["rcode"] in ("NOERROR", "NXDOMAIN") or not end.endswith("ext.test.")
    kept = "answer" not in found or "cache" in made.text and as_told(made, q, ours)
    return (alike and kept or ours_alone) and "aa" not in found and told


def any_asks_for_each(made, q, peer, ours, found):
    """What a rule forbids of one type it forbids who asks for all."""
    verdicts = {"block": "REFUSED", "filter": "NOERROR"}
    forbidden = {verdicts[action] for action in re.findall(r"^ *(block|filter) .*type ", made.text, re.M)}
    return "acl" in made.text and q["qtype"] == "ANY" and ours["rcode"] in forbidden and not any(ours[s] for s in SECTIONS)


def hidden_reverse(made, q, peer, ours, found):
    return "namespace_labels" in made.text and are_those_left(made, q, peer, ours)


def external_srv_ttl(made, q, peer, ours, found):
    outside = "k8s_external" in made.text and q["qname"].lower().endswith("svc.example.org.") and q["qtype"] == "SRV"
    return outside and found == ["answer"] and but_ttl(peer) == but_ttl(ours) and as_told(made, q, ours)


def alias_beside_others(made, q, peer, ours, found):
    outside = "k8s_external" in made.text and q["qname"].lower().endswith("svc.example.org.") and q["qtype"] in ("A", "AAAA", "CNAME", "SRV")
    alias = any(r[1] == "CNAME" for r in peer["answer"]) or any(r[1] == "SRV" and ".ext.test." in r[3] for r in peer["answer"])
    told = q["qtype"] == "CNAME" and not peer["answer"] and [r[1] for r in ours["answer"]] == ["CNAME"] and ours["answer"][0][3].startswith("lb")
    return outside and (told or alias and bool(ours["answer"] or q["qtype"] == "CNAME") and set(plain(ours["answer"])) <= set(plain(peer["answer"])))


def names_that_are_none(made, q, peer, ours, found):
    """A pod's name of more than 63 octets is no label."""
    return "endpoint_pod_names" in made.text and q["qtype"] == "NS" and peer["rcode"] == "SERVFAIL" and ours["rcode"] == "NOERROR" and all(r[1] == "NS" for r in ours["answer"])


def address_of_two(made, q, peer, ours, found):
    if q["qtype"] != "PTR" or found != ["answer"] or not len(peer["answer"]) == len(ours["answer"]) == 1:
        return False
    owners = next((of for ip, of in cluster(made).addresses.items() if ip.reverse_pointer + "." == q["qname"].lower()), set())
    of = lambda o: service_of(o["answer"][0][3]) + "."
    same_ttl = peer["answer"][0][2] == ours["answer"][0][2] or as_told(made, q, ours) and "cache" in made.text
    return len(owners) > 1 and of(peer) in owners and of(ours) in owners and same_ttl


def own_address(made, q, peer, ours, found):
    told = lambda o: [r[:3] for r in o["answer"] if r[1] == "TXT"]
    return "{server_" in made.text and "echo" in q["qname"].lower() and found == ["answer"] and told(peer) == told(ours)


def class_of_the_cache(made, q, peer, ours, found):
    """CoreDNS keeps answers of every class, and tells none from another."""
    changed = "rewrite" in made.text and " class " in made.text and "cache" in made.text
    return changed and set(found) <= SECTIONS and but_ttl(peer) == but_ttl(ours) and as_told(made, q, ours)


def several_pods(made, q, peer, ours, found):
    pods = [o for o in made.objects if o["kind"] == "Pod" and any(ip["ip"] == q["client"] for ip in o["status"]["podIPs"])]
    unknown = len({o["metadata"]["namespace"] for o in pods}) > 1 or any(o["spec"].get("hostNetwork") for o in pods)
    return "autopath @" in made.text and unknown and is_denial(ours) and ours["aa"]


def alias_of_a_search(made, q, peer, ours, found):
    """CoreDNS's autopath puts an alias in front of one that is there; its cache keeps that, and the letter case of who asked first."""
    alias = any(r[1] == "CNAME" and r[0].lower() == q["qname"].lower() for r in ours["answer"])
    kept = "autopath" in made.text and (found == ["answer"] and alias or found == ["letter case"] and "cache" in made.text)
    return kept and set(plain(peer["answer"])) == set(plain(ours["answer"])) and len(plain(ours["answer"])) == len(set(plain(ours["answer"])))


def end_of_a_search(made, q, peer, ours, found):
    """The last step of autopath is the name as it is, which a block without `forward` cannot answer."""
    inside = any(q["qname"].lower().endswith("svc." + z) for z in names(made)) or ".s1.ext.test." in q["qname"].lower()
    return "autopath" in made.text and inside and peer["rcode"] == "SERVFAIL" and is_denial(ours)


def cut_additional(made, q, peer, ours, found):
    return {"tc", "extra"} <= set(found) | {"extra"} and peer["tc"] and not ours["tc"] and plain(peer["answer"]) == plain(ours["answer"])


def opt_of_extended_errors(made, q, peer, ours, found):
    told = "acl" in made.text or "ederror" in made.text
    return found == ["opt"] and told and bool(peer["opt"]) and bool(ours["opt"]) and peer["opt"] | {"do": 0} == ours["opt"] | {"do": 0}


def error_of_the_cache(made, q, peer, ours, found):
    """CoreDNS's cache keeps no OPT record of what template answered."""
    return found == ["opt"] and "ederror" in made.text and "cache" in made.text and bool(peer["opt"] and ours["opt"]) and not peer["opt"]["error"] and bool(ours["opt"]["error"])


UNLIKE = [
    (error_of_the_cache, "the server's own answers are never cached: why they are so is told each time"),
    (any_asks_for_each, "who asks for ANY asks for each type that acl names"),
    (letter_case_denied, "name servers are found in every letter case"),
    (question_of_a_rewrite, "the question of the answer is the one that was asked"),
    (pointer_into_a_reverse_zone, "PTR records never point into a reverse zone"),
    (records_of_a_transfer, "a transfer has each record once"),
    (transfer_of_what_is_outside, "a zone of k8s_external has all ports, each once, and its own TTL"),
    (imported_endpoints, "an imported endpoint's name tells its cluster in a transfer as well"),
    (alias_of_the_server, "name servers are those that have an address"),
    (below_a_pod, "no name exists below a pod's"),
    (orphans, "an endpoint without a Service has no name, and so no PTR record"),
    (orphan_at_the_server, "an endpoint without a Service has no name, and is no name server"),
    (ixfr_by_udp, "IXFR by UDP is answered with the SOA (RFC 1995 section 2)"),
    (denial_ttl, "a denial is kept no longer than its SOA's minimum (RFC 2308 section 5)"),
    (ttl_zero, "a TTL of 0 forbids keeping (RFC 1035 section 3.2.1)"),
    (endpoints_outside, "only headless Services have endpoints outside of the cluster"),
    (authority_of_the_end, "where an alias ends without records its SOA says so (RFC 2308 section 2.2)"),
    (own_names_are_not_cached, "the server's own names are never cached: they are always fresh"),
    (client_of_the_cache, "the server's own answers are never cached: each client is told of itself"),
    (ttl_of_what_is_not_kept, "what the cache does not keep has the TTL that it came with"),
    (size_of_a_rewrite, "who sends no OPT record takes 512 octets, whatever upstreams are told"),
    (labels_of_imports, "namespace_labels selects namespaces, and no imports"),
    (largest_datagram, "no datagram is larger than 4,096 octets"),
    (fewer_additional, "additional records are those that fit"),
    (cut_additional, "what is left out of the additional section alone is no truncation (RFC 2181 section 9)"),
    (opt_of_extended_errors, "DO is the client's, whatever else is told"),
    (letter_case, "names have the letter case of the question, whichever plugin answers (RFC 4343)"),
    (name_of_a_rewrite, "names are rewritten in every letter case"),
    (alias_to_nothing, "the return code is that of the alias's end, and the alias is shown (RFC 6604)"),
    (hidden_reverse, "what namespace_labels hides is hidden in reverse zones as well"),
    (external_srv_ttl, "SRV records of k8s_external have its own TTL, not that of kubernetes"),
    (alias_beside_others, "an alias stands alone (RFC 1034 section 3.6.2)"),
    (names_that_are_none, "a name with a label of more than 63 octets is left out, and the others told"),
    (address_of_two, "of two Services with one address the first by name is told"),
    (own_address, "the server's own address is the one that was asked"),
    (class_of_the_cache, "classes other than IN are not kept"),
    (several_pods, "who asks from an address of several namespaces has no search list that is known"),
    (alias_of_a_search, "an alias that a search makes is there once, in the letter case of the question"),
    (end_of_a_search, "a search that ends where nobody can be asked denies what its first name denied"),
    (notify, "an answer to NOTIFY has no flags of the question, whoever gave it"),
    (other_classes, "classes other than IN are an upstream's business, never the cluster's"),
    (soa_of_nothing, "a name that does not exist is denied for SOA as for every type (RFC 2308)"),
    (empty_non_terminal, "a name with names below it exists (RFC 8020)"),
    (part_of_an_address, "a part of a reverse name exists: others stand below it (RFC 8020)"),
    (other_types_of_an_address, "a reverse name exists for all types if it has a PTR record"),
    (other_types_at_a_name, "a name that has records exists for all types"),
    (header_of_an_error, "an answer to what is no query has none of its flags but RD and CD"),
    (bad_version, "BADVERS tells the size that it was asked with"),
    (opt_unasked, "whoever sends no OPT record gets none (RFC 6891 section 6.1.1)"),
    (pod_srv, "a pod has no ports, and no SRV record of port 0"),
    (part_of_a_zone, "only a zone is transferred, not a part of one"),
]


def purpose(made, q, peer, ours, found):
    """The reason for which two outcomes may differ in the fields `found`, or None."""
    if "packet" in q:
        if peer.get("rcode") == "FORMERR" and any(q["packet"][6:12]):
            return "what stands inside of records behind the question is read by none"
        if ours.get("rcode") == "FORMERR" or peer.get("rcode") == ours.get("rcode") in ("NOTIMP", "BADVERS"):
            return "what is no whole query is answered with a header alone"
        if ours["end"] == peer["end"] == "answer" and ours["question"]:
            # What is asked after all.
            name, number, qclass = ours["question"][0]
            q = q | {"qname": name, "qtype": play.TYPE_NAMES.get(number, "TYPE%d" % number), "qclass": qclass, "opcode": ours["opcode"], "edns": ours["opt"] and 512}
    if peer["end"] == "silence" and ours["end"] == "answer" and q["qtype"] == "PTR":
        return "CoreDNS says nothing where it made a name that is none"
    if peer["end"] == "silence" and ours["end"] == "answer" and ours["answer"] and ours["answer"][0][1] == "CNAME":
        return "CoreDNS says nothing where aliases lead in a circle, or to what is no name"
    dropped = re.search(r"^ *drop .*type ", made.text, re.M) if ours["end"] == "silence" else peer["end"] == "silence" and any_asks_for_each(made, q, peer, ours, [])
    if dropped and q["qtype"] == "ANY":
        return "who asks for ANY asks for each type that acl names"
    if peer["end"].startswith("unreadable") and ours["end"] == "answer":
        return "CoreDNS's answer is no message"
    if peer["end"] != "answer" or ours["end"] != "answer":
        return None
    if q["opcode"] == 4 and len(found) > 1:
        found = [field for field in found if field not in ("rd", "cd")]
    for field, of in (("authority", (authority_of_the_end,)), ("opt", (opt_unasked, error_of_the_cache)), ("question", (question_of_a_rewrite,))):
        if field in found and len(found) > 1 and any(holds(made, q, peer, ours, [field]) for holds in of):
            # Whatever else there is has a reason of its own.
            found = [other for other in found if other != field]
    return next((reason for holds, reason in UNLIKE if holds(made, q, peer, ours, found)), None)


# What rutter says of a Corefile that CoreDNS takes, and why it does not.
REFUSED = [
    ("unknown directive `(any|auto|azure|cancel|chaos|clouddns|debug|dns64|dnssec|dnstap|dynupdate|erratic|etcd|file|geoip|grpc|header|local|minimal|multisocket|nomad|on|"
     "nsid|pprof|quic|root|route53|secondary|shed|sign|timeouts|tls|trace|tsig|view|whoami)`", "a plugin of CoreDNS that is not here"),
    ("stands in this block already", "what holds for a block is said once"),
    ("`autopath` reads what `kubernetes`", "autopath needs what it reads"),
    ("expected `{` after", "a zone without a block is told"),
    ("is no network such as", "what stands beside a `*` is read as well"),
    ("stands where a zone should", "a block without a zone is told"),
    ("is never closed", "a block that is never closed is told"),
    ("`}` stands where a directive should begin", "a brace that closes nothing is told"),
    ("takes (one|no) argument|takes no block|takes an interval|one word too many", "words that nobody reads are told"),
    ("`[^`]*\\.\\.[^`]*` has an empty label|label of more than 63", "a zone that is no name is told; CoreDNS leaves it out"),
    ("`forward` does not speak https", "DNS over HTTPS is left out"),
    ("unknown directive `(%s)`" % "|".join(map(re.escape, random_corefile.JUNK)), "words behind a block that nobody reads are told"),
    ("autopath @erratic", "a plugin of CoreDNS that is not here"),
    ("not an address such as", "an address that is none is told"),
    ("hosts has no option", "a line of hosts that is no address is told"),
    ("`log` knows no", "a field that does not exist is told"),
    ("`health_check` takes a duration", "a health check has an interval"),
    ("is already served by the block", "a zone is served once"),
    ("neither seconds nor|no record type|no return code|not a return code", "a mistake is told"),
]
# What CoreDNS says of a Corefile that rutter takes.
TAKEN = [
    ("valid label selector operator", "selectors are those of kubectl"),
    ("expect legal QTYPE|invalid RR class|invalid query class|unknown rcode", "letter case does not count in types, classes and return codes"),
    ("in-cluster|kubeconfig|connect to|KUBERNETES_SERVICE_HOST", "where objects come from is a flag's business"),
    ("unknown property '[0-9a-f.:]+'", "lines of hosts may stand behind fallthrough"),
    ("on \\S+ - it is already defined", "an address that is named twice is listened to once"),
    ("address already in use|bind:", "two listeners of one address are found at start, not in the Corefile"),
]


def purpose_of_corefile(peer, said):
    """Why one of the two takes a Corefile that the other refuses; `peer`: whether CoreDNS takes it."""
    reasons, text = (REFUSED, said[1]) if peer else (TAKEN, said[0])
    return next((reason for pattern, reason in reasons if re.search(pattern, text)), None)


# Counters that nobody expects to be equal.
METRICS = {
    "coredns_forward_healthcheck_broken_total": "when an upstream counts as down is a matter of time",
    "coredns_health_request_duration_seconds_count": "how often a server asks itself is a matter of time",
    "coredns_proxy_conn_cache_hits_total": "which port is at hand, and how often it serves, is chance",
    "coredns_proxy_conn_cache_misses_total": "which port is at hand, and how often it serves, is chance",
    "coredns_proxy_request_duration_seconds_count": "which upstream is asked, and how often, is chance",
}
# Counters of what was answered, not of what was asked.
OF_ANSWERS = ("coredns_dns_responses_total", "coredns_cache_", "coredns_acl_")


def purpose_of_metric(family, peer, ours, odd, unlike):
    """Why a family of counters may differ, or None; both are {labels: number}. `odd`: there were packets that are no queries in order.
    `unlike`: some answers differed on purpose."""
    if family == "coredns_hosts_entries" and not peer:
        return "entries of the Corefile count where there is no file as well"
    if family in METRICS:
        return METRICS[family]
    if family == "coredns_template_matches_total" and all(without(ours, "server").get(labels, 0) >= n for labels, n in without(peer, "server").items()):
        return "the server's own answers are never cached: a template makes each anew"
    if family.startswith("coredns_cache_"):
        return "the server's own names are never cached: they are always fresh"
    if odd:
        return "what is answered before any plugin (FORMERR, NOTIMP, BADVERS) is counted as dropped"
    if family.startswith(("coredns_acl_", "coredns_autopath_", "coredns_template_")) and without(peer, "server") == without(ours, "server"):
        return "plugins count for all addresses of their block together"
    zones = {zone for labels in peer for zone in re.findall(r'zone="[^,]*', labels)}
    ours = {labels: n for labels, n in ours.items() if zones & set(re.findall(r'zone="[^,]*', labels)) or "zone=" not in labels}
    if peer == ours:
        return "blocks without `prometheus` are counted as well"
    if all(peer.get(labels, 0) >= n for labels, n in ours.items()) and sum(peer.values()) - sum(ours.values()) < 100:
        return "what CoreDNS asks itself on the way it counts as well"
    if family == "coredns_dns_responses_total":
        left, right = without(peer, "plugin"), without(ours, "plugin")
        if all(left.get(labels, 0) >= n for labels, n in right.items()) and sum(left.values()) - sum(right.values()) < 100:
            return "what CoreDNS asks itself on the way it counts as well"
    if family.startswith(OF_ANSWERS):
        if unlike:
            return "answers that differ on purpose are counted as what they are"
        if without(peer, "plugin") == without(ours, "plugin"):
            return "the plugin that answered is named, whatever wrote the message"
    return None


def without(rows, label):
    """The counters with one label summed up."""
    out = collections.Counter()
    for labels, n in rows.items():
        out[re.sub(r'\b%s="[^,]*,?' % label, "", labels)] += n
    return out
