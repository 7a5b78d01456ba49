"""AILabTools, first generation: two effects with six states in words, polled by job and type.

Host, key, error envelope and error codes are those of `ailab`. The docs call this endpoint discontinued; the official
SDK still has it. Facts are from the docs page unless a comment says otherwise.
"""

from __future__ import annotations

from dataclasses import replace

from ..reply_parts import Endpoint, Outputs
from .ailab import PROVIDER as AILAB


def _effect(path: str, task_type: str, *params: str, files: tuple[str, ...] = ("image",)) -> Endpoint:
    """Make the endpoint of an effect, whose `type` parameter every look needs."""
    return Endpoint(
        path=path,
        encoding="multipart",
        id="request_id",  # the first generation is polled by it; later versions add a `task_id`, which is for `ailab`
        extra={"type": task_type},
        fixed={"task_type": "async"},
        params=("image", *params),
        required=("image",),
        files=files,
        model=path.rpartition("/")[2],
    )


PROVIDER = replace(
    AILAB,
    name="ailab-legacy",
    docs="https://www.ailabtools.com/doc",
    poll="GET /api/image/asyn-task-results?job_id={id}&type={type}",
    reply_id="",  # a look's `request_id` is the look's own
    state="data.status",
    words={
        "QUEUING": "queued",
        "PROCESSING": "running",
        "PROCESS_SUCCESS": "succeeded",
        "PROCESS_FAILED": "failed",
        "TIMEOUT_FAILED": "failed",
        "LIMIT_RETRY_FAILED": "failed",
        "JOB_CANCELED": "cancelled",  # inferred: the vocabulary is that of Alibaba Cloud's viapi, which has it
    },
    # Links live 24 hours, the result they stand in 30 minutes. `image_list[]` (colour), `result_url` (cartoon).
    outputs=(
        Outputs(path="data.image_list", name="data.image_list"),
        Outputs(path="data.result_url", name="data.result_url", kind="image"),
        Outputs(path="data", name="data"),
    ),
    error_code="error_detail.code || error_code_str || data.status",
    error_message="""
        error_detail.code_message || error_detail.message || error_msg
        || data.status == 'TIMEOUT_FAILED' && 'the task did not finish in time'
        || data.status == 'LIMIT_RETRY_FAILED' && 'processing failed more often than it is tried again'""",
    endpoints={
        # `mode` is AUTO, TEMPLATE or REF_PIC. The name of the reference picture's field is inferred.
        "hd-color-migration": _effect(
            "/api/image/effects/image-hd-color-migration",
            "HD_COLOUR_MIGRATION",
            "mode", "degree", "ref_image", "template",
            files=("image", "ref_image"),
        ),
        "anime": _effect("/api/image/effects/ai-anime-generator", "GENERATE_CARTOONIZED_IMAGE", "index", "type"),
    },
    other=None,  # the `type` of another effect is not documented
    create_id="request_id",
    max_reply=2_000_000,
)  # fmt: skip
