"""Requests that are wrong, each in its own way, drawn from a seed."""

from __future__ import annotations

import gzip
import json
import random
import struct
import zlib

GOOD = {"inputs": [{"name": "x", "shape": [1, 8], "datatype": "FP32", "data": [0.5] * 8}]}
# In the place of something that belongs there.
WRONG = [None, True, -1, 0, 2**70, 1e308, "", "x" * 300, [], {}, [[]], [None], [True] * 8, ["1"] * 8, [1e39] * 8,
         [[0.5] * 4, [0.5] * 3], [0.5] * 7, [1, -1], [0, 8], [1, 8, 1], [2**63, 8], [1.0, 8.0], {"a": {"b": []}}]  # fmt: skip
PATHS = ["/v2/models/toy/infer", "/v2/models/toy/versions/1/infer"]


def http(method="POST", path=PATHS[0], body=b"", headers=(), length=None, version="HTTP/1.1"):
    lines = [f"{method} {path} {version}".encode(), b"Host: x", *headers]
    if length != "none":
        lines.append(b"Content-Length: %d" % (len(body) if length is None else length))
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def wrong_field(draw):
    """One value of a good request is another."""
    request = json.loads(json.dumps(GOOD))
    holder, key = draw.choice([(request, "inputs"), (request, "outputs"), (request, "parameters"), (request, "id"),
                               *((request["inputs"][0], key) for key in request["inputs"][0]),
                               (request["inputs"][0], "parameters")])  # fmt: skip
    good = holder.get(key)
    holder[key] = draw.choice([value for value in WRONG if value != good])
    if key in ("outputs", "parameters", "id") and holder[key] in (None, [], {}, "", "x" * 300, {"a": {"b": []}}):
        holder[key] = 7  # those are allowed
    return http(path=draw.choice(PATHS), body=json.dumps(request).encode())


def missing_field(draw):
    request = json.loads(json.dumps(GOOD))
    del request["inputs"][0][draw.choice(list(request["inputs"][0]))]
    return http(body=json.dumps(request).encode())


def twice(draw):
    """A tensor, or a key, that stands there twice."""
    text = json.dumps(GOOD)
    which = draw.randrange(4)
    if which == 0:
        return http(body=json.dumps({"inputs": GOOD["inputs"] * 2}).encode())
    if which == 1:
        return http(body=json.dumps({**GOOD, "outputs": [{"name": "y"}] * 2}).encode())
    if which == 2:
        return http(body=text.replace('"name": "x"', '"name": "x", "name": "x"').encode())
    return http(body=text.replace('{"inputs"', '{"inputs": [], "inputs"').encode())


def broken_text(draw):
    """JSON with a byte more, less or other."""
    text = bytearray(json.dumps(GOOD).encode())
    for _ in range(draw.randrange(1, 4)):
        place = draw.randrange(len(text))
        text[place : place + draw.randrange(2)] = draw.choice([b"\x00", b"\xff", b"{", b"}", b'"', b"\\", b"\xed\xa0\x80"])
    return http(body=bytes(text))


def no_number(draw):
    """What Python's parser takes, and JSON does not have."""
    word = draw.choice(["NaN", "Infinity", "-Infinity", "1e999", "0x10", "1_000", ".5", "+1", "9" * 5000, "null", '"1"'])
    return http(body=json.dumps(GOOD).replace("0.5", word, 1).encode())


def deep(draw):
    depth = draw.choice([40, 900, 5000, 200_000])
    opened, closed = draw.choice([("[", "]"), ('{"a":', "}"), ('{"inputs":[', "]}")])
    nested = opened * depth + "1" + closed * depth
    where = draw.choice(["data", "parameters", "whole", "shape"])
    if where == "whole":
        return http(body=nested.encode())
    text = json.dumps({**GOOD, "inputs": [{**GOOD["inputs"][0], where: "HERE"}]})
    return http(body=text.replace('"HERE"', nested if where != "parameters" else f"[{nested}]").encode())


def no_json(draw):
    body = draw.choice([b"", b"null", b"[]", b"3", b'"text"', b"\x80\x05K\x01.", draw.randbytes(draw.randrange(1, 400))])
    return http(body=body)


def wrong_binary(draw):
    """The binary extension with lengths that are not so."""
    size = draw.choice([0, 1, 31, 33, -1, 2**40, "32", 3.5, None, True])
    head = {"inputs": [{"name": "x", "shape": [1, 8], "datatype": "FP32", "parameters": {"binary_data_size": size}}]}
    if draw.random() < 0.3:
        head["inputs"][0]["parameters"]["binary_data_size"] = 32
        head["inputs"][0]["data"] = [0.5] * 8
    text = json.dumps(head).encode()
    told = draw.choice([len(text), len(text) - 1, len(text) + 1, 0, 10**9, 10**30])
    if draw.random() < 0.2:
        told = draw.choice([b"-5", b"abc", b"1e2", b"", b"0x20", b"\xb2"])
    told = told if isinstance(told, bytes) else b"%d" % told
    return http(body=text + struct.pack("<8f", *[0.5] * 8), headers=[b"Inference-Header-Content-Length: " + told])


def wrong_packing(draw):
    body = json.dumps(GOOD).encode()
    bad = [
        (b"gzip", body), (b"gzip", gzip.compress(body)[:-9]), (b"gzip", gzip.compress(body) + b"more"),
        (b"deflate", zlib.compress(body)[:20]), (b"br", body), (b"gzip, gzip", gzip.compress(gzip.compress(body))),
        (b"gzip", gzip.compress(b"0" * (20 << 20))), (b"\xff", body),
    ]  # fmt: skip
    encoding, content = draw.choice(bad)
    return http(body=content, headers=[b"Content-Encoding: " + encoding])


def wrong_place(draw):
    path = draw.choice(["/", "/v2/models/toy", "/v2/models//infer", "/v2/models/toy/versions/infer", "/v2/models/%00/infer",
                        "/v2/models/toy/versions/99/infer", "/v2/models/../../etc/passwd/infer", "/v3", "/v2/models/toy/infer/",
                        "/v2/models/" + "y" * 3000 + "/infer", "/v2/models/t%C3%B6y/infer", "/v2/models/toy/versions/1e0/infer",
                        "/v2/models/a/b/c/infer", "/status/nobody/example"])  # fmt: skip
    return http(draw.choice(["POST", "PUT", "DELETE", "PATCH", "OPTIONS"]), path, json.dumps(GOOD).encode())


def wrong_http(draw):
    """Bytes that are no HTTP, or heads that contradict themselves."""
    body = json.dumps(GOOD).encode()
    return draw.choice([
        draw.randbytes(200) + b"\r\n\r\n", b"GET\r\n\r\n", b"POST / HTTP/9.9\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        http(body=body, length=-5), http(body=body, headers=[b"Content-Length: 3"]), http(body=body, headers=[b"no colon here"]),
        http(body=body, headers=[b"Transfer-Encoding: chunked"]), http(body=body, headers=[b"X: " + b"y" * 70_000]),
        http(body=body, headers=[b"A%d: b" % number for number in range(9000)]), http(path="/\xfcber", body=body),
        http("CONNECT", "example:80", body), http(body=body, length=10**17), http(body=body, length=17 << 20),
        http(body=b"", length="none", headers=[b"Content-Length: 99999999999999999999999"]), http(path="http://[", body=body),
    ])  # fmt: skip


def wrong_chunks(draw):
    """Chunked bodies whose chunks are not what they say."""
    head = http(length="none", headers=[b"Transfer-Encoding: chunked"])
    text = json.dumps(GOOD).encode()
    return head + draw.choice([
        b"zz\r\n" + text, b"5\r\n" + text + b"\r\n0\r\n\r\n", b"-1\r\n\r\n", b"%x\r\n%s\r\n0\r\n\r\n" % (len(text) - 1, text),
        b"FFFFFFFFFFFFFFFFFF\r\n" + text, b"3\r\n{}}\r\n0\r\n\r\n", b"0\r\n\r\n", b"1\r\n[\r\n" * 3000 + b"0\r\n\r\n",
    ])  # fmt: skip


KINDS = [wrong_field, missing_field, twice, broken_text, no_number, deep, no_json, wrong_binary, wrong_packing, wrong_place,
         wrong_http, wrong_chunks]  # fmt: skip


def requests(count, seed=0):
    """(kind, bytes), the kinds in turn."""
    draw = random.Random(seed)
    return [(kind.__name__, kind(draw)) for kind in (KINDS[number % len(KINDS)] for number in range(count))]
