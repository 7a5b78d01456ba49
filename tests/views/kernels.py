"""A Jupyter kernel without a browser: cells in, raw messages out."""

from __future__ import annotations

import os
import queue
import time
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent
from typing import Any

from jupyter_client.manager import KernelManager
from support.scripts import ROOT, environment

SETUP = """
import os, sys, time
os.environ["MILL_API_KEY"] = "mill-key-1234567890"
import nbhelper as nbh
from support.mill import provider
nbh.register(provider("{root}"));
"""
WIDGET = "application/vnd.jupyter.widget-view+json"
Message = dict[str, Any]


def variables(folder: Path) -> dict[str, str]:
    """The environment of a Jupyter that keeps everything below a folder."""
    own = {name: str(folder / name.lower()) for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "IPYTHONDIR")}
    paths = f"{ROOT}{os.pathsep}{ROOT / 'tests'}"
    made = environment(**own, JUPYTER_RUNTIME_DIR=str(folder / "runtime"), PYTHONPATH=paths)
    del made["PYTHONWARNINGS"]  # Jupyter's own
    return made


class Kernel:
    """One kernel, its working directory an empty folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "work"
        self.folder.mkdir()
        self.manager = KernelManager(kernel_name="python3")
        self.manager.start_kernel(cwd=str(self.folder), env=variables(folder))
        self.client = self.manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=60)

    def send(self, code: str, *, cell: str = "") -> str:
        """Send an execute_request, as an interactive front end does; its message id."""
        content = {
            "code": dedent(code),
            "silent": False,
            "store_history": True,
            "user_expressions": {},
            "allow_stdin": True,
            "stop_on_error": True,
        }
        message = self.client.session.msg("execute_request", content, metadata={"cellId": cell} if cell else {})
        self.client.shell_channel.send(message)
        return str(message["header"]["msg_id"])

    def next(self, seconds: float) -> Message | None:
        """The next message of the output channel, None when none comes."""
        try:
            return dict(self.client.get_iopub_msg(timeout=seconds))
        except queue.Empty:
            return None

    def run(self, code: str, *, cell: str = "", seconds: float = 30, fails: bool = False) -> list[Message]:
        """Run a cell to its end; the messages that came meanwhile.

        A cell that failed takes those behind it along, also one that comes a moment later: that one is sent again.
        """
        began = False
        while not began:
            msg_id = self.send(code, cell=cell)
            sent = self.finish(msg_id, seconds)
            began = any(m["parent_header"].get("msg_id") == msg_id for m in of_type(sent, "execute_input"))
        assert fails or not raised(sent), of_type(sent, "error")[0]["content"]
        return sent

    def finish(self, msg_id: str, seconds: float = 30) -> list[Message]:
        """Messages up to the end of the cell of this request."""
        ends = time.monotonic() + seconds
        sent: list[Message] = []
        while True:
            message = self.next(max(0.01, ends - time.monotonic()))
            assert message is not None, f"the cell is not over after {seconds} s"
            sent.append(message)
            mine = message["parent_header"].get("msg_id") == msg_id
            if mine and message["msg_type"] == "status" and message["content"]["execution_state"] == "idle":
                return sent

    def until(self, condition: Callable[[Message], bool], seconds: float = 30) -> list[Message]:
        """Messages up to and including the first that meets a condition."""
        ends = time.monotonic() + seconds
        sent: list[Message] = []
        while True:
            message = self.next(max(0.01, ends - time.monotonic()))
            assert message is not None, f"not seen within {seconds} s; {kinds(sent)}"
            sent.append(message)
            if condition(message):
                return sent

    def value(self, code: str) -> str:
        """Run a cell; the text that it prints."""
        return printed(self.run(code))

    def restart(self) -> None:
        """Kill the process, without a chance to say anything, and start another one."""
        self.manager.restart_kernel(now=True)
        self.client.wait_for_ready(timeout=60)

    def close(self) -> None:
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)
        self.manager.cleanup_resources()


def kinds(messages: list[Message]) -> list[str]:
    return [m["msg_type"] for m in messages]


def of_type(messages: list[Message], *types: str) -> list[Message]:
    return [m for m in messages if m["msg_type"] in types]


def printed(messages: list[Message]) -> str:
    return "".join(m["content"]["text"] for m in of_type(messages, "stream")).strip()


def raised(messages: list[Message]) -> list[str]:
    return [m["content"]["ename"] for m in of_type(messages, "error")]


def frozen(ident: str) -> Callable[[Message], bool]:
    """A condition for `until`: the message replaces a task's live card by the static one."""

    def is_frozen(message: Message) -> bool:
        data = message["content"].get("data", {})
        plain = str(data.get("text/plain", "")) if isinstance(data, dict) else ""
        return (
            message["msg_type"] == "update_display_data" and WIDGET not in data and plain.startswith(f"mill:{ident}:")
        )

    return is_frozen
