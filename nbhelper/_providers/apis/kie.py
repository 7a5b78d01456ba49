"""kie.ai: many models by `createTask` and `recordInfo`; the reply format is described in `aigptimage`.

Differences: errors have HTTP status 200 and the code in the body, replies state the credits, those of sora models the
progress, and creates are not idempotent. All facts are from kie's docs unless a comment says otherwise.
"""

from __future__ import annotations

from dataclasses import replace

from ..reply_parts import Endpoint
from .aigptimage import PROVIDER as RECORD_INFO

PROVIDER = replace(
    RECORD_INFO,
    name="kie",
    base_url="https://api.kie.ai",
    key_variable=("KIE_API_KEY", "KIE_AI_API_KEY"),
    docs="https://docs.kie.ai",
    floor=2,  # "2-3 s, growing"; the limit is 10 looks a second at one task
    lifetime=24 * 3600.0,  # the API's page; the quickstart says 14 days
    progress="data.progress",  # sora alone
    credits="data.creditsConsumed",  # fractions; null where unknown
    endpoints={
        "createTask": Endpoint(
            path="/api/v1/jobs/createTask",
            params=("model", "input", "callBackUrl"),
            required=("model", "input"),
        )
    },
    create_limit=(20, 10.0),  # 20 in 10 seconds
    create_id="data.taskId",  # `recordId`, where present, cannot be polled
)
