"""Makes the corpus of stored files for the schema as it is now: `python tests/store/corpus/make.py`.

Run it before the schema changes, and never again for that version: the files show what users have on their disks. Each
is kept compressed beside the rows that were read from it by the code that wrote it.
"""

from __future__ import annotations

import gzip
import json
import sys
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3]))

import nbhelper as nbh
from nbhelper import _schema
from nbhelper._json import dumps
from nbhelper._store import Store
from nbhelper.types import (
    Mark,
    MarkWord,
    Miss,
    MissKind,
    Output,
    Saved,
    SaveState,
    Snapshot,
    State,
    TaskError,
)  # fmt: skip

HERE = Path(__file__).parent
NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
PROVIDERS = ("ailab-legacy", "ailab", "gptge", "tripo", "tripo-v3", "aigptimage", "kie")
KEY = "sk-corpus"


def at(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def link(name: str) -> str:
    return f"https://cdn.example/{name}?signature=corpus"


def append(store: Store, history: nbh.History, *seen: object, start: float = 0.0) -> nbh.History:
    longer, events = history, []
    for number, one in enumerate(seen):
        longer = longer.add(one, at(start + 5 * number))  # type: ignore[arg-type]
        events.append(longer.events[-1])
    links = {o.name: o.url for s in seen if isinstance(s, Snapshot) for o in s.outputs if o.url}
    store.append(history.uid, events, links=links, summary=longer).result()
    return longer


def begun(store: Store, digest: str, **more: object) -> str:
    what = {"provider": "kie", "origin": "https://api.kie.ai", "request_digest": digest, "endpoint": "createTask"}
    return store.begin_intent(**what, params={"prompt": "owl"}, at=at(0), **more).result()  # type: ignore[arg-type]


def running(progress: float | None, **more: object) -> Snapshot:
    raw = {"status": "running", "progress": progress}
    return Snapshot(state=State.RUNNING, word="running", progress=progress, reply=dumps(raw), **more)  # type: ignore[arg-type]


def empty(store: Store) -> None:
    """A history that nothing was written to."""
    store.fingerprint(KEY)


def tasks(store: Store) -> None:
    """One task of every provider, each ended in another way or not at all."""
    reply = dumps({"status": "ok", "n": 2**60})
    ends = [
        Snapshot(state=State.SUCCEEDED, word="ok", credits=12, finished_at=at(9), reply=reply),
        Snapshot(state=State.FAILED, word="fail", error=TaskError("422", "content policy: 'owl'; \u202e 🦉")),
        Mark(word=MarkWord.STOPPED, note="the watch's timeout of 60 s is over"),
        Mark(word=MarkWord.LOST, note="the API refused two looks in a row: HTTP 401"),
        Snapshot(state=State.CANCELLED, word="cancelled", credits=0),
        Snapshot(state=State.EXPIRED, word="expired", credits=1.5),
        Miss(kind=MissKind.RATE_LIMITED, status=429, code="429", message="slow down", retry_after=7.5),
    ]
    for number, (name, end) in enumerate(zip(PROVIDERS, ends, strict=True)):
        extra = {"type": "HD_COLOUR_MIGRATION"} if name == "ailab-legacy" else {}
        task = nbh.Task(
            name, f"000{number}-é", label=f"owl {number}", params={"prompt": "an owl", "size": [1, 2]}, extra=extra
        )
        history = store.open_task(
            task, f"https://{name}.example", fingerprint=store.fingerprint(KEY), endpoint="create", model="m-1",
            experiment="owls" if number % 2 else None, repeat=number if number % 2 else None, cell="c" * 8,
        ).result()  # fmt: skip
        server = {"created_at": at(1), "started_at": at(2), "resolution_s": 0.001, "replied_at": at(3), "model": "m-2"}
        looks = [running(0.5, **server), running(0.5), running(0.75, seconds_left=4.5, queue_position=0)]
        append(store, history, Mark(word=MarkWord.WATCHING), *looks, end, start=number)


def creates(store: Store) -> None:
    """Creates at every step: begun, sent, in doubt, refused, and one that got its id."""
    begun(store, "d1")
    store.intent_sent(begun(store, "d2", label="sent")).result()
    doubt = begun(store, "d3", request_id="r-1", fingerprint=store.fingerprint(KEY))
    store.intent_sent(doubt).result()
    store.intent_in_doubt(doubt, "connection reset", at=at(3)).result()
    store.intent_refused(begun(store, "d4", experiment="owls", repeat=1), "402", "no credit left").result()
    made = begun(store, "d5", body_digest="b5")
    store.intent_sent(made).result()
    history = store.intent_created(made, nbh.Task("kie", "made"), at=at(2)).result()
    append(store, history, running(0.25), start=4)


def results(store: Store) -> None:
    """Outputs saved, given up and still pending with a live link."""
    names = ("a", "b", "c", "d")
    outputs = tuple(Output(name=n, url=link(n), kind="image", width=64, height=48, lifetime=300) for n in names)
    reply = dumps({"outputs": list(names)})
    done = Snapshot(state=State.SUCCEEDED, word="success", outputs=outputs, reply=reply)
    history = append(store, store.open_task(nbh.Task("tripo", "t"), "https://api.tripo3d.ai").result(), done)
    files = [str(store.folder / "results/tripo/t/a.png"), "/elsewhere/b.png"]
    saves = [
        Saved(name="a", file=files[0], kind="image", n_bytes=5, sha256="aa", width=64, height=48),
        Saved(name="b", state=SaveState.FAILED, message="no room"),
        Saved(name="b", file=files[1], n_bytes=6, sha256="bb"),
        Saved(name="c", state=SaveState.EXPIRED, message="the link died"),
    ]
    append(store, history, *saves, start=1)


def damaged(store: Store) -> None:
    """`tasks`, with one event, one summary and one task's row changed behind the store's back."""
    tasks(store)
    for sql in (
        "UPDATE events SET body = replace(body, '0.75', '0.76') WHERE rowid = 4",
        "UPDATE summaries SET outcome = 'failed' WHERE rowid = 3",
        "UPDATE tasks SET label = 'x' WHERE rowid = 5",
    ):
        store._writer.put(lambda db, sql=sql: db.execute(sql)).result()  # type: ignore[misc]


KINDS: dict[str, Callable[[Store], None]] = {
    f.__name__: f for f in (empty, tasks, creates, results, damaged)
}  # fmt: skip


def read(store: Store) -> dict[str, object]:
    """Everything that the public reads give, as JSON."""
    return {
        "rows": store.rows(),
        "events": store.event_rows(),
        "outputs": store.output_rows(),
        "histories": [[str(h.task), h.uid, repr(h), [repr(e) for e in store.events(h.uid)]] for h in store.histories()],
        "links": {h.uid: {o.name: store.link(h.uid, o.name) for o in h.outputs} for h in store.histories()},
        "fingerprint": store.fingerprint(KEY),
        "submitted": getattr(store.find_submitted("kie", "https://api.kie.ai", "d5"), "uid", None),
    }


def main() -> None:
    """Write one file of each kind."""
    for name, make in KINDS.items():
        with tempfile.TemporaryDirectory() as folder:
            store = Store(Path(folder) / "data", clock=lambda: NOON)
            make(store)
            store.close()
            kept = Store(store.folder, clock=lambda: NOON)
            found = read(kept)
            kept.close()
            base = HERE / f"v{_schema.VERSION}-{name}"
            data = (store.folder / "history.db").read_bytes()
            base.with_suffix(".db.gz").write_bytes(gzip.compress(data, mtime=0))
            base.with_suffix(".json").write_text(json.dumps(found, ensure_ascii=True, indent=1, sort_keys=True) + "\n")
            print(base.name, len(data), "bytes")


if __name__ == "__main__":
    main()
