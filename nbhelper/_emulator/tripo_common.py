"""Error codes, task types, prices and results of both Tripo generations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nbhelper._emulator.media import Asset
from nbhelper._emulator.plan import Pace

#: code -> HTTP status, message, suggestion (docs.tripo3d.ai, "Errors").
ERRORS: Mapping[int, tuple[int, str, str]] = {
    1000: (500, "Unknown error on sever side", "Please contact the support with request id"),
    1001: (500, "Fatal error on server side", "Please contact the support with request id"),
    1002: (401, "Authentication failed", "Check if your credentials is valid, and ensure you set it correctly"),
    1003: (400, "The request body is malformed", "Refer to the API documentation for request schema"),
    1004: (
        400,
        "One or more of your parameter is invalid",
        "Refer to the API documentation for parameter requirements",
    ),
    1005: (403, "You are not allowed to access this resource", "Please contact the support with request id"),
    1007: (
        429,
        "Rate limit exceeded, you've generated too many requests in a short amount of time",
        "Please wait for a while and try again",
    ),
    2000: (
        429,
        "You have exceeded the limit of generation",
        "Please wait until the previous tasks finish, then try again",
    ),
    2001: (404, "The task is not found", "Check if the task is committed by you or whether the format is correct"),
    2002: (400, "The task type is unsupported", "Check if you passed the correct task type"),
    2003: (400, "The input file is empty", "Check if you passed a file, or it may be rejected"),
    2004: (400, "The file type is unsupported", "Check if you passed a supported file"),
    2006: (400, "The type of the original task is invalid", "Check the original task's type"),
    2007: (400, "The status of the original task is not success", "Check if the original task is successful"),
    2008: (400, "The input violates our content policy", "Modify your input and retry"),
    2010: (403, "You don't have enough credit to create this task", "Please purchase more credit"),
    2015: (400, "The version is deprecated", "Please try a newer version"),
    2018: (400, "The model is too complex to process", "Please try with another model"),
    2019: (404, "The file is not found", "Check if the file token is correct"),
    9404: (404, "The requested path does not exist", "Check the path and the method of your request"),
}

VERSIONS = frozenset(
    """P1-20260311 Turbo-v1.0-20250506 v3.1-20260211 v3.0-20250812 v2.5-20250123 v2.0-20240919 v1.4-20240625
    v3.5-20260815 v1.0-20240301 v2.0-20250506 v2.5-20260210 v3.0-20260909 v1.0-20250506 v2.0-20260430 v1.0 v2.0 v3.0
    P-v1.0-20250506 P-v2.0-20251225 P-v2.0-20251226 P-v3.0-20260909""".split()  # noqa: SIM905 - names read better as words
)
RETIRED_VERSIONS = frozenset({"v1.0-20231128", "v1.1-20240410", "v1.2-20240509", "v1.3-20240522", "default"})

#: Formats of `convert_model` that the emulator has; the API has more.
FORMATS = {"GLTF": "glb", "GLB": "glb", "OBJ": "obj", "STL": "stl"}


@dataclass(frozen=True, slots=True)
class Kind:
    """One task type."""

    needs: tuple[str, ...]  # parameters that must be given; a|b: one of them
    result: str  # model, image, views, rig, conversion
    credits: float
    pace: Pace
    group: str = "generation"
    limit: int = 10  # unfinished tasks of one key in this group


_MODEL = Pace((2, 14), (35, 100))
_IMAGE = Pace((1, 5), (8, 25))
_QUICK = Pace((0.5, 3), (4, 14))

#: Credits as documented for models H2/H3 and P1 (DOCS), extras in `price`.
KINDS: Mapping[str, Kind] = {
    "text_to_model": Kind(("prompt",), "model", 10, _MODEL),
    "image_to_model": Kind(("file",), "model", 20, _MODEL),
    "multiview_to_model": Kind(("files",), "model", 20, _MODEL),
    "text_to_image": Kind(("prompt",), "image", 5, _IMAGE),
    "generate_image": Kind(("prompt|file|files",), "image", 10, _IMAGE),
    "generate_multiview_image": Kind(("file",), "views", 10, _IMAGE, "multiview", 1),
    "edit_multiview_image": Kind(("original_task_id|prompts",), "views", 5, _IMAGE, "multiview", 1),
    "texture_model": Kind(("original_model_task_id",), "model", 10, _MODEL),
    "convert_model": Kind(("original_model_task_id", "format"), "conversion", 5, _QUICK),
    "import_model": Kind(("file",), "model", 0, _QUICK),
    "refine_model": Kind(("draft_model_task_id",), "model", 30, _MODEL, "refine", 5),
    "stylize_model": Kind(("original_model_task_id", "style"), "model", 20, _MODEL),
    "animate_prerigcheck": Kind(("original_model_task_id",), "rig", 0, _QUICK),
    "animate_rig": Kind(("original_model_task_id",), "model", 25, _MODEL),
    "animate_retarget": Kind(("original_model_task_id", "animation|animations"), "model", 10, _QUICK),
    "mesh_segmentation": Kind(("original_model_task_id",), "model", 40, _MODEL),
    "mesh_completion": Kind(("original_model_task_id",), "model", 50, _MODEL),
    "highpoly_to_lowpoly": Kind(("original_model_task_id",), "model", 30, _MODEL),
    "image_to_splat": Kind(("file",), "model", 30, _MODEL),
    "image_to_depth": Kind(("file",), "image", 5, _IMAGE),
    "mesh_uv": Kind(("original_model_task_id",), "model", 10, _QUICK),
}


def missing_parameter(kind: Kind, body: Mapping[str, Any]) -> str | None:
    """Return the first required parameter that the body lacks, or None."""
    for need in kind.needs:
        if not any(body.get(name) not in (None, "", [], {}) for name in need.split("|")):
            return need
    return None


def price(name: str, body: Mapping[str, Any]) -> float:
    """Return the credits of a task by the published list."""
    total = KINDS[name].credits
    if name in {"text_to_model", "image_to_model", "multiview_to_model"}:
        version = str(body.get("model_version") or body.get("model") or "")
        if version.startswith("P1"):
            total += 20
        if body.get("texture", True) or body.get("pbr", True):
            total += 10
        total += {"detailed": 10, "extreme": 30}.get(str(body.get("texture_quality")), 0)
        total += 10 * bool(body.get("smart_low_poly")) + 5 * bool(body.get("quad"))
        total += 20 * bool(body.get("generate_parts"))
    if name == "animate_retarget" and isinstance(body.get("animations"), list):
        total *= max(1, len(body["animations"]))
    return float(total)


#: Keys of the model in v2's output.
_MODELS = ("model", "base_model", "pbr_model")
SHAPES = (*_MODELS, "generated_image", "views", "riggable")


def model_name(name: str, body: Mapping[str, Any], shape: str) -> str:
    """Return the key of the model in v2's output."""
    if shape in _MODELS:
        return shape
    if name in {"text_to_model", "image_to_model", "multiview_to_model", "texture_model"}:
        if body.get("pbr", True):
            return "pbr_model"
        return "model" if body.get("texture", True) else "base_model"
    return "model"


def assets(name: str, body: Mapping[str, Any], shape: str, *, v3: bool) -> list[Asset]:
    """Return the results of a task of this type."""
    result = KINDS[name].result
    result = {"generated_image": "image", "views": "views", "riggable": "rig"}.get(shape, result)
    end = "_url" if v3 else ""
    if result == "rig":
        return []
    if result == "image":
        key = "depth_image_url" if v3 and name == "image_to_depth" else f"generated_image{end}"
        return [Asset(f"output.{key}", "image", "jpg", 1024, 1024)]
    if result == "views":
        path = "output.generate_multiview_image."
        return [
            Asset(f"{path}{side}_view_url", "image", "jpg", 640, 640, view=turn)
            for turn, side in enumerate(("front", "left", "back", "right"))
        ]
    if result == "conversion":
        form = FORMATS[str(body.get("format", "GLTF")).upper()]
        return [Asset(f"output.model{end}", "model", form)]
    key = "model" if v3 else model_name(name, body, shape)
    results = [
        Asset(f"output.{key}{end}", "model", "glb"),
        Asset(f"output.rendered_image{end}", "image", "webp", 768, 768, view=0),
    ]
    if v3 and name == "mesh_uv":
        results.append(Asset("output.uv_render_url", "image", "png", 512, 512))
    return results
