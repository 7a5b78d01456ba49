"""Tripo3D v2: 3D models from text and pictures.

Facts by source: SEED is the docs page of the task endpoint, DOCS the rest of the docs, SDK `tripo3d` 0.3 to 1.0. The
docs announce the end of v2; `tripo_v3` is its successor and shares the error codes and most fields.
"""

from __future__ import annotations

from ..provider import Provider
from ..reply_parts import Batch, Endpoint, ErrorRule, FileUpload, Outputs
from ..requests import HttpRequest

WORDS = {  # SEED
    "queued": "queued",
    "running": "running",
    "success": "succeeded",
    "failed": "failed",
    "banned": "failed",
    "expired": "expired",
    "cancelled": "cancelled",
    "unknown": "unknown",  # documented as final; the SDK goes on asking
}

ERRORS = (  # DOCS; the code decides, because HTTP 403 is both "not allowed" and "no credit"
    ErrorRule(means="server", code=("1000", "1001")),
    ErrorRule(means="refused", code=("1002", "1005", "401")),  # 401 in the body: SDK
    ErrorRule(means="rate_limited", code=("1007", "2000")),  # 2000: too many tasks at once, with Retry-After
    ErrorRule(means="not_found", code=("2001",)),  # also for a task that another key made
    ErrorRule(means="no_credit", code=("2010",)),
    ErrorRule(
        means="bad_request",
        code=(
            "1003", "1004",  # malformed body, invalid parameter
            "2002", "2003", "2004", "2005", "2006", "2007", "2009",  # wrong type, bad picture, unfinished parent task
            "2008",  # content policy
            "2011", "2012", "2013", "2014", "2015", "2016", "2017", "2018", "2019",  # rig check, version, file, …
            "9???",  # the router's own: no such path
        ),
    ),
)  # fmt: skip

PARAMS = (  # DOCS and SDK: of all types together, for help with misspelt ones
    "type", "prompt", "negative_prompt", "image_seed", "model_version", "model_seed", "texture_seed", "texture",
    "texture_quality", "texture_alignment", "texture_prompt", "pbr", "face_limit", "auto_size", "orientation", "quad",
    "compress", "smart_low_poly", "generate_parts", "geometry_quality", "export_uv", "style", "file", "files",
    "original_model_task_id", "original_task_id", "draft_model_task_id", "prompts", "format", "texture_size",
    "texture_format", "force_symmetry", "flatten_bottom", "flatten_bottom_threshold", "pivot_to_center_bottom",
    "scale_factor", "with_animation", "pack_uv", "bake", "part_names", "out_format", "rig_type", "spec", "animation",
    "animations", "bake_animation", "export_with_geometry", "animate_in_place", "block_size", "t_pose",
    "sketch_to_render", "template", "enable_image_autofix",
)  # fmt: skip
FILES = ("file", "files")

PROVIDER = Provider(
    name="tripo",
    base_url="https://api.tripo3d.ai/v2/openapi",  # in China https://api.tripo3d.com/v2/openapi
    key_variable="TRIPO_API_KEY",
    key_starts=("tsk_",),  # client ids (`tcli_…`) are refused
    docs="https://platform.tripo3d.ai/docs/task",
    floor=2,  # the SDK's first interval; the guide says 2 to 5 seconds
    lifetime=300,  # SEED: "by default expires after five minutes"; another look gives fresh links
    poll="GET /task/{id}",
    reply_id="data.task_id",
    state="data.status",
    words=WORDS,
    confirm=frozenset({"unknown"}),
    outputs=(
        # SEED: model, base_model, pbr_model, generated_image, rendered_image, four nested views, and "may occasionally
        # contain additional, undocumented fields".
        Outputs(path="data.output", name="output"),
        # Real replies carry more of the same, also while the task runs: result{model{url,type}}, thumbnail, bare links.
        Outputs(path="data.result", name="result"),
        Outputs(path="data", skip=frozenset({"input", "prompt", "name", "output", "result"})),
    ),
    progress="data.progress",
    queue_position="data.queuing_num",
    seconds_left="data.running_left_time",
    credits="data.consumed_credit",
    created_at="data.create_time",
    model="data.input.model_version || data.input.model || data.type",
    params="data.input",
    error_code="(data.status == 'banned' && 'banned') || data.error_code",
    error_message="""
        data.error_msg || data.error_message || (data.status == 'banned' && 'the content policy forbids it')""",
    trace="X-Tripo-Trace-ID",
    code="code",
    message="join('. ', [message, suggestion][?type(@)=='string' && @])",
    errors=ERRORS,
    batch=Batch(
        request=HttpRequest("POST", "/task/batch", json={"task_ids": "{ids}"}),
        size=100,
        items="data.tasks || tasks",  # by id
        item_id="task_id",
        missed="data.missed || missed",
    ),
    # One path for all types; `type` selects: text_to_model, image_to_model, multiview_to_model, text_to_image,
    # generate_image, generate_multiview_image, edit_multiview_image, texture_model, convert_model, import_model,
    # refine_model, stylize_model, animate_prerigcheck, animate_rig, animate_retarget, mesh_segmentation,
    # mesh_completion, highpoly_to_lowpoly. A picture is `file`: its `type` and one of file_token, url, object.
    # At most 20 MB a picture: docs of Tencent Cloud, which sells the same models.
    endpoints={"task": Endpoint(path="/task", params=PARAMS, required=("type",), files=FILES, file_bytes=20_000_000)},
    # DOCS: POST /upload answers with a token; a create names it together with the file's type.
    upload=FileUpload(path="/upload", answer="data.image_token", value={"type": "{type}", "file_token": "{token}"}),
    create_id="data.task_id",
    request_model="model_version || model || type",
)
