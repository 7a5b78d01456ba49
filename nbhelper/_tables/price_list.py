"""The published prices, as data: each with where it was read, and when.

What a task takes in credits is a price in the currency `credits`; what a credit costs is a price in money per credit.
What nobody publishes (anything at api.gpt.ge, the money for a credit at aigptimage.com) is not here, and stays unknown
until `set_price` adds it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from .prices import CREDITS, Per, Price, from_row

READ = "2026-11-21"
"""The day on which all of them were read."""

# AILabTools: credits by the last segment of the call's path, each from its own page of the docs.

_AILAB: Mapping[str, float] = {
    "ai-anime-generator": 10,
    "cartoon-yourself": 20,
    "hairstyle-editor-pro": 10,
    "hairstyle-editor-premium": 15,
    "ai-face-swap": 5,
    "try-on-clothes": 10,
    "try-on-clothes-pro": 30,
    "try-on-clothes-premium": 50,
    "try-on-clothes-refiner": 25,
    "remove-objects": 5,
    "remove-objects-advanced": 20,
    "remove-objects-pro": 35,
}


def _ailab() -> Iterator[Price]:
    """AILabTools' old and new API: one price list."""
    package = "AILabTools: $6 for 2,000 credits, the smallest package; in the largest a credit is $0.0025"
    page = "AILabTools: credits per call, docs of the call"
    for name in ("ailab", "ailab-legacy"):
        yield Price(provider=name, per="credit", amount=0.003, failed_billed=False, source=package, date=READ)
        for model, number in _AILAB.items():
            yield Price(provider=name, model=model, per="task", amount=number, currency=CREDITS, source=page, date=READ)


# Tripo: the docs' table for models H2 and H3, with P1 in brackets. v2 names the work in `type`, v3 in its path.

_TEXTURED: Mapping[str, tuple[float, float]] = {  # credits with texture: by H2 and H3, by P1
    "text_to_model": (20, 40),
    "image_to_model": (30, 50),
    "multiview_to_model": (30, 50),
}
_NO_TEXTURE = {"texture": "false", "pbr": "false"}
"""Both are on by default, and either one gives a texture, which is 10 credits of the price."""
_OPTIONS: tuple[tuple[str, str, float], ...] = (
    # "+10/20/30" for standard, detailed and extreme: the first is in the price of a textured model.
    ("texture_quality", "detailed", 10),
    ("texture_quality", "extreme", 20),
    ("smart_low_poly", "true", 10),
    ("quad", "true", 5),
    ("generate_parts", "true", 20),
)
_OTHER_TASKS: tuple[tuple[str, str, float], ...] = (  # v2, v3, credits; those whose price depends on more are left out
    ("text_to_image", "text-to-image", 5),
    ("generate_multiview_image", "image-to-multiview", 10),
    ("texture_model", "texture", 10),
    ("mesh_segmentation", "segment", 40),
    ("mesh_completion", "complete", 50),
    ("highpoly_to_lowpoly", "decimate", 30),
    ("animate_rig", "rig", 25),
    ("animate_prerigcheck", "rig-check", 0),
    ("import_model", "import", 0),
)


def _tripo(name: str) -> Iterator[Price]:
    """Tripo's v2 or v3, by the provider's name."""
    of_v2 = name == "tripo"
    version = "model_version" if of_v2 else "model"
    yield Price(
        provider=name, per="credit", amount=0.01, failed_billed=False, source="Tripo: $1 = 100 credits", date=READ
    )

    def takes(kind: tuple[str, str], amount: float, params: Mapping[str, str], per: Per = "task") -> Price:
        """Credits of a kind of task, named as in v2 and as in v3, with these parameters."""
        return Price(
            provider=name,
            model=None if of_v2 else kind[1],
            params={"type": kind[0], **params} if of_v2 else params,
            per=per,
            amount=amount,
            currency=CREDITS,
            source="Tripo: credits per task, docs",
            date=READ,
        )

    for v2, (textured, by_p1) in _TEXTURED.items():
        kind = v2, v2.replace("_", "-")
        for params, amount in (({}, textured), ({version: "P1*"}, by_p1)):
            yield takes(kind, amount, params)
            yield takes(kind, amount - 10, {**params, **_NO_TEXTURE})
        for option, value, amount in _OPTIONS:
            yield takes(kind, amount, {option: value}, "option")
    for v2, v3, amount in _OTHER_TASKS:
        yield takes((v2, v3), amount, {})


# aigptimage.com and kie.ai


def _aigptimage() -> Iterator[Price]:
    def takes(model: str, per: Per, resolution: str, amount: float) -> Price:
        """Credits of a model at a resolution."""
        return Price(
            provider="aigptimage",
            model=model,
            params={"resolution": resolution},
            per=per,
            amount=amount,
            currency=CREDITS,
            source="aigptimage.com: credits per image and per second of video, docs",
            date=READ,
        )

    for resolution, amount in (("1K", 3), ("2K", 5), ("4K", 8)):
        yield takes("gpt-image-2-*", "task", resolution, amount)
    for resolution, amount in (("480p", 20), ("720p", 40), ("1080p", 80)):
        yield takes("seedance-2.0-*", "second", resolution, amount)


def _kie() -> Iterator[Price]:
    # The credits of a model stand on its page of the site, not in the docs; the reply of a finished task states them.
    yield Price(provider="kie", per="credit", amount=0.005, source="kie.ai: $0.005 per credit", date=READ)


PRICES: tuple[Price, ...] = (*_ailab(), *_tripo("tripo"), *_tripo("tripo-v3"), *_aigptimage(), *_kie())
"""All of them, in an order in which the later one counts where two equally particular ones hold."""


def known_prices(rows: Iterable[Mapping[str, Any]]) -> list[Price]:
    """The published prices, then those that were set, oldest first: of two that hold equally the later one counts.

    Args:
        rows: From `Store.prices`; a row that is no price is left out.
    """
    return [*PRICES, *filter(None, map(from_row, rows))]
