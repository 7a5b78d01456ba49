"""A small solid with a seed of its own: as GLB, OBJ or STL, and as the picture of itself.

It is a turned vessel, its outline drawn from the seed: smooth, closed, coloured along its height, and at
once seen to be the same thing in the model viewer and in the rendered image.
"""

from __future__ import annotations

import json
import math
import random
import struct
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFilter

from nbhelper._emulator.pictures import Colour, caption, glow, gradient, mix, palette, words_of

Vec = tuple[float, float, float]

_RINGS, _SIDES = 28, 36


@dataclass(frozen=True, slots=True)
class Mesh:
    """Vertices with normals and colours, and triangles that index them."""

    points: list[Vec]
    normals: list[Vec]
    colours: list[Colour]
    triangles: list[tuple[int, int, int]]


def _unit(v: Vec) -> Vec:
    size = math.sqrt(sum(c * c for c in v)) or 1.0
    return v[0] / size, v[1] / size, v[2] / size


def turn(seed: int) -> Mesh:
    """The vessel of a seed, one unit high, y up."""
    rng = random.Random(f"mesh:{seed}")
    colours = palette(rng)
    a, b, c = rng.uniform(0.2, 0.32), rng.uniform(0.08, 0.16), rng.uniform(0.03, 0.07)
    p, q = rng.uniform(0, math.tau), rng.uniform(0, math.tau)
    flutes, depth = rng.choice((0, 5, 6, 8)), rng.uniform(0.02, 0.06)

    def radius(t: float, angle: float) -> float:
        body = a + b * math.sin(math.pi * 1.6 * t + p) + c * math.sin(math.tau * 1.5 * t + q)
        # Round off both ends, so that the solid is closed without caps.
        ends = math.sqrt(max(0.0, 1 - (2 * t - 1) ** 8))
        return max(0.05, body) * ends * (1 + depth * math.cos(flutes * angle + 2 * t))

    points: list[Vec] = []
    shades: list[Colour] = []
    for ring in range(_RINGS + 1):
        t = ring / _RINGS
        for side in range(_SIDES):
            angle = math.tau * side / _SIDES
            r = radius(t, angle)
            points.append((r * math.cos(angle), t - 0.5, r * math.sin(angle)))
            place = t * 3
            shades.append(mix(colours[3 - int(min(place, 2.999))], colours[2 - min(int(place), 2)], place % 1))
    triangles: list[tuple[int, int, int]] = []
    for ring in range(_RINGS):
        for side in range(_SIDES):
            i, j = ring * _SIDES + side, ring * _SIDES + (side + 1) % _SIDES
            # Counter-clockwise seen from outside, as glTF wants its front faces.
            triangles += [(i, i + _SIDES, j), (j, i + _SIDES, j + _SIDES)]
    sums = [[0.0, 0.0, 0.0] for _ in points]
    for tri in triangles:
        (x0, y0, z0), (x1, y1, z1), (x2, y2, z2) = (points[i] for i in tri)
        ux, uy, uz, vx, vy, vz = x1 - x0, y1 - y0, z1 - z0, x2 - x0, y2 - y0, z2 - z0
        normal = (uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx)
        for i in tri:
            for k in range(3):
                sums[i][k] += normal[k]
    normals = [_unit((x, y, z)) for x, y, z in sums]
    # The poles' vertices fall together: their normals point along the axis.
    normals[:_SIDES] = [(0.0, -1.0, 0.0)] * _SIDES
    normals[-_SIDES:] = [(0.0, 1.0, 0.0)] * _SIDES
    return Mesh(points, normals, shades, triangles)


def _pad(data: bytes, filler: bytes) -> bytes:
    return data + filler * (-len(data) % 4)


def glb(seed: int, extra: int = 0) -> bytes:
    """The vessel as binary glTF 2.0; `extra` bytes of unused buffer make it as large as asked."""
    mesh = turn(seed)
    n, m = len(mesh.points), len(mesh.triangles)
    place = b"".join(struct.pack("<3f", *p) for p in mesh.points)
    normal = b"".join(struct.pack("<3f", *v) for v in mesh.normals)
    colour = b"".join(struct.pack("<4B", *c, 255) for c in mesh.colours)
    index = b"".join(struct.pack("<3H", *t) for t in mesh.triangles)
    parts = [place, normal, colour, index]
    views, offset = [], 0
    for part, target in zip(parts, (34962, 34962, 34962, 34963), strict=True):
        views.append({"buffer": 0, "byteOffset": offset, "byteLength": len(part), "target": target})
        offset += len(part)
    binary = _pad(b"".join(parts) + bytes(extra), b"\0")
    low, high = ([f(p[k] for p in mesh.points) for k in range(3)] for f in (min, max))
    # The bounds must be those of the 32-bit values, or a validator complains about rounding.
    low, high = (list(struct.unpack("<3f", struct.pack("<3f", *bound))) for bound in (low, high))
    scene = {
        "asset": {"version": "2.0", "generator": "nbhelper emulator"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0, "name": "vessel"}],
        "meshes": [
            {"primitives": [{"attributes": {"POSITION": 0, "NORMAL": 1, "COLOR_0": 2}, "indices": 3, "material": 0}]}
        ],
        "materials": [{"name": "glaze", "pbrMetallicRoughness": {"metallicFactor": 0.05, "roughnessFactor": 0.45}}],
        "accessors": [
            {"bufferView": 0, "componentType": 5126, "count": n, "type": "VEC3", "min": low, "max": high},
            {"bufferView": 1, "componentType": 5126, "count": n, "type": "VEC3"},
            {"bufferView": 2, "componentType": 5121, "count": n, "type": "VEC4", "normalized": True},
            {"bufferView": 3, "componentType": 5123, "count": 3 * m, "type": "SCALAR"},
        ],
        "bufferViews": views,
        "buffers": [{"byteLength": len(binary)}],
    }
    text = _pad(json.dumps(scene, separators=(",", ":")).encode(), b" ")
    total = 12 + 8 + len(text) + 8 + len(binary)
    return b"".join(
        [
            struct.pack("<4sII", b"glTF", 2, total),
            struct.pack("<I4s", len(text), b"JSON"),
            text,
            struct.pack("<I4s", len(binary), b"BIN\0"),
            binary,
        ]
    )


def obj(seed: int) -> bytes:
    """The vessel as Wavefront OBJ."""
    mesh = turn(seed)
    lines = ["# nbhelper emulator", "o vessel"]
    lines += [f"v {x:.5f} {y:.5f} {z:.5f}" for x, y, z in mesh.points]
    lines += [f"vn {x:.4f} {y:.4f} {z:.4f}" for x, y, z in mesh.normals]
    lines += ["f " + " ".join(f"{i + 1}//{i + 1}" for i in t) for t in mesh.triangles]
    return ("\n".join(lines) + "\n").encode()


def stl(seed: int) -> bytes:
    """The vessel as binary STL."""
    mesh = turn(seed)
    out = [b"nbhelper emulator".ljust(80), struct.pack("<I", len(mesh.triangles))]
    for tri in mesh.triangles:
        corners = [mesh.points[i] for i in tri]
        out.append(struct.pack("<12fH", *mesh.normals[tri[0]], *(c for p in corners for c in p), 0))
    return b"".join(out)


def portrait(seed: int, prompt: str, width: int, height: int, angle: float = 0.0) -> Image.Image:
    """The vessel as a picture, seen from an angle around it."""
    mesh = turn(seed)
    rng = random.Random(f"mesh:{seed}")
    colours = palette(rng)
    # Drawn at twice the size and halved: polygons have no soft edges of their own.
    w, h = width * 2, height * 2
    picture = gradient(w, h, mix(colours[0], (255, 255, 255), 0.55), mix(colours[1], colours[0], 0.5))
    scale, cx, cy = min(w, h) * 0.66, w / 2, h * 0.47
    # A soft shadow is drawn and blurred small, which is quicker and looks the same.
    floor, s = Image.new("L", (w // 8, h // 8), 0), scale / 8
    x, y = cx / 8, cy / 8
    ImageDraw.Draw(floor).ellipse([x - s * 0.33, y + s * 0.42, x + s * 0.33, y + s * 0.56], fill=150)
    soft = floor.filter(ImageFilter.GaussianBlur(s * 0.045)).resize((w, h), Image.Resampling.BICUBIC)
    picture.paste(Image.new("RGB", (w, h), mix(colours[4], (0, 0, 0), 0.2)), mask=soft)
    glow(picture, (w * 0.3, h * 0.22), w * 0.5, (255, 255, 255), 0.4)
    sin, cos = math.sin(angle + 0.5), math.cos(angle + 0.5)
    tip, rise = math.sin(0.22), math.cos(0.22)
    seen: list[Vec] = []
    for x, y, z in mesh.points:
        depth = x * sin + z * cos
        seen.append((cx + scale * (x * cos - z * sin), cy - scale * (y * rise - depth * tip), y * tip + depth * rise))
    light = _unit((-0.5, 0.75, 0.65))
    draw = ImageDraw.Draw(picture)
    for i, j, k in sorted(mesh.triangles, key=lambda t: seen[t[0]][2] + seen[t[1]][2] + seen[t[2]][2]):
        (ax, ay, _), (bx, by, _), (px, py, _) = seen[i], seen[j], seen[k]
        if (bx - ax) * (py - ay) - (by - ay) * (px - ax) > 0:  # faces away
            continue
        nx, ny, nz = (sum(mesh.normals[c][axis] for c in (i, j, k)) / 3 for axis in range(3))
        depth = nx * sin + nz * cos
        facing = (nx * cos - nz * sin, ny * rise - depth * tip, ny * tip + depth * rise)
        bright = max(0.0, sum(a * b for a, b in zip(facing, light, strict=True)))
        colour = mix(mix(colours[4], mesh.colours[i], 0.42), mix(mesh.colours[i], (255, 255, 255), 0.25), bright)
        colour = mix(colour, (255, 255, 255), 0.75 * bright**24)
        draw.polygon([(ax, ay), (bx, by), (px, py)], fill=colour, outline=colour)
    picture = picture.reduce(2)
    caption(picture, words_of(prompt), colours[4])
    return picture
