"""Pictures painted with Pillow from a seed and a prompt.

They have the width, height and format that the request asks for, are reproducible by seed, and have the first words of
the prompt as a caption, so that a gallery shows which picture belongs to which prompt.
"""

from __future__ import annotations

import colorsys
import io
import math
import random
import re
from collections.abc import Callable

from PIL import Image, ImageDraw, ImageFilter, ImageFont

Colour = tuple[int, int, int]

#: Five colours each, from light (background) to dark (foreground).
_PALETTES: tuple[tuple[str, ...], ...] = (
    ("ffe8d6", "f7b89c", "e07a5f", "9c4a5a", "3d2645"),
    ("e3f2f1", "a8d5cf", "5fa8a3", "2f6f7e", "173753"),
    ("fdf0d5", "f4c97a", "dd8f4b", "8a5a44", "3b2c35"),
    ("ece4f6", "c3aee0", "8f7ac0", "54478c", "241e4e"),
    ("e9f5db", "b5d099", "7da87b", "436e5c", "1d3b3f"),
    ("fbe4ec", "f0a6bf", "cf6a92", "7d3c74", "2e1f4d"),
    ("e0f0ff", "a6cbee", "6b9bd1", "3a5f9e", "1b2a52"),
)
_DIRECTIVE = re.compile(r"\bemu:\S+", re.IGNORECASE)


def _hex(text: str) -> Colour:
    return int(text[:2], 16), int(text[2:4], 16), int(text[4:], 16)


def mix(a: Colour, b: Colour, share: float) -> Colour:
    """Interpolate linearly between two colours."""
    return tuple(round(x + (y - x) * share) for x, y in zip(a, b, strict=True))  # type: ignore[return-value]


def palette(rng: random.Random) -> list[Colour]:
    """Choose one of the palettes and shift its hue a little."""
    turn = rng.uniform(-0.035, 0.035)
    colours: list[Colour] = []
    for text in rng.choice(_PALETTES):
        h, lightness, s = colorsys.rgb_to_hls(*(c / 255 for c in _hex(text)))
        r, g, b = colorsys.hls_to_rgb((h + turn) % 1.0, lightness, s)
        colours.append((round(r * 255), round(g * 255), round(b * 255)))
    return colours


def gradient(width: int, height: int, top: Colour, bottom: Colour) -> Image.Image:
    """Return a picture with a vertical gradient."""
    strip = Image.new("RGB", (1, height))
    strip.putdata([mix(top, bottom, y / max(1, height - 1)) for y in range(height)])
    return strip.resize((width, height))


def glow(picture: Image.Image, centre: tuple[float, float], radius: float, colour: Colour, strength: float) -> None:
    """Light that fades out around a point."""
    size = max(2, round(radius * 2))
    # radial_gradient is black in the middle and white at the rim of a 256 pixel square.
    fade = Image.radial_gradient("L").point([max(0, round((255 - v * 2**0.5) * strength)) for v in range(256)])
    mask = fade.resize((size, size), Image.Resampling.BILINEAR)
    corner = (round(centre[0] - radius), round(centre[1] - radius))
    picture.paste(Image.new("RGB", (size, size), colour), corner, mask)


def _hills(picture: Image.Image, colours: list[Colour], rng: random.Random) -> None:
    """Ridges in the haze under a low sun."""
    width, height = picture.size
    picture.paste(gradient(width, height, mix(colours[1], colours[0], 0.35), colours[0]))
    sun = (width * rng.uniform(0.25, 0.75), height * rng.uniform(0.26, 0.42))
    radius = width * rng.uniform(0.06, 0.11)
    glow(picture, sun, radius * 4.5, (255, 250, 235), 0.85)
    draw = ImageDraw.Draw(picture)
    draw.ellipse([sun[0] - radius, sun[1] - radius, sun[0] + radius, sun[1] + radius], fill=(255, 249, 236))
    layers = 6
    for layer in range(layers):
        share = layer / (layers - 1)
        level = height * (0.46 + 0.44 * share)
        waves = [
            (rng.uniform(0.7, 1.6) * 2**k, rng.uniform(0, math.tau), height * (0.035 + 0.03 * share) / 1.9**k)
            for k in range(4)
        ]
        ridge = [
            (x, level + sum(a * math.sin(math.tau * f * x / width + p) for f, p, a in waves))
            for x in range(0, width + 8, 8)
        ]
        place = share * 3
        colour = mix(colours[1 + int(place)], colours[min(4, 2 + int(place))], place % 1)
        draw.polygon([*ridge, (width + 8, height), (0, height)], fill=colour)


def _paper(picture: Image.Image, colours: list[Colour], rng: random.Random) -> None:
    """Sheets of cut paper, each with a soft shadow on the one below."""
    width, height = picture.size
    picture.paste(gradient(width, height, colours[0], mix(colours[0], colours[1], 0.6)))
    tilt = rng.uniform(-0.5, 0.5)
    shades = [mix(colours[int(t)], colours[min(4, int(t) + 1)], t % 1) for t in (0.7, 1.4, 2.1, 2.8, 3.4, 4.0)]
    for layer, colour in enumerate(shades):
        share = (layer + 1) / len(shades)
        f, p = rng.uniform(0.5, 1.3), rng.uniform(0, math.tau)
        edge = [
            (
                x,
                height * (0.12 + 0.76 * share)
                + tilt * (x - width / 2) * (1 - share)
                + height * 0.09 * math.sin(math.tau * f * x / width + p)
                + height * 0.03 * math.sin(math.tau * f * 2.3 * x / width + 2 * p),
            )
            for x in range(0, width + 8, 8)
        ]
        # The shadow is drawn and blurred at an eighth of the size: it is soft anyway, and far quicker so.
        small = Image.new("L", (width // 8, height // 8), 0)
        ImageDraw.Draw(small).polygon(
            [*((x / 8, y / 8 - 3) for x, y in edge), (width / 8, height / 8), (0, height / 8)], fill=96
        )
        shadow = small.filter(ImageFilter.GaussianBlur(3)).resize((width, height), Image.Resampling.BILINEAR)
        picture.paste(Image.new("RGB", (width, height), mix(colours[4], (0, 0, 0), 0.3)), mask=shadow)
        ImageDraw.Draw(picture).polygon([*edge, (width + 8, height), (0, height)], fill=colour)


def _orbs(picture: Image.Image, colours: list[Colour], rng: random.Random) -> None:
    """Round lights over a dark field, a few of them sharp."""
    width, height = picture.size
    picture.paste(gradient(width, height, mix(colours[4], colours[3], 0.5), colours[4]))
    for _ in range(9):
        where = (rng.uniform(0, width), rng.uniform(0, height))
        glow(picture, where, width * rng.uniform(0.2, 0.5), rng.choice(colours[1:4]), 0.5)
    for _ in range(7):
        radius = width * rng.uniform(0.03, 0.12)
        x, y = rng.uniform(0.08, 0.92) * width, rng.uniform(0.08, 0.75) * height
        size = round(radius * 2)
        colour = rng.choice(colours[:3])
        disc = Image.new("L", (size * 2, size * 2), 0)
        ImageDraw.Draw(disc).ellipse([4, 4, size * 2 - 4, size * 2 - 4], fill=rng.randint(90, 190))
        ball = gradient(size, size, mix(colour, (255, 255, 255), 0.55), mix(colour, colours[3], 0.4))
        picture.paste(ball, (round(x - radius), round(y - radius)), disc.resize((size, size), Image.Resampling.BOX))


def _arches(picture: Image.Image, colours: list[Colour], rng: random.Random) -> None:
    """Rainbow arches on a tiled floor of colour."""
    width, height = picture.size
    picture.paste(gradient(width, height, mix(colours[0], (255, 255, 255), 0.4), colours[0]))
    draw = ImageDraw.Draw(picture)
    columns = rng.choice((2, 3))
    cell = width / columns
    for row in range(math.ceil(height / cell)):
        for column in range(columns):
            x, y = column * cell, row * cell
            order = rng.sample(colours[1:], 4)
            draw.rectangle([x, y, x + cell, y + cell], fill=mix(colours[0], order[0], rng.uniform(0.05, 0.3)))
            quarter = rng.randrange(4)
            cx, cy = x + cell * (quarter % 2), y + cell * (quarter // 2)
            for ring, colour in enumerate([*order, colours[0]]):
                reach = cell * (0.96 - 0.2 * ring)
                start = (0, 90, 270, 180)[quarter]
                draw.pieslice([cx - reach, cy - reach, cx + reach, cy + reach], start, start + 90, fill=colour)


_STYLES: tuple[Callable[[Image.Image, list[Colour], random.Random], None], ...] = (_hills, _paper, _orbs, _arches)


def words_of(prompt: str, limit: int = 5) -> str:
    """Return the first words of a prompt without directives, and only characters that Pillow's font has."""
    words = _DIRECTIVE.sub("", prompt).split()[:limit]
    return " ".join("".join(c for c in word if c.isprintable() and ord(c) < 0x250) for word in words).strip()[:44]


def caption(picture: Image.Image, text: str, dark: Colour) -> None:
    """Draw a text at the bottom of the picture, on a darkened band."""
    if not text:
        return
    width, height = picture.size
    size = max(16, width // 22)
    font = ImageFont.load_default(size)
    while size > 14 and font.getlength(text) > width * 0.84:
        size -= 2
        font = ImageFont.load_default(size)
    pad, base = round(width * 0.055), round(height * 0.93)
    band = round(size * 4.2)
    shade = Image.linear_gradient("L").resize((width, band)).point([round(v * 0.62) for v in range(256)])
    picture.paste(Image.new("RGB", (width, band), mix(dark, (0, 0, 0), 0.45)), (0, height - band), shade)
    ImageDraw.Draw(picture).text((pad, base), text, font=font, fill=(255, 252, 246), anchor="ls")


def encode(picture: Image.Image, form: str) -> bytes:
    """Encode a picture as ``png``, ``jpg`` or ``webp``, with settings for speed and not for size."""
    out = io.BytesIO()
    if form == "png":
        picture.save(out, "PNG", compress_level=1)
    elif form == "webp":
        picture.save(out, "WEBP", quality=84, method=0)
    else:
        picture.save(out, "JPEG", quality=90)
    return out.getvalue()


def paint(seed: int, prompt: str, width: int, height: int) -> Image.Image:
    """Paint a picture for a prompt; the same arguments give the same picture."""
    rng = random.Random(f"{seed}:{prompt}")
    colours = palette(rng)
    picture = Image.new("RGB", (width, height))
    rng.choice(_STYLES)(picture, colours, rng)
    caption(picture, words_of(prompt), colours[4])
    return picture


def present(thing: Image.Image, seed: int, prompt: str, width: int, height: int) -> Image.Image:
    """Paste a picture with transparency into the middle of a background in the seed's colours."""
    colours = palette(random.Random(f"present:{seed}"))
    white = (255, 255, 255)
    picture = gradient(width, height, mix(colours[0], white, 0.55), mix(colours[1], colours[0], 0.5))
    glow(picture, (width * 0.3, height * 0.22), width * 0.5, white, 0.4)
    side = min(width, height)
    fitting = thing.resize((side, side), Image.Resampling.LANCZOS)
    picture.paste(fitting, ((width - side) // 2, (height - side) // 2), fitting)
    caption(picture, words_of(prompt), colours[4])
    return picture
