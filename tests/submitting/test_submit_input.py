"""What `submit` checks before anything leaves: parameters, files, endpoints; and what it keeps of them."""

import hashlib
import json
import os
from datetime import date
from pathlib import Path

import pytest

import nbhelper as nbh
from nbhelper._providers import get, names
from nbhelper._submitting import uploads

PICTURE = b"\x89PNG\r\n\x1a\n" + bytes(100)
KEPT = {"sha256": hashlib.sha256(PICTURE).hexdigest(), "n_bytes": len(PICTURE)}


def kept():
    """The parameters of the one stored task."""
    from nbhelper._session import session

    (row,) = session.store().rows()
    return row["params"]


UPLOADS = {
    "bytes among the parameters": {"request": {"prompt": "owl", "image": PICTURE}},
    "a path among the parameters": {"request": {"prompt": "owl", "image": Path("a.png")}},
    "files with a path": {"request": {"prompt": "owl"}, "files": {"image": "a.png"}},
    "files with bytes": {"request": {"prompt": "owl"}, "files": {"image": bytearray(PICTURE)}},
    "files alone": {"request": {}, "files": {"image": PICTURE}},
}


@pytest.mark.parametrize("call", UPLOADS.values(), ids=UPLOADS)
def test_a_file_is_kept_as_digest_and_size(mill, call):
    """The table and the database say which file it was, and do not hold it."""
    Path("a.png").write_bytes(PICTURE)
    mill.creates.append({"id": "job-1"})

    task = nbh.submit("mill", endpoint="form", **call)

    assert task.params["image"] == KEPT
    assert kept()["image"] == KEPT
    assert PICTURE in mill.asked("/forms")[0].body
    stored = [p for p in Path("nbhelper-data").rglob("*") if p.is_file()]
    assert stored
    assert not [p for p in stored if PICTURE[-100:] in p.read_bytes() and PICTURE[:8] in p.read_bytes()]


def test_what_the_tables_show_may_be_said(mill):
    """`params=` replaces the request in the tables; bytes in it become digest and size, whatever else becomes text."""
    mill.creates.append({"id": "job-1"})

    nbh.submit(
        "mill", {"prompt": "p" * 5000}, endpoint="image", params={"style": 3, "mask": PICTURE, "when": date(2026, 1, 1)}
    )

    assert kept()["style"] == 3
    assert kept()["mask"] == KEPT
    assert kept()["when"] == "2026-01-01"
    assert mill.asked("/jobs")[0].json() == {"prompt": "p" * 5000}


CREATES = [
    pytest.param(name, short, id=f"{name}-{short}")
    for name in names()
    for short, spec in get(name).creates.items()
    if spec.required
]  # fmt: skip


@pytest.mark.parametrize(("name", "short"), CREATES)
def test_each_required_parameter_is_asked_for(refused, monkeypatch, name, short):
    """What an API documents as required is named before it could refuse; nothing is sent."""
    monkeypatch.setenv(get(name).variables[0], "tsk_0123456789abcdef")
    spec = get(name).creates[short]

    for missing in spec.required:
        given = {field: PICTURE if field in spec.files else "x" for field in spec.required if field != missing}
        with refused() as said:
            nbh.submit(name, given or {"other": "x"}, endpoint=short)
        assert f'needs "{missing}"' in said[0]


@pytest.mark.parametrize("name", [n for n in names() if len(get(n).creates) > 1])
def test_an_unknown_endpoint_lists_the_known(refused, name):
    """Every short name there is stands in the text."""
    for wrong in ("no-such-endpoint", None):
        with refused() as said:
            nbh.submit(name, {"prompt": "owl"}, endpoint=wrong)
        assert all(short in said[0] for short in get(name).creates)


@pytest.mark.parametrize(("name", "short"), [("kie", "createTask"), ("gptge", "hailuo"), ("aigptimage", "createTask")])
@pytest.mark.parametrize("how", ["bytes", "path", "files"])
def test_a_file_at_an_api_that_takes_json_is_refused(refused, name, short, how):
    """Those APIs take links: said before anything is sent, with the parameter's name."""
    with refused(words='takes JSON, so no file can go along \\("image"\\)'):
        if how == "files":
            nbh.submit(name, {"prompt": "owl"}, endpoint=short, files={"image": PICTURE})
        else:
            nbh.submit(name, {"image": PICTURE if how == "bytes" else Path(__file__)}, endpoint=short)


def test_a_file_too_large_is_not_even_read(mill, refused, monkeypatch):
    """Its size on the disk decides; a file of many gigabytes does not fill the memory first."""
    with Path("large.png").open("wb") as file:
        file.truncate(uploads.LARGEST_UPLOAD * 1000)
    monkeypatch.setattr(Path, "read_bytes", lambda self: pytest.fail("it was read"))

    with refused(words="at most 50,000,000 are sent"):
        nbh.submit("mill", {"prompt": "owl"}, endpoint="form", files={"image": "large.png"})


def test_a_pipe_is_no_file(refused):
    """Reading it would wait for ever."""
    os.mkfifo("pipe")

    with refused(words="is no ordinary file"):
        nbh.submit("mill", {"prompt": "owl"}, endpoint="form", files={"image": "pipe"})


def test_what_json_has_arrives_as_it_was(mill):
    """Text of every script, numbers, truth, null, lists and mappings are sent as they are."""
    body = {
        "prompt": "Eule 🦉 \u2028 \x00",
        "n": 3,
        "f": 0.1,
        "yes": True,
        "none": None,
        "list": [1, [2]],
        "deep": {"a": {"b": "c"}},
    }
    mill.creates.append({"id": "job-1"})

    nbh.submit("mill", body, endpoint="image")

    assert mill.asked("/jobs")[0].json() == json.loads(json.dumps(body))


@pytest.mark.parametrize(
    "answer", [{"message": "No such model."}, {"message": "No such model"}], ids=["full stop", "none"]
)
def test_a_refusal_ends_in_one_full_stop(mill, answer):
    """The server's words end where our sentence ends."""
    from support.raw_server import reply

    mill.creates.append(reply(answer, 400))

    with pytest.raises(nbh.SubmitFailed, match=r"No such model\.$"):
        nbh.submit("mill", {"prompt": "owl"}, endpoint="image")
