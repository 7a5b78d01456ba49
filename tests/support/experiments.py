"""Fixtures of the tests of `nbhelper.Experiment`: a mill that makes a job of each create, an experiment, its run."""

import io
import itertools

import pytest
from PIL import Image
from support.mill import DONE
from support.raw_server import reply

import nbhelper as nbh


def ask(prompt, size=1):
    """The `Request` of one cell of the grid, in most experiments of the tests."""
    return nbh.Request("mill", {"prompt": prompt, "size": size}, endpoint="image")


def picture(size=8):
    """A PNG of `size` pixels a side."""
    buffer = io.BytesIO()
    Image.new("RGB", (size, size), "#41719c").save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def factory(mill):
    """The mill answers each create with the next of `answers`, or where it has none with a new job."""

    class Factory:
        def __init__(self):
            self.answers = []
            self.job = DONE
            self.server = mill.server
            self.jobs = mill.jobs
            self.made = itertools.count(1)
            mill.creates[:] = [self.create]

        async def create(self, conn, request):
            answer = self.answers.pop(0) if self.answers else None
            if callable(answer):
                await answer(conn, request)
            elif answer is not None:
                await conn.send(answer)
            else:
                ident = f"made-{next(self.made)}"
                mill.job(*(self.job if isinstance(self.job, list) else [self.job]), ident=ident)
                await conn.send(reply({"id": ident}))

        @property
        def creates(self):
            """The bodies that arrived, in order."""
            return [request.json() for request in mill.server.requests if request.method == "POST"]

    return Factory()


@pytest.fixture
def experiment(factory):
    """Make an experiment at the mill, with the grid and options that a test gives."""

    def make(grid=None, name="owls", request=ask, **options):
        return nbh.Experiment(name, request, grid or {"prompt": ["owl", "fox"], "size": [1, 2]}, **options)

    return make


@pytest.fixture
def run():
    """Run an experiment to its end without a display; the watch."""

    def go(experiment, **options):
        watch = experiment.run(**{"display": False, "block": False, **options})
        watch.result(timeout=60)
        return watch

    return go
