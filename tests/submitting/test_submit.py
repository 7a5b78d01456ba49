"""Creates: the intent is stored first, no create is repeated by itself, and one without a clear reply is in doubt."""

import sqlite3
from concurrent.futures import Future
from pathlib import Path

import pytest
from support.creates import OWL, send
from support.experiments import picture
from support.mill import KEY, provider, reset
from support.raw_server import reply
from support.waiting import finished

import nbhelper as nbh
from nbhelper._network import faults, http
from nbhelper._session import session
from nbhelper._store.store import Store
from nbhelper._submitting import send as _submit


def rows():
    return nbh.tasks().to_dict("records")


def intents():
    with sqlite3.connect(session.store().folder / "history.db") as db:
        return [row[0] for row in db.execute("SELECT state FROM intents ORDER BY at")]


def test_a_create_gives_a_task(mill):
    """The task and its row have the id of the reply, the label and the parameters."""
    task = send(mill, label="Eule")

    create = mill.server.requests[0]
    assert (str(task), task.label) == ("mill:new-1", "Eule")
    assert (create.method, create.path) == ("POST", "/jobs")
    assert create.json() == OWL
    assert create.header("authorization") == f"Bearer {KEY}"
    row = rows()[0]
    assert (row["task_id"], row["label"], row["endpoint"]) == ("new-1", "Eule", "image")
    assert row["param_prompt"] == "an owl"
    assert intents() == ["created"]


def test_the_intent_is_on_the_disk_before_the_request(mill):
    """When the request arrives at the server, the store has a row for it in the state `sent`."""
    seen = []

    async def act(conn, _request):
        with Store(session.store().folder)._database.reading() as db:
            seen.extend(db.execute("SELECT state FROM intents").fetchall())
        await conn.send(reply({"id": "new-1"}))

    send(mill, act)

    assert seen == [("sent",)]


def test_a_store_that_cannot_write_sends_nothing(mill, monkeypatch):
    """Without an intent in the store no request is sent."""
    refused = Future()
    refused.set_exception(nbh.StoreError("the disk is full"))
    monkeypatch.setattr(session.store(), "begin_intent", lambda **_: refused)

    with pytest.raises(nbh.StoreError, match="the disk is full"):
        send(mill)

    assert mill.server.requests == []


def test_a_store_that_fails_after_the_create_names_the_task(mill, monkeypatch):
    """The error names the task that was made and may be billed."""
    refused = Future()
    refused.set_exception(nbh.StoreError("the disk is full"))
    monkeypatch.setattr(session.store(), "intent_created", lambda *_: refused)

    with pytest.raises(nbh.StoreError, match='"mill:new-1" was created and may be billed, but not recorded'):
        send(mill)


# What is in doubt, and what is not


async def halt(conn, _request):
    """Send part of a reply, then reset the connection."""
    await conn.send(b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n{")
    await conn.reset()


DOUBTFUL = {
    "reset": reset,
    "cut off": halt,
    "bad gateway": reply("<html>502</html>", 502),
    "gateway timeout": reply("", 504),
    "no JSON": reply(b"OK"),
    "no id": {"state": "queued"},
    "an id that cannot be one": {"id": "x\ny"},
    "a key for an id": {"id": "sk-abcdefghijklmnopqrstuvwxyz"},
    "a very long id": {"id": "x" * 2000},
    "redirect": reply(b"", 307, {"location": "/elsewhere"}),
    "too large": reply(b"x", length=10**9),
}


@pytest.mark.parametrize("answer", DOUBTFUL.values(), ids=DOUBTFUL)
def test_a_create_without_a_clear_reply_is_in_doubt(mill, answer):
    """The create is sent once; the error says that it may be billed, and the table has it as `lost`."""
    with pytest.raises(nbh.SubmitUnknown, match="may have been made and billed: check your account"):
        send(mill, answer)

    assert len(mill.server.requests) == 1
    assert intents() == ["in_doubt"]
    row = rows()[0]
    assert row["outcome"] == "lost"
    assert row["param_prompt"] == "an owl"


def test_a_create_that_takes_too_long_is_in_doubt(mill, monkeypatch):
    """A create without a whole reply by its deadline is in doubt."""
    monkeypatch.setattr(_submit, "CREATE_DEADLINE", 0.3)

    async def act(conn, _request):
        await conn.gone()

    with pytest.raises(nbh.SubmitUnknown, match=r"no whole reply within 0\.3 s"):
        send(mill, act)

    assert intents() == ["in_doubt"]


REFUSALS = {
    "bad parameter": (reply({"errcode": 1004, "message": "size is wrong"}, 400), "1004", "size is wrong", "refused"),
    "no credit": (reply({"message": "pay first"}, 402), "402", "pay first", "Add credit at the provider"),
    "wrong key": (reply({"message": "who are you"}, 401), "401", "who are you", r"providers\(\) shows where"),
    "too many": (reply({"message": "slow"}, 429, {"retry-after": "7"}), "429", "slow", "asks to wait 7 s"),
    "not found": (reply({"message": "no such model"}, 404), "404", "no such model", "refused"),
    "hostile words": (reply({"message": "\x1b[31m<b>no</b>\n\u202eyes"}, 400), "400", "<b>no</b> yes", "refused"),
}


@pytest.mark.parametrize(("answer", "code", "words", "hint"), REFUSALS.values(), ids=REFUSALS)
def test_a_refusal_has_the_server_s_code_and_message(mill, answer, code, words, hint):
    """`SubmitFailed` and a row of the outcome `failed` have code and words, cleaned."""
    with pytest.raises(nbh.SubmitFailed, match=hint) as caught:
        send(mill, answer)

    assert (caught.value.code, caught.value.words) == (code, words)
    assert "\n" not in str(caught.value)
    assert intents() == ["refused"]
    row = rows()[0]
    assert (row["outcome"], row["error_message"]) == ("failed", words)
    assert len(mill.server.requests) == 1
    assert caught.value.retry_after == (7 if "wait 7" in hint else None)


@pytest.mark.parametrize(
    "answer", [{"message": "No such model."}, {"message": "No such model"}], ids=["full stop", "none"]
)
def test_a_refusal_ends_in_one_full_stop(mill, answer):
    """The error ends in one full stop, whether the server's message has one or not."""
    mill.creates.append(reply(answer, 400))

    with pytest.raises(nbh.SubmitFailed, match=r"No such model\.$"):
        nbh.submit("mill", {"prompt": "owl"}, endpoint="image")


def test_a_create_to_a_closed_port_was_not_sent(mill):
    """A refused connection leaves no doubt: nothing was sent, and the row failed."""
    session.connection("mill")
    mill.close()

    with pytest.raises(nbh.SubmitFailed, match="Nothing was sent to mill: cannot reach") as caught:
        send(mill)

    assert caught.value.code == "network"
    assert intents() == ["refused"]


def test_a_create_that_only_a_proxy_has_seen_was_not_sent(serve, monkeypatch):
    """A proxy that refuses the tunnel leaves no doubt: its CONNECT is no byte of the create, and the row failed."""

    async def proxy(conn):
        await conn._reader.readuntil(b"\r\n\r\n")
        await conn.send(reply(b"", 403))

    monkeypatch.setenv("HTTPS_PROXY", serve(proxy).root)
    nbh.register(provider("https://mill.example"))

    with pytest.raises(nbh.SubmitFailed, match=r"Nothing was sent to mill: the proxy refused") as caught:
        nbh.submit("mill", OWL, endpoint="image")

    assert caught.value.code == "network"
    assert intents() == ["refused"]


# Twice


def test_two_creates_are_two_tasks(mill):
    """Without `reuse`, an identical request makes a second task."""
    first = send(mill, {"id": "a"})
    second = send(mill, {"id": "b"})

    assert (first.id, second.id) == ("a", "b")
    assert len(rows()) == 2


def test_reuse_takes_the_task_of_an_identical_request(mill):
    """With `reuse=True` the stored task of an equal request is returned; any difference makes a new one."""
    first = send(mill, {"id": "a"})
    again = send(mill, {"id": "b"}, reuse=True, request=dict(reversed(OWL.items())))
    other = send(mill, {"id": "c"}, reuse=True, request={**OWL, "seed": 1})
    elsewhere = send(mill, {"id": "d"}, reuse=True, endpoint="safe")

    assert [t.id for t in (first, again, other, elsewhere)] == ["a", "a", "c", "d"]
    assert len(mill.server.requests) == 3


def test_reuse_takes_no_failed_task(mill):
    """`reuse=True` takes no task that failed, no refused create and none in doubt."""
    with pytest.raises(nbh.SubmitFailed):
        send(mill, reply({"message": "no"}, 400))
    with pytest.raises(nbh.SubmitUnknown):
        send(mill, reset)
    failed = send(mill, {"id": "a"}, reuse=True)
    mill.job({"state": "error"}, ident="a")
    nbh.watch(failed, display=False)

    assert send(mill, {"id": "b"}, reuse=True).id == "b"


def test_a_create_with_a_request_id_is_sent_again_with_the_same_id(mill, monkeypatch):
    """After a lost reply the same create is sent again with its request id, and there is one task."""
    monkeypatch.setattr(_submit, "_AGAIN", 0.02)

    task = send(mill, reset, reply("", 502), {"id": "one"}, endpoint="safe")

    ids = [r.header("x-request-id") for r in mill.server.requests]
    assert task.id == "one"
    assert len(ids) == 3
    assert len(set(ids)) == 1
    assert ids[0]
    assert intents() == ["created"]


def test_a_create_with_a_request_id_is_in_doubt_after_three_attempts(mill, monkeypatch):
    """After three lost replies the create is in doubt."""
    monkeypatch.setattr(_submit, "_AGAIN", 0.02)

    with pytest.raises(nbh.SubmitUnknown):
        send(mill, reset, endpoint="safe")

    assert len(mill.server.requests) == 3


REFUSED_LATER = {
    "no credit": (reply({"message": "pay first"}, 402), "HTTP 402: pay first"),
    "too many": (reply({"message": "slow"}, 429, {"retry-after": "7"}), "HTTP 429: slow"),
    "the id again": (reply({"message": "this request id was used"}, 400), "HTTP 400: this request id was used"),
}


@pytest.mark.parametrize(("answer", "words"), REFUSED_LATER.values(), ids=REFUSED_LATER)
def test_a_create_stays_in_doubt_when_a_later_attempt_is_refused(mill, monkeypatch, answer, words):
    """The first attempt may have made a task, so a refusal of the second is no proof that there is none."""
    monkeypatch.setattr(_submit, "_AGAIN", 0.02)

    with pytest.raises(nbh.SubmitUnknown, match=f"broke off.*; then {words}"):
        send(mill, reset, answer, endpoint="safe")

    assert len(mill.server.requests) == 2
    assert intents() == ["in_doubt"]


def test_a_refused_create_with_a_request_id_is_not_sent_again(mill):
    """A refusal of the first attempt ends it."""
    with pytest.raises(nbh.SubmitFailed):
        send(mill, reply({"message": "no"}, 400), endpoint="safe")

    assert len(mill.server.requests) == 1


# The key


def test_the_key_is_kept_nowhere(mill, tmp_path):
    """No file of the store holds the key, even where the server echoes it in every field."""
    echo = {"id": "a", "state": f"odd {KEY}", "why": KEY, "code": KEY, KEY: KEY}
    task = send(mill, echo)
    mill.job(echo, reply({"message": KEY}, 400), {**echo, "state": "error"}, ident="a")
    with pytest.raises(nbh.SubmitFailed) as caught:
        send(mill, reply({"message": f"bad key {KEY}"}, 400))
    history = nbh.watch(task, display=False, save=False)[0]
    session.store().close()

    assert [p for p in Path.cwd().rglob("*") if p.is_file() and KEY.encode() in p.read_bytes()] == []
    assert KEY not in str(caught.value)
    assert KEY not in repr(history)
    assert KEY not in nbh.tasks().to_csv()


# Every API


def image(model):
    return {"model": model, "input": {"prompt": "a fox"}}


CREATES = {
    "ailab": ({"image": picture(), "hair_style": "BuzzCut"}, "hairstyle-pro"),
    "ailab-legacy": ({"image": picture(), "index": 1}, "anime"),
    "gptge": ({"model": "MiniMax-Hailuo-02", "prompt": "waves"}, "hailuo"),
    "tripo": ({"type": "text_to_model", "prompt": "an owl"}, None),
    "tripo-v3": ({"prompt": "a chair", "model": "v2.5-20250123"}, "text-to-model"),
    "aigptimage": (image("gpt-image-2-text-to-image"), None),
    "kie": (image("google/nano-banana"), None),
}


@pytest.mark.parametrize("name", CREATES)
def test_each_api_takes_a_create_and_finishes_it(emulator, name):
    """Create, poll and save at every emulated API; the files are byte for byte those of the ledger."""
    request, endpoint = CREATES[name]

    task = nbh.submit(name, request, endpoint=endpoint, label="x")
    history = nbh.watch(finished(emulator, task), display=False)[0]

    truth = emulator.ledger().task(name, task.id)
    assert history.succeeded
    assert {s.sha256 for s in history.saves.values()} == {f.sha256 for f in truth.files.values()}
    assert not any(d.with_key for d in truth.downloads)
    assert len(emulator.ledger().creates) == 1


def test_a_repeated_create_at_aigptimage_makes_one_task(emulator, monkeypatch):
    """A create repeated with the same X-Request-ID after a lost reply makes no second task."""
    monkeypatch.setattr(_submit, "_AGAIN", 0.02)
    real, lost = http.Http.api, [True]

    async def lossy(self, where, request, **options):
        answer = await real(self, where, request, **options)
        if request.method == "POST" and lost.pop() if lost else False:
            raise faults.Unreached("the connection broke off", is_sent=True)
        return answer

    monkeypatch.setattr(http.Http, "api", lossy)

    task = nbh.submit("aigptimage", image("gpt-image-2-text-to-image"))

    ledger = emulator.ledger()
    assert len(ledger.creates) == 2
    assert [t.id for t in ledger.tasks] == [task.id]


def test_a_refusal_of_the_emulated_kie_has_its_message(emulator):
    """The error has the message and code that kie.ai's docs have for missing credit."""
    with pytest.raises(nbh.SubmitFailed, match="insufficient") as caught:
        nbh.submit("kie", {"model": "google/nano-banana", "input": {"prompt": "x emu:no-credit"}})

    assert caught.value.code == "402"
