"""Tripo3D v3: the successor of v2, with one address per capability.

Facts by source: DOCS is the migration guide from v2, SDK the official `tripo3d` 1.0.0, which also accepts v2's field
names in v3's replies; so does this provider. States, error codes and the shape of a task are those of `tripo`.
"""

from __future__ import annotations

from dataclasses import replace

from ..reply_parts import Batch, Endpoint, FileUpload
from ..requests import HttpRequest
from .tripo import PROVIDER as V2


def _create(path: str, *required: str, more: tuple[str, ...] = ()) -> Endpoint:
    """Make an endpoint; `input`, `inputs` and `ref_image` take uploads."""
    names = (*required, *more)
    files = tuple(name for name in ("input", "inputs", "ref_image") if name in names)
    return Endpoint(
        path=path,
        params=names,
        required=required,
        files=files,
        file_bytes=20_000_000,
        model=path.rpartition("/")[2],
    )


_SHAPE = (
    "model", "face_limit", "texture", "pbr", "model_seed", "texture_seed", "texture_quality", "geometry_quality",
    "auto_size", "quad", "compress", "generate_parts", "smart_low_poly", "export_uv", "texture_version",
    "export_orientation",
)  # fmt: skip

ENDPOINTS = {  # SDK: paths and fields; a link, a file token or a task id stands as `input`
    "text-to-model": _create(
        "/generation/text-to-model", "prompt", more=("negative_prompt", "image_seed", *_SHAPE)
    ),
    "image-to-model": _create(
        "/generation/image-to-model", "input",
        more=("texture_alignment", "orientation", "enable_image_autofix", *_SHAPE),
    ),
    "multiview-to-model": _create(
        "/generation/multiview-to-model", "inputs", more=("texture_alignment", "orientation", *_SHAPE)
    ),
    "text-to-image": _create(
        "/generation/text-to-image", "prompt",
        more=("negative_prompt", "model", "size", "aspect_ratio", "output_format"),
    ),
    "image-to-image": _create(
        "/generation/image-to-image",
        more=("input", "inputs", "prompt", "model", "template", "t_pose", "sketch_to_render"),
    ),
    "image-to-multiview": _create("/generation/image-to-multiview", "input"),
    "edit-multiview": _create("/generation/edit-multiview", "input", "prompts"),
    "image-to-splat": _create("/generation/image-to-splat", "input", more=("model_seed",)),
    "image-to-depth": _create("/generation/image-to-depth", "input", more=("kind", "process_res")),
    "texture": _create(
        "/models/texture", "input",
        more=(
            "model", "texture", "pbr", "model_seed", "texture_seed", "texture_quality", "texture_alignment",
            "part_names", "bake", "compress", "texture_prompt", "delight",
        ),
    ),
    "convert": _create(
        "/models/convert", "input", "format",
        more=(
            "quad", "force_symmetry", "face_limit", "flatten_bottom", "flatten_bottom_threshold", "texture_size",
            "texture_format", "scale_factor", "pivot_to_center_bottom", "with_animation", "pack_uv", "bake",
            "part_names", "export_vertex_colors", "fbx_preset", "export_orientation", "animate_in_place",
        ),
    ),
    "import": _create("/models/import", "input"),
    "rig-check": _create("/animations/rig-check", "input"),
    "rig": _create("/animations/rig", "input", more=("model", "rig_type", "spec", "out_format")),
    "retarget": _create(
        "/animations/retarget", "input",
        more=("animation", "animations", "out_format", "export_with_geometry", "animate_in_place"),
    ),
    "segment": _create(
        "/mesh/segment", "input", more=("model", "segmentation_granularity", "ref_image", "split_by_connectivity")
    ),
    "complete": _create("/mesh/complete", "input", more=("model", "part_names", "completion_mode")),
    "decimate": _create(
        "/mesh/decimate", "input", more=("model", "face_limit", "quad", "bake", "part_names", "smart_uv")
    ),
    "uv": _create("/mesh/uv", "input", more=("model", "export_orientation")),
}  # fmt: skip

PROVIDER = replace(
    V2,
    name="tripo-v3",
    base_url="https://openapi.tripo3d.ai/v3",  # in China https://openapi.tripo3d.com/v3
    docs="https://github.com/VAST-AI-Research/tripo-python-sdk/blob/master/docs/API.md",
    # DOCS: links live about 24 hours; v2's page says five minutes of the same files, and the shorter one is kept.
    poll="GET /tasks/{id}",
    credits="not_null(data.credits_consumed, data.consumed_credit)",  # decimal
    created_at="not_null(data.created_at, data.create_time)",  # ISO text
    finished_at="data.completed_at",
    model="data.model || data.input.model || data.input.model_version || data.type",
    # DOCS: `banned` has become failed with 2008, `expired` failed with 2018 (in v2 "model too complex").
    error_message="""
        data.error_message || data.error_msg
        || (data.status == 'banned' || to_string(data.error_code) == '2008') && 'the content policy forbids it'
        || to_string(data.error_code) == '2018' && 'the task expired'""",
    code=("code", "status == 'error' && 'error'"),  # SDK: `status: "error"` without a code is an error too
    batch=Batch(
        request=HttpRequest("POST", "/tasks/list", json={"task_ids": "{ids}"}),
        size=100,  # v2's documented limit; for v3 inferred
        items="data.tasks || tasks",
        item_id="task_id",
        missed="data.missed || missed",
    ),
    endpoints=ENDPOINTS,
    upload=FileUpload(path="/files", answer="data.file_token"),  # SDK
    other=Endpoint(path="", files=("input", "inputs")),
    request_model="model || model_version",
)
