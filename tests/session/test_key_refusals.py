"""Texts that cannot be a key, and keys passed as something else: refused in one line that does not repeat them."""

from pathlib import Path

import pytest
from support.keys import PLACES, put_key
from support.mill import KEY
from support.shown import frames

import nbhelper as nbh

CANARY = "zq7canary0123456789"


ODD = {
    "empty": ("", "is empty"), "blank": (" \t\n", "is empty"),
    "line break inside": (f"{CANARY}\n{CANARY}", "line break"), "return inside": (f"{CANARY}\ry", "line break"),
    "blank inside": (f"{CANARY} {CANARY}", "no key has"), "tab inside": (f"{CANARY}\t1", "no key has"),
    "no-break space inside": (f"{CANARY}\xa0{CANARY}", "no key has"),
    "quotes": (f'"{CANARY}"', "quotation marks"), "single quotes": (f"'{CANARY}'", "quotation marks"),
    "Bearer": (f"Bearer {CANARY}", 'begins with "Bearer "'), "bearer": (f"bearer {CANARY}", 'begins with "Bearer "'),
    "BEARER": (f"BEARER {CANARY}", 'begins with "Bearer "'),
    "umlaut": (f"{CANARY}ü", "no key has"), "full width": (f"{CANARY}\uff21", "no key has"),
    "emoji": (f"{CANARY}🔑", "no key has"), "NUL": (f"{CANARY}\0", "no key has"),
    "zero-width": (f"{CANARY}\u200b", "no key has"), "override": (f"\u202e{CANARY}", "no key has"),
    "half a character": (f"{CANARY}\ud800", "no key has"),
    "very long": (CANARY * 300, "longer than any key"),
    "documented example": ("sk-your-api-key", "placeholder"), "capitals": ("YOUR_API_KEY", "placeholder"),
    "instruction": ("paste-your-key-here", "placeholder"), "name of the thing": ("<token>", "placeholder"),
    "brackets": ("<your-key>", "placeholder"), "crosses": ("xxxxxxxxxxxx", "placeholder"),
    "crosses of a key": ("sk-xxxxxxxxxxxx", "placeholder"), "dots": ("tsk_...", "placeholder"),
    "shell": ("$MILL_API_KEY", "placeholder"), "braces": ("${MILL_API_KEY}", "placeholder"),
    "template": ("{{key}}", "placeholder"), "None as text": ("None", "placeholder"),
    "null as text": ("null", "placeholder"), "the variable's name": ("MILL_API_KEY", "name of its variable"),
    "bytes": (CANARY.encode(), "must be text, not bytes"), "number": (12345678901, "must be text, not int"),
    "list": ([CANARY], "must be text, not list"),
}  # fmt: skip


@pytest.mark.parametrize(("key", "words"), ODD.values(), ids=ODD)
def test_an_odd_key_is_refused_without_being_repeated(refused, logged, key, words):
    """An odd key is in no error text, argument, cause, log or variable of our frames; no request was sent."""
    with refused(words=words) as shown:
        try:
            nbh.connect("mill", key)
        except nbh.BadInput as error:
            seen = frames(error) + repr(error.args) + str(vars(error))
            raise

    assert CANARY not in shown[0] + seen + logged.text
    if isinstance(key, str) and key.strip() and key != "MILL_API_KEY":
        assert key.strip() not in shown[0].replace("MILL_API_KEY", "")


NAMES = {
    "environment": "the environment variable MILL_API_KEY", ".env": "MILL_API_KEY in .env",
    "Colab": "Colab's secret MILL_API_KEY", "prompt": "the prompt",
}  # fmt: skip


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("verb", ["watch", "submit"])
def test_an_odd_key_is_refused_from_every_place(refused, monkeypatch, place, verb):
    """The error names the place; the key is in no text and no frame of ours, and no request was sent."""
    put_key(monkeypatch, place, f"{CANARY} {CANARY}")

    with refused(words=f"from {NAMES[place]} holds characters that no key has") as shown:
        try:
            nbh.watch("mill:x", display=False) if verb == "watch" else nbh.submit("mill", {"a": 1}, endpoint="image")
        except nbh.BadInput as error:
            seen = frames(error)
            raise

    assert CANARY not in shown[0] + seen


@pytest.mark.parametrize("place", PLACES)
def test_white_space_around_a_key_is_stripped(mill, monkeypatch, place):
    """A key copied with blanks around it is sent without them."""
    put_key(monkeypatch, place, f"  {KEY} \t")

    assert nbh.watch(mill.job(), display=False, block=True)[0].succeeded
    assert {request.header("authorization") for request in mill.server.requests} == {f"Bearer {KEY}"}


def test_a_tripo_key_begins_with_tsk(refused):
    """A key of Tripo that does not begin with `tsk_` (a client's id, another API's key) is refused here."""
    with refused(words='does not begin with "tsk_"') as shown:
        nbh.connect("tripo", f"tcli_{CANARY}")

    assert CANARY not in shown[0]


SWAPPED = {
    "as the name": nbh.connect,
    "as the address": lambda key: nbh.connect("mill", base_url=key),
    "as the provider of a watch": lambda key: nbh.watch("x", provider=key),
    "as the provider of a create": lambda key: nbh.submit(key, {"prompt": "owl"}),
    "as the endpoint": lambda key: nbh.submit("mill", {"prompt": "owl"}, endpoint=key),
    "as the task": nbh.watch,
    "as the id": lambda key: nbh.watch(f"mill:{key}"),
    "as an id beside provider=": lambda key: nbh.watch(key, provider="mill"),
    "in a list": lambda key: nbh.watch([key]),
    "as a provider of a reference": lambda key: nbh.watch(f"{key}:x"),
    "as what stands behind the id": lambda key: nbh.watch(f"mill:x?token={key}"),
    "as an outcome": lambda key: nbh.tasks(outcome=key),
    "as an age": lambda key: nbh.tasks(since=key),
    "as a column": lambda key: nbh.summary(nbh.to_frame([]), by=key),
}


KEYS = {
    "sk-": "sk-proj-zq7canary0123456789abcdef", "tsk_": "tsk_zq7canary0123456789abcdef",
    "Bearer": f"Bearer {CANARY}abc",
    "Bearer sk-": "Bearer sk-zq7canary0123456789abcdef",
}  # fmt: skip


@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS)
@pytest.mark.parametrize("swap", SWAPPED.values(), ids=SWAPPED)
def test_a_key_in_the_wrong_place_is_not_repeated(refused, swap, key):
    """Text with the look of a key is refused as any other argument, and the error does not repeat it."""
    with refused() as shown:
        swap(key)

    assert "canary" not in shown[0]


def test_an_id_that_equals_the_key_is_refused(mill):
    """A key of mere letters and digits, passed as an id, is recognised by comparing and not stored."""
    with pytest.raises(nbh.BadInput, match="That id is the API key of mill") as caught:
        nbh.watch(["mill:job-1", f"mill:{KEY}"], display=False)

    assert KEY not in str(caught.value)
    assert mill.server.connections == 0
    assert list(Path.cwd().iterdir()) == []
