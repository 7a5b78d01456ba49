"""F: thumbnails: five formats are decoded with right colours, others refused, and hostile files harm no worker."""

import io
import os
import signal
import struct
import zlib
from datetime import UTC, datetime
from pathlib import Path

import psutil
import pytest
from PIL import Image, ImageDraw
from support.raw_server import reply
from support.scripts import run
from support.waiting import until
from support.watched import ended, sound

from nbhelper._network import downloads
from nbhelper._views import preview, thumbnail_worker
from nbhelper._views.card import Scene, card
from nbhelper._views.preview import SIDE, WEIGHT, Previewer, Thumbnail, can_preview

RED, GREEN, BLUE, WHITE = (220, 30, 30), (30, 180, 60), (30, 60, 210), (255, 255, 255)
NEAR = 14
"""Tolerance of a colour channel after JPEG compression."""


@pytest.fixture(scope="module")
def worker():
    made = Previewer()
    yield made
    made.close()


@pytest.fixture
def thumb(worker, tmp_path):
    """A function from file bytes to the decoded thumbnail image and its Thumbnail."""

    def make(data, suffix=".png", side=SIDE):
        path = tmp_path / f"picture{suffix}"
        path.write_bytes(data)
        thumbnail = worker.thumbnail(path, side)
        assert isinstance(thumbnail, Thumbnail), thumbnail
        picture = Image.open(io.BytesIO(thumbnail.data))
        assert picture.size == (thumbnail.width, thumbnail.height)
        return picture, thumbnail

    return make


@pytest.fixture
def refused(worker, tmp_path):
    """A function from file bytes to the reason why there is no thumbnail."""

    def make(data, suffix=".png"):
        path = tmp_path / f"picture{suffix}"
        path.write_bytes(data)
        reason = worker.thumbnail(path)
        assert isinstance(reason, str)
        return reason

    return make


def quarters(mode="RGB", colours=(RED, GREEN, BLUE, WHITE), size=200):
    """A picture of four coloured quarters, whose places show each rotation and reflection."""
    picture = Image.new(mode, (size, size))
    half = size // 2
    for at, colour in zip(((0, 0), (half, 0), (0, half), (half, half)), colours, strict=True):
        picture.paste(colour, (*at, at[0] + half, at[1] + half))
    return picture


def encoded(picture, form, **options):
    buffer = io.BytesIO()
    picture.save(buffer, form, **options)
    return buffer.getvalue()


def quarter_colours(picture):
    """The RGB colours in the middles of the four quarters."""
    rgb = picture.convert("RGB")
    w, h = rgb.size
    return [rgb.getpixel((x, y)) for y in (h // 4, 3 * h // 4) for x in (w // 4, 3 * w // 4)]


def is_near(colours, expected, near=NEAR):
    return all(abs(a - b) <= near for c, e in zip(colours, expected, strict=True) for a, b in zip(c, e, strict=True))


FORMATS = {"PNG": ".png", "JPEG": ".jpg", "WEBP": ".webp", "GIF": ".gif", "AVIF": ".avif"}


@pytest.mark.parametrize("form", FORMATS)
def test_five_formats_are_shown(thumb, form):
    """PNG, JPEG, WebP, GIF and AVIF give a thumbnail with the colours where they were."""
    picture, thumbnail = thumb(encoded(quarters(), form), FORMATS[form])

    assert is_near(quarter_colours(picture), [RED, GREEN, BLUE, WHITE], near=30)
    assert thumbnail.full == (200, 200)


ORIENTATIONS = {
    1: (RED, GREEN, BLUE, WHITE),
    2: (GREEN, RED, WHITE, BLUE),
    3: (WHITE, BLUE, GREEN, RED),
    4: (BLUE, WHITE, RED, GREEN),
    5: (RED, BLUE, GREEN, WHITE),
    6: (BLUE, RED, WHITE, GREEN),
    7: (WHITE, GREEN, BLUE, RED),
    8: (GREEN, WHITE, RED, BLUE),
}


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_f18_turned_photo(thumb, orientation):
    """All eight EXIF orientations are applied to the thumbnail and to the full size."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    wide = quarters(size=200).resize((300, 200))

    picture, thumbnail = thumb(encoded(wide, "JPEG", quality=95, exif=exif), ".jpg")

    assert is_near(quarter_colours(picture), ORIENTATIONS[orientation], near=24)
    assert thumbnail.full == ((200, 300) if orientation >= 5 else (300, 200))


def test_f18_alpha(thumb):
    """An alpha channel is kept in the thumbnail: half-transparent is half-transparent, opaque keeps its colour."""
    picture = quarters("RGBA", ((*RED, 255), (*GREEN, 128), (0, 0, 0, 0), (*BLUE, 255)))

    small, thumbnail = thumb(encoded(picture, "PNG"))
    alpha = [small.convert("RGBA").getpixel((x, y))[3] for y in (50, 150) for x in (50, 150)]

    assert thumbnail.mime == "image/webp"
    assert [abs(a - e) <= 6 for a, e in zip(alpha, (255, 128, 0, 255), strict=True)] == [True] * 4
    assert is_near(quarter_colours(small)[:1], [RED])


def test_f18_palette(thumb):
    """A palette's transparent entry is transparent, in PNG and in GIF."""
    picture = quarters("P", (0, 1, 2, 3))
    picture.putpalette([*RED, *GREEN, *BLUE, *WHITE])
    for form in ("PNG", "GIF"):
        small, _ = thumb(encoded(picture, form, transparency=2), FORMATS[form])

        assert small.convert("RGBA").getpixel((50, 150))[3] == 0
        assert is_near(quarter_colours(small)[:2], [RED, GREEN])


def test_f16_cmyk(thumb):
    """A CMYK JPEG is converted to the right RGB colours."""
    picture = quarters("CMYK", ((0, 255, 255, 0), (255, 0, 255, 0), (255, 255, 0, 0), (0, 0, 0, 0)))

    small, _ = thumb(encoded(picture, "JPEG", quality=95), ".jpg")

    assert is_near(quarter_colours(small), [(255, 0, 0), (0, 255, 0), (0, 0, 255), WHITE], near=40)


def png16(colour_type, pixels, width):
    """The bytes of a PNG with 16 bits a channel, which Pillow cannot write."""
    rows = [pixels[i : i + width] for i in range(0, len(pixels), width)]
    raw = b"".join(b"\x00" + b"".join(struct.pack(f">{len(p)}H", *p) for p in row) for row in rows)

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", width, len(rows), 16, colour_type, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b"")


def blocks(four, size=64):
    half = size // 2
    return [four[(y >= half) * 2 + (x >= half)] for y in range(size) for x in range(size)]


def test_f17_sixteen_bits(thumb):
    """Sixteen bits of grey, of colour and with alpha are scaled, not clipped to white."""
    grey, _ = thumb(png16(0, blocks([(0,), (0x4000,), (0x8000,), (0xFFFF,)]), 64))
    rgb, _ = thumb(png16(2, blocks([(0xFFFF, 0, 0), (0, 0x8000, 0), (0, 0, 0xFFFF), (0x4000,) * 3]), 64))
    alpha, _ = thumb(png16(6, blocks([(0xFFFF, 0, 0, 0xFFFF), (0, 0, 0, 0), (0, 0, 0xFFFF, 0xFFFF), (0,) * 4]), 64))

    assert is_near(quarter_colours(grey), [(0,) * 3, (64,) * 3, (128,) * 3, (255,) * 3])
    assert is_near(quarter_colours(rgb), [(255, 0, 0), (0, 128, 0), (0, 0, 255), (64,) * 3])
    assert [alpha.convert("RGBA").getpixel((x, y))[3] for y in (16, 48) for x in (16, 48)] == [255, 0, 255, 0]


@pytest.mark.parametrize("form", ["GIF", "WEBP", "PNG"])
def test_f15_first_frame(thumb, form):
    """An animation's thumbnail is its first frame, marked as animated."""
    frames = [Image.new("RGB", (64, 64), c) for c in (GREEN, RED, BLUE)]
    data = encoded(frames[0], form, save_all=True, append_images=frames[1:], duration=100, loop=0)

    picture, thumbnail = thumb(data, FORMATS[form])

    assert is_near(quarter_colours(picture), [GREEN] * 4, near=24)
    assert thumbnail.animated


def test_f15_ten_thousand_frames(thumb):
    """A GIF of 10,000 frames has a thumbnail of its first frame in time; the frames are not counted."""
    one = encoded(Image.new("P", (16, 16), 1), "GIF")
    frame = b"!\xf9\x04\x04\x0a\x00\x00\x00" + one[one.index(b",\x00\x00\x00\x00\x10\x00\x10\x00") : -1]
    many = one[:-1] + frame * 10_000 + b";"
    Image.open(io.BytesIO(many)).seek(1)

    picture, thumbnail = thumb(many, ".gif")

    assert picture.size == (16, 16)
    assert thumbnail.animated


NOT_DECODED = {
    "TIFF": lambda: encoded(quarters(), "TIFF"),
    "EPS": lambda: encoded(quarters(), "EPS"),
    "BMP": lambda: encoded(quarters(), "BMP"),
    "ICO": lambda: encoded(quarters(), "ICO"),
    "PPM": lambda: encoded(quarters(), "PPM"),
    "PDF": lambda: encoded(quarters(), "PDF"),
    "PSD": lambda: b"8BPS\x00\x01" + bytes(6) + b"\x00\x03" + struct.pack(">IIHH", 8, 8, 8, 3) + bytes(400),
    "SVG": lambda: b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><script>1</script></svg>',
    "HEIC": lambda: b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00heicmif1" + bytes(400),
}


@pytest.mark.parametrize("form", NOT_DECODED)
def test_f21_no_other_decoder(refused, form):
    """SVG, TIFF, PSD, EPS, HEIC and the like are not decoded, even under the suffix `.png`."""
    assert "identify" in refused(NOT_DECODED[form](), ".png")


def test_f19_suffixes_that_are_previewed(tmp_path):
    """Only the suffixes of the five formats can be previewed."""
    names = [".png", ".jpg", ".webp", ".gif", ".avif", ".svg", ".tif", ".bmp", ".heic", ".glb", ".mp4", ".bin"]
    shown = {name for name in names if can_preview(tmp_path / f"a{name}")}

    assert shown == {".png", ".jpg", ".webp", ".gif", ".avif"}


SAVED = {
    "HEIC": (b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00heicmif1" + bytes(400), ".heic", "image"),
    "SVG": (NOT_DECODED["SVG"](), ".svg", "file"),
    "GLB": (b"glTF\x02\x00\x00\x00" + bytes(400), ".glb", "model"),
    "MP4": (b"\x00\x00\x00\x18ftypisom" + bytes(400), ".mp4", "video"),
    "PSD": (NOT_DECODED["PSD"](), ".bin", "file"),
}


@pytest.fixture
def shown(mill):
    """A function from file bytes to the history of a task with that file, and its static card."""

    def make(data, name="a.png"):
        history = ended(mill.job({"state": "done", "files": [mill.file(reply(data), name=name)]}))
        assert sound(history, mill)
        assert history.succeeded
        return history, card([history], Scene(now=datetime.now(UTC)))

    return make


@pytest.mark.parametrize(("data", "suffix", "kind"), SAVED.values(), ids=SAVED)
def test_f19_saved_without_a_preview(shown, data, suffix, kind):
    """A file that is never decoded is saved byte for byte under its own suffix and named in the card."""
    history, drawn = shown(data)

    (path,) = history.files
    assert path.read_bytes() == data
    assert (path.suffix, history.saves["files[0]"].kind) == (suffix, kind)
    assert path.name in drawn
    assert "<img" not in drawn


def test_f20_svg_with_a_script(shown):
    """An SVG is saved and never drawn inline: neither its script nor its references are in the card."""
    evil = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script><image href="http://127.0.0.1/x"/></svg>'

    history, drawn = shown(evil, "a.svg")

    assert history.files[0].read_bytes() == evil
    assert "script" not in drawn
    assert "<svg" not in drawn
    assert "data:image/svg" not in drawn
    assert not can_preview(history.files[0])


def test_f32_preview_fails(shown, worker):
    """A saved file that no decoder can read leaves the task succeeded, with a reason in place of its thumbnail."""
    broken = encoded(quarters(), "PNG")[:60] + bytes(400)

    history, _ = shown(broken)

    assert history.files[0].read_bytes() == broken
    assert history.saves["files[0]"].kind == "image"
    assert isinstance(worker.thumbnail(history.files[0]), str)


def photo(size=1024):
    """A noisy picture that is hard to compress, as photos are."""
    noise = Image.effect_noise((size, size), 90)
    picture = Image.merge("RGB", (noise, noise.rotate(90), noise.rotate(180)))
    ImageDraw.Draw(picture).ellipse([size // 4, size // 4, size // 2, size // 2], fill=RED)
    return picture


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_weight(thumb, mode):
    """No thumbnail is wider than 384 pixels or heavier than 20 kB, however hard the picture is to compress."""
    picture, thumbnail = thumb(encoded(photo().convert(mode), "PNG"))

    assert max(picture.size) <= SIDE
    assert len(thumbnail.data) <= WEIGHT
    assert thumbnail.full == (1024, 1024)


def test_small_pictures_are_not_blown_up(thumb):
    """A picture smaller than a thumbnail is not enlarged."""
    picture, _ = thumb(encoded(quarters(size=40), "PNG"))

    assert picture.size == (40, 40)


@pytest.mark.parametrize("form", FORMATS)
def test_f12_half_a_picture(refused, form):
    """Half an image file gives a reason and no thumbnail, also where Pillow's `verify()` raises nothing."""
    data = encoded(photo(256), form)

    assert refused(data[: len(data) // 2], FORMATS[form])


def test_f11_cut_by_a_few_bytes(mill, monkeypatch):
    """A PNG without its last bytes, which Pillow loads without an error, is FAILED by its length."""
    monkeypatch.setattr(downloads, "_PAUSE", 0.02)
    monkeypatch.setattr(downloads, "_PATIENCE", 0.3)
    whole = encoded(quarters(), "PNG")

    def cut(n):
        async def act(conn, _request):
            await conn.send(reply(whole[:-n] if n else whole, length=len(whole)))
            conn._writer.close()

        return act

    cuts = range(14)
    Image.open(io.BytesIO(whole[:-5])).load()
    history = ended(mill.job({"state": "done", "files": [mill.file(cut(n)) for n in cuts]}))

    assert sound(history, mill)
    assert [history.save_state(f"files[{n}]") for n in cuts] == ["saved", *["failed"] * 13]
    assert len(history.files) == 1


def huge(width, height):
    """The bytes of a PNG of one colour with many pixels in few bytes."""

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    packer = zlib.compressobj(9)
    row = bytes(1 + width // 8 + 1)
    rows = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("width", "height"), [(9000, 9000), (7000, 7000), (1_000_000, 100)], ids=["81M", "49M", "long"]
)
def test_f13_too_many_pixels(refused, width, height):
    """A picture of more than 40 megapixels is refused by its header, before it is decoded."""
    before = psutil.Process().memory_info().rss

    assert "pixels are too many to preview" in refused(huge(width, height))
    assert psutil.Process().memory_info().rss - before < 50_000_000


def test_f13_just_below_the_limit(worker, tmp_path, figure):
    """A picture of 39 megapixels is decoded in the worker, whose memory has a limit; this process does not grow."""
    path = tmp_path / "wide.png"
    path.write_bytes(huge(6240, 6250))
    before = psutil.Process().memory_info().rss

    thumbnail = worker.thumbnail(path)

    grown = psutil.Process().memory_info().rss - before
    figure(f"+{grown / 1e6:.1f} MB here")
    assert isinstance(thumbnail, Thumbnail)
    assert thumbnail.full == (6240, 6250)
    assert grown < 20_000_000
    assert psutil.Process(worker._process.pid).memory_info().rss < thumbnail_worker.MOST_MEMORY


def test_f14_text_chunk(refused, thumb):
    """A PNG with a zTXt decompression bomb gives a reason, and the next picture a thumbnail."""

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    good = encoded(quarters(), "PNG")
    bomb = chunk(b"zTXt", b"note\x00\x00" + zlib.compress(bytes(200_000_000), 9))

    assert "too large" in refused(good[:33] + bomb + good[33:])
    assert is_near(quarter_colours(thumb(good)[0]), [RED, GREEN, BLUE, WHITE])


PREVIEWER_SCRIPT = """
import sys, threading
from nbhelper._views import preview

sys.setswitchinterval(1e-6)
begin, made = threading.Barrier(32), []

def start():
    begin.wait()
    made.append(preview.previewer())

threads = [threading.Thread(target=start) for _ in range(32)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(len(set(map(id, made))))
"""


def test_first_previews_of_many_threads_share_one_worker(tmp_path):
    """32 threads that call previewer() at the same time get the same Previewer."""
    assert {run(PREVIEWER_SCRIPT, cwd=tmp_path).stdout.strip() for _ in range(3)} == {"1"}


def hang(worker):
    """Stop the worker's process with SIGSTOP."""
    os.kill(worker._process.pid, signal.SIGSTOP)


def crash(worker):
    """Kill the worker's process with SIGSEGV."""
    os.kill(worker._process.pid, signal.SIGSEGV)


@pytest.mark.parametrize("harm", [hang, crash])
def test_f22_worker_hangs_or_dies(tmp_path, monkeypatch, harm):
    """The picture at which the worker hangs or dies gets a reason, and a new worker makes the next thumbnail."""
    monkeypatch.setattr(preview, "PATIENCE", 0.5)
    path = tmp_path / "a.png"
    path.write_bytes(encoded(quarters(), "PNG"))
    worker = Previewer()
    try:
        assert isinstance(worker.thumbnail(path), Thumbnail)
        first = worker._process.pid
        process = worker._process
        harm(worker)
        if harm is crash:
            monkeypatch.setattr(process, "poll", lambda: None)  # it dies during the request
        reason = worker.thumbnail(path)

        assert isinstance(reason, str)
        assert "preview" in reason
        assert isinstance(worker.thumbnail(path), Thumbnail)
        assert worker._process.pid != first
    finally:
        worker.close()


def test_an_interrupt_does_not_mix_up_pictures(tmp_path):
    """After a KeyboardInterrupt while one thumbnail is awaited, the next call returns the next picture's."""
    one, other = tmp_path / "one.png", tmp_path / "other.png"
    one.write_bytes(encoded(Image.new("RGB", (50, 50), RED), "PNG"))
    other.write_bytes(encoded(Image.new("RGB", (60, 60), BLUE), "PNG"))
    worker = Previewer()
    assert worker.thumbnail(one).width == 50
    worker._process.stdout = Interrupted(worker._process.stdout)
    try:
        with pytest.raises(KeyboardInterrupt):
            worker.thumbnail(one)

        assert worker.thumbnail(other).width == 60
    finally:
        worker.close()


class Interrupted:
    """A pipe whose readline() raises KeyboardInterrupt."""

    def __init__(self, pipe):
        self._pipe = pipe

    def readline(self):
        raise KeyboardInterrupt

    def close(self):
        self._pipe.close()


def test_the_worker_sees_no_key(tmp_path, monkeypatch):
    """API keys in the environment are not passed to the worker, which has PATH."""
    monkeypatch.setenv("KIE_API_KEY", "canary-5f2d81")
    path = tmp_path / "a.png"
    path.write_bytes(encoded(quarters(), "PNG"))
    worker = Previewer()
    try:
        worker.thumbnail(path)
        variables = Path(f"/proc/{worker._process.pid}/environ").read_bytes()
    finally:
        worker.close()

    assert b"canary" not in variables
    assert b"PATH=" in variables


def test_closing_does_not_wait_for_a_worker_that_hangs(tmp_path, monkeypatch):
    """close() ends a worker that hangs, without waiting for PATIENCE."""
    from threading import Thread

    monkeypatch.setattr(preview, "PATIENCE", 3600.0)
    path = tmp_path / "a.png"
    path.write_bytes(encoded(quarters(), "PNG"))
    worker = Previewer()
    worker.thumbnail(path)
    hang(worker)
    asking = Thread(target=worker.thumbnail, args=(path,), daemon=True)
    asking.start()
    until(worker._lock.locked)

    worker.close()

    asking.join(30)
    assert not asking.is_alive()
