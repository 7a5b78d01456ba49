"""Files of submits: from a path, bytes, a picture or an array, ahead of the create where the API wants a token."""

import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.creates import send
from support.experiments import picture
from support.mill import provider
from support.raw_server import reply
from support.waiting import finished

import nbhelper as nbh
from nbhelper import _providers
from nbhelper._model.task import digest
from nbhelper._session import session
from nbhelper._submitting import uploads
from nbhelper.types import Endpoint, FileUpload

# From a value to bytes


def opened(data):
    return Image.open(io.BytesIO(data))


GIVEN = {
    "path": lambda path: path,
    "bytes": lambda path: path.read_bytes(),
    "Pillow picture": lambda path: opened(path.read_bytes()),
    "array of colours": lambda path: np.asarray(opened(path.read_bytes())),
    "array of greys": lambda path: np.zeros((8, 8), np.uint8),
    "array of fractions": lambda path: np.full((8, 8, 3), 0.5),
    "array with transparency": lambda path: np.zeros((8, 8, 4), np.uint8),
    "array of truths": lambda path: np.eye(8, dtype=bool),
    "one channel": lambda path: np.zeros((8, 8, 1), np.uint8),
    "CMYK picture": lambda path: Image.new("CMYK", (8, 8)),
    "picture of a palette": lambda path: Image.new("P", (8, 8)),
}


@pytest.mark.parametrize("give", GIVEN.values(), ids=GIVEN)
def test_each_kind_of_file_value_becomes_a_named_picture(tmp_path, give):
    """A path, bytes, a Pillow picture or an array becomes PNG bytes of its own size, named by the parameter."""
    path = tmp_path / "my holiday.png"
    path.write_bytes(picture())

    (upload,), body = uploads.uploads_of({"image": give(path), "n": 1}, None, Endpoint(path="/x"))

    assert (upload.name, upload.filename, upload.mime) == ("image", "image.png", "image/png")
    assert opened(upload.content).size == (8, 8)
    assert body == {"n": 1}


def test_fractions_and_booleans_scale_to_white():
    """In an array 1.0, True and 255 are white, 0 is black."""
    for array in (np.array([[0.0, 1.0]]), np.array([[False, True]]), np.array([[0, 255]])):
        (upload,), _ = uploads.uploads_of({"image": array}, None, Endpoint(path="/x"))
        grey = opened(upload.content).convert("L")

        assert [grey.getpixel((x, 0)) for x in (0, 1)] == [0, 255]


def torn():
    """The bytes of a PNG, cut in the middle."""
    buffer = io.BytesIO()
    Image.effect_noise((64, 64), 90).save(buffer, "PNG")
    return buffer.getvalue()[:2000]


WRONG = {
    "five channels": (np.zeros((8, 8, 5)), r"shape \(8, 8, 5\)"),
    "four dimensions": (np.zeros((1, 8, 8, 3)), r"shape \(1, 8, 8, 3\)"),
    "nothing in it": (np.zeros((0, 8)), r"shape \(0, 8\)"),
    "beyond one": (np.full((8, 8), 1.5), "not all between 0 and 1"),
    "not a number": (np.full((8, 8), np.nan), "not all between 0 and 1"),
    "beyond 255": (np.full((8, 8), 300), "not all between 0 and 255"),
    "below zero": (np.full((8, 8), -1), "not all between 0 and 255"),
    "words": (np.array([["a"], ["b"]]), "a picture is made of numbers"),
    "a broken picture": (lambda: opened(torn()), "cannot be read"),
}


@pytest.mark.parametrize(("value", "words"), WRONG.values(), ids=WRONG)
def test_what_is_no_picture_is_refused(mill, value, words):
    """An array that is no picture, or a broken picture, is refused in one line; nothing is sent."""
    value = value() if callable(value) else value
    with pytest.raises(nbh.BadInput, match=words) as caught:
        nbh.submit("mill", {"image": value}, endpoint="form")

    assert str(caught.value).startswith('The file for "image"')
    assert "\n" not in str(caught.value)
    assert mill.server.connections == 0


@pytest.mark.parametrize(
    ("value", "words"),
    [(np.zeros(3), r"an array of shape \(3,\)"), (".", r"is a folder: \."), ("a.png", "does not exist: a.png")],
    ids=["one dimension", "folder", "nothing there"],
)
def test_a_value_that_is_no_file_is_refused(mill, value, words):
    """The error says what the value is: a one-dimensional array, a folder, a missing file."""
    with pytest.raises(nbh.BadInput, match=words):
        nbh.submit("mill", {}, endpoint="form", files={"image": value})

    assert mill.server.connections == 0


def test_a_picture_above_the_api_s_limit_is_refused(emulator):
    """The limits of bytes and pixels are those of the API's docs; the error says what to do."""
    noise = Image.effect_noise((1900, 1900), 90)
    for file, words in (
        (picture(2000), "at most 1999 on a side. Shrink it"),
        (noise, "at most 3.0 MB. Save it smaller"),
    ):
        with pytest.raises(nbh.BadInput, match=words):
            nbh.submit("ailab", {"image": file, "hair_style": "BuzzCut"}, endpoint="hairstyle-pro")

    assert emulator.ledger().requests == 0


def test_a_file_too_large_is_not_read(mill, refused, monkeypatch):
    """The size on the disk is checked first, so that a huge file does not fill the memory."""
    with Path("large.png").open("wb") as file:
        file.truncate(uploads.LARGEST_UPLOAD * 1000)
    monkeypatch.setattr(Path, "read_bytes", lambda self: pytest.fail("it was read"))

    with refused(words="at most 50,000,000 are sent"):
        nbh.submit("mill", {"prompt": "owl"}, endpoint="form", files={"image": "large.png"})


def test_a_pipe_is_refused(refused):
    """A pipe is refused unread, because reading could wait for ever."""
    os.mkfifo("pipe")

    with refused(words="is no ordinary file"):
        nbh.submit("mill", {"prompt": "owl"}, endpoint="form", files={"image": "pipe"})


# With the create


def parts(request):
    """The parts of a multipart body by name: file name, type, bytes."""
    boundary = request.header("content-type").partition("boundary=")[2].encode()
    fields = {}
    for part in request.body.split(b"--" + boundary)[1:-1]:
        head, _, data = part.strip(b"\r\n").partition(b"\r\n\r\n")
        names = dict(p.partition("=")[::2] for p in head.decode().split("\r\n")[0].split("; ")[1:])
        kind = next((h.split(": ")[1] for h in head.decode().split("\r\n") if h.lower().startswith("content-type")), "")
        fields[names["name"].strip('"')] = (names.get("filename", "").strip('"'), kind, data)
    return fields


UPLOADS = {
    "path in files": lambda path: ({"mode": "x"}, {"image": path}),
    "text in files": lambda path: ({"mode": "x"}, {"image": str(path)}),
    "bytes in files": lambda path: ({"mode": "x"}, {"image": path.read_bytes()}),
    "bytearray in files": lambda path: ({"mode": "x"}, {"image": bytearray(path.read_bytes())}),
    "path in the request": lambda path: ({"mode": "x", "image": path}, None),
    "bytes in the request": lambda path: ({"mode": "x", "image": path.read_bytes()}, None),
    "bytearray in the request": lambda path: ({"mode": "x", "image": bytearray(path.read_bytes())}, None),
}


@pytest.mark.parametrize("give", UPLOADS.values(), ids=UPLOADS)
def test_files_are_uploaded_beside_the_fields(mill, tmp_path, give):
    """However a file is given, the server gets its bytes, a name of ours and the fields as text."""
    path = tmp_path / "my private holiday.png"
    path.write_bytes(picture())
    request, files = give(path)

    task = send(mill, endpoint="form", request={**request, "n": 3, "on": True, "list": [1]}, files=files)

    sent = parts(mill.server.requests[0])
    assert sent["image"] == ("image.png", "image/png", picture())
    assert [sent[k][2] for k in ("mode", "n", "on", "list")] == [b"x", b"3", b"true", b"[1]"]
    assert sent["mode"][0] == ""
    assert task.params["image"] == digest(picture())


@pytest.mark.parametrize("where", ["request", "files"])
def test_a_file_is_kept_as_digest_and_size(mill, where):
    """The row has digest and size of a file; no file of the store holds its bytes."""
    data = picture() + b"CANARY-IN-THE-PICTURE"

    if where == "files":
        send(mill, endpoint="form", request={}, files={"image": data})
    else:
        send(mill, endpoint="form", request={"image": data})
    (row,) = session.store().rows()
    folder = session.store().folder
    session.store().close()

    assert row["params"] == {"image": digest(data)}
    assert parts(mill.server.requests[0])["image"][2] == data
    stored = [path for path in folder.rglob("*") if path.is_file()]
    assert stored
    assert not [path for path in stored if b"CANARY-IN-THE-PICTURE" in path.read_bytes()]


def test_a_form_without_a_file_is_multipart_too(mill):
    """A create of an endpoint that takes a form is multipart also without a file."""
    send(mill, endpoint="form", request={"a": "ü"})

    create = mill.server.requests[0]
    assert create.header("content-type").startswith("multipart/form-data")
    assert parts(create)["a"][2] == "ü".encode()


@pytest.mark.parametrize(("name", "short"), [("kie", "createTask"), ("gptge", "hailuo"), ("aigptimage", "createTask")])
@pytest.mark.parametrize("how", ["bytes", "path", "files"])
def test_a_file_at_an_api_that_takes_json_is_refused(refused, name, short, how):
    """The error names the parameter with the file; nothing is sent."""
    with refused(words='takes JSON, so no file can go along \\("image"\\)'):
        if how == "files":
            nbh.submit(name, {"prompt": "owl"}, endpoint=short, files={"image": picture()})
        else:
            nbh.submit(name, {"image": picture() if how == "bytes" else Path(__file__)}, endpoint=short)


def test_a_file_s_name_as_text_is_refused(emulator):
    """Where a form takes a file, its name as text would be sent and billed; the error says how to pass the file."""
    with pytest.raises(nbh.BadInput, match=r'takes a file as "image", not text\. Pass files=\{"image": "me\.jpg"\}'):
        nbh.submit("ailab", {"image": "me.jpg"}, endpoint="bald")

    assert emulator.ledger().requests == 0


# Ahead of the create


TRIPO = {
    "v2, one picture": ("tripo", {"type": "image_to_model"}, None, "file", False),
    "v2, several": ("tripo", {"type": "multiview_to_model"}, None, "files", True),
    "v3, one picture": ("tripo-v3", {}, "image-to-model", "input", False),
    "v3, several": ("tripo-v3", {}, "multiview-to-model", "inputs", True),
}


@pytest.mark.parametrize(("name", "request_", "endpoint", "field", "several"), TRIPO.values(), ids=TRIPO)
def test_tripo_gets_the_picture_first_and_its_token_in_the_create(emulator, name, request_, endpoint, field, several):
    """From the upload through the create to a finished task, whose row has digest and size."""
    pictures = [picture(32), Image.new("RGB", (32, 32), "red")]

    task = nbh.submit(name, {**request_, field: pictures if several else pictures[0]}, endpoint=endpoint)
    history = nbh.watch(finished(emulator, task), display=False)[0]

    assert history.succeeded
    assert len(emulator.ledger().creates) == 1
    params = nbh.tasks().iloc[0]
    column = f"param_{field}[0].sha256" if several else f"param_{field}.sha256"
    assert len(params[column]) == 64


@pytest.fixture
def handing(mill):
    """The mill with an endpoint for uploads, whose token the create names."""
    nbh.register(provider(
        mill.root,
        endpoints={"image": Endpoint(path="/jobs", files=("image", "images"))},
        upload=FileUpload(path="/upload", answer="data.token", value={"kind": "{type}", "token": "{token}"}),
    ))  # fmt: skip
    return mill


def test_the_create_has_the_token_of_the_upload(handing):
    """Token and type stand where the provider's data puts them, other parameters as they were."""
    handing.creates[:] = [reply({"data": {"token": "t-1"}}), {"id": "a"}]

    nbh.submit("mill", {"prompt": "owl", "image": picture()}, endpoint="image")

    upload, create = handing.server.requests
    assert (upload.path, create.path) == ("/upload", "/jobs")
    assert picture() in upload.body
    assert b'name="file"; filename="image.png"' in upload.body
    assert create.json() == {"prompt": "owl", "image": {"kind": "png", "token": "t-1"}}


FAILED = {
    "refused": (reply({"message": "no such format"}, 400), "no such format", "400"),
    "no token": (reply({"data": {}}), "names no task id|no token", ""),
    "too many": (reply({"message": "slow"}, 429, {"retry-after": "7"}), "asks to wait 7 s", "429"),
    "bad gateway": (reply("<html>502</html>", 502), "502", "502"),
}


@pytest.mark.parametrize(("answer", "words", "code"), FAILED.values(), ids=FAILED)
def test_after_a_failed_upload_no_create_is_sent(handing, answer, words, code):
    """Nothing is in doubt: the row failed, and the error names the upload."""
    handing.creates[:] = [answer]

    with pytest.raises(nbh.SubmitFailed, match=words) as caught:
        nbh.submit("mill", {"image": picture()}, endpoint="image")

    assert "the upload of image.png did not work" in str(caught.value)
    assert caught.value.code == code
    assert [request.path for request in handing.server.requests] == ["/upload"]
    assert nbh.tasks()["outcome"].tolist() == ["failed"]


def test_a_file_where_none_is_taken_is_refused(handing):
    """The error for a file under another name lists the parameters that take files."""
    with pytest.raises(nbh.BadInput, match=r'takes no file as "picture"\. It takes files as image, images'):
        nbh.submit("mill", {"picture": picture()}, endpoint="image")

    assert handing.server.connections == 0


@pytest.mark.parametrize("name", [name for name in _providers.names() if _providers.get(name).upload])
def test_parameters_that_take_files_are_known_parameters(name):
    """Each parameter that is uploaded before the create is one of the endpoint's documented ones."""
    for endpoint in _providers.get(name).creates.values():
        assert set(endpoint.files) <= set(endpoint.params)
