"""One run of a big experiment in a process of its own, to be killed: three APIs at an address given, one store."""

import hashlib
import json
import sys

import nbhelper as nbh

PROMPTS = ("an owl", "a fox", "a hen", "a hedgehog")


def fails(*parts):
    """About every tenth task is refused by content policy, the same ones in every process."""
    return hashlib.sha256(repr(parts).encode()).digest()[0] % 10 == 0


def request(api, prompt, setting):
    words = f"{prompt}{' emu:policy' if fails(api, prompt, setting) else ''}"
    if api == "tripo":
        quality = "detailed" if setting in {"4K", "8K"} else "standard"
        body = {"type": "text_to_model", "prompt": words, "texture_quality": quality, "pbr": setting in {"1K", "4K"}}
        return nbh.Request("tripo", body)
    model = {"kie": "google/nano-banana", "aigptimage": "gpt-image-2-text-to-image"}[api]
    return nbh.Request(api, {"model": model, "input": {"prompt": words, "resolution": setting}})


def main():
    options = json.loads(sys.argv[1])
    for name, (url, key) in options["apis"].items():
        nbh.connect(name, api_key=key, base_url=url)
    nbh.set_store(options["folder"])
    exp = nbh.Experiment(
        "owls",
        request,
        grid={"api": sorted(options["apis"]), "prompt": PROMPTS[: options["prompts"]], "setting": options["settings"]},
        repeats=options["repeats"],
        concurrency=options["concurrency"],
        max_tasks=10_000,
    )
    print("ready", flush=True)
    exp.run(display=False, block=True, preview=False, save=options.get("save", True))
    frame = exp.to_frame()
    import resource

    print(
        json.dumps(
            {
                "rows": len(frame),
                "ids": int(frame["task_id"].notna().sum()),
                "outcomes": {str(k): int(v) for k, v in frame["outcome"].value_counts().items() if v},
                "without": int(frame["outcome"].isna().sum()),
                "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
            }
        ),
        flush=True,
    )


if __name__ == "__main__":
    main()
