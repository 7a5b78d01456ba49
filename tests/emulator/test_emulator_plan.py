"""Parsing of directives and drawing of plans."""

from __future__ import annotations

import math
import random

import pytest

from nbhelper._emulator import DIRECTIVES
from nbhelper._emulator import __doc__ as package_doc
from nbhelper._emulator.plan import Directives, Pace, Plan, make_plan, read_directives

PACE = Pace((1, 5), (10, 50))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a cat emu:fail", {"fail": ""}),
        ("emu:fail=2002, then emu:seconds=3.5.", {"fail": "2002", "seconds": "3.5"}),
        ("(emu:policy)", {"policy": ""}),
        ("EMU:Fail=-1", {"fail": "-1"}),
        ("emu:shape=output.image_url!", {"shape": "output.image_url"}),
        ("emu:seconds=1 emu:seconds=2", {"seconds": "2"}),
        ("emu:nonsense=3", {}),
        ("an emu runs: fail", {}),
    ],
)
def test_directives_are_read_anywhere_in_a_text(text, words):
    """A directive is parsed without the punctuation around it; unknown words are ignored."""
    assert read_directives(["nothing here", text]).words == words


def test_every_directive_is_documented():
    """The package's table names each word of DIRECTIVES, and no other."""
    table = [line.split()[0].partition("=")[0] for line in package_doc.splitlines() if line[:1].islower()]

    assert [word for word in table if word in DIRECTIVES] == list(DIRECTIVES)


@pytest.mark.parametrize("value", ["nan", "inf", "-3", "many", ""])
def test_invalid_numbers_are_ignored(value):
    """A value that is no finite number from 0 on is ignored."""
    assert Directives({"seconds": value}).number("seconds") is None


def test_a_plan_is_the_same_for_the_same_random_state():
    """The same random state and directives give the same plan."""
    assert make_plan(Directives(), PACE, 10, random.Random(4)) == make_plan(Directives(), PACE, 10, random.Random(4))
    assert make_plan(Directives(), PACE, 10, random.Random(4)) != make_plan(Directives(), PACE, 10, random.Random(5))


def test_a_directive_changes_only_what_it_names():
    """`emu:fail` does not change the durations."""
    plain = make_plan(Directives(), PACE, 10, random.Random(4))
    failing = make_plan(Directives({"fail": ""}), PACE, 10, random.Random(4))

    assert (failing.queue, failing.run, failing.bend) == (plain.queue, plain.run, plain.bend)


def test_speed_compresses_durations_but_not_real_seconds():
    """`seconds` is at speed 1, `real-seconds` is not."""
    assert make_plan(Directives({"seconds": "60"}), PACE, 20, random.Random(1)).run == 3
    assert make_plan(Directives({"real-seconds": "60"}), PACE, 20, random.Random(1)).run == 60


@pytest.mark.parametrize("seed", range(20))
def test_a_task_only_moves_forward(seed):
    """Progress never falls, and is 100 only at the end; the queue position is above 0 only while queued."""
    plan = make_plan(Directives(), PACE, 1, random.Random(seed))
    moments = [plan.at(plan.total * i / 200) for i in range(202)]

    assert [m.progress for m in moments] == sorted(m.progress for m in moments)
    assert all((m.progress == 100) == (m.phase == "final") for m in moments)
    assert all((m.position > 0) == (m.phase == "queued") for m in moments)
    assert all((m.left > 0) == (m.phase != "final") for m in moments)
    assert moments[-1].phase == "final"


def test_a_stuck_task_never_ends():
    """A stuck task's progress stays below 100."""
    moment = Plan(queue=1, run=10, ending="stuck").at(10_000_000)

    assert (moment.phase, moment.progress, moment.left) == ("running", 99, 1)
    assert Plan(queue=1, run=10, ending="stuck").total == math.inf
