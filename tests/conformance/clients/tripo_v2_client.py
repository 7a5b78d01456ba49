"""tripo3d 0.4.2, the last client that speaks v2. Arguments: root, key, folder."""

import asyncio
import hashlib
import json
import sys
from pathlib import Path

from tripo3d import TripoClient
from tripo3d.exceptions import TripoAPIError, TripoRequestError

ROOT, KEY, FOLDER = sys.argv[1], sys.argv[2], Path(sys.argv[3])
QUICK = "emu:seconds=60 emu:queue=10"
TripoClient.BASE_URL = f"{ROOT}/v2/openapi"


def digest(path):
    """The SHA-256 digest of a file."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


async def outcome(work):
    """The result of a call, or its error as a dict."""
    try:
        return await work
    except (TripoRequestError, TripoAPIError) as error:
        return {"error": type(error).__name__, "status": getattr(error, "status_code", None), "text": str(error)}
    except TimeoutError as error:
        return {"error": type(error).__name__}


async def ended(client, task_id, **wait):
    """Wait for a task and keep what matters."""
    task = await outcome(client.wait_for_task(task_id, **wait))
    if isinstance(task, dict):
        return {"id": task_id, **task}
    return {"id": task_id, "status": task.status.value, "error_code": task.error_code, "task": task}


async def fetched(client, task_id, **wait):
    """Wait and download at once, since links live minutes only (seconds, at the emulator's speed)."""
    end = await ended(client, task_id, **wait)
    return end, await files(client, end)


async def files(client, end):
    """Download everything a task gave; name -> digest."""
    got = await client.download_task_models(end.pop("task"), str(FOLDER))
    return {name: {"sha256": digest(path), "file": Path(path).name} for name, path in got.items() if path}


async def main(picture):
    """Run all cases and print their results as JSON."""
    client = TripoClient(KEY, IS_GLOBAL=True, v3_base_url=ROOT)
    ids = await asyncio.gather(
        client.text_to_model(f"a small owl {QUICK}"),
        client.image_to_model(str(picture)),
        client.text_to_image(f"a paper boat {QUICK}"),
        *(
            client.text_to_model(f"{QUICK} emu:{word}")
            for word in ("fail", "banned", "cancelled", "expired", "unknown")
        ),
    )
    (owl, owl_files), (boat, boat_files) = await asyncio.gather(fetched(client, ids[0]), fetched(client, ids[2]))
    bad = await asyncio.gather(
        *(ended(client, task_id) for task_id in ids[3:7]), ended(client, ids[7], timeout=3.0), ended(client, ids[1])
    )
    for end in bad:
        end.pop("task", None)
    segment = await client.mesh_segmentation(ids[0], model_version="v2.0-20260430")
    parts, parts_files = await fetched(client, segment, use_v3=True)
    check = await ended(client, await client.check_riggable(ids[0]))
    rig = check.pop("task").output
    stranger = TripoClient("tsk_wrong", IS_GLOBAL=True, v3_base_url=ROOT)
    other = TripoClient(f"{KEY}-other", IS_GLOBAL=True, v3_base_url=ROOT)
    balance = await client.get_balance()
    result = {
        "owl_files": owl_files,
        "owl": owl,
        "boat_files": boat_files,
        "boat": boat,
        "parts_files": parts_files,
        "parts": parts,
        "bad": list(bad),
        "rig": {"riggable": rig.riggable, "type": rig.rig_type},
        "wrong": await outcome(stranger.get_balance()),
        "other": await outcome(other.get_task(ids[0])),
        "poor": await outcome(client.text_to_model("emu:no-credit")),
        "policy": await outcome(client.text_to_model("emu:policy-now")),
        "balance": [balance.balance, balance.frozen],
    }
    for each in (client, stranger, other):
        await each.close()
    print(json.dumps(result))


PICTURE = FOLDER / "in.png"
PICTURE.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(64))
asyncio.run(main(PICTURE))
