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
"""Word: what happens to the one request that it strikes."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong, and which requests it strikes. Of several faults the first that applies is taken.

    Attributes:
        what: An HTTP status from 400 to 599, or how the request goes wrong: `reset`, `lost` (done, its reply torn
            off), `silence`, `slow`, `drip`, `cut`, `garble`, `empty`, `page` (HTML to sign in), `gzip`, `gzip-cut`,
            `bomb`, `large`, `endless`, `hints`, `header`, `lengths`, `twice`, `not-http`, `redirect`, `loop`.
        on: `look` (whatever neither creates nor fetches a file), `create`, `file` or `any`.
        task: Only requests that name this task's id.
        nth: Which requests for the same task, create or file, counted from 1: a number, several, or a range.
        share: How many of those, from 0 to 1, by the emulator's seed.
        after: Seconds since the emulator began, or since `Emulator.fail`, before which nothing is struck.
        lasts: Seconds from there on; None is for ever.
        seconds: How late (`slow`, 2), between bytes (`drip`, 0.5), how long (`hints`, 2), or the `Retry-After` of a
            status.
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
        status = isinstance(self.what, int) and not isinstance(self.what, bool) and 400 <= self.what <= 599
        if not status and self.what not in KINDS:
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


def _some(share: float, on: str, *kinds: str | int, **more: float) -> tuple[Fault, ...]:
    return tuple(Fault(kind, on, share=share, **more) for kind in kinds)  # type: ignore[arg-type]


_EVERY_OTHER = range(1, 1_000_000, 2)
PROFILES: Mapping[str, tuple[Fault, ...]] = {
    "flaky": (
        *_some(0.04, "look", "reset", "cut", "garble", "empty", 502, 504),
        *_some(0.04, "look", 429, 503, seconds=1),
        *_some(0.04, "look", "slow", seconds=1),
        *_some(0.15, "file", "cut", "reset", 503),
    ),
    "outage": (Fault("reset", "any", after=5, lasts=20),),
    "slow": (Fault("slow", "any", seconds=1.5),),
    "hostile": tuple(
        Fault(kind, "look", nth=_EVERY_OTHER, share=0.12)
        for kind in ("bomb", "large", "endless", "hints", "header", "lengths", "gzip", "gzip-cut", "twice", "not-http",
                     "redirect", "loop", "page", "garble")
    ),
}  # fmt: skip
"""Name: what users meet. Under each of them every task still ends by itself, and no create is ever struck but by an
outage."""

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
        found = (faults,) if isinstance(faults, Fault) else tuple(faults)
    except TypeError:
        found = (faults,)  # type: ignore[assignment]
    for fault in found:
        if not isinstance(fault, Fault):
            raise EmulatorError(
                f"faults is a profile ({', '.join(PROFILES)}) or nbhelper.testing.Fault(...) values, not {fault!r:.60}."
            )
    return found


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

    def next(self, on: str, place: str, text: str, at: float) -> tuple[Fault | None, int]:
        """Count a request; return the first fault that hits it, or None, and the request's number at its place.

        Args:
            on: `look`, `create` or `file`.
            place: The target under which the request is counted.
            text: Path, query and body of the request.
            at: Seconds since the server began.
        """
        # Task ids differ from run to run, so the dice are seeded with the number of the place and not with its name.
        ordinal, n = self._counts.setdefault((on, place), [len(self._counts), 0])
        self._counts[on, place][1] = n = n + 1
        for which, fault in enumerate(self._faults):
            dice = random.Random(f"{self._seed}:{which}:{on}:{ordinal}:{n}")
            if fault.is_hit(on, text, n, at - self._began, dice):
                return fault, n
        return None, n
