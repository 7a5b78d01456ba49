"""Arguments of the public functions: refused in one line before any request, or understood."""

import math

import pytest
from support.mill import DONE, FLOOR, KEY, WORKING, provider
from support.raw_server import reply

import nbhelper as nbh

CANARY = "zq7canary0123456789"


@pytest.mark.parametrize("given", [None, "", " ", 123, [], {}, [""], [None], ..., True, 1.5, b"mill:x"], ids=repr)
def test_h01_no_reference(refused, given):
    """A value that is no task reference is refused with an example or a reason."""
    with refused():
        nbh.watch(given, display=False)


def test_h01_space_around_a_reference(mill):
    """Whitespace around a task reference is stripped."""
    ref = mill.job()

    assert nbh.watch(f"  {ref} \n", display=False)[0].task == nbh.Task("mill", ref.partition(":")[2])


IDS = [
    "a/b",
    "a?b",
    "a#b",
    "50%",
    "..",
    ".",
    "a b",
    "a+b",
    "a&b=c",
    "%2e%2e",
    "\\",
    "../../etc/passwd",
    "'; DROP TABLE tasks; --",
    "ünï-ид",
    "{id}",
    "x" * 999,
]


@pytest.mark.parametrize("ident", IDS, ids=lambda i: i[:20])
def test_h02_id_is_one_segment(mill, ident):
    """A task id is one percent-encoded segment of the URL path, whatever it holds, and is unchanged in the table."""
    from urllib.parse import quote, unquote

    segment = quote(ident, safe="").replace(".", "%2E") if set(ident) == {"."} else quote(ident, safe="")
    mill.jobs[segment] = [DONE]

    history = nbh.watch(nbh.Task("mill", ident), display=False)[0]

    assert history.succeeded
    assert mill.server.requests[0].target == f"/jobs/{segment}"
    assert unquote(segment) == ident
    assert nbh.tasks()["task_id"].tolist() == [ident]


@pytest.mark.parametrize(
    "ident", ["a\nb", "a\r\nHost: evil", "a\0b", "a\x1b[2J", "a\x85b", "x" * 10_000, "\ud800"], ids=ascii
)
def test_h02_id_that_cannot_be(refused, ident):
    """A task id with control characters or of ten kilobytes is refused."""
    with refused():
        nbh.watch(nbh.Task("mill", ident), display=False)


@pytest.mark.parametrize(
    ("name", "near"), [("milll", "mill"), ("tripo3d", "tripo"), ("kei", "kie"), ("ailabtools", "ailab")]
)
def test_h03_unknown_provider(refused, name, near):
    """The error for an unknown provider names the nearest one."""
    with refused(words=f'Did you mean "{near}"'):
        nbh.watch(f"{name}:x", display=False)


def test_h04_no_key(refused, monkeypatch):
    """Without an API key no request is sent, and the error names the environment variable."""
    monkeypatch.delenv("MILL_API_KEY")

    with refused(nbh.MissingAPIKey, "MILL_API_KEY"):
        nbh.watch("mill:x", display=False)


ODD = {
    "line break inside": f"{CANARY}\n{CANARY}",
    "blank inside": f"{CANARY} {CANARY}",
    "quotes": f'"{CANARY}"',
    "Bearer": f"Bearer {CANARY}",
    "umlaut": f"{CANARY}ß",
    "zero width": f"{CANARY}\u200b",
    "empty": "",
    "blank": "  ",
    "placeholder": "sk-your-api-key",
}


@pytest.mark.parametrize("key", ODD.values(), ids=ODD)
def test_h05_odd_key(refused, logged, key):
    """A value that cannot be an API key is refused, and neither the error nor a log contains it."""
    with refused() as texts:
        nbh.connect("mill", key)

    assert CANARY not in texts[0] + logged.text
    assert "sk-your" not in texts[0]


def test_h05_line_end_after_a_key(mill, monkeypatch):
    """A line end after the API key, as from a file, is stripped; it once made an error that printed the key."""
    monkeypatch.setenv("MILL_API_KEY", f"{KEY}\n")

    assert nbh.watch(mill.job(), display=False)[0].succeeded
    assert mill.server.requests[0].header("authorization") == f"Bearer {KEY}"


SWAPPED = {
    "as id": lambda key: nbh.watch(f"mill:{key}", display=False),
    "as reference": lambda key: nbh.watch(key, display=False),
    "as provider": lambda key: nbh.watch("x", provider=key, display=False),
    "as address": lambda key: nbh.connect("mill", KEY, base_url=key),
    "as name": nbh.connect,
}


@pytest.mark.parametrize("swap", SWAPPED.values(), ids=SWAPPED)
@pytest.mark.parametrize("key", ["sk-0123456789abcdefghijklmnop", "tsk_0123456789abcdefghijklmnop"])
def test_h06_key_in_the_wrong_place(refused, swap, key):
    """An API key passed as another argument is refused, and the error does not contain it."""
    with refused() as texts:
        swap(key)

    assert "0123456789" not in texts[0]


def test_h06_the_key_itself_as_id(mill):
    """The API's own key as a task id is refused, even where it does not look like a key."""
    with pytest.raises(nbh.BadInput, match="API key") as caught:
        nbh.watch(f"mill:{KEY}", display=False)

    assert KEY not in str(caught.value)
    assert mill.server.connections == 0


ADDRESSES = {
    "http": "http://api.example.com",
    "http inside": "http://192.168.1.5",
    "query": "https://api.example.com/v1?key=1",
    "fragment": "https://api.example.com/v1#a",
    "user": f"https://me:{CANARY}@api.example.com",
    "file": "file:///etc/passwd",
    "no scheme": "api.example.com",
    "loopback look-alike": "http://127.0.0.1.example.com",
    "user look-alike": "http://127.0.0.1@example.com",
    "no host": "https://",
    "port": "https://api.example.com:99999",
}


@pytest.mark.parametrize("url", ADDRESSES.values(), ids=ADDRESSES)
def test_h07_address(refused, url):
    """A base_url to which an API key must not be sent is refused before the key is used."""
    with refused() as texts:
        nbh.connect("mill", KEY, base_url=url)

    assert CANARY not in texts[0]


@pytest.mark.parametrize("interval", [0, -1, math.nan, math.inf, "5", 1e9, True, [2]], ids=repr)
def test_h08_interval_that_cannot_be(refused, interval):
    """An interval that is no finite number of seconds above zero is refused."""
    with refused(words="interval"):
        nbh.watch("mill:x", interval=interval, display=False)


def test_h08_interval_below_the_floor(mill, bound):
    """For an interval below the API's floor the floor holds, with one warning."""
    with pytest.warns(UserWarning, match="at the most"):
        nbh.watch(mill.job(WORKING, WORKING, DONE), interval=0.001, display=False)

    bound(sum(gap < FLOOR for gap in mill.gaps()), 0, "looks below the floor")


@pytest.mark.parametrize("timeout", [-1, -0.001, math.nan, math.inf, "5", True, [1]], ids=repr)
def test_h09_timeout_that_cannot_be(refused, timeout):
    """A timeout that is negative or no finite number is refused."""
    with refused(words="timeout"):
        nbh.watch("mill:x", timeout=timeout, display=False)


def test_h09_timeout_zero_and_none(mill, bound):
    """A timeout of zero is one look; None is no limit."""
    once = mill.job(WORKING)

    stopped = nbh.watch(once, timeout=0, display=False)[0]
    ended = nbh.watch(mill.job(WORKING, WORKING, DONE), timeout=None, display=False)[0]

    assert stopped.outcome == "stopped"
    bound(stopped.facts.polls, 1, "looks")
    assert ended.succeeded


def test_h10_save_folder_that_cannot_be(refused, tmp_path_factory):
    """A save folder that is a file, a symlink loop or an unknown user's home is refused before the store is made."""
    other = tmp_path_factory.mktemp("other")
    (other / "file").write_text("x")
    (other / "a").symlink_to(other / "b")
    (other / "b").symlink_to(other / "a")

    for folder in (other / "file", other / "file" / "below", other / "a", "~nobody-of-that-name/x", "/proc/x"):
        with refused():
            nbh.watch("mill:x", save=folder, display=False)


def test_h10_relative_folder_and_chdir(mill, tmp_path, monkeypatch):
    """A relative save folder is resolved when it is passed; a later chdir changes nothing."""
    ref = mill.job(WORKING)
    watch = nbh.watch(ref, save="out", block=False, display=False)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    mill.jobs[ref.partition(":")[2]][:] = [{**DONE, "files": [mill.file(reply(b"bytes"))]}]

    history = watch.result(30)

    assert history.files[0].is_relative_to(tmp_path / "out")
    assert not list((tmp_path / "elsewhere").iterdir())


def test_h10_home(mill, tmp_path, monkeypatch):
    """`~` in a save folder is the user's home."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))

    history = nbh.watch(mill.job({**DONE, "files": [mill.file(reply(b"bytes"))]}), save="~/out", display=False)[0]

    assert history.files[0].is_relative_to(tmp_path / "home" / "out")


def test_h13_ten_thousand_with_duplicates(mill, bound):
    """Ten thousand references to fifty tasks take fifty looks at one rate for the key, and each has its history."""
    nbh.register(provider(mill.root, "quota", looks_per_second=25, key_variable="MILL_API_KEY"))
    for n in range(50):
        mill.jobs[f"t{n}"] = [DONE]

    watch = nbh.watch([f"quota:t{n % 50}" for n in range(10_000)], display=False)

    assert len(watch) == len(watch.result()) == 10_000
    assert {watch[n].task.id for n in (7, 57, 9957)} == {"t7"}
    at = sorted(r.at for r in mill.server.requests)
    bound(len(at), 50, "looks for ten thousand references")
    assert at[-1] - at[0] >= 0.8  # one second's worth may come at once, the rest at 25 a second


def test_h12_nothing_to_resume(mill):
    """With nothing to resume, resume() returns a finished watch that says so; finished tasks are not looked at."""
    nothing = nbh.resume(display=False)
    ref = mill.job()
    nbh.watch(ref, display=False)
    looks = len(mill.server.requests)

    finished = nbh.resume(ref, display=False)

    assert (len(nothing), nothing.done, len(nbh.resume(display=False))) == (0, True, 0)
    assert "nothing" in repr(nothing)
    assert finished.result() is not None
    assert len(mill.server.requests) == looks


def test_a_provider_registered_again(mill):
    """A provider that is registered again with other words is used from the next watch on."""
    for word in ("ready", "finished"):
        nbh.register(provider(mill.root, "edited", key_variable="MILL_API_KEY", words={word: "succeeded"}))
        mill.jobs[word] = [{"state": word}]

        assert nbh.watch(f"edited:{word}", display=False, timeout=60)[0].outcome == "succeeded"
