"""`nbhelper.Emulator`: starts the server of `_emulator`, and connects every provider name to it until it is closed."""

from __future__ import annotations

import os
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from ._model.errors import EmulatorError
from ._providers import names
from ._session import session
from ._watching.engine import drop_emulated, watched_real

if TYPE_CHECKING:
    from ._emulator.faults import Fault


def server(**choices: Any) -> Any:
    """Start the server alone; provider names keep their addresses in this process."""
    try:
        from ._emulator import Server
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("nbhelper"):
            raise
        raise EmulatorError(
            f'The emulator needs "{error.name}", which is not installed: pip install "nbhelper[demo]".',
        ) from None
    return Server(**choices)


class Emulator:
    """All seven APIs on 127.0.0.1, ready when the constructor returns. No key, no cost, no internet.

    Example:
        with nbh.Emulator(speed=500) as emu:
            w = nbh.watch(nbh.submit("kie", {"model": "nano-banana-pro", "input": {"prompt": "an owl"}}))
            w.result()
            emu.ledger().tasks[0].polls    # what the server saw

    While it is open, `submit` and `watch` talk to it under the usual names, and histories and files go to a store of
    its own (`nbhelper-emulated/…` in the working directory, or a folder given to `set_store`), never among real rows.
    `close()`, leaving the `with` block, or the end of the process restores what was.

    Args:
        speed: How much shorter than in reality tasks run and links live. Poll floors are not shortened.
        seed: Fixes durations, refusals and pictures. Ids are fresh every time.
        limits: Enforce the APIs' create and concurrency limits.
        faults: Faults of the network and of replies, see below.
        skew: Seconds by which the clock of the APIs is ahead of this machine's.

    Raises:
        EmulatorError: Another one is open, real tasks are being watched, or the `demo` extra is missing.

    A word anywhere in a request's text, such as the prompt `"an owl emu:policy"`, makes the API itself fail: `policy`,
    `fail`, `cancelled` and `expired` end the task so, `policy-now` and `no-credit` refuse its create, a `stuck` task
    never ends, `seconds=90` is how long it runs (before `speed`), `late=5` hides its id for 5 s, `rate-limit=3` and
    `server-error=3` are the replies to its first 3 looks, `dead-link` breaks its links, `no-output` gives no result.

    `faults` is a profile by name, or a script of `nbhelper.testing.Fault` values:

    - `"flaky"`: a third of all looks and files meet resets, cut or broken replies, gateway errors, rate limits.
    - `"outage"`: after 5 s nothing is reached for 20 s.
    - `"slow"`: every reply is 1.5 s late.
    - `"hostile"`: every other look may meet a gzip bomb, an endless reply, wrong lengths, a redirect elsewhere.

    Under each of them every task still ends by itself. A script counts the requests of each task, create and file;
    of several faults the first that applies is taken, at random by `seed`, and `fail()` replaces the script while the
    emulator runs:

        from nbhelper.testing import Fault

        emu = nbh.Emulator(faults=[Fault(503, nth=range(1, 4)), Fault("cut", on="file", share=0.5)])
        emu.fail(Fault("reset", on="any"))      # the network is gone
        emu.fail()                              # and back
        emu.ledger().faults                     # the requests that a fault hit
    """

    def __init__(
        self,
        speed: float = 10.0,
        seed: int = 0,
        *,
        limits: bool = False,
        faults: str | Fault | Iterable[Fault] | None = None,
        skew: float = 0.0,
    ) -> None:
        self._closed = True
        if session.emulated():
            raise EmulatorError("An emulator is already open in this process. Close it first: emu.close().")
        self._server = server(speed=speed, seed=seed, limits=limits, faults=faults, skew=skew)
        # Each emulator has a folder of its own: another emulator does not know its tasks.
        name = f"{datetime.now().astimezone():%Y%m%d-%H%M%S}-{os.getpid()}-{self._server.port}"
        folder = Path.cwd() / "nbhelper-emulated" / name
        served = [name for name in names() if self._serves(name)]
        try:
            session.enter(
                self,
                {name: self._server.url(name) for name in served},
                {name: self._server.key(name) for name in served},
                folder,
                watched_real,
            )
        except BaseException:
            self._server.close()
            raise
        self._closed = False

    def _serves(self, name: str) -> bool:
        try:
            self._server.url(name)
        except EmulatorError:
            return False
        return True

    @property
    def root(self) -> str:
        """`http://127.0.0.1:<port>`."""
        root: str = self._server.root
        return root

    def url(self, name: str) -> str:
        """The base URL of one API, for other clients."""
        url: str = self._server.url(name)
        return url

    def key(self, name: str) -> str:
        """A key that this API accepts here; real keys are refused."""
        key: str = self._server.key(name)
        return key

    def ledger(self) -> Any:
        """What the server has done up to now: `tasks`, `creates`, `faults` and how many `requests` there were.

        Each of the tasks has `created`, `started`, `finished` (UTC, the server's clock), `credits`, `billed`, `polls`,
        `downloads` and `files` with their `sha256`; `ledger().task("kie", id)` finds one.
        """
        return self._server.ledger()

    def script(self, name: str, word: str, times: int = 1) -> None:
        """Make the next creates at one API fail, as a word in their prompts would.

        Args:
            name: A provider's name.
            word: A word as in a prompt, without `emu:`, such as `"policy"`, `"no-credit"` or `"late=5"`.
            times: How many creates.
        """
        self._server.script(name, word, times=times)

    def fail(self, *faults: Fault) -> None:
        """Apply these faults from now on instead of the earlier ones; without arguments, none.

        Raises:
            EmulatorError: The emulator was started without `faults`; `faults=()` is enough.
        """
        self._server.fail(*faults)

    def make_jimeng(self, *args: Any, **kwargs: Any) -> str:
        """Create a Jimeng task at `gptge`, for which that API documents looks but no create, and return its id."""
        ident: str = self._server.make_jimeng(*args, **kwargs)
        return ident

    def close(self) -> None:
        """Stop the server and restore provider names and store; a second call does nothing."""
        if self._closed:
            return
        self._closed = True
        drop_emulated(self.root)
        session.leave(self)
        self._server.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Emulator {'closed' if self._closed else self.root}>"
