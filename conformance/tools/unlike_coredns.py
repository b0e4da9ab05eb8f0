"""Where rutter answers otherwise than CoreDNS on purpose, and why; for compare_dns.py.

A purpose is a function of the Corefile (as made), the question, and both outcomes with the fields in which they differ; the first that holds names the reason.
"""
import collections
import re

import play_dns as play



SECTIONS = {"answer", "authority", "extra"}


def but_ttl(o):
    return [sorted((n.lower(), t, d.lower()) for n, t, _, d in o[s]) for s in sorted(SECTIONS)]


def ttls(o):
    return [r[2] for s in SECTIONS for r in o[s]] or [0]


def names(made):
    return [z.lower() for z in made.zones]


def denied(peer, ours):
    """The peer denies a name that ours knows to exist without such records."""
    return peer["rcode"] == "NXDOMAIN" and ours["rcode"] == "NOERROR" and not ours["answer"]


def only_rcode(made, found):
    """The TTL of the SOA may differ as well, where CoreDNS caches it."""
    return found == ["rcode"] or "cache" in made.text and set(found) == {"rcode", "authority"}


def is_reverse(name):
    return name.lower().endswith((".in-addr.arpa.", ".ip6.arpa.")) or name.lower() in ("in-addr.arpa.", "ip6.arpa.")


def n_labels(name):
    return len([label for label in name.split(".") if label])


def empty_non_terminal(made, q, peer, ours, found):
    first = q["qname"].lower().split(".")[0]
    if "fallthrough" in made.text and ours["rcode"] == "NOERROR" and not ours["answer"] and first in ("_tcp", "_udp", "_sctp", "dns", "_zone", "pin", "prefer"):
        return True
    return only_rcode(made, found) and denied(peer, ours) and not is_reverse(q["qname"]) and first in ("_tcp", "_udp", "_sctp", "dns", "_zone", "pin", "prefer")


def part_of_an_address(made, q, peer, ours, found):
    whole = 34 if q["qname"].lower().endswith("ip6.arpa.") else 6
    return only_rcode(made, found) and denied(peer, ours) and is_reverse(q["qname"]) and n_labels(q["qname"]) < whole


def other_types_of_an_address(made, q, peer, ours, found):
    if "fallthrough" in made.text and is_reverse(q["qname"]) and q["qtype"] != "PTR" and ours["rcode"] == "NOERROR" and not ours["answer"]:
        return True
    return only_rcode(made, found) and denied(peer, ours) and is_reverse(q["qname"]) and q["qtype"] != "PTR"


def other_types_at_a_name(made, q, peer, ours, found):
    if q["qname"].lower().startswith("dns-version.") and denied(peer, ours):
        return True
    other = q["qtype"] not in ("A", "AAAA", "SRV", "PTR") or q["qtype"] == "PTR" and q["qname"].lower().startswith("ns.dns.")
    if "fallthrough" in made.text and other and ours["rcode"] == "NOERROR" and ours["aa"] and not ours["answer"]:
        return True
    return only_rcode(made, found) and denied(peer, ours) and other


def soa_of_nothing(made, q, peer, ours, found):
    return q["qtype"] == "SOA" and peer["rcode"] == "NOERROR" and not peer["answer"] and peer["aa"]


def header_of_an_error(made, q, peer, ours, found):
    return set(found) <= {"ad", "rd"} and peer["rcode"] == ours["rcode"] and peer["rcode"] in ("FORMERR", "NOTIMP")


def notify(made, q, peer, ours, found):
    return q["opcode"] == 4


def bad_version(made, q, peer, ours, found):
    return found == ["opt"] and peer["rcode"] == ours["rcode"] == "BADVERS"


def opt_unasked(made, q, peer, ours, found):
    return found == ["opt"] and q["edns"] is None and not ours["opt"]


def other_classes(made, q, peer, ours, found):
    return q["qclass"] != 1


def pod_srv(made, q, peer, ours, found):
    return q["qtype"] == "SRV" and ".pod." in q["qname"].lower() and not ours["answer"] and bool(peer["answer"]) and all(" 0 " in r[3] for r in peer["answer"])


def letter_case_denied(made, q, peer, ours, found):
    """CoreDNS compares the letter case of the zone where it looks for its own name servers."""
    name = q["qname"].lower()
    apex = name in names(made) or name in ("in-addr.arpa.", "ip6.arpa.")
    return q["qname"] != name and (apex and q["qtype"] == "NS" or name.startswith("ns.dns.")) and not peer["answer"]


def question_of_a_rewrite(made, q, peer, ours, found):
    changed = "rewrite" in made.text or "autopath" in made.text
    number = play.TYPES.get(q["qtype"]) or int(q["qtype"][4:])
    return changed and "question" in found and [(q["qname"], number, q["qclass"])] == ours["question"]


def pointer_into_a_reverse_zone(made, q, peer, ours, found):
    """CoreDNS takes `ip6.arpa` for no reverse zone where it stands first."""
    return q["qtype"] == "PTR" and found == ["answer"] and any(r[3].endswith(".arpa.") for r in peer["answer"])


def records_of_a_transfer(made, q, peer, ours, found):
    """CoreDNS repeats what stands in two slices; its cache gives every record the least TTL."""
    plain = lambda o: {(n.lower(), t, d.lower()) for n, t, _, d in o["answer"]}
    return q["qtype"] in ("AXFR", "IXFR") and found == ["answer"] and plain(peer) == plain(ours)


def imported_endpoints(made, q, peer, ours, found):
    plain = lambda o: {re.sub(r"\.(east|west)\.", ".", " ".join((n.lower(), t, d.lower()))) for n, t, _, d in o["answer"]}
    return q["qtype"] in ("AXFR", "IXFR") and q["qname"].lower() == "clusterset.test." and found == ["answer"] and plain(peer) == plain(ours)


def alias_of_the_server(made, q, peer, ours, found):
    """An ExternalName with an endpoint where the server is has no address, which CoreDNS tries to write as one."""
    return q["qtype"] in ("AXFR", "IXFR") and q["tcp"] and peer["rcode"] == "SERVFAIL" and ours["rcode"] == "NOERROR"


def below_a_pod(made, q, peer, ours, found):
    return ".pod." in q["qname"].lower() and n_labels(q["qname"].lower().rsplit(".pod.", 1)[0]) > 2 and not ours["answer"]


def orphans(made, q, peer, ours, found):
    return q["qtype"] == "PTR" and any(".nobody." in r[3] for r in peer["answer"])


def orphan_at_the_server(made, q, peer, ours, found):
    """CoreDNS takes an endpoint where it is itself for a name server, and then finds no Service for it."""
    servers = [any(r[1] == "NS" for r in o["answer"]) for o in (peer, ours)]
    return q["qtype"] in ("NS", "AXFR", "IXFR") and servers == [False, True] and any(r[1] == "NS" and r[3].lower().startswith("ns.dns.") for r in ours["answer"])


def ixfr_by_udp(made, q, peer, ours, found):
    return q["qtype"] == "IXFR" and not q["tcp"] and peer["rcode"] == "REFUSED" and [r[1] for r in ours["answer"]] == ["SOA"]


def denial_ttl(made, q, peer, ours, found):
    least = lambda o: min(r[2] for r in o["authority"])
    return "cache" in made.text and found == ["authority"] and [r[::3] for r in peer["authority"]] == [r[::3] for r in ours["authority"]] and least(ours) < least(peer)


def ttl_zero(made, q, peer, ours, found):
    return "cache" in made.text and found == ["answer"] and "ttl0." in q["qname"].lower() and all(r[2] == 0 for r in ours["answer"])


def own_names_are_not_cached(made, q, peer, ours, found):
    """The cache stands behind hosts, template and kubernetes here, and in front of them in CoreDNS."""
    left, right = but_ttl(peer), but_ttl(ours)
    # What fits of the additional section is one of the other reasons.
    extra = q["tcp"] or set(left[2]) <= set(right[2]) or set(right[2]) <= set(left[2])
    return "cache" in made.text and ours["aa"] and set(found) <= SECTIONS and left[:2] == right[:2] and extra


def client_of_the_cache(made, q, peer, ours, found):
    """CoreDNS's cache tells a client what template told another of itself."""
    return "cache" in made.text and ".Remote" in made.text and ours["aa"] and found == ["answer"] and len(peer["answer"]) == len(ours["answer"])


def escapes(made, q, peer, ours, found):
    return "{qname}" in made.text and set(found) <= {"opt", "answer"} and any(c in q["qname"] for c in "@$;()\"")


def ttl_of_what_is_not_kept(made, q, peer, ours, found):
    return "cache" in made.text and set(found) <= SECTIONS and but_ttl(peer) == but_ttl(ours) and max(ttls(peer)) <= max(ttls(ours))


def endpoints_outside(made, q, peer, ours, found):
    """CoreDNS reads over the first label where a Service has addresses outside."""
    return "k8s_external" in made.text and q["qname"].lower().endswith("svc.example.org.") and n_labels(q["qname"]) == 6


def authority_of_the_end(made, q, peer, ours, found):
    return set(found) <= {"answer", "authority"} and not peer["authority"] and bool(ours["answer"]) and ours["answer"][0][1] == "CNAME"


def size_of_a_rewrite(made, q, peer, ours, found):
    """CoreDNS takes the OPT record that `rewrite edns0` made for the client's."""
    return "rewrite edns0" in made.text and q["edns"] is None and ours["tc"] and not peer["tc"]


def labels_of_imports(made, q, peer, ours, found):
    """CoreDNS selects ServiceImports by the labels that namespaces are to have."""
    return "namespace_labels" in made.text and ".clusterset.test." in q["qname"].lower() and peer["rcode"] == "NXDOMAIN"


def largest_datagram(made, q, peer, ours, found):
    return not q["tcp"] and ours["tc"] and not peer["tc"] and peer["size"] > 4096


def fewer_additional(made, q, peer, ours, found):
    left, right = ({r[::3] for r in o["extra"]} for o in (ours, peer))
    return found == ["extra"] and not q["tcp"] and (left < right and ours["size"] > 400 or right < left and ours["size"] <= 512)


def part_of_a_zone(made, q, peer, ours, found):
    return q["qtype"] in ("AXFR", "IXFR") and q["qname"].lower() not in names(made) and ours["rcode"] == "REFUSED"


def letter_case(made, q, peer, ours, found):
    of_the_question = lambda name: q["qname"].endswith(name) or not q["qname"].lower().endswith(name.lower())
    return found == ["letter case"] and all(of_the_question(r[0]) for s in ("answer", "authority") for r in ours[s])


def alias_to_nothing(made, q, peer, ours, found):
    """CoreDNS drops an alias whose target the zone does not have, and has NOERROR for every end of an alias."""
    followed = q["qtype"] in ("A", "AAAA") or "rewrite cname" in made.text
    alias = followed and ours["answer"] and ours["answer"][0][1] == "CNAME" and peer["rcode"] == "NOERROR"
    return alias and (ours["rcode"] in ("NXDOMAIN", "SERVFAIL") or not peer["answer"])


def any_asks_for_each(made, q, peer, ours, found):
    return "acl" in made.text and q["qtype"] == "ANY" and not ours["answer"] and not ours["authority"]


def hidden_reverse(made, q, peer, ours, found):
    fewer = set(but_ttl(ours)[0]) < set(but_ttl(peer)[0])
    return "namespace_labels" in made.text and q["qtype"] == "PTR" and is_reverse(q["qname"]) and fewer


def external_srv_ttl(made, q, peer, ours, found):
    return "k8s_external" in made.text and q["qtype"] == "SRV" and found == ["answer"] and but_ttl(peer) == but_ttl(ours)


def alias_beside_others(made, q, peer, ours, found):
    return "k8s_external" in made.text and q["qtype"] in ("A", "AAAA", "CNAME", "SRV") and any(r[1] == "CNAME" or "lb" in r[3] for r in peer["answer"] + ours["answer"])


def names_that_are_none(made, q, peer, ours, found):
    """A pod's name of more than 63 octets is no label."""
    return "endpoint_pod_names" in made.text and q["qtype"] == "NS" and peer["rcode"] == "SERVFAIL" and ours["rcode"] == "NOERROR"


def address_of_two(made, q, peer, ours, found):
    return q["qtype"] == "PTR" and found == ["answer"] and len(peer["answer"]) == len(ours["answer"]) == 1


def own_address(made, q, peer, ours, found):
    return "{server_" in made.text and q["qname"].lower().startswith("echo.") and found == ["answer"]


def class_of_the_cache(made, q, peer, ours, found):
    """CoreDNS keeps answers of every class, and tells none from another."""
    return "rewrite" in made.text and " class " in made.text and "cache" in made.text and set(found) <= SECTIONS and but_ttl(peer) == but_ttl(ours)


def several_pods(made, q, peer, ours, found):
    pods = [o for o in made.objects if o["kind"] == "Pod" and any(ip["ip"] == q["client"] for ip in o["status"]["podIPs"])]
    unknown = len({o["metadata"]["namespace"] for o in pods}) > 1 or any(o["spec"].get("hostNetwork") for o in pods)
    return "autopath @" in made.text and unknown and not ours["answer"]


def end_of_a_search(made, q, peer, ours, found):
    """The last step of autopath is the name as it is, which a block without `forward` cannot answer."""
    return "autopath" in made.text and peer["rcode"] == "SERVFAIL" and ours["rcode"] == "NXDOMAIN"


def cut_additional(made, q, peer, ours, found):
    plain = lambda o: sorted((n.lower(), t, d.lower()) for n, t, _, d in o["answer"])
    return {"tc", "extra"} <= set(found) | {"extra"} and peer["tc"] and not ours["tc"] and plain(peer) == plain(ours)


def opt_of_extended_errors(made, q, peer, ours, found):
    told = "acl" in made.text or "ederror" in made.text
    return found == ["opt"] and told and bool(peer["opt"]) and bool(ours["opt"]) and peer["opt"] | {"do": 0} == ours["opt"] | {"do": 0}


def error_of_the_cache(made, q, peer, ours, found):
    """CoreDNS's cache keeps no OPT record of what template answered."""
    return found == ["opt"] and "ederror" in made.text and "cache" in made.text and not peer["opt"]["error"] and bool(ours["opt"]["error"])


UNLIKE = [
    (error_of_the_cache, "the server's own answers are never cached: why they are so is told each time"),
    (any_asks_for_each, "who asks for ANY asks for each type that acl names"),
    (letter_case_denied, "name servers are found in every letter case"),
    (question_of_a_rewrite, "the question of the answer is the one that was asked"),
    (pointer_into_a_reverse_zone, "PTR records never point into a reverse zone"),
    (records_of_a_transfer, "a transfer has each record once"),
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
    (escapes, "a name is written with escapes only where it could not be read back"),
    (ttl_of_what_is_not_kept, "what the cache does not keep has the TTL that it came with"),
    (size_of_a_rewrite, "who sends no OPT record takes 512 octets, whatever upstreams are told"),
    (labels_of_imports, "namespace_labels selects namespaces, and no imports"),
    (largest_datagram, "no datagram is larger than 4,096 octets"),
    (fewer_additional, "additional records are those that fit"),
    (cut_additional, "what is left out of the additional section alone is no truncation (RFC 2181 section 9)"),
    (opt_of_extended_errors, "DO is the client's, whatever else is told"),
    (letter_case, "names have the letter case of the question, whichever plugin answers (RFC 4343)"),
    (alias_to_nothing, "the return code is that of the alias's end, and the alias is shown (RFC 6604)"),
    (hidden_reverse, "what namespace_labels hides is hidden in reverse zones as well"),
    (external_srv_ttl, "SRV records of k8s_external have its own TTL, not that of kubernetes"),
    (alias_beside_others, "an alias stands alone (RFC 1034 section 3.6.2)"),
    (names_that_are_none, "a name with a label of more than 63 octets is left out, and the others told"),
    (address_of_two, "of two Services with one address the first by name is told"),
    (own_address, "the server's own address is the one that was asked"),
    (class_of_the_cache, "classes other than IN are not kept"),
    (several_pods, "who asks from an address of several namespaces has no search list that is known"),
    (end_of_a_search, "a search that ends where nobody can be asked denies what its first name denied"),
    (notify, "NOTIFY is not answered as a question"),
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
    if "silence" in (peer["end"], ours["end"]) and "drop" in made.text and q["qtype"] == "ANY":
        return "who asks for ANY asks for each type that acl names"
    if peer["end"].startswith("unreadable") and ours["end"] == "answer":
        return "CoreDNS's answer is no message"
    if peer["end"] != "answer" or ours["end"] != "answer":
        return None
    if "opt" in found and len(found) > 1 and any(holds(made, q, peer, ours, ["opt"]) for holds in (opt_unasked, error_of_the_cache)):
        # Whatever else there is has a reason of its own.
        found = [field for field in found if field != "opt"]
    return next((reason for holds, reason in UNLIKE if holds(made, q, peer, ours, found)), None)


# What rutter says of a Corefile that CoreDNS takes, and why it does not.
REFUSED = [
    ("unknown directive `(any|auto|azure|cancel|chaos|clouddns|debug|dns64|dnssec|dnstap|dynupdate|erratic|etcd|file|geoip|grpc|header|local|metadata|minimal|multisocket|nomad|on|"
     "nsid|pprof|quic|root|route53|secondary|shed|sign|timeouts|tls|trace|tsig|view|whoami)`", "a plugin of CoreDNS that is not here"),
    ("stands in this block already", "what holds for a block is said once"),
    ("`autopath` reads what `kubernetes`", "autopath needs what it reads"),
    ("expected `{` after", "a zone without a block is told"),
    ("is no network such as", "what stands beside a `*` is read as well"),
    ("is never closed", "a block that is never closed is told"),
    ("is for all addresses in one block", "a port is listened to on all addresses or on some, not on both"),
    ("`}` stands where a directive should begin", "a brace that closes nothing is told"),
    ("takes (one|no) argument|takes no block|takes an interval|one word too many", "words that nobody reads are told"),
    ("`[^`]*\\.\\.[^`]*` has an empty label|label of more than 63", "a zone that is no name is told; CoreDNS leaves it out"),
    ("a template has .Name", "templates have fields and groups, no logic"),
    ("the variables are", "the server's own address and metadata are no variables of edns0"),
    ("`forward` does not speak https", "DNS over HTTPS is left out"),
    ("server has round_robin only", "loadbalance has round_robin only"),
    ("hosts has no option", "a line of hosts that is no address is told"),
    ("`log` knows no", "a field that does not exist is told"),
    ("`health_check` takes a duration", "a health check has an interval"),
    ("is already served by the block", "a zone is served once"),
    ("cannot listen on", "a port is listened to on all addresses or on some, not on both"),
    ("neither seconds nor|no record type|no return code|not a return code", "a mistake is told"),
]
# What CoreDNS says of a Corefile that rutter takes.
TAKEN = [
    ("valid label selector operator", "selectors are those of kubectl"),
    ("expect legal QTYPE|invalid RR class|invalid query class|unknown rcode", "letter case does not count in types, classes and return codes"),
    ("in-cluster|kubeconfig|connect to|KUBERNETES_SERVICE_HOST", "where objects come from is a flag's business"),
    ("unknown property '[0-9a-f.:]+'", "lines of hosts may stand behind fallthrough"),
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
    "coredns_proxy_conn_cache_hits_total": "UDP questions leave from a fresh port each time, and are no connections",
    "coredns_proxy_conn_cache_misses_total": "UDP questions leave from a fresh port each time, and are no connections",
    "coredns_proxy_request_duration_seconds_count": "which upstream is asked, and how often, is chance",
}
# Counters of what was answered, not of what was asked.
OF_ANSWERS = ("coredns_dns_responses_total", "coredns_cache_", "coredns_acl_")


def purpose_of_metric(family, peer, ours, odd, unlike):
    """Why a family of counters may differ, or None; both are {labels: number}. `odd`: there were packets that are no queries in order.
    `unlike`: some answers differed on purpose."""
    if family in METRICS:
        return METRICS[family]
    if family.startswith("coredns_cache_"):
        return "the server's own names are never cached: they are always fresh"
    if odd:
        return "what is answered before any plugin (FORMERR, NOTIMP, BADVERS) is counted as dropped"
    if family.startswith(("coredns_acl_", "coredns_autopath_")) and without(peer, "server") == without(ours, "server"):
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
