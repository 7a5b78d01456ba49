"""minimax-python 0.2.0 (third party), end to end. Arguments: root, key, folder."""

import hashlib
import json
import logging
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from minimax import Minimax, MinimaxAPIError

ROOT, KEY, FOLDER = sys.argv[1], sys.argv[2], Path(sys.argv[3])
logging.disable(logging.CRITICAL)


class Client(Minimax):
    """The client with another address."""

    BASE_URL = f"{ROOT}/v1"


def connect(key=KEY):
    """A client that looks ten times a second."""
    client = Client(api_key=key, group_id="group")
    client.poll_interval = 0.1
    return client


def attempt(prompt, key=KEY):
    """Create a video, wait for it and download it; its facts, or the error as a dict."""
    with connect(key) as client:
        try:
            done = client.text_to_video(prompt, wait_for_completion=True)
            path = FOLDER / f"{done.task_id}.mp4"
            info = client.retrieve_video(file_id=done.file_id, download_path=str(path))
        except MinimaxAPIError as error:
            return {"error": type(error).__name__, "message": error.message}
    return {
        "id": done.task_id,
        "status": done.status.value,
        "file_id": done.file_id,
        "name": info.filename,
        "bytes": info.bytes,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    }


def main():
    """Run all cases and print their results as JSON."""
    quick = "emu:queue=0 emu:seconds=60"
    cases = {
        "good": (f"a light over the hills {quick}", KEY),
        "fail": (f"{quick} emu:fail", KEY),
        "failed": (f"{quick} emu:fail=Failed", KEY),
        "policy": (f"{quick} emu:policy", KEY),
        "queue": ("emu:queue=500 emu:seconds=60", KEY),
        "poor": ("emu:no-credit", KEY),
        "wrong": ("a cat", "wrong"),
    }
    with ThreadPoolExecutor(len(cases)) as pool:
        ends = {name: pool.submit(attempt, *case) for name, case in cases.items()}
        print(json.dumps({name: end.result() for name, end in ends.items()}))


main()
