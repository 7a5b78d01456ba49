"""ailabtools-sdk 0.5.4: creates, waits, downloads, failures. Arguments: root, key, folder."""

import asyncio
import base64
import hashlib
import json
import sys

import httpx
from ailabtools import AILabClient
from ailabtools.errors import AILabApiError

ROOT, KEY = sys.argv[1], sys.argv[2]
PNG = b"\x89PNG\r\n\x1a\n" + bytes(64)
QUICK = "emu:seconds=20 emu:queue=5"


async def outcome(work):
    """The result of a call, or its error as a dict."""
    try:
        return await work
    except AILabApiError as error:
        return {"error": type(error).__name__, "status": error.detail.status_code, "code": error.detail.code}
    except (RuntimeError, TimeoutError) as error:
        return {"error": type(error).__name__}


async def hair(client, words, **wait):
    """One hairstyle task from create to result."""
    made = await client.portrait.portraitHairstyleEditingPro(
        {"taskType": "async", "image": PNG, "hairStyle": f"BuzzCut {QUICK} {words}"}
    )
    reply = await outcome(client.wait_for_task(made["task_id"], interval=0.1, **wait))
    return {"id": made["task_id"], "reply": reply}


async def downloaded(url):
    """Digest and type of a result."""
    async with httpx.AsyncClient() as http:
        reply = await http.get(url)
        return {"status": reply.status_code, "sha256": hashlib.sha256(reply.content).hexdigest()}


async def legacy(client, words):
    """The first generation: no wait helper, and the create's request_id is the job's id."""
    made = await client.image.imageAICartoonGenerator(
        {"taskType": "async", "image": PNG, "type": "jpcartoon", "mode": f"{QUICK} {words}"}
    )
    words_seen = []
    for _ in range(600):
        look = await outcome(
            client.image.imageQueryingAsyncTaskResults(
                {"jobId": made["request_id"], "type": "GENERATE_CARTOONIZED_IMAGE"}
            )
        )
        if "error" in look:
            return {"id": made["request_id"], "words": words_seen, "reply": look}
        word = look["data"]["status"]
        if word not in words_seen:
            words_seen.append(word)
        if word not in {"QUEUING", "PROCESSING"}:
            return {"id": made["request_id"], "words": words_seen, "reply": look}
        await asyncio.sleep(0.02)
    return None


async def main():
    """Run all cases and print their results as JSON."""
    client = AILabClient(KEY, base_url=ROOT)
    stranger = AILabClient("sk-wrong", base_url=ROOT)
    good, failed, minus, policy, poor, swap, worn, cartoon, late, wrong, nothing, balances = await asyncio.gather(
        hair(client, ""),
        hair(client, "emu:fail"),
        hair(client, "emu:fail=-1", timeout=1.0),
        hair(client, "emu:policy"),
        outcome(hair(client, "emu:no-credit")),
        client.image.imageAiObjectReplacer({"image": PNG, "mask": PNG, "prompt": f"a red hat {QUICK}"}),
        client.portrait.portraitTryOnClothesPro(
            {"taskType": "async", "personImage": PNG, "topGarment": PNG, "resolution": QUICK}
        ),
        legacy(client, ""),
        legacy(client, "emu:timeout"),
        outcome(stranger.common.commonQueryCredits({})),
        outcome(client.common.commonQueryAsyncTaskResult({"taskId": "nobody"})),
        client.common.commonQueryCredits({}),
    )
    inline = await client.wait_for_task(swap["task_id"], interval=0.1)
    again = await client.wait_for_task(swap["task_id"], interval=0.1)
    shirt = await client.wait_for_task(worn["task_id"], interval=0.1)
    texts = inline["data"]["binary_data_base64"]
    result = {
        "good": good,
        "file": await downloaded(good["reply"]["data"]["images"][0]),
        "failed": failed,
        "minus": minus,
        "policy": policy,
        "poor": poor,
        "inline": {
            "id": swap["task_id"],
            "sha256": hashlib.sha256(base64.b64decode(texts[0])).hexdigest(),
            "again": again["data"],
        },
        "shirt": {
            "id": worn["task_id"],
            "file": await downloaded(shirt["output"]["image_url"]),
            "usage": shirt["usage"],
        },
        "cartoon": cartoon,
        "cartoon_file": await downloaded(cartoon["reply"]["data"]["result_url"]),
        "late": late,
        "wrong": wrong,
        "nothing": nothing,
        "credits": balances["data"],
    }
    await client.aclose()
    await stranger.aclose()
    print(json.dumps(result))


asyncio.run(main())
