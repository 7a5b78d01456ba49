"""A canary API key is used for everything, and the server echoes it in every field.

Then every file, log, exception, table, page and notebook is searched for it, and every request to other servers.
"""

import base64
import json
import logging
import os
import pickle
import subprocess
import sys
import traceback
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from urllib.parse import quote

import nbformat
import pytest
from kernels import variables
from nbconvert import HTMLExporter
from support.mill import WORKING, Mill, png, reset
from support.provider_samples import NAMES, changed, corpus, places
from support.quick import LOOKS, quick
from support.raw_server import RawServer, always, reply

import nbhelper as nbh
from nbhelper._network import downloads
from nbhelper._providers import get
from nbhelper._providers.reader import read, read_created
from nbhelper._providers.requests import HttpReply
from nbhelper._views.history_line import history_line
from nbhelper._watching import pace
from nbhelper.types import Snapshot

LIBRARY = str(Path(nbh.__file__).parent)
KEY = "cnry-7f3a9c5e1bZQ84xw"
"""An API key that no pattern of keys matches, so that it is removed only where its value is known."""
SIGNED = "sgntr-51d0c2"
"""A signature in a link's query, which is stored nowhere after the file is saved."""
ENCODINGS = {
    KEY,
    quote(KEY),
    KEY.encode().hex(),
    base64.b64encode(KEY.encode()).decode().rstrip("="),
    KEY[::-1],
    json.dumps(KEY)[1:-1],
}


def find_key(text):
    """The encodings of the key that a text or bytes contain, sorted."""
    data = text if isinstance(text, bytes) else str(text).encode("utf-8", "surrogatepass")
    return sorted(w for w in ENCODINGS if w.encode() in data)


def files_with_key(folder):
    """Path to the encodings of the key in its name or content, for every file below a folder that contains one."""
    leaking = {}
    for path in Path(folder).rglob("*"):
        hits = find_key(str(path.relative_to(folder))) + (find_key(path.read_bytes()) if path.is_file() else [])
        if hits:
            leaking[str(path)] = hits
    return leaking


# Each field of each reply, at the reader


def replies_with_key(body, path):
    """Bodies with the key at one path: as the value, in a sentence, in a link, as a field's name, in inner JSON."""
    for value in (
        KEY,
        f"bad key {KEY}!",
        f"https://cdn.example/{KEY}/a.png?k={KEY}",
        {KEY: "https://cdn.example/a.png"},
        json.dumps({"resultUrls": [f"https://cdn.example/{KEY}"], KEY: KEY}),
    ):
        yield changed(body, path, value)


@pytest.mark.parametrize("name", NAMES)
def test_threat_key_echoed_in_any_field_of_any_reply(name):
    """With the key in any field of any reply of a provider, what is read of the reply does not contain it."""
    spec, n = get(name), 0
    headers = {"x-tripo-trace-id": KEY, "retry-after": KEY, "date": KEY}
    for case in corpus(name)["cases"]:
        for path in places(case.get("body")):
            for body in replies_with_key(case["body"], path):
                raw = HttpReply(case.get("http", 200), headers, json.dumps(body).encode())

                seen = read(spec, raw, secrets=(KEY,))

                n += 1
                assert not find_key("".join(repr(getattr(seen, f.name)) for f in fields(seen))), (case["case"], path)
                for output in seen.outputs if isinstance(seen, Snapshot) else ():
                    assert not find_key("".join(str(getattr(output, f.name)) for f in fields(output)))
                assert not find_key(read_created(spec, next(iter(spec.creates.values())), raw, secrets=(KEY,)))
    assert n > 100


# Everything, through sockets


@pytest.fixture
def logs(tmp_path):
    """The path of a file that gets all log records of the root logger, at DEBUG."""
    handler = logging.FileHandler(tmp_path / "debug.log")
    root = logging.getLogger()
    before = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield tmp_path / "debug.log"
    root.removeHandler(handler)
    root.setLevel(before)
    handler.close()


@pytest.fixture
def caught():
    """A context manager that expects an error, and collects its str, repr, arguments and tracebacks in `shown`."""
    from IPython.core.ultratb import VerboseTB

    shown = []

    @contextmanager
    def catch(kind=nbh.NbhelperError):
        with pytest.raises(kind) as info:
            yield
        error, trace = info.value, info.value.__traceback__
        while trace is not None and not trace.tb_frame.f_code.co_filename.startswith(LIBRARY):
            trace = trace.tb_next  # the frames of the test itself contain the key
        shown.extend([str(error), repr(error), repr(error.args), repr(vars(error))])
        shown.append("".join(traceback.TracebackException(kind, error, trace, capture_locals=True).format()))
        if trace is not None:
            shown.append(VerboseTB().text(type(error), error, trace))

    catch.shown = shown
    return catch


def echo_key(mill, name):
    """A task of one provider whose replies echo the key, at each stage of its life, in that provider's words."""
    cases = corpus(name)["cases"]
    broken = [
        reply({"message": KEY, "error": {"message": KEY, "code": KEY}, KEY: KEY}, 500, {"x-request-id": KEY}),
        reply(f"<html>{KEY}</html>"),
        reply(f'{{"broken {KEY}'),
    ]
    good = []
    for case in cases:
        if case.get("represents"):
            body = case["body"]
            for path in list(places(body)):
                if isinstance(path[-1], str) and path[-1] not in {
                    "status",
                    "state",
                    "task_status",
                    "code",
                    "error_code",
                }:
                    node = body
                    for key in path:
                        node = node[key] if isinstance(node, dict | list) else None
                    if isinstance(node, str) and "http" not in node and "{" not in node:
                        body = changed(body, path, f"{node} {KEY}")
            good.append({**body, f"more {KEY}": [KEY, {KEY: f"https://x.example/{KEY}?s={KEY}"}]})
    return quick(mill, name, *broken[:1], *good[:1], *broken[1:], *good, ident=f"id-{name}", reply_id="")


def watch_looks(mill, other):
    """Watch tasks whose looks echo the key: at every API in words, codes, headers and pages, redirects and refusals."""
    watches = [nbh.watch(echo_key(mill, name), display="text", block=False, timeout=3, save=False) for name in LOOKS]
    answers = {
        "failed": {"state": "error", "code": KEY, "why": f"no: {KEY}"},
        "unknown": {"state": KEY},
        "moved": reply(b"", 307, {"location": f"{other.root}/jobs/x?k={KEY}"}),
        "refused": reply({"message": KEY, "errcode": KEY}, 401),
    }
    for name, answer in answers.items():
        patience = 2 if name == "unknown" else 60  # the others end by themselves
        watches.append(nbh.watch(mill.job(answer, ident=name), display="text", block=False, timeout=patience))
    return [watch.result(30) for watch in watches]


def watch_files(mill, other):
    """Watch a task with files: by link, inline and by a second request, expired, redirected, named by the key."""
    good = mill.file(reply(png(3000), headers={"etag": f'"{KEY}"'})) + f"?Signature={SIGNED}"
    dead, away = mill.file(reply(KEY, 403)), mill.file(reply(b"", 302, {"location": f"{other.root}/a?{SIGNED}"}))
    named = {KEY: good, "dead": dead, "away": away, "echo": f"{mill.root}/none/{KEY}/a.png?k={KEY}"}
    inline = base64.b64encode(png(64)).decode()
    done = {"state": "done", "files": named, "b64": inline, "ref": KEY, "percent": KEY, "credits": KEY}
    mill.paths["/links/%5Bkey%20removed%5D"] = [{"link": f"{other.root}/b?k={KEY}"}]
    return nbh.watch(mill.job(WORKING, done), display="text")[0]


def submit_tasks(mill, caught):
    """Submit tasks that are refused, in doubt, garbled or get the key as id, then one that is created; the task."""
    for answer in (reply({"message": KEY, "errcode": KEY}, 400), reset, reply({"id": KEY}), reply(KEY)):
        mill.creates[:] = [answer]
        with caught():
            nbh.submit("mill", {"prompt": "an owl"}, endpoint="image")
    mill.creates[:] = [{"id": "made", "echo": KEY}]
    return nbh.submit("mill", {"prompt": "an owl"}, endpoint="image", label="owl")


def raise_errors(mill, caught, failed, monkeypatch):
    """Raise each kind of error with the key in a message, an argument or a frame."""
    with caught(nbh.TaskFailed):
        failed.raise_for_failure()
    with pytest.raises(nbh.BadInput) as passed:
        nbh.watch(f"mill:{KEY}")  # a traceback's frames have what was passed as an id
    assert not find_key(str(passed.value))
    with caught(nbh.BadInput):
        nbh.connect("mill", f"{KEY}\n{KEY}")
    with caught(nbh.WatchTimeout):
        nbh.watch(mill.job(WORKING), block=False, display=False).result(0.01)
    with monkeypatch.context() as broken, caught(TypeError):
        broken.setattr("nbhelper._watching.looks.read", None)  # an internal error, logged with its traceback
        assert nbh.watch(mill.job(), display=False)[0].outcome == "lost"
        broken.setattr("nbhelper._store.store.Store.open_task", None)
        nbh.watch(mill.job())


def write_tables(work):
    """Every table as CSV, JSON and HTML text; CSV files and a gallery are written into a folder."""
    tables = nbh.tasks(), nbh.events(), nbh.outputs(), nbh.providers(), nbh.summary(nbh.tasks())
    nbh.to_csv(nbh.tasks(), work / "tasks.csv")
    nbh.to_csv(nbh.events(), work / "events.csv")
    nbh.gallery(nbh.tasks()).save(work / "gallery.html")
    return [text for t in tables for text in (t.to_csv(), t.to_json(date_format="iso"), t.to_html())]


def test_threat_canary(mill, tmp_path, monkeypatch, logs, caught, capsys, promises, bound):
    """Looks, saves, creates, errors, tables, pages of seven providers leave the key in no file, text or DEBUG log."""
    monkeypatch.setattr(downloads, "_LAG", 0.5)
    monkeypatch.setattr(pace, "SLOW", 0.1)
    monkeypatch.setenv("MILL_API_KEY", KEY)
    promises.expected.append("'NoneType' object is not callable")  # see `raise_errors`
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    with RawServer(always(reply(b"other"))) as other:
        histories = watch_looks(mill, other)
        histories.append(watch_files(mill, other))
        task = submit_tasks(mill, caught)
        raise_errors(mill, caught, histories[-5], monkeypatch)
        values = [*histories, task, nbh.watch(histories[-1].task, display=False), nbh.connect("mill", KEY)]
        shown = [*map(repr, values), *map(str, values), *map(pickle.dumps, histories), *write_tables(work)]
        shown += map(history_line, histories)
        printed = capsys.readouterr()

    looks = [r for r in mill.server.requests if not r.path.startswith(("/files", "/none"))]
    fetched = [r for r in mill.server.requests if r not in looks]
    assert all(find_key(r.raw) for r in looks)  # the key was sent to its own origin
    elsewhere = [r for r in (*fetched, *other.requests) if find_key(r.raw)]
    assert len(histories[-1].files) == 4
    assert [str(h.outcome) for h in histories[-5:]] == ["failed", "stopped", "lost", "lost", "succeeded"]
    assert len(caught.shown) >= 8 * 5
    assert "TypeError: 'NoneType'" in logs.read_text()
    texts = (*shown, *caught.shown, *printed, logs.read_text())
    hits = [*elsewhere, *(text for text in texts if find_key(text)), *files_with_key(work)]
    searched = len(texts) + len(fetched) + len(other.requests) + sum(p.is_file() for p in work.rglob("*"))
    assert hits == []
    bound(len(hits), 0, f"hits in {searched} texts, requests and files")
    assert SIGNED not in logs.read_text()
    assert not [p for p in work.rglob("*") if p.is_file() and SIGNED.encode() in p.read_bytes()]


CELLS = (
    """
%xmode Verbose
import logging, os, sys
logging.basicConfig(filename="debug.log", level=logging.DEBUG)
import nbhelper as nbh
from support.mill import provider
nbh.register(provider(os.environ["MILL_ROOT"]))
""",
    "w = nbh.watch('mill:done')\nw",
    "nbh.watch(['mill:done', 'mill:error'])",
    "w[0]",
    "nbh.tasks(), nbh.providers()",
    "w.gallery()",
    "nbh.submit('mill', {'prompt': 'owl'}, endpoint='image')",
    "nbh.watch('mill:error').result().raise_for_failure()",
    "nbh.connect('mill', os.environ['MILL_API_KEY'] + '\\n' + os.environ['MILL_API_KEY'])",
)


@pytest.mark.kernel
def test_threat_canary_in_a_notebook(tmp_path, bound):
    """A notebook run and saved with widgets, verbose tracebacks and a log at DEBUG does not contain the key."""
    mill = Mill()
    link = mill.file(reply(png(3000)))
    mill.job({"state": "done", "files": {KEY: link}, "percent": KEY, "more": KEY}, ident="done")
    mill.job({"state": "error", "code": KEY, "why": KEY}, ident="error")
    mill.creates[:] = [reply({"message": KEY}, 400)]
    book = nbformat.v4.new_notebook(
        metadata={"kernelspec": {"name": "python3", "display_name": "x", "language": "python"}}
    )
    book.cells = [nbformat.v4.new_code_cell(cell.strip()) for cell in CELLS]
    work = tmp_path / "work"
    work.mkdir()
    nbformat.write(book, work / "book.ipynb")

    done = subprocess.run(
        [sys.executable, "-c", "from nbclient.cli import main; main()", "book.ipynb", "--inplace", "--allow-errors"],
        cwd=work, capture_output=True, text=True, timeout=100,
        env={**variables(tmp_path), "MILL_API_KEY": KEY, "MILL_ROOT": mill.root},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    (work / "book.html").write_text(HTMLExporter().from_filename(str(work / "book.ipynb"))[0], "utf-8")
    mill.close()

    ran = nbformat.read(work / "book.ipynb", as_version=4)
    errors = [o["ename"] for cell in ran.cells for o in cell.outputs if o.output_type == "error"]
    assert errors == ["SubmitFailed", "TaskFailed", "BadInput"]
    assert (work / "book.html").stat().st_size > 100_000
    assert (work / "debug.log").exists()
    hits = files_with_key(work)
    assert hits == {}
    bound(len(hits), 0, f"hits in {sum(p.is_file() for p in work.rglob('*'))} files of a notebook's run")
    assert os.environ.get("MILL_API_KEY") is None
