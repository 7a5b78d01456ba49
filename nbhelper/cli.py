"""The command `nbhelper`: `demo` without a key; watch, resume, export, emulate and notebooks outside a notebook."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ._model.errors import NbhelperError
from ._version import __version__

if TYPE_CHECKING:
    from ._watching.watch import Watch

_EXAMPLES = """examples:
  nbhelper demo                              the main job on the emulator, in ./nbhelper-demo/
  nbhelper watch tripo:1ec04ced-… kie:abc    watch tasks, save their results here
  nbhelper resume --max-age 3d               watch again what is unfinished
  nbhelper export timings.csv --since 2h     the table of tasks as CSV
  nbhelper emulate --speed 20                all seven APIs on 127.0.0.1
  nbhelper notebooks examples                copy the example notebooks into ./examples/
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns 0, 1 when a watched task did not succeed, 2 for an error, 130 for Ctrl-C."""
    try:
        try:
            return _run(argv)
        finally:
            sys.stdout.flush()  # here, where BrokenPipeError can still be caught
    except NbhelperError as error:
        print(f"nbhelper: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The pipe's reader is gone: else Python would report it once more when it flushes stdout at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _run(argv: Sequence[str] | None) -> int:
    parser = _parser()
    options = parser.parse_args(argv)
    if options.run is None:
        parser.print_help()
        return 2
    code: int = options.run(options)
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="nbhelper",
        description="Watch asynchronous generation tasks, save their results, tabulate times and cost.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"nbhelper {__version__}")
    parser.set_defaults(run=None)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")

    demo = _command(commands, "demo", "the main job without a key, on an emulator", "nbhelper demo --json")
    demo.add_argument("--json", action="store_true", help="print one JSON object instead of tables")
    demo.add_argument("--folder", default="nbhelper-demo", help="where everything goes (default: %(default)s)")
    demo.set_defaults(run=_demo)

    watch = _command(commands, "watch", "watch tasks and save their results", "nbhelper watch tripo:1ec04ced-…")
    watch.add_argument("tasks", nargs="+", metavar="PROVIDER:ID", help="task references")
    _watch_options(watch)
    watch.set_defaults(run=_watch)

    resume = _command(commands, "resume", "watch again what is unfinished", "nbhelper resume --max-age 3d")
    resume.add_argument(
        "--max-age", default="24h", metavar="AGE", help="nothing older, such as 2h or 7d (default: %(default)s)"
    )
    _watch_options(resume)
    resume.set_defaults(run=_resume)

    export = _command(commands, "export", "write the table of tasks as CSV", "nbhelper export timings.csv --since 2h")
    export.add_argument("file", help="the CSV file to write")
    export.add_argument("--since", default=None, help="a time, or an age such as 2h or 3d")
    export.add_argument("--until", default=None, help="the same")
    export.add_argument("--provider", default=None, help="only this provider's tasks")
    export.add_argument("--experiment", default=None, help="only this experiment's tasks")
    export.add_argument("--outcome", default=None, help="only tasks that ended so, such as failed")
    export.set_defaults(run=_export)

    emulate = _command(commands, "emulate", "serve all seven APIs on 127.0.0.1", "nbhelper emulate --port 8765")
    emulate.add_argument("--speed", type=float, default=10.0, help="how much shorter tasks run (default: %(default)g)")
    emulate.add_argument("--seed", type=int, default=0, help="fixes durations and pictures (default: %(default)s)")
    emulate.add_argument("--limits", action="store_true", help="enforce the APIs' create limits")
    emulate.add_argument("--faults", default=None, metavar="PROFILE", help="flaky, outage, slow or hostile")
    emulate.add_argument("--port", type=int, default=0, help="a fixed port (default: a free one)")
    emulate.set_defaults(run=_emulate)

    notebooks = _command(commands, "notebooks", "copy the example notebooks", "nbhelper notebooks examples")
    notebooks.add_argument("folder", help="where to; it is made if need be")
    notebooks.add_argument("--overwrite", action="store_true", help="replace files that differ (default: keep them)")
    notebooks.set_defaults(run=_notebooks)
    return parser


def _watch_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("--timeout", type=float, default=None, help="seconds until the watch stops (default: none)")
    command.add_argument(
        "--interval", type=float, default=None, help="seconds between looks (default: aim at the finish)"
    )
    command.add_argument("--save", default=None, metavar="FOLDER", help="another folder for the results")
    command.add_argument("--no-save", action="store_true", help="do not save results")


def _command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],  # argparse has no public name for it
    name: str,
    text: str,
    example: str,
) -> argparse.ArgumentParser:
    return commands.add_parser(
        name, help=text, description=f"{text[0].upper()}{text[1:]}.", epilog=f"example: {example}"
    )


def _demo(options: argparse.Namespace) -> int:
    from ._demo import run

    return run(Path(options.folder), as_json=options.json)


def _watch(options: argparse.Namespace) -> int:
    from . import _api

    return _report(_api.watch(options.tasks, **_watch_arguments(options)))


def _resume(options: argparse.Namespace) -> int:
    from . import _api

    return _report(_api.resume(max_age=options.max_age, **_watch_arguments(options)))


def _watch_arguments(options: argparse.Namespace) -> dict[str, Any]:
    """Keyword arguments of `watch` and `resume`."""
    save = False if options.no_save else options.save or True
    return {"timeout": options.timeout, "interval": options.interval, "save": save, "display": "text", "block": True}


def _report(handle: Watch) -> int:
    """Print the saved files; 1 when a task did not succeed."""
    for path in handle.files:
        print(path)
    return 1 if handle.failed else 0


def _export(options: argparse.Namespace) -> int:
    from ._session import session
    from ._tables import store_verbs, verbs

    frame = store_verbs.tasks(options.since, options.until, options.provider, options.experiment, options.outcome)
    path = verbs.to_csv(frame, options.file)
    print(f"{len(frame)} task{'s' * (len(frame) != 1)} of {session.store().folder} in {path}")
    return 0


def _notebooks(options: argparse.Namespace) -> int:
    from ._examples import copy

    words = {"same": "is there already", "kept": "is there and differs: kept (--overwrite replaces it)"}
    done = copy(Path(options.folder), overwrite=options.overwrite)
    for path, word in done.items():
        print(f"{path} {words.get(word, word)}")
    first = next(iter(done))
    print(f"Open them with: jupyter lab {first.parent}")
    return 0


def _emulate(options: argparse.Namespace) -> int:
    import threading

    from ._emulated import server
    from ._providers import names

    choices = {name: getattr(options, name) for name in ("speed", "seed", "limits", "faults", "port")}
    with server(**choices) as emulator:
        print(f"Seven APIs on {emulator.root}, {options.speed:g} times as fast as the real ones. Ctrl-C ends it.\n")
        print(f"{'provider':<14}{'base URL':<46}key")
        for name in names():
            print(f"{name:<14}{emulator.url(name):<46}{emulator.key(name)}")
        sys.stdout.flush()
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            print()
    return 0
