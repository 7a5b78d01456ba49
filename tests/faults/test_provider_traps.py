"""Peculiarities of each API, with replies in its own words from the tests' server."""

import asyncio
import base64
import json
import re
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.mill import Mill, png, sha256
from support.quick import quick
from support.raw_server import reply
from support.watched import looks

import nbhelper as nbh
from nbhelper._model import lost_sight
from nbhelper._views.card import Scene, card
from nbhelper._watching import pace, saving
from nbhelper.testing import read
from nbhelper.types import Miss

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
LINK = "https://cdn.example/a.png"


@pytest.fixture
def hasty(monkeypatch):
    """Patience (10 minutes) is 0.5 seconds, slow looks come each 0.1 seconds, second requests after 0.05 seconds."""
    monkeypatch.setattr(lost_sight, "PATIENCE", timedelta(seconds=0.5))
    monkeypatch.setattr(pace, "SLOW", 0.1)
    monkeypatch.setattr(saving, "_RESOLVE_PAUSE", 0.05)


def ended(task, **options):
    return nbh.watch(task, display=False, **options)[0]


def count_requests(mill: Mill, path: str) -> int:
    return len(mill.requests_to(path))


# AILabTools, first generation


def legacy(status, **more):
    return {"error_code": 0, "error_code_str": "", "error_msg": "", "data": {"status": status, **more}}


def test_e_a1_error_code_under_http_200(mill):
    """A reply with an error code has no state, whatever else it holds; after two refusals the watch is lost."""
    wrong = {"error_code": 401, "error_code_str": "ERROR_USER_NOT_EXISTS", "error_msg": "no such user"}
    beside = {"error_code": 77, "error_msg": "odd", "data": {"status": "PROCESS_SUCCESS"}}

    lost = ended(quick(mill, "ailab-legacy", wrong))
    went_on = ended(quick(mill, "ailab-legacy", beside, legacy("PROCESS_SUCCESS"), ident="u"))

    assert (lost.outcome, lost.state) == ("lost", None)
    assert "no such user" in lost.error
    assert looks(went_on)[0].kind == "garbled"
    assert went_on.succeeded


@pytest.mark.parametrize(
    ("word", "words"), [("TIMEOUT_FAILED", "did not finish in time"), ("LIMIT_RETRY_FAILED", "more often")]
)
def test_e_a2_failures_in_plain_words(mill, word, words):
    """Two failure words of the API are explained in the error."""
    history = ended(quick(mill, "ailab-legacy", legacy(word)))

    assert history.outcome == "failed"
    assert word in history.error
    assert words in history.error


def test_e_a3_wrong_type(mill):
    """A job with the wrong type is lost with the API's message; the type is part of the task reference."""
    wrong = reply({"error_code": 400, "error_code_str": "ERROR_INVALID_PARAMETER", "error_msg": "type is wrong"}, 400)

    history = ended(quick(mill, "ailab-legacy", wrong))

    assert history.outcome == "lost"
    assert "type is wrong" in history.error
    assert mill.server.requests[0].target.endswith("?job_id=t&type=HD_COLOUR_MIGRATION")
    with pytest.raises(nbh.BadInput, match="GENERATE_CARTOONIZED_IMAGE or HD_COLOUR_MIGRATION"):
        nbh.watch("quick-ailab-legacy:t")


RESULT_KEYS = {
    "list": ("image_list", [0]),
    "the other key": ("result_url", 0),
    "swapped: a list where a link belongs": ("result_url", [0]),
    "swapped: a link where a list belongs": ("image_list", 0),
}


@pytest.mark.parametrize(("key", "shape"), RESULT_KEYS.values(), ids=RESULT_KEYS)
def test_e_a4_either_key(mill, key, shape):
    """The picture is saved from `image_list` and from `result_url`, as a link or a list."""
    link = mill.file(reply(png(64)))
    done = legacy("PROCESS_SUCCESS", **{key: [link] if isinstance(shape, list) else link})

    history = ended(quick(mill, "ailab-legacy", done))

    assert [f.read_bytes() for f in history.files] == [png(64)]


def test_e_a4_both_keys_and_none(mill):
    """One link under both keys is one file; an empty list is a success without a file."""
    link = mill.file(reply(png(64)))

    both = ended(quick(mill, "ailab-legacy", legacy("PROCESS_SUCCESS", image_list=[link], result_url=link)))
    none = ended(quick(mill, "ailab-legacy", legacy("PROCESS_SUCCESS", image_list=[]), ident="u"))

    assert len(both.files) == 1
    assert (none.outcome, none.outputs) == ("succeeded", ())


@pytest.mark.parametrize("data", [None, [], "", "PROCESS_SUCCESS", 1])
def test_e_a5_data_absent(mill, hasty, data):
    """A reply without a `data` object is garbled, even if the state word is elsewhere, and ends no task."""
    odd = {"error_code": 0, "status": "PROCESS_SUCCESS", **({} if data == 1 else {"data": data})}

    history = ended(quick(mill, "ailab-legacy", odd, legacy("PROCESSING"), legacy("PROCESS_SUCCESS")))

    assert looks(history)[0].kind == "garbled"
    assert history.succeeded


# AILabTools


def ailab(status, code="", **more):
    return {
        "request_id": "r",
        "error_detail": {"code": code, "code_message": "", "message": ""},
        "task_status": status,
        **more,
    }


@pytest.mark.parametrize("status", [0, 1])
def test_e_b1_no_failed_state(mill, hasty, status):
    """With a status of 0 or 1, a known error code decides the miss or failure, and an unknown one changes nothing."""
    known = ended(quick(mill, "ailab", ailab(status, "ERROR_NOT_ENOUGH_CREDITS"), ailab(2)))
    unknown = ended(quick(mill, "ailab", ailab(status, "SOMETHING_NEW"), ailab(2), ident="u"))
    content = ended(quick(mill, "ailab", reply(ailab(status, "ERROR_NO_FACE_IN_FILE"), 422), ident="v"))

    assert [looks(known)[0].kind, known.outcome] == ["no_credit", "succeeded"]
    assert looks(unknown)[0].state in {"queued", "running"}
    assert unknown.succeeded
    assert (content.outcome, content.snapshot.error.code) == ("failed", "ERROR_NO_FACE_IN_FILE")


@pytest.mark.parametrize("status", ["2", 2, 2.0, " 2 "], ids=repr)
def test_e_b2_status_as_text_or_fraction(status):
    """A `task_status` of 2, "2", 2.0 and " 2 " reads as succeeded."""
    assert read("ailab", ailab(status)).state == "succeeded"


@pytest.mark.parametrize("status", [True, False, [2], {"2": 2}, "2.5", 2.5, "two"], ids=repr)
def test_e_b2_status_that_is_none(status):
    """A `task_status` that is a boolean, list, object, fraction or word is a Miss or unknown."""
    seen = read("ailab", ailab(status))

    assert isinstance(seen, Miss) or seen.state == "unknown"


@pytest.mark.parametrize("code", ["", "0", 0, None, "absent"], ids=repr)
def test_e_b3_no_error_in_five_forms(code):
    """An `error_detail` whose code is empty, zero or null, or that is absent, is no error."""
    body = ailab(2, code)
    if code == "absent":
        del body["error_detail"]

    assert read("ailab", body).state == "succeeded"


def test_e_b4_one_schedule_however_many_watch(mill, bound):
    """Six watches of one task, three of them with a shorter interval, never look more often than the floor allows."""
    floor = 0.3
    task = quick(mill, "ailab", *[ailab(1)] * 4, ailab(2), floor=floor)
    with pytest.warns(UserWarning, match="asks for more"):
        watches = [
            nbh.watch([task, task], display=False, block=False, interval=0.01 if n % 2 else None) for n in range(6)
        ]
    for watch in watches:
        watch.result(30)

    at = [r.at for r in mill.server.requests]
    bound(len(at), 5, "looks for six watches")
    assert all(b - a >= floor for a, b in pairwise(at))


def test_e_b5_after_a_day(mill):
    """A succeeded task watched again after its links expired is a success without requests: saved files are there."""
    good, dead = mill.file(reply(png(64))), mill.file(reply(b"gone", 410))
    task = quick(mill, "ailab", ailab(2, data={"images": [good, dead]}))
    first = ended(task)
    requests = len(mill.server.requests)

    again = ended(task)

    assert first.outcome == again.outcome == "succeeded"
    assert [str(s.state) for s in again.saves.values()] == ["saved", "expired"]
    assert again.files[0].read_bytes() == png(64)
    assert len(mill.server.requests) == requests


NAMES = st.text("abcdefgh_", min_size=1, max_size=6)
SHAPES = st.recursive(
    st.sampled_from(["LINK", None, 5, "words", True]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(SHAPES)
def test_e_b6_any_shape(shape):
    """A link anywhere below `data` is an output named by its path; other values are none."""
    links = iter(f"https://cdn.example/{n}.png" for n in range(100))

    def put(node):
        if node == "LINK":
            return next(links)
        if isinstance(node, dict):
            return {k: put(v) for k, v in node.items()}
        return [put(v) for v in node] if isinstance(node, list) else node

    data = {"box": put(shape)}

    seen = read("ailab", ailab(2, data=data))

    assert seen.state == "succeeded"
    assert {o.url for o in seen.outputs} == set(re.findall(r"https://cdn.example/\d+.png", json.dumps(data)))
    for output in seen.outputs:
        node = {"data": data}
        for key in re.findall(r"\w+", output.name):
            node = node[int(key) if isinstance(node, list) else key]
        assert node == output.url


# V-API


def test_e_c1_wrapped_or_flat(mill):
    """The state is read wrapped in `data` or flat; two states that differ are garbled."""
    flat, wrapped = {"status": "Success"}, {"data": {"status": "done"}}
    both = {"status": "Success", "data": {"status": "generating"}}

    assert ended(quick(mill, "gptge", flat)).succeeded
    assert ended(quick(mill, "gptge", wrapped, ident="u")).succeeded
    history = ended(quick(mill, "gptge", both, {"status": "Processing"}, flat, ident="v"))
    assert looks(history)[0].kind == "garbled"
    assert "contradicts itself" in looks(history)[0].message
    assert history.succeeded


@pytest.mark.parametrize(
    ("code", "kind"), [(1008, "no_credit"), (1002, "rate_limited"), (2049, "refused"), (4242, "garbled")]
)
def test_e_c2_an_error_beside_success(code, kind):
    """An error code of the gateway beside "Success" is a Miss of the code's kind, neither success nor failure."""
    seen = read("gptge", {"status": "Success", "file_id": "9", "base_resp": {"status_code": code, "status_msg": "x"}})

    assert (type(seen), seen.kind) == (Miss, kind)


FILE = "/task/minimax/v1/files/retrieve"
FILE_ERRORS = {
    "server error": reply({"base_resp": {"status_code": 1000}}),
    "not found yet": reply({"message": "no such file"}, 404),
    "too many": reply({"base_resp": {"status_code": 1002}}),
}


@pytest.mark.parametrize("answer", FILE_ERRORS.values(), ids=FILE_ERRORS)
def test_e_c3_file_by_a_second_request(mill, hasty, answer):
    """A failed request for a file's link is repeated; the task has succeeded, without a miss."""
    task = quick(mill, "gptge", {"status": "Success", "file_id": "9"})
    good = {"file": {"download_url": mill.file(reply(png(64)))}, "base_resp": {"status_code": 0}}
    mill.paths[FILE] = [answer, good]

    history = ended(task)

    assert history.outcome == "succeeded"
    assert history.facts.misses == 0
    assert history.files[0].read_bytes() == png(64)
    assert count_requests(mill, FILE) == 2


def test_e_c3_file_that_never_comes(mill, hasty):
    """A request for a file's link that always fails is made four times; the save has failed, the task succeeded."""
    task = quick(mill, "gptge", {"status": "Success", "file_id": "9"})
    mill.paths[FILE] = [reply({"message": "no such file"}, 404)]

    history = ended(task)

    assert history.outcome == "succeeded"
    assert [str(s.state) for s in history.saves.values()] == ["failed"]
    assert count_requests(mill, FILE) == 4


PICTURE = png(3000)
PLAIN = base64.b64encode(PICTURE).decode()
BASE64_FORMS = {
    "plain": PLAIN,
    "data URL": f"data:image/png;base64,{PLAIN}",
    "no padding": PLAIN.rstrip("="),
    "line breaks": "\r\n".join(PLAIN[i : i + 76] for i in range(0, len(PLAIN), 76)),
    "other alphabet": PLAIN.replace("+", "-").replace("/", "_"),
}


@pytest.mark.parametrize("text", BASE64_FORMS.values(), ids=BASE64_FORMS)
def test_e_c4_base64_in_every_form(mill, text):
    """Base64 in each of its forms is decoded and saved; the raw reply keeps a digest instead of the text."""
    history = ended(quick(mill, "gptge", {"code": 10000, "data": {"status": "done", "binary_data_base64": [text]}}))

    assert sha256(history.files[0].read_bytes()) == sha256(PICTURE)
    assert len(json.dumps(history.snapshot.raw)) < 500


def test_e_c4_base64_broken_or_huge(mill):
    """Broken base64 is no output, and a reply above the cap is a miss; the task succeeds in both cases."""
    broken = {"code": 10000, "data": {"status": "done", "binary_data_base64": ["not base64!", "A", ""]}}
    huge = {"code": 10000, "data": {"status": "done", "binary_data_base64": ["A" * 300_000]}}

    odd = ended(quick(mill, "gptge", broken))
    large = ended(quick(mill, "gptge", huge, {"data": {"status": "done"}}, ident="u", max_reply=200_000))

    assert (odd.outcome, odd.outputs) == ("succeeded", ())
    assert "larger than 200,000 bytes" in looks(large)[0].message
    assert large.succeeded


@pytest.mark.parametrize("urls", [None, [], [None], "", 0, {}], ids=repr)
def test_e_c5_null_urls(urls):
    """Null or another value that is no link in `image_urls` is no output and no error."""
    seen = read("gptge", {"code": 10000, "data": {"status": "done", "image_urls": urls, "video_url": None}})

    assert (seen.state, seen.outputs) == ("succeeded", ())


TEXTS = {
    "JSON text": (json.dumps({"urls": [LINK]}), 1),
    "twice encoded": (json.dumps(json.dumps({"urls": [LINK]})), 1),
    "the object itself": ({"urls": [LINK]}, 1),
    "no JSON": ("urls: none", 0),
    "broken": ('{"urls": ["https://', 0),
    "empty": ("", 0),
    "a number": (7, 0),
}


@pytest.mark.parametrize(("text", "n"), TEXTS.values(), ids=TEXTS)
def test_e_c6_json_inside_text(text, n):
    """Links are read from `resp_data` if it is JSON, and its text is kept in the raw reply."""
    seen = read("gptge", {"code": 10000, "data": {"status": "done", "resp_data": text}})

    assert seen.state == "succeeded"
    assert [o.url for o in seen.outputs] == [LINK] * n
    assert seen.raw["data"]["resp_data"] == text


# Tripo


def tripo(status, **more):
    return {"code": 0, "data": {"task_id": "t", "type": "text_to_model", "status": status, **more}}


def test_e_d1_download_begins_at_once(mill, figure):
    """Links that expire after five minutes are all requested at once, none after another's download."""
    all_requested = asyncio.Event()

    def then(data):
        async def act(conn, _request):
            if len(mill.requests_to("/files")) == 3:
                all_requested.set()
            await all_requested.wait()
            await conn.send(reply(data))

        return act

    links = [mill.file(then(png(64, n))) for n in range(3)]
    history = ended(quick(mill, "tripo", tripo("success", output=dict(enumerate(links)))))

    look, *files = mill.server.requests
    assert len(history.files) == 3
    assert len(files) == 3
    figure(f"{max(f.at for f in files) - look.at:.3f} s from the look to the last file's request")


def test_e_d2_link_that_died_meanwhile(mill, bound):
    """A dead link takes one more look for a new link; without one the file is expired and the task succeeded."""
    dead, good = mill.file(reply(b"", 403)), mill.file(reply(png(64)))
    replies = [tripo("success", output={"model": dead}), tripo("success", output={"model": good})]

    renewed = ended(quick(mill, "tripo", *replies))
    expired = ended(quick(mill, "tripo", tripo("success", task_id="u", output={"model": dead}), ident="u"))

    assert renewed.files[0].read_bytes() == png(64)
    bound(max(renewed.facts.polls, expired.facts.polls), 2, "looks")
    assert expired.outcome == "succeeded"
    assert [str(s.state) for s in expired.saves.values()] == ["expired"]


ENDS = {"banned": ("failed", "banned"), "cancelled": ("cancelled", None), "expired": ("expired", None)}


@pytest.mark.parametrize("word", ENDS)
def test_e_d3_three_ends(mill, word, bound):
    """The words banned, cancelled and expired give outcomes of their own after one look."""
    outcome, code = ENDS[word]

    history = ended(quick(mill, "tripo", tripo(word)))

    assert history.outcome == outcome
    assert (history.snapshot.error.code if history.snapshot.error else None) == code
    bound(len(mill.server.requests), 1)


def test_e_d4_unknown_as_final_word(mill, bound):
    """`unknown` twice ends the watch as lost, with the id for support; after another word the watch goes on."""
    lost = ended(quick(mill, "tripo", tripo("unknown")))
    went_on = ended(
        quick(mill, "tripo", *(tripo(w, task_id="u") for w in ("unknown", "running", "success")), ident="u")
    )

    assert lost.outcome == "lost"
    assert "support about t" in lost.error
    assert lost.facts.polls == 2
    bound(lost.facts.polls, 2, "looks")
    assert went_on.succeeded


@pytest.mark.parametrize("status", ["queued", "running"])
def test_e_d5_minus_one(mill, status):
    """-1 is read as no queue position and no time left, and the card shows no number for it."""
    seen = read("tripo", tripo(status, queuing_num=-1, running_left_time=-1, progress=-1))
    history = nbh.History(nbh.Task("tripo", "t")).add(seen, NOW)

    words = re.sub(
        r"<style>.*?</style>|<[^>]*>", " ", card([history], Scene(now=NOW, base=None, folder="x")), flags=re.DOTALL
    )
    assert (seen.queue_position, seen.seconds_left) == (None, None)
    assert not re.search(r"-\s?1|\u22121|left|in line|ahead", words)


def test_e_d6_nested_and_undocumented(mill):
    """Every link in nested and undocumented output fields is downloaded and named by its path."""
    places = {
        f"views.{n}_view_url": mill.file(reply(png(64, i))) for i, n in enumerate(["front", "left", "back", "right"])
    }
    output = {
        "views": {k.partition(".")[2]: v for k, v in places.items()},
        "rig": {"walk": [mill.file(reply(png(9, 9)))]},
    }

    history = ended(quick(mill, "tripo", tripo("success", output=output)))

    names = [f"output.{name}" for name in places] + ["output.rig.walk[0]"]
    assert [o.name for o in history.outputs] == names
    assert len(history.files) == 5
    assert all(re.sub(r"[^\w.]+", "-", name).strip("-") == Path(history.saves[name].file).stem for name in names)


# aigptimage and kie


def record(state, **more):
    return {"code": 200, "msg": "success", "data": {"taskId": "t", "state": state, **more}}


@pytest.mark.parametrize("api", ["kie", "aigptimage"])
@pytest.mark.parametrize(
    ("code", "kind"), [(401, "refused"), (402, "no_credit"), (429, "rate_limited"), (500, "server")]
)
def test_e_e1_status_inside(api, code, kind):
    """A `code` of 401, 402, 429 or 500 in the body is the Miss of that HTTP status."""
    seen = read(api, {"code": code, "msg": "no", "data": {"taskId": "t", "state": "fail"}})

    assert (type(seen), seen.kind) == (Miss, kind)


RESULTS = {
    "null": (None, 0),
    "empty": ("", 0),
    "empty object": ("{}", 0),
    "no JSON": ("resultUrls: x", 0),
    "broken": ('{"resultUrls": ["https://cdn', 0),
    "JSON text": (json.dumps({"resultUrls": [LINK]}), 1),
    "twice encoded": (json.dumps(json.dumps({"resultUrls": [LINK]})), 1),
    "the object itself": ({"resultUrls": [LINK]}, 1),
    "a list": ([LINK], 1),
}


@pytest.mark.parametrize(("result", "n"), RESULTS.values(), ids=RESULTS)
def test_e_e2_result_in_every_form(result, n):
    """`resultJson` is read in each form; if unreadable, the task succeeds without a file and the raw reply keeps it."""
    seen = read("kie", record("success", resultJson=result))

    assert seen.state == "succeeded"
    assert [o.url for o in seen.outputs] == [LINK] * n
    assert seen.raw["data"]["resultJson"] == result


def test_e_e3_failed_with_files(mill):
    """A failed task stays failed, and the files in its reply are downloaded."""
    link = mill.file(reply(png(64)))

    history = ended(quick(mill, "kie", record("fail", failMsg="half done", resultJson=json.dumps({"u": [link]}))))

    assert (history.outcome, history.error) == ("failed", "half done")
    assert history.files[0].read_bytes() == png(64)


@pytest.mark.parametrize("code", ["400", 400, 400.0], ids=repr)
def test_e_e4_code_as_text(code):
    """An error code is text, whether it comes as text, integer or float."""
    assert read("kie", record("fail", failCode=code, failMsg="no")).error.code == "400"


def test_e_e5_param_is_only_text(mill, tmp_path):
    """A prompt that the API echoes is escaped in the card and quoted in the CSV: no markup and no formula."""
    prompt = '=HYPERLINK("x")<img src=x onerror=alert(1)>'
    body = record("success", param=json.dumps({"input": {"prompt": prompt}}), resultJson="{}")

    history = ended(quick(mill, "kie", body))
    nbh.to_csv(nbh.tasks(), tmp_path / "t.csv")

    drawn = card([history], Scene(now=history.events[-1].at, base=None, folder="x"))
    assert "<img" not in drawn
    assert '"=HYPERLINK' not in (tmp_path / "t.csv").read_text()
    assert nbh.read_csv(tmp_path / "t.csv")["param_input.prompt"].tolist() == [prompt]


@pytest.mark.parametrize(("created", "completed"), [(2, 1), (2, 2), (2, 0), (0, 2)])
def test_e_e6_finished_before_it_began(mill, created, completed):
    """A completion time before the creation time gives missing durations, never negative ones."""
    base = 1_777_459_967_759
    times = {"createTime": created and base + created * 1000, "completeTime": completed and base + completed * 1000}

    ended(quick(mill, "kie", record("success", resultJson="{}", **times)))

    row = nbh.tasks().iloc[0]
    for name in ("queue_s", "run_s", "total_s", "delivered_s", "lag_s"):
        assert row[[name]].isna().all() or row[name] >= 0 or name == "lag_s"
