"""The emulator's fault profiles: every task that can succeed does, and no task is created twice."""

import psutil
import pytest
from support.watched import ended, events_of, sound, watch

import nbhelper as nbh
from nbhelper.testing import Fault

BODIES = {
    "kie": {"model": "google/nano-banana", "input": {"prompt": "an owl"}},
    "tripo": {"type": "text_to_model", "prompt": "an owl"},
    "aigptimage": {"model": "gpt-image-2-text-to-image", "input": {"prompt": "an owl"}},
}


@pytest.mark.parametrize("profile", ["flaky", "hostile"])
def test_a_profile_costs_no_task(profile):
    """Under each profile all tasks succeed, their files are what the server made, and each was created once."""
    with nbh.Emulator(speed=1000, faults=profile) as emulator:
        tasks = [nbh.submit(name, body) for name, body in BODIES.items() for _ in range(2)]

        histories = watch(tasks).result(80)
        ledger = emulator.ledger()

    assert sound(histories)
    assert [h.outcome for h in histories] == ["succeeded"] * 6
    for task, history in zip(tasks, histories, strict=True):
        made = ledger.task(task.provider, task.id).files
        assert {s.sha256 for s in history.saves.values()} == {file.sha256 for file in made.values()}
    assert len(ledger.creates) == 6
    assert ledger.faults
    assert all(min(ledger.gaps(name), default=2) >= 2 for name in BODIES)


def test_scripted_faults_apply_to_their_task_and_look():
    """Two looks and one file of a task fail as scripted, and the history has both misses in order."""
    with nbh.Emulator(speed=1000, faults=()) as emulator:
        task = nbh.submit("kie", BODIES["kie"])
        emulator.fail(
            Fault(503, task=task.id, nth=1), Fault("garble", task=task.id, nth=2), Fault("cut", "file", nth=1)
        )

        history = watch(task).result(60)
        struck = [(fault.what, fault.on, fault.n) for fault in emulator.ledger().faults]

    assert sound(history)
    assert history.succeeded
    assert struck == [("503", "look", 1), ("garble", "look", 2), ("cut", "file", 1)]
    assert [str(e.seen.kind) for e in events_of(history) if hasattr(e.seen, "retry_after")] == ["server", "garbled"]


def test_g31_a_closed_emulator_leaves_no_descriptor(isolated):
    """A closed emulator leaves no connection open to its port, so that many in a row use up no file descriptors."""
    with nbh.Emulator(speed=1000) as emulator:
        port = int(emulator.root.rpartition(":")[2])
        assert ended(nbh.submit("kie", BODIES["kie"]), 60).succeeded

    assert [c for c in psutil.Process().net_connections() if c.raddr and c.raddr.port == port] == []


def test_fail_without_faults_raises_emulator_error():
    """`fail()` of an emulator made without `faults` raises EmulatorError, whose text names `faults=()`."""
    with nbh.Emulator(speed=1000) as emulator, pytest.raises(nbh.EmulatorError, match=r"faults=\(\)"):
        emulator.fail(Fault("reset"))
