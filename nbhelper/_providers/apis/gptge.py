"""V-API (api.gpt.ge): a relay with one task path for several video APIs, each with its own reply format.

    MiniMax / Hailuo      {"status": "Success", "file_id": "…", "base_resp": {"status_code": 0}}
    Volcengine / Jimeng   {"code": 10000, "status": 10000, "data": {"status": "done", "video_url": "…"}}
    Seedance              {"id": "cgt-…", "status": "succeeded", "content": {"video_url": "…"}}
    Bailian               {"output": {"task_status": "SUCCEEDED", "video_url": "…"}, "usage": {…}}

Facts by source: SEED is the docs page of the task endpoint (whose field list is Jimeng's and whose sample is
Hailuo's), DOCS the relay's other pages and the docs of the APIs behind it, SDK their clients. What no source states is
marked "inferred".
"""

from __future__ import annotations

from ..provider import Provider
from ..reply_parts import Endpoint, ErrorRule, Outputs, Resolve
from ..requests import HttpRequest

_WORDS = {
    "queued": ("Preparing", "Queueing", "Queuing", "Queued", "Pending", "in_queue"),
    "running": ("Processing", "Running", "generating"),
    "succeeded": ("Success", "succeeded", "done"),
    "failed": ("Fail", "Failed"),  # the seed has "Failed", MiniMax itself "Fail", its callbacks "failed"
    "cancelled": ("cancelled", "canceled"),
    "expired": ("expired",),
}
# The same word is in upper, lower or mixed case, depending on the API behind the relay and the kind of reply.
_ANY_CASE = {
    variant: state
    for state, words in _WORDS.items()
    for word in words
    for variant in (word, word.lower(), word.upper(), word.capitalize())
}

PROVIDER = Provider(
    name="gptge",
    base_url="https://api.gpt.ge",
    key_variable="GPTGE_API_KEY",
    docs="https://gpt.morphogen.top/en/video/hailuo/query-results",
    floor=5,  # MiniMax's docs say 10 seconds, its own client waits 20
    lifetime=3600,  # Jimeng's links
    poll="GET /task/{id}",
    reply_id="task_id || output.task_id || data.task_id || id || task.id",
    state=(
        "[status][?type(@)=='string' && @!='10000' && @!='200' && @!='0'] | [0]",  # Jimeng's repeats its `code` here
        "data.status",
        "output.task_status",
        "task.status",  # MiniMax's second version
    ),
    words=_ANY_CASE,
    outputs=(
        Outputs(path="file_id", name="file_id", form="ref", kind="video"),
        Outputs(path="data.file_id", name="data.file_id", form="ref", kind="video"),
        Outputs(path="data.binary_data_base64", name="data.binary_data_base64", form="data", kind="image"),
        Outputs(path="data", name="data"),  # video_url, image_urls[]
        Outputs(path="from_json(data.resp_data)", name="data.resp_data"),  # SEED: text, "structure may vary"
        Outputs(path="content", name="content"),
        Outputs(path="output", name="output", skip=frozenset({"orig_prompt", "actual_prompt"})),
        Outputs(path="{video_url: video_url, image_urls: image_urls}"),  # Jimeng's fields without their wrapping
        Outputs(path="task.content", name="content", kind="video"),
    ),
    # Bailian's, and Seedance's in seconds: `updated_at` is when the state changed last (Volcengine's docs).
    created_at="output.submit_time || created_at",
    started_at="output.scheduled_time",
    finished_at="output.end_time || updated_at",
    utc_offset=8,  # Bailian's times are local without a zone; that they are China's is inferred
    model="model || task.model",
    width="video_width",
    height="video_height",
    error_code="error.code || output.code || data.code || base_resp.status_code",
    error_message="""
        error.message || ([error][?type(@)=='string'] | [0])
        || error_msg || output.message || data.message || base_resp.status_msg || fail_reason""",
    trace="request_id",
    ok=frozenset({"0", "200", "10000", ""}),
    code=(
        # Beside "Fail" the code is the reason.
        "!contains(['Fail', 'Failed', 'fail', 'failed', 'FAIL', 'FAILED'], status) && base_resp.status_code",
        "code",
        "!status && !output && error.code",  # a gateway's refusal; beside a status it is the task's own
        "data.status == 'not_found' && 'not_found'",  # Jimeng says in a state word that there is no such task
    ),
    body_status="[status, code][?to_number(@) >= `300` && to_number(@) < `600`] | [0]",  # SEED: "HTTP-style"
    message="""
        error.message || ([error][?type(@)=='string'] | [0])
        || message || base_resp.status_msg || error_msg || msg""",
    errors=(
        # MiniMax (DOCS), all with HTTP 200
        ErrorRule(means="server", code=("1000", "1001", "1013", "1024", "1033")),
        ErrorRule(means="rate_limited", code=("1002", "1039")),
        ErrorRule(means="refused", code=("1004", "2038", "2049")),  # not authorised, real-name check, invalid key
        ErrorRule(means="no_credit", code=("1008",)),
        ErrorRule(means="failed", code=("1026", "1027")),  # what went in, or came out, is sensitive
        ErrorRule(means="bad_request", code=("2013",)),
        # Volcengine (DOCS)
        ErrorRule(means="failed", code=("50411", "50412", "50413", "50511", "50512", "50516")),  # content checks
        ErrorRule(means="rate_limited", code=("50429", "50430")),  # by time; at once
        ErrorRule(means="server", code=("50500", "50501")),
        ErrorRule(means="not_found", code=("not_found",)),
        # The gateway's own, inferred from others of its family: {"error": {"message", "type", "code"}}
        ErrorRule(means="no_credit", code=("insufficient*quota", "insufficient*balance")),
    ),
    # DOCS for MiniMax itself: GET /v1/files/retrieve?file_id=. Its path here is INFERRED from the other paths' naming.
    resolve=Resolve(
        request=HttpRequest("GET", "/task/minimax/v1/files/retrieve", query={"file_id": "{ref}"}),
        url="file.download_url",
        lifetime=3600,  # 1 hour in one document, 9 in another
    ),
    endpoints={
        "hailuo": Endpoint(
            path="/task/minimax/v1/video_generation",
            params=(
                "model", "prompt", "prompt_optimizer", "fast_pretreatment", "duration", "resolution",
                "first_frame_image", "callback_url",
            ),
            required=("model",),
        ),
        "seedance": Endpoint(path="/task/volces/seedance"),
        "bailian": Endpoint(
            path="/task/bailian/text2video", params=("model", "input", "parameters"), required=("model", "input")
        ),
    },
    other=Endpoint(path=""),
    create_id="task_id || id || output.task_id || data.task_id",  # Hailuo; Seedance; Bailian (inferred)
    max_reply=64_000_000,  # base64 stands in the reply itself
)  # fmt: skip
