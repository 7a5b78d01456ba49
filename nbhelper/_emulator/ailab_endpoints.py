"""AILabTools' asynchronous endpoints: required fields, credits and the key of the result.

Paths and required fields are those that the official SDK 0.5.4 checks; credits and result keys are from the
documentation, the most common value where it states none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

#: The ten keys under which results were observed; also the values of ``emu:shape=``.
SHAPES = (
    "images",
    "image",
    "image_url",
    "result_url",
    "image_list",
    "result_urls",
    "binary_data_base64",
    "video",
    "output.image_url",
    "top.result_url",
)

#: Shapes whose result is base64 in the reply.
INLINE = frozenset({"binary_data_base64", "video"})


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One endpoint."""

    needs: tuple[str, ...]
    shape: str
    credits: float


_TABLE = """
image/editing/ai-image-extender              image                         binary_data_base64  20
image/editing/ai-object-replacer             image,mask                    binary_data_base64  20
image/editing/image-erase                    image,user_mask               image_url            5
image/editing/remove-objects                 image,mask                    image_url            5
image/editing/remove-objects-advanced        image                         binary_data_base64  20
image/editing/remove-objects-pro             image,mask                    image_url           35
image/editing/ai-nail-art                    image,nail_name,nail_desc     result_urls         10
image/editing/ai-nail-art-pro                image,reference_image         result_urls         15
image/effects/ai-anime-generator             image                         result_url          10
image/effects/image-hd-color-migration       image                         image_list          10
image/effects/ai-photography                 image,style_title,style_desc  result_urls         20
image/effects/cartoon-yourself               image                         image_url           20
image/effects/image-colorization             image                         image                5
image/effects/photo-to-emoji-grid            image,expression,style,scene  result_urls         10
image/effects/photo-to-line-art              image                         result_urls         10
image/enhance/image-lossless-enlargement     image                         image                5
image/generation/ai-flower-wallpaper         -                             result_urls         10
portrait/analysis/ai-face-rating             image                         result_urls         10
portrait/editing/ai-bald                     image                         result_urls         10
portrait/editing/ai-beard-removal            image                         result_urls         10
portrait/editing/ai-beard-styling            image                         result_urls         10
portrait/editing/ai-colored-contacts         image                         result_urls         10
portrait/editing/ai-eyebrows                 image,reference_image         result_urls         10
portrait/editing/ai-eyelashes                image                         result_urls         10
portrait/editing/ai-eyeshadow                image                         result_urls         10
portrait/editing/ai-face-swap                image_target,image_template   result_urls          5
portrait/editing/ai-fat-filter               image                         result_urls         10
portrait/editing/ai-hair-color               image                         result_urls         10
portrait/editing/ai-hair-loss-simulation     image,level                   result_urls         10
portrait/editing/ai-lip-enhancement          image                         result_urls         10
portrait/editing/ai-waist-slimming           image                         result_urls         10
portrait/editing/try-on-clothes              person_image,clothes_image,clothes_type  image    10
portrait/editing/try-on-clothes-pro          person_image,top_garment      output.image_url    30
portrait/editing/try-on-clothes-premium      person_image,top_garment      output.image_url    50
portrait/enhance/try-on-clothes-refiner      person_image,top_garment,coarse_image,gender  output.image_url  25
portrait/effects/ai-big-head-effect          image                         result_urls         10
portrait/effects/ai-halloween-mask           image                         result_urls         10
portrait/effects/ai-lip-bite-expressions     image                         result_urls         10
portrait/effects/ai-red-lip-gloss            image                         result_urls         10
portrait/effects/ai-square-face-filter       image                         result_urls         10
portrait/effects/emotion-editor-advanced     image,expression              result_urls         10
portrait/effects/face-beauty-pro             image                         top.result_url      10
portrait/effects/hairstyle-editor-pro        image,hair_style              images              10
portrait/effects/hairstyle-editor-premium    image                         result_urls         15
portrait/effects/live-photo                  image_target                  video               20
portrait/effects/portrait-animation          image,type                    video               20
portrait/effects/smart-beauty                image_target                  image_url           10
portrait/effects/smart-skin-advanced         image                         result_urls         10
"""


def _read() -> Mapping[str, Endpoint]:
    endpoints = {}
    for line in _TABLE.split("\n"):
        if line:
            path, needs, shape, cost = line.split()
            endpoints[f"/api/{path}"] = Endpoint(() if needs == "-" else tuple(needs.split(",")), shape, float(cost))
    return endpoints


ENDPOINTS = _read()

#: The two endpoints of the first generation -> the ``type`` parameter of looks at their tasks.
LEGACY: Mapping[str, str] = {
    "/api/image/effects/image-hd-color-migration": "HD_COLOUR_MIGRATION",
    "/api/image/effects/ai-anime-generator": "GENERATE_CARTOONIZED_IMAGE",
}

#: error_detail.code -> HTTP status, message (docs, "Response Description").
ERRORS: Mapping[str, tuple[int, str]] = {
    "MISSING_PARAMETERS": (400, "Missing parameters."),
    "ERROR_INVALID_PARAMETER": (400, "Invalid parameter."),
    "ERROR_USER_NOT_EXISTS": (401, "The user does not exist."),
    "ERROR_APPLICATIONS_NOT_EXISTS": (401, "The application does not exist."),
    "ERROR_USER_LOCKED": (403, "The user is locked."),
    "ERROR_AI_NOT_EXISTS": (404, "AI does not exist or has been deactivated."),
    "ERROR_RESOURCE_NOT_FOUND": (404, "The resource does not exist."),
    "ERROR_TASK_CONFLICT": (409, "The task conflicts with another one."),
    "ERROR_TASK_REVOKED": (410, "The task has been revoked."),
    "ERROR_RESOURCE_RECLAIMED": (410, "The resource has been reclaimed."),
    "ERROR_FILE_TOO_LARGE": (413, "The file is too large."),
    "ERROR_NO_FACE_IN_FILE": (422, "No face detected in the file."),
    "FILE_CONTENT_NON_COMPLIANCE": (422, "File content does not meet requirements."),
    "ERROR_NOT_ENOUGH_CREDITS": (429, "Insufficient credits."),
    "EXCEEDING_LIMITS": (429, "Exceeding the limit, please try again later."),
    "PROCESSING_FAILURE": (500, "Processing failed."),
    "UNKNOWN_ERROR": (500, "Unknown error."),
    "AI_SERVICE_TIMEOUT": (504, "AI service timeout."),
}
