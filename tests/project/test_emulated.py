"""An open emulator serves every provider name and has a store of its own; closing it restores both."""

import asyncio
import sys
import threading

import pytest
from support.mill import KEY, WORKING, provider
from support.waiting import finished, until

import nbhelper as nbh
from nbhelper._session import session
from nbhelper._watching import engine
from nbhelper.types import Outcome, Task

pytestmark = pytest.mark.usefixtures("isolated")


def kie(words="x"):
    return nbh.submit("kie", {"model": "google/nano-banana", "input": {"prompt": words}})


def watch(what, **options):
    return nbh.watch(what, block=False, display=False, **options)


def test_every_provider_name_leads_to_the_emulator(emulator, monkeypatch):
    """Address and key of each API are the emulator's, whatever the environment says."""
    monkeypatch.setenv("KIE_API_KEY", KEY)
    frame = nbh.providers().set_index("provider")

    for name in ("ailab-legacy", "ailab", "gptge", "tripo", "tripo-v3", "aigptimage", "kie"):
        where = session.connection(name)
        assert where.base_url.startswith("http://127.0.0.1:")
        assert where.key.reveal() == emulator.key(name)
        assert where.emulated
        assert frame.loc[name, "key_found"] == "the emulator"


def test_emulated_rows_are_never_among_real_ones(mill, tmp_path):
    """Emulated tasks live in a folder of their own; outside, the real store is as it was."""
    nbh.watch(mill.job(), display=False)
    with nbh.Emulator(speed=1000):
        kie()
        assert list(nbh.tasks()["provider"]) == ["kie"]
        assert not str(session.store().folder).startswith(str(tmp_path / "nbhelper-data"))

    assert list(nbh.tasks()["provider"]) == ["mill"]


def test_another_folder_may_be_chosen_while_it_is_open(mill, tmp_path):
    """A folder that `set_store` chose while an emulator is open is forgotten when it closes."""
    before = nbh.set_store("mine")
    with nbh.Emulator(speed=1000):
        assert nbh.set_store("demo") == tmp_path / "demo"
        kie()
        assert session.store().folder == tmp_path / "demo"

    assert session.store().folder == before
    assert nbh.tasks().empty


def test_a_second_emulator_is_refused(emulator):
    """While an emulator is open a second one is refused, and the first goes on."""
    with pytest.raises(nbh.EmulatorError, match="already open"):
        nbh.Emulator()

    assert kie().provider == "kie"


def test_an_emulator_is_refused_while_real_tasks_are_watched(mill):
    """While a watch uses the provider names no emulator takes them over; when the watch is over one can."""
    handle = watch(mill.job(WORKING))
    until(lambda: handle[0].state)

    with pytest.raises(nbh.EmulatorError, match=r"Real tasks are being watched \(1\)"):
        nbh.Emulator()
    assert session.connection("mill").base_url == mill.root
    handle.stop()
    handle.result(30)
    until(lambda: not engine.watched_real())

    nbh.Emulator(speed=1000).close()


def test_nothing_real_is_connected_to_while_an_emulator_is_open(emulator):
    """`connect` is refused, and so is a submit to an API that the emulator does not serve."""
    nbh.register(provider("https://mill.example"))

    with pytest.raises(nbh.BadInput, match="An emulator is open and answers for every provider"):
        nbh.connect("kie", api_key="abc-1234567890")
    with pytest.raises(nbh.BadInput, match='does not serve "mill"'):
        nbh.submit("mill", {"a": 1}, endpoint="image")


def test_an_api_of_ones_own_on_this_machine_stays_in_reach(mill, emulator):
    """What runs here is no risk: the tests' own API works beside the emulator."""
    assert nbh.watch(mill.job(), display=False)[0].succeeded


def test_closing_restores_keys_addresses_and_store(monkeypatch, tmp_path):
    """Closed, even twice, the emulator leaves keys, addresses and store as they were before."""
    monkeypatch.setenv("KIE_API_KEY", KEY)
    nbh.connect("kie", base_url="https://proxy.example")
    emulator = nbh.Emulator(speed=1000)
    emulator.close()
    emulator.close()

    assert session.connection("kie").base_url == "https://proxy.example"
    assert session.connection("kie").key.reveal() == KEY
    assert repr(emulator) == "<Emulator closed>"


def test_closing_ends_what_is_watched_there():
    """A watch of an emulated task ends as stopped, with the reason, when the emulator closes."""
    with nbh.Emulator(speed=1) as emulator:
        handle = watch(kie("emu:stuck"))
        until(lambda: handle[0].state)
        assert emulator.ledger().tasks

    history = handle.result(30)

    assert history.outcome is Outcome.STOPPED
    assert history.error == "the emulator was closed"


def test_closing_gives_up_downloads(monkeypatch):
    """A file that is still on its way when the server goes is given up, not tried for an hour."""
    from nbhelper._network import downloads

    monkeypatch.setattr(engine, "_LAST_SAVES", 0.1)
    release = threading.Event()

    async def never(*args, **kwargs):
        await asyncio.to_thread(release.wait, 60)

    monkeypatch.setattr(downloads, "_attempt", never)
    with nbh.Emulator(speed=1000) as emulator:
        handle = watch(finished(emulator, kie()))
        until(lambda: handle[0].succeeded)
    release.set()

    assert handle.result(30).succeeded
    assert handle.files == ()


def test_the_demo_extra_may_be_missing(monkeypatch):
    """Without starlette the error says what to install, and nothing is open."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "starlette" or "._emulator" in name]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "starlette", None)

    with pytest.raises(nbh.EmulatorError, match=r'needs "starlette\S*", which is not installed: pip install'):
        nbh.Emulator()
    assert not session.emulated()


BAD = {
    "speed zero": {"speed": 0},
    "speed text": {"speed": "fast"},
    "speed NaN": {"speed": float("nan")},
    "seed": {"seed": 1.5},
    "limits": {"limits": "yes"},
}


@pytest.mark.parametrize("options", BAD.values(), ids=BAD)
def test_wrong_arguments_are_refused(options, tmp_path):
    """A wrong argument of `Emulator` is refused, and no emulator is open afterwards."""
    with pytest.raises(nbh.EmulatorError):
        nbh.Emulator(**options)

    assert not session.emulated()
    assert list(tmp_path.iterdir()) == []


# Special replies of Tripo and other APIs, as the real ones send them


def test_a_dead_link_is_replaced_by_a_fresh_look(emulator):
    """Tripo's links die after five minutes: the first one answers 403, the next look has a good one."""
    task = nbh.submit("tripo", {"type": "text_to_model", "prompt": "owl emu:dead-link"})

    history = watch(finished(emulator, task)).result(30)

    truth = emulator.ledger().task("tripo", task.id)
    assert history.succeeded
    assert {s.sha256 for s in history.saves.values()} == {f.sha256 for f in truth.files.values()}
    assert min(emulator.ledger().gaps("tripo")) >= 2


def test_base64_that_is_delivered_once_is_saved(emulator):
    """AILab hands a result inside a reply to one look only; it is on disk before the row."""
    import io

    from PIL import Image

    buffer = io.BytesIO()
    Image.new("RGB", (64, 64)).save(buffer, "PNG")
    emulator.script("ailab", "base64")
    task = nbh.submit("ailab", {"image": buffer.getvalue(), "index": 0}, endpoint="anime")

    history = watch(finished(emulator, task)).result(30)

    truth = emulator.ledger().task("ailab", task.id)
    assert {s.sha256 for s in history.saves.values()} == {f.sha256 for f in truth.files.values()}
    assert history.files


ENDINGS = {"policy": "failed", "cancelled": "cancelled", "expired": "expired"}


@pytest.mark.parametrize(("word", "outcome"), ENDINGS.items(), ids=ENDINGS)
def test_what_a_real_reply_says_is_the_outcome(emulator, word, outcome):
    """Tripo's own state words give the outcome of each way to end."""
    task = nbh.submit("tripo", {"type": "text_to_model", "prompt": f"owl emu:{word}"})

    assert watch(finished(emulator, task)).result(30).outcome == outcome


def test_an_unknown_task_is_not_found_and_kept_for_a_minute(emulator):
    """A made-up id is looked at during the grace and never called failed."""
    handle = watch(Task("kie", "0" * 32))
    until(lambda: handle[0].facts.misses)

    assert handle[0].outcome is None
    assert handle[0].facts.trouble.kind == "not_found"
    handle.stop()
