"""Faults that the proxy injects, as frozen values, and the seeded choice of the requests that each of them hits."""

from __future__ import annotations

import difflib
import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from nbhelper._model.errors import EmulatorError

ON = ("look", "create", "file", "any")

KINDS: Mapping[str, str] = {
    "reset": "torn off unread: nothing reaches the API",
    "lost": "the API does what it was asked, and its reply is torn off",
    "silence": "never answered",
    "slow": "answered late",
    "drip": "answered one byte at a time",
    "cut": "the connection ends in the middle of the body",
    "garble": "half the body, under a length that fits",
    "empty": "200 without a body",
    "page": "200 with an HTML page to sign in on",
    "gzip": "said to be gzip, and is not",
    "gzip-cut": "half of a gzip, under a length that fits",
    "bomb": "50 MB of zeros in 50 kB of gzip",
    "large": "said to be 500 MB long",
    "endless": "a body without an end",
    "hints": "a flood of `103 Early Hints` first",
    "header": "a header line of 400 kB",
    "lengths": "two lengths that contradict each other",
    "twice": "the reply, and another one that nobody asked for",
    "not-http": "another protocol's greeting",
    "redirect": "sent on to another host",
    "loop": "sent on to where it came from",
}
"""Kind of fault -> what happens to a request that it hits."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault, and the requests that it hits. Of several faults the first that hits a request is used.

    Attributes:
        what: An HTTP status from 400 to 599, or a kind of fault: `reset`, `lost` (the API acts, its reply is
            reset), `silence`, `slow`, `drip`, `cut`, `garble`, `empty`, `page` (HTML to sign in), `gzip`, `gzip-cut`,
            `bomb`, `large`, `endless`, `hints`, `header`, `lengths`, `twice`, `not-http`, `redirect`, `loop`.
        on: `look` (every request that neither creates a task nor fetches a file), `create`, `file` or `any`.
        task: Only requests that contain this task id; None for all.
        nth: The numbers, from 1, of the requests for the same task, create or file: one, several, or a range; None for
            all.
        share: Share of those requests, from 0 to 1, chosen by the emulator's seed.
        after: Seconds since the emulator began, or since `Emulator.fail`, before which no request is hit.
        lasts: Seconds after `after` in which requests are hit; None: without end.
        seconds: The delay (`slow`, default 2), the time between bytes (`drip`, 0.5), the duration (`hints`, 2), or the
            `Retry-After` header of a status (default: none).
    """

    what: str | int
    on: str = "look"
    task: str | None = None
    nth: int | range | tuple[int, ...] | None = None
    share: float = 1.0
    after: float = 0.0
    lasts: float | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        is_status = isinstance(self.what, int) and not isinstance(self.what, bool) and 400 <= self.what <= 599
        if not is_status and self.what not in KINDS:
            near = difflib.get_close_matches(str(self.what), KINDS, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(KINDS)} and statuses from 400 on."
            raise EmulatorError(f"No fault {self.what!r}; {hint}")
        if self.on not in ON:
            raise EmulatorError(f"A fault is on {', '.join(ON)}, not {self.on!r}.")
        if not 0 <= self.share <= 1:
            raise EmulatorError(f"share is a number from 0 to 1, not {self.share!r}.")
        for name, seconds in (("after", self.after), ("lasts", self.lasts), ("seconds", self.seconds)):
            if seconds is not None and not 0 <= seconds < 1e9:
                raise EmulatorError(f"{name} is a number of seconds from 0 on, not {seconds!r}.")

    def is_hit(self, on: str, text: str, n: int, at: float, dice: random.Random) -> bool:
        """Whether the fault hits this request.

        Args:
            on: `look`, `create` or `file`.
            text: Path, query and body of the request.
            n: Number of the request among those for the same target, from 1.
            at: Seconds since the faults were set.
            dice: Seeded for this request and this fault.
        """
        nth = (self.nth,) if isinstance(self.nth, int) else self.nth
        return (
            self.on in (on, "any")
            and (self.task is None or self.task in text)
            and (nth is None or n in nth)
            and self.after <= at < self.after + (1e9 if self.lasts is None else self.lasts)
            and (self.share == 1 or dice.random() < self.share)
        )


def _make_faults(share: float, on: str, *kinds: str | int, **more: float) -> tuple[Fault, ...]:
    return tuple(Fault(kind, on, share=share, **more) for kind in kinds)  # type: ignore[arg-type]


_EVERY_OTHER = range(1, 1_000_000, 2)
PROFILES: Mapping[str, tuple[Fault, ...]] = {
    "flaky": (
        *_make_faults(0.04, "look", "reset", "cut", "garble", "empty", 502, 504),
        *_make_faults(0.04, "look", 429, 503, seconds=1),
        *_make_faults(0.04, "look", "slow", seconds=1),
        *_make_faults(0.15, "file", "cut", "reset", 503),
    ),
    "outage": (Fault("reset", "any", after=5, lasts=20),),
    "slow": (Fault("slow", "any", seconds=1.5),),
    "hostile": tuple(
        Fault(kind, "look", nth=_EVERY_OTHER, share=0.12)
        for kind in ("bomb", "large", "endless", "hints", "header", "lengths", "gzip", "gzip-cut", "twice", "not-http",
                     "redirect", "loop", "page", "garble")
    ),
}  # fmt: skip
"""Profile name -> its faults. With each of them every task still ends; only `outage` and `slow` hit creates."""

Faults = str | Fault | Iterable[Fault] | None


def resolve_faults(faults: Faults) -> tuple[Fault, ...] | None:
    """Return the faults that the `faults` argument means; None for a server without a proxy.

    Raises:
        EmulatorError: An unknown profile, or something that is no fault.
    """
    if faults is None:
        return None
    if isinstance(faults, str):
        if faults not in PROFILES:
            near = difflib.get_close_matches(faults, PROFILES, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(PROFILES)}."
            raise EmulatorError(f"No fault profile {faults!r}; {hint}")
        return PROFILES[faults]
    try:
        values = (faults,) if isinstance(faults, Fault) else tuple(faults)
    except TypeError:
        values = (faults,)  # type: ignore[assignment]
    for fault in values:
        if not isinstance(fault, Fault):
            raise EmulatorError(
                f"faults is a profile ({', '.join(PROFILES)}) or nbhelper.testing.Fault(...) values, not {fault!r:.60}."
            )
    return values


class Script:
    """The current faults and a count of requests by target; chooses the fault that hits a request.

    The same seed and the same order of requests give the same faults.
    """

    def __init__(self, faults: tuple[Fault, ...], seed: int) -> None:
        self._seed = seed
        self.play(faults, 0.0)

    def play(self, faults: tuple[Fault, ...], at: float) -> None:
        """Replace the faults; counts and clock start anew."""
        self._faults, self._began = faults, at
        self._counts: dict[tuple[str, str], list[int]] = {}

    def next(self, on: str, target: str, text: str, at: float) -> tuple[Fault | None, int]:
        """Count a request; return the first fault that hits it, or None, and the request's number for its target.

        Args:
            on: `look`, `create` or `file`.
            target: Requests with the same `on` and target are counted together.
            text: Path, query and body of the request.
            at: Seconds since the server began.
        """
        # Task ids differ from run to run, so the dice are seeded with the target's number and not with its name.
        ordinal, n = self._counts.setdefault((on, target), [len(self._counts), 0])
        self._counts[on, target][1] = n = n + 1
        for which, fault in enumerate(self._faults):
            dice = random.Random(f"{self._seed}:{which}:{on}:{ordinal}:{n}")
            if fault.is_hit(on, text, n, at - self._began, dice):
                return fault, n
        return None, n
