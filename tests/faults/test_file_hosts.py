"""F: an outage of a file host: one download at a time probes it, and after the outage all downloads go on."""

import asyncio
import time

import pytest
from support.mill import png, provider, sha256
from support.raw_server import reply
from support.waiting import until
from support.watched import sound, watch

import nbhelper as nbh
from nbhelper._network import downloads, gate, http
from nbhelper._network.download_queue import AT_ONCE, DownloadError, DownloadQueue

DATA = png(20_000)
CAP = 0.25
"""Seconds between two probes."""


@pytest.fixture(autouse=True)
def _scaled(monkeypatch, fresh_engine):
    """Downloads are retried after 0.02 seconds, and an outage is probed every CAP seconds."""
    monkeypatch.setattr(downloads, "_PAUSE", 0.02)
    monkeypatch.setattr(gate, "_PROBE_CAP", CAP)


class FileHost:
    """A file host that answers as `wrong` says (None, "reset", "silent" or a reply), with the times of its requests."""

    def __init__(self, serve):
        self.wrong = None
        self.requested_at = []
        self.root = serve(self._play).root

    async def _play(self, conn):
        self.requested_at.append(time.monotonic())
        if self.wrong == "reset":
            await conn.reset()
        elif await conn.request() is not None:
            if self.wrong == "silent":
                await conn.gone()
            else:
                await conn.send(self.wrong or reply(DATA))


def tasks(mill, host, n):
    return [mill.job({"state": "done", "files": [f"{host.root}/{k}.png"]}) for k in range(n)]


WRONG = {"it resets": "reset", "it is silent": "silent", "it has trouble": reply(b"", 503)}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_f02_host_down(mill, serve, monkeypatch, wrong):
    """Sixty downloads from a host that is down: after the first ones one probe at a time; after the outage all succeed.

    Files of another host are fetched meanwhile.
    """
    if wrong == "silent":
        monkeypatch.setattr(http, "LOOK_DEADLINE", 0.5)
    host = FileHost(serve)
    host.wrong = wrong
    handle = watch(tasks(mill, host, 60))
    until(lambda: len(host.requested_at) >= AT_ONCE + 5, 30)
    other = watch(mill.job({"state": "done", "files": [mill.file(reply(DATA))]})).result(30)
    begun = len(host.requested_at)
    until(lambda: len(host.requested_at) >= begun + 4, 30)
    probes = host.requested_at[begun:]
    host.wrong = None
    histories = handle.result(30)

    assert other.files
    assert probes[-1] - probes[0] >= (len(probes) - 1) * CAP / 2  # a busy server records some of them late
    assert sound(histories, mill)
    assert [sha256(h.files[0].read_bytes()) for h in histories] == [sha256(DATA)] * 60


def test_f02_retry_after_of_a_host(mill, serve):
    """A Retry-After for one download delays all downloads from that host; then they succeed."""
    host = FileHost(serve)
    host.wrong = reply(b"", 429, {"retry-after": "2"})
    handle = watch(tasks(mill, host, 2 * AT_ONCE))
    first = until(lambda: host.requested_at and host.requested_at[0])
    until(lambda: time.monotonic() > first + 1)
    host.wrong = None
    histories = handle.result(30)

    during = [at for at in host.requested_at if at - first < 1.9]
    assert len(during) <= AT_ONCE
    assert max(host.requested_at) - first >= 1.9
    assert sound(histories, mill)
    assert all(h.files for h in histories)


def test_f02_a_link_dies_while_its_host_is_down(mill, serve):
    """Links that expire in an outage of their host cost no result: after a 403 a new link is looked up and fetched."""
    nbh.register(provider(mill.root, lifetime=0.5))
    host = FileHost(serve)
    host.wrong = reply(b"", 502)
    fresh = {"state": "done", "files": [mill.file(reply(DATA))]}
    refs = [mill.job({"state": "done", "files": [f"{host.root}/{k}.png"]}, fresh) for k in range(6)]
    handle = watch(refs)
    first = until(lambda: host.requested_at and host.requested_at[0])
    until(lambda: time.monotonic() > first + 1.5)
    pending = [h.files for h in handle]
    host.wrong = reply(b"", 403)
    histories = handle.result(30)

    assert pending == [()] * 6
    assert sound(histories, mill)
    assert [len(h.files) for h in histories] == [1] * 6
    assert {len(mill.looks[ref.partition(":")[2]]) for ref in refs} == {2}


def test_f02_a_broken_file_host_does_not_slow_down_its_api(mill, monkeypatch):
    """Failing downloads from the API's own origin do not slow down looks at tasks."""
    monkeypatch.setattr(gate, "_PROBE_CAP", 60.0)
    whole = []

    async def file(conn, request):
        await (conn.send(reply(DATA)) if whole else conn.reset())

    handle = watch([mill.job({"state": "done", "files": [mill.file(file)]}) for _ in range(20)])
    until(lambda: len(mill.requests_to("/files")) >= 5)  # that is an outage

    others = watch([mill.job() for _ in range(60)]).result(30)  # at one a second it would be a minute
    tries = len(mill.requests_to("/files"))
    whole.append(True)

    assert [h.outcome for h in others] == ["succeeded"] * 60
    assert others[-1].facts.polls == 1
    assert tries < 60
    assert all(h.files for h in handle.result(60))


# The queue


def test_in_an_outage_each_download_has_its_turn():
    """A file that always fails does not keep other downloads from probing whether the host is back."""

    async def main():
        queue, tried = DownloadQueue(), []

        async def fetch(name, deadline):
            faults = 0
            while True:
                try:
                    async with queue.turn(deadline, "https://cdn.example", faults=faults):
                        tried.append(name)
                        if name == "broken" or len(tried) < 8:
                            raise DownloadError("HTTP 500", is_fault=True)
                        return
                except DownloadError:
                    faults += 1

        broken = asyncio.create_task(fetch("broken", 0))
        await asyncio.wait_for(asyncio.gather(fetch("a", 1), fetch("b", 2)), 60)
        broken.cancel()
        return tried

    assert {"a", "b", "broken"} <= set(asyncio.run(main()))


def test_download_gives_up_at_its_deadline_in_an_outage():
    """In an outage each download waits until its own `until`, and then raises DownloadError."""

    async def main():
        queue = DownloadQueue()
        for _ in range(5):
            queue._outages["https://cdn.example"].fault()
        begun = time.monotonic()

        async def wait(seconds):
            try:
                async with queue.turn(0, "https://cdn.example", until=begun + seconds):
                    raise DownloadError("refused", is_fault=True)
            except DownloadError as error:
                return error.message, time.monotonic() - begun

        return await asyncio.gather(*(wait(seconds) for seconds in (60, 0.5, 0.5)))

    (probed, _), *others = asyncio.run(main())

    assert probed == "refused"
    assert {message for message, _ in others} == {"the file's host does not answer"}
    assert all(spent >= 0.5 for _, spent in others)
