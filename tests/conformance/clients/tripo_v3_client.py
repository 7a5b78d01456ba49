"""tripo3d 1.0.0, v3 only. Arguments: root, key, aiohttp or fallback, folder."""

import asyncio
import hashlib
import json
import sys
from pathlib import Path

from tripo3d import TripoClient
from tripo3d._http import FallbackBackend
from tripo3d.exceptions import TripoAPIError, TripoPollTimeoutError

ROOT, KEY, BACKEND, FOLDER = sys.argv[1], sys.argv[2], sys.argv[3], Path(sys.argv[4])
QUICK = "emu:seconds=40 emu:queue=10"


def connect(key):
    """A client with the HTTP backend that the arguments name."""
    client = TripoClient(key, v3_base_url=ROOT)
    if BACKEND == "fallback":
        client._http = FallbackBackend(key, ROOT)
    return client


def digest(path):
    """The SHA-256 digest of a file."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


async def outcome(work):
    """The result of a call, or its error as a dict."""
    try:
        return await work
    except TripoAPIError as error:
        return {"error": error.code, "request_id": error.request_id}
    except TripoPollTimeoutError:
        return {"error": "timeout"}


async def ended(client, task_id, **wait):
    """Wait for a task and keep what matters."""
    task = await outcome(client.wait_for_task(task_id, polling_interval=0.1, **wait))
    if isinstance(task, dict):
        return {"id": task_id, **task}
    return {
        "id": task_id,
        "status": task.status.value,
        "error_code": task.error_code,
        "credits": task.credits_consumed,
        "created": task.create_time,
        "completed": task.completed_at,
        "topology": task.output.topology,
        "task": task,
    }


async def main(picture):
    """Run all cases and print their results as JSON."""
    client = connect(KEY)
    ids = await asyncio.gather(
        client.text_to_model(f"a small owl {QUICK}"),
        *(
            client.text_to_model(f"{QUICK} emu:{word}")
            for word in ("fail", "policy", "cancelled", "expired", "unknown")
        ),
        client.text_to_model(f"{QUICK} emu:rate-limit=2"),
        client.image_to_model(str(picture)),
    )
    ends = await asyncio.gather(
        *(ended(client, task_id) for task_id in ids[:5]),
        ended(client, ids[5], timeout=1.5),
        ended(client, ids[6]),
        ended(client, ids[7]),
    )
    got = await client.download_task_models(ends[0]["task"], str(FOLDER))
    client.MULTIPART_MAX_BYTES = 10
    large = await client.upload_file(picture)
    more = await asyncio.gather(
        ended(client, await client.rig_check(ids[0])),
        ended(client, await client.mesh_uv(ids[0])),
        ended(client, await client.retarget_animation(ids[0], ["preset:walk", "preset:run"])),
        ended(client, await client.convert_model(ids[0], "STL")),
    )
    listed = await client.list_tasks([*ids, "nobody"])
    balance = await client.get_balance()
    usage = await client.get_usage(limit=3)
    for end in (*ends, *more):
        end.pop("task", None)
    result = {
        "ends": ends,
        "more": more,
        "files": {name: digest(path) for name, path in got.items()},
        "large": large,
        "listed": sorted(listed.tasks),
        "missed": listed.missed,
        "balance": [balance.balance, balance.frozen],
        "usage": [[item.task_id, item.type, item.status] for item in usage],
        "wrong": await outcome(connect("tsk_wrong").get_balance()),
        "other": await outcome(connect(f"{KEY}-other").get_task(ids[0])),
        "poor": await outcome(client.text_to_model("emu:no-credit")),
    }
    await client.close()
    print(json.dumps(result))


PICTURE = FOLDER / "in.png"
PICTURE.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(64))
asyncio.run(main(PICTURE))
