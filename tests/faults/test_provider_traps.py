"""What each API does in a way of its own, in its own words on the tests' server."""

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
    """Ten minutes of patience last half a second; slow looks and second requests come soon."""
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
    """An error code is no state, whatever stands beside it: the API refuses, and after two looks it is lost."""
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
    """Two failures that the API only names are explained."""
    history = ended(quick(mill, "ailab-legacy", legacy(word)))

    assert history.outcome == "failed"
    assert word in history.error
    assert words in history.error


def test_e_a3_wrong_type(mill):
    """A job asked for under the wrong type is lost with the API's words; the type is part of what is watched."""
    wrong = reply({"error_code": 400, "error_code_str": "ERROR_INVALID_PARAMETER", "error_msg": "type is wrong"}, 400)

    history = ended(quick(mill, "ailab-legacy", wrong))

    assert history.outcome == "lost"
    assert "type is wrong" in history.error
    assert mill.server.requests[0].target.endswith("?job_id=t&type=HD_COLOUR_MIGRATION")
    with pytest.raises(nbh.BadInput, match="GENERATE_CARTOONIZED_IMAGE or HD_COLOUR_MIGRATION"):
        nbh.watch("quick-ailab-legacy:t")


PLACES = {
    "list": ("image_list", [0]),
    "the other key": ("result_url", 0),
    "swapped: a list where a link belongs": ("result_url", [0]),
    "swapped: a link where a list belongs": ("image_list", 0),
}


@pytest.mark.parametrize(("key", "shape"), PLACES.values(), ids=PLACES)
def test_e_a4_either_place(mill, key, shape):
    """The picture is found under either key, as link or list."""
    link = mill.file(reply(png(64)))
    done = legacy("PROCESS_SUCCESS", **{key: [link] if isinstance(shape, list) else link})

    history = ended(quick(mill, "ailab-legacy", done))

    assert [f.read_bytes() for f in history.files] == [png(64)]


def test_e_a4_both_places_and_none(mill):
    """One link in both places is one file; an empty list is a success without a file."""
    link = mill.file(reply(png(64)))

    both = ended(quick(mill, "ailab-legacy", legacy("PROCESS_SUCCESS", image_list=[link], result_url=link)))
    none = ended(quick(mill, "ailab-legacy", legacy("PROCESS_SUCCESS", image_list=[]), ident="u"))

    assert len(both.files) == 1
    assert (none.outcome, none.outputs) == ("succeeded", ())


@pytest.mark.parametrize("data", [None, [], "", "PROCESS_SUCCESS", 1])
def test_e_a5_data_absent(mill, hasty, data):
    """Without `data` there is no state, wherever else the word stands: no success, no failure."""
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
    """Beside a task that is not over, a known code says what is wrong, an unknown one changes nothing."""
    known = ended(quick(mill, "ailab", ailab(status, "ERROR_NOT_ENOUGH_CREDITS"), ailab(2)))
    unknown = ended(quick(mill, "ailab", ailab(status, "SOMETHING_NEW"), ailab(2), ident="u"))
    content = ended(quick(mill, "ailab", reply(ailab(status, "ERROR_NO_FACE_IN_FILE"), 422), ident="v"))

    assert [looks(known)[0].kind, known.outcome] == ["no_credit", "succeeded"]
    assert looks(unknown)[0].state in {"queued", "running"}
    assert unknown.succeeded
    assert (content.outcome, content.snapshot.error.code) == ("failed", "ERROR_NO_FACE_IN_FILE")


@pytest.mark.parametrize("status", ["2", 2, 2.0, " 2 "], ids=repr)
def test_e_b2_status_as_text_or_fraction(status):
    """2, "2" and 2.0 are one state."""
    assert read("ailab", ailab(status)).state == "succeeded"


@pytest.mark.parametrize("status", [True, False, [2], {"2": 2}, "2.5", 2.5, "two"], ids=repr)
def test_e_b2_status_that_is_none(status):
    """`true` is not 1, and what is no number of a state ends nothing."""
    seen = read("ailab", ailab(status))

    assert isinstance(seen, Miss) or seen.state == "unknown"


@pytest.mark.parametrize("code", ["", "0", 0, None, "absent"], ids=repr)
def test_e_b3_no_error_in_five_writings(code):
    """An empty code, zero, null and none at all mean that nothing is wrong."""
    body = ailab(2, code)
    if code == "absent":
        del body["error_detail"]

    assert read("ailab", body).state == "succeeded"


def test_e_b4_one_schedule_however_many_watch(mill, bound):
    """Six watches of one task, three of them with a wish for more, never look more often than the floor allows."""
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
    """When the links are dead the task is still a success: files that were saved are there, others have expired."""
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
    """Wherever a link stands below `data`, it is found and named by its place; what is no link is not."""
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
    """The state is read in either place; two places that disagree are no end."""
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
    """A code of the gateway beside "Success" is not a success, nor a failure."""
    seen = read("gptge", {"status": "Success", "file_id": "9", "base_resp": {"status_code": code, "status_msg": "x"}})

    assert (type(seen), seen.kind) == (Miss, kind)


FILE = "/task/minimax/v1/files/retrieve"
SECOND = {
    "server error": reply({"base_resp": {"status_code": 1000}}),
    "not found yet": reply({"message": "no such file"}, 404),
    "too many": reply({"base_resp": {"status_code": 1002}}),
}


@pytest.mark.parametrize("trouble", SECOND.values(), ids=SECOND)
def test_e_c3_file_by_a_second_request(mill, hasty, trouble):
    """A second request that fails is the file's own trouble: asked again, and the task's success stands."""
    task = quick(mill, "gptge", {"status": "Success", "file_id": "9"})
    good = {"file": {"download_url": mill.file(reply(png(64)))}, "base_resp": {"status_code": 0}}
    mill.paths[FILE] = [trouble, good]

    history = ended(task)

    assert history.outcome == "succeeded"
    assert history.facts.misses == 0
    assert history.files[0].read_bytes() == png(64)
    assert count_requests(mill, FILE) == 2


def test_e_c3_file_that_never_comes(mill, hasty):
    """A second request that is refused again and again leaves a success whose file failed, and no retry for ever."""
    task = quick(mill, "gptge", {"status": "Success", "file_id": "9"})
    mill.paths[FILE] = [reply({"message": "no such file"}, 404)]

    history = ended(task)

    assert history.outcome == "succeeded"
    assert [str(s.state) for s in history.saves.values()] == ["failed"]
    assert count_requests(mill, FILE) == 4


PICTURE = png(3000)
PLAIN = base64.b64encode(PICTURE).decode()
WRITINGS = {
    "plain": PLAIN,
    "data URL": f"data:image/png;base64,{PLAIN}",
    "no padding": PLAIN.rstrip("="),
    "line breaks": "\r\n".join(PLAIN[i : i + 76] for i in range(0, len(PLAIN), 76)),
    "other alphabet": PLAIN.replace("+", "-").replace("/", "_"),
}


@pytest.mark.parametrize("text", WRITINGS.values(), ids=WRITINGS)
def test_e_c4_base64_in_every_writing(mill, text):
    """However base64 is written, the bytes are saved; the raw reply keeps a digest of it, not the text."""
    history = ended(quick(mill, "gptge", {"code": 10000, "data": {"status": "done", "binary_data_base64": [text]}}))

    assert sha256(history.files[0].read_bytes()) == sha256(PICTURE)
    assert len(json.dumps(history.snapshot.raw)) < 500


def test_e_c4_base64_broken_or_huge(mill):
    """Broken base64 is no output, and beyond the cap the whole reply is refused: neither ends the task."""
    broken = {"code": 10000, "data": {"status": "done", "binary_data_base64": ["not base64!", "A", ""]}}
    huge = {"code": 10000, "data": {"status": "done", "binary_data_base64": ["A" * 300_000]}}

    odd = ended(quick(mill, "gptge", broken))
    large = ended(quick(mill, "gptge", huge, {"data": {"status": "done"}}, ident="u", max_reply=200_000))

    assert (odd.outcome, odd.outputs) == ("succeeded", ())
    assert "larger than 200,000 bytes" in looks(large)[0].message
    assert large.succeeded


@pytest.mark.parametrize("urls", [None, [], [None], "", 0, {}], ids=repr)
def test_e_c5_null_urls(urls):
    """Null where links should be is no output and no error."""
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
    """`resp_data` is read when it is JSON, and kept as it came in any case."""
    seen = read("gptge", {"code": 10000, "data": {"status": "done", "resp_data": text}})

    assert seen.state == "succeeded"
    assert [o.url for o in seen.outputs] == [LINK] * n
    assert seen.raw["data"]["resp_data"] == text


# Tripo


def tripo(status, **more):
    return {"code": 0, "data": {"task_id": "t", "type": "text_to_model", "status": status, **more}}


def test_e_d1_download_begins_at_once(mill, figure):
    """Links that live five minutes are asked for as soon as the reply has named them: none waits for another file."""
    asked_for_all = asyncio.Event()

    def then(data):
        async def act(conn, _request):
            if len(mill.requests_to("/files")) == 3:
                asked_for_all.set()
            await asked_for_all.wait()
            await conn.send(reply(data))

        return act

    links = [mill.file(then(png(64, n))) for n in range(3)]
    history = ended(quick(mill, "tripo", tripo("success", output=dict(enumerate(links)))))

    look, *files = mill.server.requests
    assert len(history.files) == 3
    assert len(files) == 3
    figure(f"{max(f.at for f in files) - look.at:.3f} s from the look to the last file's request")


def test_e_d2_link_that_died_meanwhile(mill, bound):
    """A dead link takes one fresh look; a new link is fetched, and without one the file has expired, not the task."""
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
    """Banned, cancelled and expired are ends of their own, seen with one look."""
    outcome, code = ENDS[word]

    history = ended(quick(mill, "tripo", tripo(word)))

    assert history.outcome == outcome
    assert (history.snapshot.error.code if history.snapshot.error else None) == code
    bound(len(mill.server.requests), 1)


def test_e_d4_final_word_that_says_nothing(mill, bound):
    """`unknown` takes one more look and is then lost, with the id for support; another word in between goes on."""
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
    """-1 is neither a place in the queue nor a time left, and the card shows no number for it."""
    seen = read("tripo", tripo(status, queuing_num=-1, running_left_time=-1, progress=-1))
    history = nbh.History(nbh.Task("tripo", "t")).add(seen, NOW)

    words = re.sub(
        r"<style>.*?</style>|<[^>]*>", " ", card([history], Scene(now=NOW, base=None, folder="x")), flags=re.DOTALL
    )
    assert (seen.queue_position, seen.seconds_left) == (None, None)
    assert not re.search(r"-\s?1|\u22121|left|in line|ahead", words)


def test_e_d6_nested_and_undocumented(mill):
    """Four views, nested and undocumented fields: every link is downloaded and named by its place."""
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
    """A status in the body counts as if HTTP had said it, and ends nothing."""
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
def test_e_e2_result_in_every_writing(result, n):
    """The result is read however it is written; what cannot be read is a success without a file, and kept raw."""
    seen = read("kie", record("success", resultJson=result))

    assert seen.state == "succeeded"
    assert [o.url for o in seen.outputs] == [LINK] * n
    assert seen.raw["data"]["resultJson"] == result


def test_e_e3_failed_with_files(mill):
    """A failure stays a failure, and the files that its reply names are fetched all the same."""
    link = mill.file(reply(png(64)))

    history = ended(quick(mill, "kie", record("fail", failMsg="half done", resultJson=json.dumps({"u": [link]}))))

    assert (history.outcome, history.error) == ("failed", "half done")
    assert history.files[0].read_bytes() == png(64)


@pytest.mark.parametrize("code", ["400", 400, 400.0], ids=repr)
def test_e_e4_code_as_text(code):
    """An error's code is text, however it is written."""
    assert read("kie", record("fail", failCode=code, failMsg="no")).error.code == "400"


def test_e_e5_param_is_only_text(mill, tmp_path):
    """A prompt that the API echoes is words in the card and text in the CSV, and starts neither markup nor formula."""
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
    """Clocks that run backwards give missing durations, never negative ones."""
    base = 1_777_459_967_759
    times = {"createTime": created and base + created * 1000, "completeTime": completed and base + completed * 1000}

    ended(quick(mill, "kie", record("success", resultJson="{}", **times)))

    row = nbh.tasks().iloc[0]
    for name in ("queue_s", "run_s", "total_s", "delivered_s", "lag_s"):
        assert row[[name]].isna().all() or row[name] >= 0 or name == "lag_s"
