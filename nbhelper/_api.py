"""`connect`, `register`, `submit`, `watch`, `resume`, `providers`, `set_store`: check arguments, call other modules.

The functions that return tables of tasks are in `_tables/store_verbs.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ._model.errors import BadInput
from ._model.task import Task
from ._session import session
from ._watching.begin import check_interval, choices, opened
from ._watching.choose_view import Display

if TYPE_CHECKING:
    from datetime import timedelta

    import pandas as pd

    from ._providers.provider import Provider
    from ._session.session import Connection
    from ._watching.watch import Watch


def connect(name: str, api_key: str | None = None, base_url: str | None = None, *, private: bool = False) -> Connection:
    """Choose the key and address of a provider for this process.

    Without a call of `connect`, a key is looked for at first use: environment variable, `.env` in the working
    directory, Colab's secrets, and in an interactive session a prompt.

    Args:
        name: A provider's name.
        api_key: The key; kept in memory only.
        base_url: Replaces the API's root, path prefix included: https, or http on this machine.
        private: Allow addresses of your own network, also for results.

    Raises:
        BadInput: An unknown name, or a key or address that cannot be used; the text never holds the key.
        MissingAPIKey: No key was given and none found.

    `nbhelper.providers()` lists for each name the environment variable, where a key was found, and the address.
    """
    from ._session.keys import wrap_secret

    secret, api_key = wrap_secret(api_key), None  # no traceback prints the key
    return session.connect(name, secret, base_url, private=private)


def register(provider: Provider) -> Provider:
    """Add an API of your own, as data, for this process; `nbhelper.Provider` has an example that takes one cell.

    A provider of the same name is replaced, a built-in one too. `nbhelper.testing.read` tries a provider on a stored
    reply, without a network.

    Raises:
        BadInput: `provider` is not a `Provider`.
    """
    from ._providers import register as add

    return add(provider)


def submit(
    provider: str,
    request: Mapping[str, Any],
    *,
    endpoint: str | None = None,
    files: Mapping[str, Any] | None = None,
    label: str | None = None,
    params: Mapping[str, Any] | None = None,
    reuse: bool = False,
) -> Task:
    """Create one task at an API: the request is sent once, and never repeated automatically.

    Args:
        provider: A provider's name.
        request: The API's own parameters. Bytes, `pathlib.Path`s, Pillow pictures and arrays among them are uploaded,
            ahead of the create where the API wants a token (Tripo).
        endpoint: Short name or path, where the API has several ways to create.
        files: For uploads: a path (also as text), bytes, a picture or an array for each parameter.
        label: A name for the card, the table and the folder of files.
        params: What the tables show instead of the request.
        reuse: Take the stored task of an identical request, if one did not fail.

    Returns:
        The task, which is in the store already: `nbhelper.resume()` finds it after a restart.

    Raises:
        BadInput: Nothing was sent; the text says what to change.
        MissingAPIKey: The provider's key was not found; nothing was sent.
        SubmitFailed: The API refused; nothing was made.
        SubmitUnknown: The request was sent and its answer is lost: a task may have been made and billed.
        StoreError: The store cannot be written, so nothing was sent; or a task that was made cannot be recorded.

    Example:
        task = nbh.submit("kie", {"model": "google/nano-banana", "input": {"prompt": "an owl"}}, label="owl")
        w = nbh.watch(task)
    """
    from ._submitting import send

    if label is not None and not isinstance(label, str):
        raise BadInput(f"label must be text, not {type(label).__name__}.")
    if not isinstance(reuse, bool):
        raise BadInput("reuse is True or False.")
    create = send.prepare(provider, request, endpoint=endpoint, files=files, params=params)
    return send.send(create, label=label, reuse=reuse)


def watch(
    tasks: Task | str | Mapping[str, Any] | Iterable[Any],
    *,
    provider: str | None = None,
    timeout: float | Literal["auto"] | None = "auto",
    interval: float | None = None,
    save: bool | str | Path = True,
    preview: int | Literal[False] = 384,
    display: Display | Literal[False] = "auto",
    block: bool | Literal["auto"] = "auto",
) -> Watch:
    """Watch one or many tasks: progress while they run, results saved before their links expire.

    Watching only reads: it submits nothing and cancels nothing. A task that failed is returned like any other. Looks
    and downloads go on beside the cells that follow; what was seen is in the store, whatever becomes of the kernel.

    Args:
        tasks: A `Task`, text such as `"tripo:1ec04ced-…"`, a create call's reply, or a list, Series or `tasks()`
            frame of these. A task that appears twice is watched once, and is in the result twice.
        provider: The provider of ids or replies that do not name one.
        timeout: Seconds until this watch ends with the outcome `stopped`; `"auto"` is no limit, or 3,600 s when
            blocking; 0 is one look.
        interval: Seconds between looks at a healthy task, never below the API's floor; None aims at the finish.
        save: Save results: `True` into the store's folder, a folder of your own, or `False` for none.
        preview: Longest side of previews in pixels, or False for none.
        display: `"auto"`, `"widget"`, `"html"`, `"text"`, or False for nothing.
        block: Whether to wait here. `"auto"` returns at once in a notebook and waits in scripts and headless runs.

    Returns:
        A handle: `w.result()`, `await w`, `for history in w.as_completed()`, `w.stop()`, `w.to_frame()`. Of one task
        the result is a `History`, of a list a list of them, in the order given.

    Raises:
        BadInput: Nothing was sent; the text says what to change.
        MissingAPIKey: A provider's key was not found; the text names the variable.

    Example:
        task = nbh.submit("tripo", {"type": "text_to_model", "prompt": "a cat"})
        w = nbh.watch(task)                # a card in a notebook, which goes on
        history = w.result()               # waits for the end and for the files
        history.outcome, history.files, history.credits
    """
    from ._watching.references import references_of

    references, single = references_of(tasks, provider)
    names = dict.fromkeys(reference.task.provider for reference in references)
    chosen = choices(
        names, timeout=timeout, interval=interval, save=save, preview=preview, display=display, block=block
    )
    return opened(references, {name: session.connection(name) for name in names}, chosen, single=single)


def resume(
    tasks: Task | str | Mapping[str, Any] | Iterable[Any] | None = None,
    max_age: str | datetime | timedelta | None = "24h",
    *,
    provider: str | None = None,
    timeout: float | Literal["auto"] | None = "auto",
    interval: float | None = None,
    save: bool | str | Path = True,
    preview: int | Literal[False] = 384,
    display: Display | Literal[False] = "auto",
    block: bool | Literal["auto"] = "auto",
) -> Watch:
    """Watch again what is unfinished, after a kernel restart or whenever: `watch(pending())`.

    Earlier events are kept, and downloads go on where they were. Of a task that lacks only files, fresh links are
    asked for at most once. A create in doubt, and a task that cannot be reached from here, is named in a line and left
    as it is; no create is ever sent again.

    Args:
        tasks: Only these, in any form that `watch` takes; None for everything in `pending()`.
        max_age: With `tasks=None`, only tasks that began since then: a time, ISO text, an age such as
            `"24h"`, or None for everything.
        provider: As for `watch`; so are all that follow.
        timeout: Seconds until this watch ends.
        interval: Seconds between looks.
        save: Whether and where results are saved.
        preview: Longest side of previews.
        display: What is shown.
        block: Whether to wait here.

    Returns:
        A watch in any case; with nothing to do a finished one, whose `len` is 0.

    Raises:
        BadInput: Nothing was sent; the text says what to change.

    Example:
        nbh.pending()                      # what is unfinished, and why
        w = nbh.resume(max_age="3d")
    """
    from ._watching import resume as _resume

    chosen = choices((), timeout=timeout, interval=interval, save=save, preview=preview, display=display, block=block)
    store = session.store()
    plan = _resume.plan_all(store, max_age) if tasks is None else _resume.plan_chosen(store, tasks, provider)
    check_interval(interval, plan.connections)
    return opened(plan.tasks, plan.connections, chosen, single=plan.single, lines=plan.lines, again=True)


def providers() -> pd.DataFrame:
    """One row per registered API: where its key was found (never the key), its address, endpoints, limits and docs.

    `floor_s` is the least number of seconds between two looks at one task. `create_limit` is what `Experiment.run()`
    keeps to at one key, such as `20 in 10 s`; it is missing where the API publishes none, or one for each plan, as
    aigptimage does: there creates go out four at a time, and the wait that a refusal names is kept. `link_lifetime_s`
    is how long a result's link works, missing where that is not documented.
    """
    import pandas as pd

    from ._providers import get, names

    rows = [
        {
            "provider": name,
            "key_variable": " or ".join(spec.variables),
            "key_found": session.key_source(name) or "not found",
            "base_url": session.base_url(name),
            "endpoints": ", ".join(spec.creates),
            "floor_s": spec.floor,
            "create_limit": "{} in {:g} s".format(*spec.create_limit) if spec.create_limit else None,
            "link_lifetime_s": spec.lifetime,
            "docs": spec.docs,
        }
        for name in names()
        for spec in [get(name)]
    ]
    text = pd.StringDtype("python")
    numbers = {"floor_s": "Float64", "link_lifetime_s": "Float64"}
    frame = pd.DataFrame(rows)
    return frame.astype({column: numbers.get(column, text) for column in frame.columns})


def set_store(folder: str | Path) -> Path:
    """Keep histories and files in another folder from now on; returns the folder, absolute.

    Without a call: `NBHELPER_DATA`, else the nearest `nbhelper-data` in the working directory or its parents, else a
    new one in the working directory, fixed at first use. The folder is made when there is something to keep.

    Raises:
        BadInput: `folder` names no folder.
        StoreError: The folder cannot be used.
    """
    return session.set_store(folder)
