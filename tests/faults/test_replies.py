"""B: encodings, redirects and sizes of replies to a look."""

import codecs
import gzip
import json
import zlib
from functools import cache

import pytest
from support import scripts
from support.mill import DONE, KEY, png
from support.raw_server import always, reply
from support.watched import close_after, each, ended, looks, misses, sound, watch

import nbhelper as nbh

pytestmark = pytest.mark.usefixtures("library")
FAILED = {"state": "error", "why": "no task said this"}


def compressed(data, coding="gzip"):
    return reply(data, headers={"content-encoding": coding})


def check_one_miss(mill, answer, kind="network", words=""):
    """Watch a task whose first reply is bad: one miss with these words in its message, then success; the miss."""
    history = ended(mill.job(close_after(answer), DONE))

    assert sound(history, mill)
    assert history.succeeded
    assert misses(history) == [kind]
    assert words in looks(history)[0].message
    assert len(mill.looks["job-1"]) == 2
    return looks(history)[0]


# Encodings


def test_b01_gzip_cut_in_half(mill):
    """Looks request identity encoding; half a gzip body is a network miss, even with the right Content-Length."""
    whole = gzip.compress(json.dumps({**FAILED, "more": ["x"] * 5000}).encode())

    check_one_miss(mill, compressed(whole[: len(whole) // 2]), words="breaks off")

    assert {request.header("accept-encoding") for request in mill.server.requests} == {"identity"}


PACKED = {"gzip": gzip.compress, "x-gzip": gzip.compress, "deflate": zlib.compress, "identity": bytes, "": bytes}


def test_b01_an_encoding_that_was_not_asked_for(mill):
    """A whole body in gzip or deflate is read, although identity was requested, as some servers always compress."""
    done = b'{"state": "done"}'

    kinds = each(mill, {coding or "none": compressed(pack(done), coding) for coding, pack in PACKED.items()})

    assert set(kinds.values()) == {""}
    assert {len(times) for times in mill.looks.values()} == {1}


def test_b02_gzip_that_is_none(mill):
    """Plain bytes with Content-Encoding gzip are a network miss."""
    check_one_miss(mill, compressed(json.dumps(FAILED).encode()), words="encoding is broken")


CODINGS = {"brotli": (b"\x0b\x02\x80", "br"), "zstd": (b"\x28\xb5\x2f\xfd", "zstd"), "unknown": (b"{}", "rot13")}


def test_b03_unknown_encoding(mill):
    """A reply in brotli, zstd or an unknown encoding is a network miss."""
    kinds = each(mill, {name: compressed(body, coding) for name, (body, coding) in CODINGS.items()})

    assert kinds == dict.fromkeys(CODINGS, "network")


@cache
def bomb(n_bytes=200_000_000):
    """A gzip bomb: this many zero bytes, compressed to a thousandth of that."""
    compressor = zlib.compressobj(9, wbits=31)
    piece = bytes(1_000_000)
    return b"".join(compressor.compress(piece) for _ in range(n_bytes // len(piece))) + compressor.flush()


MEMORY_SCRIPT = """
    import json, os, resource, sys
    import nbhelper as nbh
    from support.mill import provider

    def resident():
        return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()

    root, *refs = sys.argv[1:]
    nbh.register(provider(root))
    warm = nbh.watch(refs[0], display=False)[0]
    assert warm.succeeded
    open("/proc/self/clear_refs", "w").write("5")  # the peak is counted from here
    before = resident()
    limit = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize() + 200_000_000
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    history = nbh.watch(refs[1], display=False)[0]
    peak = next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith("VmHWM"))
    print(json.dumps({
        "outcome": history.outcome, "growth": peak - before, "misses": history.facts.misses,
        "messages": [e.seen.message for e in history.events if hasattr(e.seen, "retry_after")],
        "saves": [[s.state, os.path.splitext(s.file)[1], s.n_bytes] for s in history.saves.values()],
    }))
"""


def watch_in_child(mill, tmp_path, library, *answers):
    """Watch a task with these answers in a process with limited memory; its report, with the growth in bytes."""
    warm = mill.job({"state": "done", "files": [mill.file(reply(png(100)))]})
    process = scripts.run(
        MEMORY_SCRIPT,
        mill.root,
        warm,
        mill.job(*answers),
        cwd=tmp_path,
        MILL_API_KEY=KEY,
        NBHELPER_HTTP=library,
    )
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout.splitlines()[-1])


def test_b04_bomb(mill, tmp_path, library, figure):
    """A bomb of 200 MB in 200 kB is cut at the cap of decoded bytes, and the process grows by less than 50 MB."""
    packed = bomb()
    assert len(packed) < 250_000

    report = watch_in_child(mill, tmp_path, library, compressed(packed), compressed(packed, "deflate"), DONE)

    figure(f"{library} +{report['growth'] / 1e6:.1f} MB")
    assert report["outcome"] == "succeeded"
    assert report["messages"] == ["the reply is larger than 1,000,000 bytes"] * 2
    assert report["growth"] < 50_000_000


def test_b04_bomb_as_a_file(mill, tmp_path, library, figure):
    """A file with a Content-Encoding is saved as it came, never decompressed."""
    report = watch_in_child(mill, tmp_path, library, {"state": "done", "files": [mill.file(compressed(bomb()))]})

    figure(f"{library} +{report['growth'] / 1e6:.1f} MB")
    assert report["outcome"] == "succeeded"
    assert [(s[0], s[1], s[2]) for s in report["saves"]] == [("saved", ".gz", len(bomb()))]
    assert report["growth"] < 50_000_000


def test_b05_chained_encodings(mill):
    """A Content-Encoding of three thousand chained codings is a network miss."""
    check_one_miss(mill, compressed(b"x", ", ".join(["gzip"] * 3000)))


def test_b06_large_by_its_length(mill):
    """A reply of 500 MB by its Content-Length is refused without waiting for the body."""

    async def act(conn, _request):
        await conn.send(reply(b"{", length=500_000_000))
        await conn.gone()

    history = ended(mill.job(act, DONE))

    assert sound(history, mill)
    assert history.succeeded
    assert looks(history)[0].message == "the reply is larger than 1,000,000 bytes"


def test_b07_endless_body(mill):
    """An endless chunked body is cut at the cap of a reply: the server sends no more than the buffers hold."""
    sent = [0]

    async def act(conn, _request):
        await conn.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        while not conn._reader.at_eof() and not conn._writer.is_closing():
            await conn.send(b"10000\r\n" + b" " * 65_536 + b"\r\n")
            sent[0] += 65_536

    history = ended(mill.job(act, DONE))

    assert sound(history, mill)
    assert history.succeeded
    assert looks(history)[0].message == "the reply is larger than 1,000,000 bytes"
    assert sent[0] < 30_000_000


# Redirects


def test_b08_redirect_to_the_same_origin(mill, bound):
    """Three redirects within the origin are followed in one look, with the key on each, whatever their status."""
    statuses = (301, 302, 303, 307, 308)
    for status in statuses:
        mill.paths |= {
            f"/{status}/one": [reply(b"", status, {"location": "two?x=1"})],
            f"/{status}/two": [reply(b"", status, {"location": f"{mill.root}/{status}/three"})],
            f"/{status}/three": [reply(DONE)],
        }
    refs = [mill.job(reply(b"", status, {"location": f"/{status}/one"})) for status in statuses]

    histories = watch(refs).result(30)

    assert sound(histories, mill)
    assert [(h.succeeded, h.facts.polls) for h in histories] == [(True, 1)] * 5
    assert [len(mill.requests_to(f"/{status}/")) for status in statuses] == [3] * 5
    bound(max(len(mill.requests_to(f"/{status}/")) for status in statuses), 3, "hops of a look")
    assert {request.header("authorization") for request in mill.server.requests} == {f"Bearer {KEY}"}


def test_b09_redirect_to_another_origin(mill, serve, bound):
    """A redirect to another port, host or scheme is not followed: the watch is lost, and no connection is made."""
    other = serve(always(reply(DONE)))
    targets = [
        f"{other.root}/jobs/1",
        f"//127.0.0.1:{other.port}/x",
        f"http://localhost:{other.port}/",
        f"https://127.0.0.1:{other.port}/x",
        f"http://user@127.0.0.1:{other.port}/",
    ]
    refs = [mill.job(reply(b"", 302, {"location": target})) for target in targets]

    histories = watch(refs).result(30)

    assert sound(histories, mill)
    assert [h.outcome for h in histories] == ["lost"] * 5
    assert all("where the key is not sent" in h.error for h in histories)
    assert {len(times) for times in mill.looks.values()} == {2}
    bound(other.connections, 0, "connections to the other side")
    assert KEY not in "".join(h.error for h in histories)


def test_b10_https_to_http(mill_at, serve, tls):
    """A redirect from https to http on the same host is not followed, and the watch is lost."""
    plain = serve(always(reply(DONE)))
    mill = mill_at(tls=tls)

    history = ended(mill.job(reply(b"", 301, {"location": f"http://localhost:{plain.port}/jobs/job-1"})))

    assert sound(history, mill)
    assert history.outcome == "lost"
    assert plain.connections == 0


def test_b11_http_to_https(mill_at, serve, tls):
    """A redirect from http to https on the same host is not followed either; a base_url must be https."""
    safe = serve(always(reply(DONE)), tls=tls)
    mill = mill_at()
    nbh.connect("mill", base_url=f"http://localhost:{mill.server.port}")

    history = ended(mill.job(reply(b"", 301, {"location": f"https://localhost:{safe.port}/jobs/job-1"})))

    assert sound(history, mill)
    assert history.outcome == "lost"
    assert safe.requests == []
    with pytest.raises(nbh.BadInput, match="must be https"):
        nbh.connect("mill", base_url="http://api.mill.example")


def test_b12_redirect_loop(mill, bound):
    """Three redirects are followed; the fourth makes the look a network miss, which ends no watch."""
    mill.paths["/loop"] = [reply(b"", 302, {"location": "/loop"})]

    history = ended(mill.job(reply(b"", 302, {"location": "/loop"}), DONE))

    assert sound(history, mill)
    assert history.succeeded
    assert [m.message for m in looks(history)[:1]] == ["more than 3 redirects"]
    assert len(mill.requests_to("/loop")) == 3
    bound(len(mill.requests_to("/loop")), 3, "hops of a look")


def test_b12_empty_location(mill):
    """A redirect with an empty Location is garbled."""
    kinds = each(mill, {repr(location): reply(b"", 302, {"location": location}) for location in ("", " ", "\t")})

    assert set(kinds.values()) == {"garbled"}


BAD_LOCATIONS = {
    "javascript": "javascript:alert(1)",
    "file": "file:///etc/passwd",
    "ftp": "ftp://127.0.0.1/x",
    "data": "data:application/json,{}",
    "port too high": "http://127.0.0.1:99999/x",
    "port no number": "http://127.0.0.1:abc/x",
    "open bracket": "http://[::1/x",
    "no address": "http://[zz]/x",
    "long label": f"http://{'a' * 70}.example/x",
    "punycode": "http://xn--a.example/",
    "overlong punycode": f"http://xn--{'9' * 80}.example/",
    "fullwidth": "http://\uff11\uff12\uff17\uff0e0.0.1/",
    "blank": "http://a b/",
    "control": "http://a\x01b/",
}


def test_b13_other_schemes(mill):
    """A Location with another scheme loses the watch, whatever the HTTP client would raise."""
    assert check_all_lost(mill, [BAD_LOCATIONS[name] for name in ("javascript", "file", "ftp", "data")])


def test_b14_unreadable_addresses(mill):
    """A Location with a bad port, bracket or host name loses the watch."""
    others = [location for location in BAD_LOCATIONS.values() if not location.startswith(("java", "f", "da"))]

    assert check_all_lost(mill, others)


def check_all_lost(mill, locations):
    """Watch a task for each Location: each is lost after two looks, with an error of one line."""
    head = "HTTP/1.1 302 Found\r\ncontent-length: 0\r\nlocation: {}\r\n\r\n"
    refs = [mill.job(head.format(location).encode()) for location in locations]

    histories = watch(refs).result(60)

    assert sound(histories, mill)
    assert [h.outcome for h in histories] == ["lost"] * len(locations), [(h, h.facts.trouble) for h in histories]
    assert all("\n" not in h.error for h in histories)
    assert {len(times) for times in mill.looks.values()} == {2}
    return True


# Replies without a state


NO_STATE = {
    "204": reply(b"", 204, length=None),
    "304": reply(b"", 304, length=None),
    "206": reply(FAILED, 206, {"content-range": "bytes 0-9/99"}),
    "200": reply(b""),
}


def test_b15_no_state(mill):
    """A 204, 304, 206 or empty 200 is garbled, whatever is in its body."""
    kinds = each(mill, {name: close_after(answer) for name, answer in NO_STATE.items()})

    assert kinds == dict.fromkeys(NO_STATE, "garbled")


def test_b15_no_content_is_named(mill):
    """The miss of a 204 says "no content"."""
    check_one_miss(mill, NO_STATE["204"], "garbled", "no content")


def test_b16_switching_protocols(mill):
    """A 101 is a miss, and the next look sees success."""
    line = b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n"

    history = ended(mill.job(line + b"\x81\x05hello", DONE), timeout=60)

    assert sound(history, mill)
    assert history.succeeded
    assert misses(history) in (["network"], ["garbled"])


def test_b17_cookies(mill):
    """A hundred cookies and a huge one are not kept: no later request has a Cookie header."""
    flood = b"".join(b"Set-Cookie: a%d=b; Path=/\r\n" % n for n in range(100)) + b"Set-Cookie: x=" + b"y" * 20_000
    body = b'{"state": "working"}'
    cookies = b"HTTP/1.1 200 OK\r\n%s\r\ncontent-length: %d\r\n\r\n%s" % (flood, len(body), body)

    history = ended(mill.job(*[cookies] * 5, DONE))

    assert sound(history, mill)
    assert (history.succeeded, misses(history)) == (True, [])
    assert [request.header("cookie") for request in mill.server.requests] == [None] * 6


TEXT = '{"state": "done", "why": "Größe"}'
CHARSETS = {
    "BOM": codecs.BOM_UTF8 + TEXT.encode(),
    "utf-16": TEXT.encode("utf-16"),
    "utf-16-be": TEXT.encode("utf-16-be"),
    "utf-32": TEXT.encode("utf-32"),
}


def test_b18_charsets(mill):
    """JSON in UTF-8 with a byte order mark, UTF-16 and UTF-32 is read."""
    assert each(mill, {name: reply(body) for name, body in CHARSETS.items()}) == dict.fromkeys(CHARSETS, "")


def test_b18_bytes_of_no_charset(mill):
    """JSON in Latin-1 is garbled, with its excerpt kept."""
    seen = check_one_miss(mill, reply(TEXT.encode("latin-1").replace(b"done", b"error")), "garbled")

    assert "Gr\ufffd\ufffde" in seen.excerpt
