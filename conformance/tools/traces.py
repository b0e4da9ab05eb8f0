"""kubectl traces: what they are, how their requests are made and their answers judged. No server, no kubectl: see play_traces.py.

A file (YAML) holds `headers` (names for long Accept headers), `objects` (what a trace may have `given`) and `traces`:

  - kubectl: get services -o wide        what a person types; also the trace's name
    versions: 1.32-                      kubectls that do so (default: all)
    given: [service]                     objects in the trace's own namespace, `{ns}`
    steps:
    - send: GET /api/v1/namespaces/{ns}/services?limit=500
      accept: table                      a name of `headers`, or the header itself
      answer: 200 application/json       status (or `200|404`) and content type
      body: {kind: Table}                what the answer must hold

A step's `with` is a JSON body of content type `type` (application/json; `none`: not told), `protobuf` one in protobuf: `{apiVersion, kind, fields:
{number: value}}`, where a value is a text, a number, a message (fields again), or a list of these; `raw` is a text as it is.
Expected `body`: an object must hold these members, a list these items in this order among others (`[]`: no item at all), `null` means absent, a text
between slashes is a regular expression of the whole text, anything else must be equal. `fields` is the same for an answer in protobuf (of the object,
by number), `text` for one that is neither.
`save: {name: /pointer}` keeps a value of the answer for later `{name}`s. `until` says why an answer may come a moment later. `watch: name` leaves the
request open under a name, and a step `from: name` with `events` reads on until it has seen these, in this order (`all`: and no others).
`by` on a step says who else sends it, `by hand` on a trace that no kubectl does. `versions` on a step: only these kubectls send it. `any`: parameters of
the query whose values kubectl chooses. `seconds`: kubectl goes on for ever, and is stopped then. `forget`: the server forgets what happened so far."""
import json
import re

NAME = re.compile(r"\{(\w+)\}")


def fill(value, names):
    """`{name}`s replaced, in whatever it is."""
    if isinstance(value, str):
        return NAME.sub(lambda m: names.get(m.group(1), m.group()), value)
    if isinstance(value, list):
        return [fill(item, names) for item in value]
    if isinstance(value, dict):
        return {fill(key, names): fill(item, names) for key, item in value.items()}
    return value


def pointer(document, path):
    """What stands at a JSON pointer."""
    for part in path.strip("/").split("/"):
        part = part.replace("~1", "/").replace("~0", "~")
        document = document[int(part)] if isinstance(document, list) else document[part]
    return document


def differs(want, got, at="", repeated=False):
    """None, or where and how `got` is not as wanted. `repeated`: from protobuf, where one item and a list of one are the same."""
    if repeated and isinstance(want, list) != isinstance(got, list):
        want, got = (want, [got]) if isinstance(want, list) else ([want], got)
    if isinstance(want, dict):
        if not isinstance(got, dict):
            return "%s: wanted an object, got %s" % (at or "/", short(got))
        for key, value in want.items():
            if value is None:
                if got.get(key) is not None:
                    return "%s/%s: wanted none, got %s" % (at, key, short(got[key]))
            elif key not in got:
                return "%s: no %s in %s" % (at or "/", key, short(got))
            else:
                how = differs(value, got[key], "%s/%s" % (at, key), repeated)
                if how:
                    return how
        return None
    if isinstance(want, list):
        if not isinstance(got, list):
            return "%s: wanted a list, got %s" % (at or "/", short(got))
        if not want:
            return "%s: wanted no item, got %s" % (at or "/", short(got)) if got else None
        rest = iter(got)
        for n, item in enumerate(want):
            hows = []
            for found in rest:
                how = differs(item, found, "%s/%d" % (at, n), repeated)
                if how is None:
                    break
                hows.append(how)
            else:
                return "%s: no item like %s%s" % (at or "/", short(item), "; " + hows[0] if hows else "")
        return None
    if isinstance(want, str) and len(want) > 1 and want[0] == want[-1] == "/":
        if not isinstance(got, str) or not re.fullmatch(want[1:-1], got, re.S):
            return "%s: wanted %s, got %s" % (at or "/", want, short(got))
        return None
    # Neither may stand for the other: True == 1 in Python.
    if type(want) is not type(got) or want != got:
        return "%s: wanted %s, got %s" % (at or "/", short(want), short(got))
    return None


def short(value):
    text = json.dumps(value)
    return text if len(text) < 300 else text[:300] + ".."


# === protobuf ===


def varint(n):
    out = bytearray()
    n &= (1 << 64) - 1
    while n > 0x7F:
        out.append(n & 0x7F | 0x80)
        n >>= 7
    out.append(n)
    return bytes(out)


def message(fields):
    """Fields by number, in the order given."""
    out = b""
    for number, values in fields.items():
        for value in values if isinstance(values, list) else [values]:
            if isinstance(value, int):
                out += varint(number << 3) + varint(int(value))
            else:
                data = message(value) if isinstance(value, dict) else value if isinstance(value, bytes) else value.encode()
                out += varint(number << 3 | 2) + varint(len(data)) + data
    return out


def envelope(body):
    """As Kubernetes sends an object in protobuf: the magic, and a runtime.Unknown around the object's own bytes."""
    return b"k8s\0" + message({1: {1: body["apiVersion"], 2: body["kind"]}, 2: message(body["fields"]), 3: "", 4: ""})


def field_numbers(data):
    """The other way, for people who add a trace: bytes to fields by number. Texts and messages are told apart by a guess."""
    fields, at = {}, 0

    def number():
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(data):
        tag = number()
        if tag & 7 == 0:
            value = number()
        elif tag & 7 == 2:
            length = number()
            value = text_or_message(data[at:at + length])
            at += length
        else:
            raise ValueError("no message of Kubernetes: wire type %d" % (tag & 7))
        fields.setdefault(tag >> 3, []).append(value)
    return {key: value[0] if len(value) == 1 else value for key, value in fields.items()}


def text_or_message(data):
    try:
        text = data.decode()
        # A message begins with a tag that is no printable letter, or is empty.
        return text if text.isprintable() else field_numbers(data)
    except UnicodeDecodeError:
        return field_numbers(data)
