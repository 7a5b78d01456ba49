"""A local HTTP server that emulates seven generation APIs; the APIs' official clients work with it.

It shares no code with the package's readers of those APIs: replies follow the APIs' documentation and official clients,
so that a mistake on one side fails a test on the other. `faults.py` (which requests go wrong, and how) and `proxy.py`
(which damages their replies on the wire) are test equipment that users may use too, by `Emulator(faults=...)` and
`nbhelper.testing.Fault`.

Any text in the body of a create request may hold directives, ``emu:WORD`` or ``emu:WORD=VALUE``, several of them,
anywhere; unknown ones are ignored. `Server.script` gives directives from Python. `DIRECTIVES` holds this table:

================  =====================================================================================
word              what happens
================  =====================================================================================
policy            the task fails later, refused by content policy in the API's own way
policy-now        the create itself is refused by content policy
fail              the task fails; ``=VALUE`` gives the API's own error code or failure word
no-credit         the create is refused for lack of credit
cancelled         the task ends as cancelled, in the nearest words the API has
expired           the task ends as expired, in the nearest words the API has
banned            Tripo's word; elsewhere the same as ``policy``
unknown           Tripo's word; elsewhere a state word the API never documented
timeout           ends as the legacy API's ``TIMEOUT_FAILED``; elsewhere a failure that says so
retries           ends as the legacy API's ``LIMIT_RETRY_FAILED``; elsewhere the same as ``fail``
stuck             the task never finishes
seconds=N         run time at speed 1
real-seconds=N    run time whatever the speed
queue=N           time in the queue at speed 1
rate-limit=N      the first N looks get the API's rate limit reply
server-error=N    the first N looks get an HTML page with status 502
late=N            the id is unknown for N real seconds after the create
link=N            result links live N real seconds
dead-link         the first link of each result answers 403, a fresh look gives a good one
huge=N            the first result is padded to N MiB (64 when not said)
no-output         success without any result
base64            results inside the reply (ailab: delivered by one look only; gptge: Jimeng)
shape=KEY         which of the API's result shapes is used
early             results are named while the task is still running
================  =====================================================================================

Shapes: *ailab* ``images image image_url result_url image_list result_urls binary_data_base64 video
output.image_url top.result_url``, and ``nested`` (the status inside ``data``); *ailab-legacy* ``v1`` (the first
version's answer, without a ``task_id``); *tripo*, *tripo-v3* ``model base_model pbr_model generated_image views
riggable``; *gptge* (Jimeng) ``video_url image_urls``; *aigptimage*, *kie* ``resultUrls resultWaterMarkUrls
resultObject firstFrameUrl maskUrl audio_url object empty braces null not-json``.
"""

from __future__ import annotations

from nbhelper._emulator.faults import KINDS, PROFILES, Fault
from nbhelper._emulator.ledger import CreateAttempt, Download, FileRecord, Ledger, Poll, Struck, TaskRecord
from nbhelper._emulator.plan import DIRECTIVES
from nbhelper._emulator.server import ROOTS, Server

__all__ = [
    "DIRECTIVES",
    "KINDS",
    "PROFILES",
    "ROOTS",
    "CreateAttempt",
    "Download",
    "Fault",
    "FileRecord",
    "Ledger",
    "Poll",
    "Server",
    "Struck",
    "TaskRecord",
]
