"""aigptimage.com: pictures and video by `createTask` and `recordInfo`, the API format that kie.ai has too.

Facts by source: SEED is the page of the query endpoint, DOCS the rest of the docs. The same two paths, envelope and
task record serve `kie`, which is this provider with a few values replaced; so states and
result keys that only kie's docs name are read here as well.
"""

from __future__ import annotations

from ..provider import Provider
from ..reply_parts import Endpoint, ErrorRule, Outputs

PROVIDER = Provider(
    name="aigptimage",
    base_url="https://aigptimage.com",
    key_variable="AIGPTIMAGE_API_KEY",
    docs="https://aigptimage.com",
    # Every plan's limit of looks (free: 2/s and 60/min, one active task; … enterprise: 500/s, 300 tasks) is kept by the
    # floor alone, so there is no `looks_per_second`. Creates are limited by plan, too (free: 1/s and 10/min, one active
    # task; … enterprise: 100/s, 300 tasks), and no reply says which plan a key has before it refuses: so there is no
    # `create_limit`, and the wait that a refusal names is kept. How long a link lives is not documented.
    floor=2,
    poll="GET /api/v1/jobs/recordInfo?taskId={id}",
    reply_id="data.taskId",
    state=(
        "data.state",
        # A second, older word for the same; 2 means different things in different families and is left out.
        """data.successFlag && data.state && (
            to_string(data.successFlag) == '1' && 'success' || to_string(data.successFlag) == '3' && 'fail')""",
    ),
    words={
        "waiting": "queued",  # SEED: "pending or processing", one word for both
        "queuing": "queued",  # kie
        "generating": "running",  # kie
        "success": "succeeded",
        "fail": "failed",  # SEED: "failed or was canceled"
    },
    outputs=(
        # SEED: JSON in a string, usually with `resultUrls`. kie: also resultWaterMarkUrls, resultObject, firstFrameUrl,
        # lastFrameUrl, nested maskUrl and audio_url; or "", "{}", null, or the object itself.
        Outputs(path="from_json(data.resultJson)"),
        # kie: the same once more, parsed; older families have `response.result_urls` alone.
        Outputs(path="from_json(data.response)", name="response"),
    ),
    created_at="data.createTime",  # milliseconds; `costTime` is ms in the docs and seconds in real replies: not read
    finished_at="data.completeTime",
    model="data.model",
    params="from_json(data.param)",
    error_code="data.failCode",
    error_message="data.failMsg",
    # The HTTP status and the body's `code` are the same number, here and wherever kie sends HTTP 200 for everything.
    code="code",
    body_status="code",
    message="msg || message",  # `message`: kie's sora pages and clones
    retry_after="data.retryAfter",  # DOCS, beside limit, tier and windowSeconds
    errors=(
        # kie, for a moment after creation as well as for an id that it never knew.
        ErrorRule(means="not_found", words="recordinfo is null"),
        ErrorRule(means="rate_limited", status=(433,)),  # kie: the sub-key has used up its allowance
        ErrorRule(means="server", status=(455,)),  # kie: maintenance
        ErrorRule(means="failed", status=(501,), code=("501",)),  # kie: "generation failed"
        ErrorRule(means="bad_request", status=(505,), code=("505",)),  # kie: the feature is disabled
    ),
    endpoints={
        "createTask": Endpoint(
            path="/api/v1/jobs/createTask",
            params=("model", "input"),
            required=("model", "input"),
            request_id="X-Request-ID",  # DOCS: the same id returns the same task
        )
    },
    create_id="data.taskId",
)
