"""The options of `watch()`: a wrong one is refused before anything happens."""

import pytest

import nbhelper as nbh

BAD_WATCHES = {
    "timeout text": ({"timeout": "5"}, "timeout is seconds or None, not str"),
    "timeout negative": ({"timeout": -1}, "zero or more seconds"),
    "timeout NaN": ({"timeout": float("nan")}, "zero or more seconds"),
    "timeout infinite": ({"timeout": float("inf")}, "zero or more seconds"),
    "timeout bool": ({"timeout": True}, "not bool"),
    "interval zero": ({"interval": 0}, "above zero"),
    "interval negative": ({"interval": -3}, "above zero"),
    "interval NaN": ({"interval": float("nan")}, "above zero"),
    "interval infinite": ({"interval": float("inf")}, "above zero"),
    "interval text": ({"interval": "5"}, "above zero"),
    "interval bool": ({"interval": True}, "above zero"),
    "save number": ({"save": 5}, "True, False or a folder"),
    "save None": ({"save": None}, "True, False or a folder"),
    "save empty": ({"save": ""}, "True, False or a folder"),
    "save a file": ({"save": __file__}, "is a file; name a folder"),
    "save below a file": ({"save": f"{__file__}/x"}, "cannot be made"),
    "save NUL": ({"save": "a\0b"}, "control characters"),
    "save nobody's home": ({"save": "~nobody-here/x"}, "nobody's home"),
    "preview True": ({"preview": True}, "longest side in pixels"),
    "preview zero": ({"preview": 0}, "longest side in pixels"),
    "preview text": ({"preview": "384"}, "longest side in pixels"),
    "preview huge": ({"preview": 100_000}, "longest side in pixels"),
    "display unknown": ({"display": "tqdm"}, 'display is "auto"'),
    "display True": ({"display": True}, 'display is "auto"'),
    "display None": ({"display": None}, 'display is "auto"'),
    "block text": ({"block": "yes"}, 'block is True, False or "auto"'),
    "block None": ({"block": None}, 'block is True, False or "auto"'),
    "provider unknown": ({"provider": "kei"}, 'Did you mean "kie"'),
}  # fmt: skip


@pytest.mark.parametrize(("change", "words"), BAD_WATCHES.values(), ids=BAD_WATCHES)
def test_a_watch_that_cannot_be_is_refused_before_anything_happens(refused, change, words):
    """The text names the option, before any request, store or folder."""
    with refused(words=words):
        nbh.watch("mill:x", **change)
