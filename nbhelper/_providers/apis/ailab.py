"""AILabTools: picture effects, created by multipart forms and polled at one path.

Facts by source: DOCS is the reference at `docs` and its error table, SDK the official `ailabtools-sdk` 0.5.4, RESELLER
docs.aihairstyle.cn, and what no source states is marked "inferred".

The documented states are 0, 1 and 2: there is none for failure. In practice a look at a failed task is answered with
HTTP 422.
"""

from __future__ import annotations

from ..provider import Provider
from ..reply_parts import Endpoint, ErrorRule, Outputs

DAY = 24 * 3600.0

ERRORS = (  # DOCS, the table of error codes; the code decides, because HTTP 429 has two meanings
    ErrorRule(means="no_credit", code=("ERROR_NOT_ENOUGH_CREDITS",)),
    ErrorRule(means="rate_limited", code=("EXCEEDING_LIMITS", "ERROR_EXCEEDING_LIMITS")),
    ErrorRule(
        means="refused",  # the first two are what a wrong key gives
        code=("ERROR_USER_NOT_EXISTS", "ERROR_APPLICATIONS_NOT_EXISTS", "ERROR_USER_LOCKED"),
    ),
    ErrorRule(means="not_found", code=("ERROR_AI_NOT_EXISTS", "ERROR_RESOURCE_NOT_FOUND")),
    ErrorRule(means="cancelled", code=("ERROR_TASK_REVOKED",)),
    ErrorRule(means="expired", code=("ERROR_RESOURCE_RECLAIMED",)),
    ErrorRule(
        means="bad_request",
        code=(
            "MISSING_PARAMETERS", "ERROR_MISSING_PARAMETERS", "ERROR_INVALID_PARAMETER", "ERROR_TASK_CONFLICT",
            "ERROR_TASK_REVOCATION_FAILED",
            "ERROR_TASK_STOPPED_PROCESSING",  # sounds final; no doc says so
        ),
    ),
    ErrorRule(
        means="server",
        code=(
            "PROCESSING_FAILURE", "UNKNOWN_ERROR", "ERROR_INSUFFICIENT_RESOURCES", "AI_SERVICE_*",
            "ERROR_PROCESSING_FAILURE", "ERROR_UNKNOWN_ERROR", "ERROR_AI_SERVICE_*",
        ),
    ),
    # The content errors (ERROR_NO_FACE_IN_FILE, FILE_CONTENT_NON_COMPLIANCE and dozens more): the picture cannot be
    # used, the task is over.
    # A 422 without an AILab code comes from a gateway and ends no task.
    ErrorRule(means="failed", status=(422,), code=("ERROR_*", "FILE_*")),
)  # fmt: skip


def _form(
    path: str,
    *required: str,
    files: tuple[str, ...] = ("image",),
    more: tuple[str, ...] = (),
    file_bytes: int | None = None,
    file_pixels: int | None = None,
) -> Endpoint:
    """Make an endpoint: a multipart POST with `task_type=async`, as all creates of the API are."""
    return Endpoint(
        path=path,
        encoding="multipart",
        fixed={"task_type": "async"},
        params=(*required, *more),
        required=required,
        files=files,
        file_bytes=file_bytes,
        file_pixels=file_pixels,
        model=path.rpartition("/")[2],  # neither request nor reply names one
    )


_BODY, _TOP, _BOTTOM = "person_image", "top_garment", "bottom_garment"
_TRY_ON = (_BODY, _TOP, _BOTTOM)
_TEMPLATE = ("image", "image_template")
_REFERENCE = ("image", "reference_image")

ENDPOINTS = {
    # DOCS (with SDK's fields)
    "anime": _form("/api/image/effects/ai-anime-generator", "image", more=("index", "type")),
    "hairstyle-pro": _form(
        "/api/portrait/effects/hairstyle-editor-pro", "image", "hair_style",
        files=("image", "mask"), more=("color", "image_size", "auto", "mask", "bangs", "mode", "reference"),
        file_bytes=3_000_000, file_pixels=1999,  # DOCS: "No more than 3 MB", "smaller than 1999x1999px"
    ),
    # SDK: the calls that take `task_type` …
    "try-on": _form(
        "/api/portrait/editing/try-on-clothes", _BODY, "clothes_image", "clothes_type", files=(_BODY, "clothes_image")
    ),
    "try-on-pro": _form(
        "/api/portrait/editing/try-on-clothes-pro", _BODY, _TOP,
        files=_TRY_ON, more=(_BOTTOM, "resolution", "restore_face"),
    ),
    "try-on-premium": _form(
        "/api/portrait/editing/try-on-clothes-premium", _BODY, _TOP,
        files=_TRY_ON, more=(_BOTTOM, "resolution", "restore_face"),
    ),
    "try-on-refiner": _form(
        "/api/portrait/enhance/try-on-clothes-refiner", _BODY, _TOP, "coarse_image", "gender",
        files=(*_TRY_ON, "coarse_image"), more=(_BOTTOM,),
    ),
    "face-beauty-pro": _form(
        "/api/portrait/effects/face-beauty-pro", "image",
        more=("whitening", "smoothing", "thinface", "shrink_face", "enlarge_eye", "remove_eyebrow", "filter_type"),
    ),
    "smart-beauty": _form(
        "/api/portrait/effects/smart-beauty", "image_target",
        files=("image_target",), more=("multi_face", "beauty_level"),
    ),
    # … and those that answer with a task id (that they take `task_type=async` is DOCS for all of them)
    "face-swap": _form(
        "/api/portrait/editing/ai-face-swap", "image_target", "image_template",
        files=("image_target", "image_template"),
    ),
    "hairstyle-premium": _form(
        "/api/portrait/effects/hairstyle-editor-premium", *_TEMPLATE, files=_TEMPLATE, more=("hair_style", "color")
    ),
    "hair-color": _form("/api/portrait/editing/ai-hair-color", "image", more=("name", "desc")),
    "hair-loss": _form("/api/portrait/editing/ai-hair-loss-simulation", "image", "level"),
    "bald": _form("/api/portrait/editing/ai-bald", "image"),
    "beard": _form("/api/portrait/editing/ai-beard-styling", *_TEMPLATE, files=_TEMPLATE, more=("beard",)),
    "beard-removal": _form("/api/portrait/editing/ai-beard-removal", "image"),
    "eyebrows": _form("/api/portrait/editing/ai-eyebrows", *_REFERENCE, files=_REFERENCE, more=("resolution",)),
    "eyelashes": _form("/api/portrait/editing/ai-eyelashes", "image", more=("name", "desc")),
    "eyeshadow": _form(
        "/api/portrait/editing/ai-eyeshadow", *_TEMPLATE, files=_TEMPLATE, more=("eyeshadow_style", "aspect_ratio")
    ),
    "colored-contacts": _form("/api/portrait/editing/ai-colored-contacts", "image", more=("name", "desc")),
    "lip-enhancement": _form("/api/portrait/editing/ai-lip-enhancement", "image"),
    "red-lip-gloss": _form("/api/portrait/effects/ai-red-lip-gloss", "image"),
    "lip-bite": _form("/api/portrait/effects/ai-lip-bite-expressions", "image", more=("grid_count", "aspect_ratio")),
    "waist-slimming": _form("/api/portrait/editing/ai-waist-slimming", "image"),
    "fat-filter": _form("/api/portrait/editing/ai-fat-filter", "image"),
    "big-head": _form("/api/portrait/effects/ai-big-head-effect", "image"),
    "square-face": _form("/api/portrait/effects/ai-square-face-filter", "image"),
    "halloween-mask": _form(
        "/api/portrait/effects/ai-halloween-mask", *_TEMPLATE, files=_TEMPLATE, more=("mask_style", "aspect_ratio")
    ),
    "emotion": _form("/api/portrait/effects/emotion-editor-advanced", "image", "expression"),
    "skin": _form(
        "/api/portrait/effects/smart-skin-advanced", "image",
        more=(
            "smart_skin", "acne_removal", "spot_correction", "skin_brightening", "skin_smoothing", "pore_control",
            "wrinkle_reduction", "under_eye_correction", "scar_reduction",
        ),
    ),
    "face-rating": _form("/api/portrait/analysis/ai-face-rating", "image", more=("aspect_ratio",)),
    "nail-art": _form("/api/image/editing/ai-nail-art", "image", "nail_name", "nail_desc"),
    "nail-art-pro": _form("/api/image/editing/ai-nail-art-pro", *_REFERENCE, files=_REFERENCE, more=("resolution",)),
    "photography": _form(
        "/api/image/effects/ai-photography", "image", "style_title", "style_desc", more=("image_size",)
    ),
    "emoji-grid": _form(
        "/api/image/effects/photo-to-emoji-grid", "image", "expression", "style", "scene", more=("filler",)
    ),
    "line-art": _form("/api/image/effects/photo-to-line-art", "image", more=("prompt", "image_size")),
    "flower-wallpaper": _form(
        "/api/image/generation/ai-flower-wallpaper",
        files=(), more=("name", "flower_elements", "style", "background", "aspect_ratio"),
    ),
    "background-removal": _form("/api/cutout/general/hd-universal-background-removal", "image"),
}  # fmt: skip

PROVIDER = Provider(
    name="ailab",
    base_url="https://www.ailabapi.com",
    key_variable="AILAB_API_KEY",
    key_header="ailabapi-api-key",
    key_format="{key}",
    docs="https://ailabtools.mintlify.site",
    floor=5,  # DOCS: "Query every 5 seconds."
    lifetime=DAY,  # DOCS: results remain available for 24 hours
    poll="GET /api/common/query-async-task-result?task_id={id}",
    reply_id="task_id",
    # DOCS: top level; SDK's fixtures: below `data`, in either spelling.
    state=("task_status", "data.task_status", "data.taskStatus"),
    words={
        "0": "queued",
        "1": "running",
        "2": "succeeded",
        "3": "failed",  # SDK, in five languages
        "-1": "failed",  # RESELLER
    },
    outputs=(
        # Links: data.images[], image_url, result_url, image_list[], result_urls[] and any other key with one (DOCS).
        Outputs(path="data", name="data"),
        # DOCS: base64 is delivered once and not stored. `image` and `video` may be links as well.
        Outputs(path="data.image", name="data.image", form="data", kind="image"),
        Outputs(path="data.binary_data_base64", name="data.binary_data_base64", form="data", kind="image"),
        Outputs(path="data.video", name="data.video", form="data", kind="video"),
        # Beside `data`: try-on pro, premium, refiner; face beauty pro; RESELLER's `result: [urls]` (DOCS).
        Outputs(path="output", name="output"),
        Outputs(path="result_url", name="result_url", kind="image"),
        Outputs(path="result", name="result"),
    ),
    error_code="error_detail.code || error_code_str || not_null(task_status, data.task_status, data.taskStatus)",
    error_message="error_detail.code_message || error_detail.message || error_msg",
    trace="request_id",
    # `error_code` is 0, or repeats the HTTP status (older envelope); 2026's has `error_detail` alone.
    body_status="[error_code, error_detail.status_code][?to_number(@) >= `300` && to_number(@) < `600`] | [0]",
    code=("error_detail.code", "error_code_str", "error_code"),
    message="""
        error_detail.code_message || error_detail.message || error_msg || ([error_detail][?type(@)=='string'] | [0])""",
    errors=ERRORS,
    strict_code=False,  # SDK: a code in `error_detail` under HTTP 200 is no error
    endpoints=ENDPOINTS,
    other=Endpoint(path="", encoding="multipart", fixed={"task_type": "async"}),
    create_id="task_id",
    max_reply=64_000_000,  # base64 pictures and videos stand in the reply itself
)
