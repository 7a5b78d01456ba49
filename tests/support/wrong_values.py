"""Values that an argument cannot have, by what is wrong with each."""

import math
from datetime import date
from pathlib import Path

import pandas as pd

import nbhelper as nbh


class Mute:
    """A value that cannot even be printed."""

    def __repr__(self):
        raise RuntimeError

    __str__ = __repr__


KEY_LIKE = "sk-0123456789abcdefghijklmnop"
HUGE = 10**5000
"""Python refuses to convert this integer to text."""
LOOP: dict = {}
LOOP["a"] = LOOP
FRAME = pd.DataFrame({"a": [1, 2]})

NO_TEXT = {"None": None, "int": 5, "bool": True, "bytes": b"x", "list": ["x"], "object": object(), "mute": Mute()}
NO_NAME = {**NO_TEXT, "empty": "", "blank": " \n"}
NO_FLAG = {"None": None, "0": 0, "1": 1, "text": "yes", "empty": "", "list": [], "frame": FRAME}
NO_NUMBER = {
    "text": "5", "empty": "", "bool": True, "bytes": b"5", "list": [5], "NaN": math.nan, "infinite": math.inf,
    "negative": -1, "negative infinite": -math.inf, "complex": 1j, "frame": FRAME,
}  # fmt: skip
NO_COUNT = {**NO_NUMBER, "None": None, "fraction": 1.5}
NO_PATH = {
    "None": None, "int": 5, "bytes": b"x", "list": ["x"], "empty": "", "blank": " ", "newline": "a\nb", "NUL": "a\0b",
    "escape": "\x1b[31m", "half a character": "\ud800", "nobody's home": "~nobody-of-that-name/x",
    "too long": "x" * 5000,
}  # fmt: skip
NO_MAPPING = {"int": 5, "text": "x", "bytes": b"x", "list": [("a", 1)], "bool": True, "number as name": {1: 2}}


NO_DATA = {
    "None": None, "int": 5, "text": "x", "bytes": b"x", "dict": {}, "list of numbers": [1], "series": pd.Series([1]),
    "class": nbh.Watch, "object": object(), "bool": True, "half a list": [nbh.History(nbh.Task("mill", "x")), None],
}  # fmt: skip
NO_TASKS = {
    "None": None, "int": 5, "float": 1.5, "NaN": math.nan, "bool": True, "bytes": b"mill:x", "empty": "",
    "blank": " \t\n",
    "no id": "mill:", "no provider": ":x", "colon": ":", "bare id": "1ec04ced", "unknown": "miil:x",
    "newline": "mill:a\nb",
    "NUL": "mill:a\0b", "escape": "mill:\x1b[31mx", "override": "mill:\u202ex", "half a character": "mill:\ud800",
    "not UTF-8": "mill:%ff", "said twice": "mill:x?a=1&a=2", "2 kB": "mill:" + "x" * 2000,
    "2 kB in bytes": "mill:" + "ü" * 600,
    "list": [], "tuple": (), "dict": {}, "set": set(), "iterator": iter(()), "frame": FRAME,
    "empty series": pd.Series([], dtype=object),
    "series": pd.Series([1.5]), "object": object(), "mute": Mute(), "class": nbh.Task, "function": print, "huge": HUGE,
    "None inside": ["mill:x", None], "list inside": [["mill:x"]], "number inside": (i for i in [3]),
    "huge inside": [HUGE],
    "mapping of nobody": {"a": 1}, "mapping with an object": {"a": object()}, "mapping of itself": LOOP,
    "mute inside": [Mute()],
    "missing inside": pd.Series(["mill:x", pd.NA]), "reply of an error": {"code": 401, "msg": "no", "data": None},
    "frame of doubt": pd.DataFrame({"provider": ["mill"], "task_id": pd.array([pd.NA], "string")}),
}  # fmt: skip
NO_URL = {
    "int": 5, "empty": "", "blank": "  ", "bytes": b"https://x.example", "ftp": "ftp://x.example",
    "file": "file:///etc/passwd",
    "script": "javascript:alert(1)", "no scheme": "x.example", "no scheme but slashes": "//x.example",
    "no host": "https://",
    "path without host": "https:///x", "http outside": "http://x.example", "http inside": "http://10.0.0.1",
    "user": "https://me@x.example", "password": "https://me:secret@x.example", "empty user": "https://@x.example",
    "query": "https://x.example?a=b", "question mark": "https://x.example?", "fragment": "https://x.example#f",
    "hash": "https://x.example/#", "port zero": "https://x.example:0", "port too large": "https://x.example:99999",
    "port in words": "https://x.example:abc", "no port": "https://x.example:", "space in host": "https://x .example",
    "space in path": "https://x.example/a b", "newline": "https://x.example/\nb",
    "override": "https://x.example/\u202e",
    "open bracket": "https://[::1", "behind brackets": "https://[::1]x",
    "localhost of another": "http://localhost.x.example",
    "127 of another": "http://127.0.0.1.x.example", "backslash": "https://x.example\\@y.example",
    "percent": "https://x%2eexample",
    "empty label": "https://x..example", "semicolon": "https://x.example;y", "all addresses": "http://0.0.0.0",
    "half a character": "https://\ud800.example", "a key": KEY_LIKE,
}  # fmt: skip
NO_BODY = {
    "None": None, "text": "owl", "empty": {}, "object": {"a": object()}, "NaN": {"a": math.nan},
    "infinite": {"a": [math.inf]},
    "huge": {"a": HUGE}, "half a character": {"a": "\ud800"}, "half a name": {"\ud800": 1},
    "half a name inside": {"a": {"\ud800": 1}},
    "number as name": {1: 2}, "number as name inside": {"a": {1: 2}}, "empty name": {"": 1},
    "newline in a name": {"a\nb": 1},
    "itself": LOOP, "set": {"a": {1}}, "complex": {"a": 1j}, "date": {"a": date(2026, 1, 1)},
    "series": {"a": pd.Series([1])},
    "list": [1], "pairs": [("a", 1)], "bytes": b"x", "file": {"a": b"\x89PNG"},
    "missing file": {"a": Path("nowhere.png")},
}  # fmt: skip
NO_FILES = {
    "int": 5, "text": "a.png", "list": ["a.png"], "bool": True, "number": {"image": 5}, "None": {"image": None},
    "empty path": {"image": ""}, "missing": {"image": "nowhere.png"}, "no bytes": {"image": b""},
    "folder": {"image": "."},
    "name too long": {"image": "x" * 5000}, "NUL": {"image": "a\0b"},
    "nobody's home": {"image": "~nobody-of-that-name/x"},
    "half a character": {"image": "\ud800"}, "device": {"image": "/dev/zero"}, "number as name": {5: b"x"},
    "empty name": {"": b"x"},
    "newline in a name": {"a\nb": b"x"}, "half a name": {"\ud800": b"x"}, "list inside": {"image": [b"x"]},
    "too large": {"image": bytes(50_000_001)}, "mute": {"image": Mute()},
}  # fmt: skip
NO_ENDPOINT = {
    "int": 5, "bool": True, "bytes": b"image", "list": ["image"], "empty": "", "blank": " ", "unknown": "imagge",
    "path": "/v9/x",
    "None": None, "newline": "image\nx", "escape": "\x1b[31m", "long": "x" * 5000,
}  # fmt: skip
NO_PROVIDER = {
    **NO_NAME,
    "unknown": "miil",
    "upper case": "MILL",
    "sentence": "the mill",
    "long": "m" * 5000,
    "key": KEY_LIKE,
}
NO_SINCE = {
    "int": 5, "bool": True, "empty": "", "word": "yesterday", "unit": "2y", "negative": "-2h", "too old": "1e400h",
    "bytes": b"2h", "list": ["2h"], "NaN": math.nan, "date alone": date(2026, 1, 1),
}  # fmt: skip
NO_FILTER = {"int": 5, "bool": True, "float": 1.5, "object": object()}
NO_ID = {
    "None": None, "empty": "", "blank": " ", "bool": True, "float": 1.5, "bytes": b"x", "list": [], "newline": "a\nb",
    "override": "\u202e", "half a character": "\ud800", "over 1 kB": "x" * 1025, "key": KEY_LIKE,
    "tripo's key": "tsk_0123456789abcdefghij",
    "header": "Bearer 0123456789abcdef", "huge": HUGE,
}  # fmt: skip
NO_EXTRA = {
    "int": 5, "None": None, "text": "type=X", "number as name": {1: "x"}, "mixed names": {1: "x", "a": "b"},
    "number": {"a": 1},
    "None inside": {"a": None}, "newline": {"a": "b\nc"}, "newline in a name": {"a\nb": "c"}, "long": {"a": "x" * 5000},
    "key": {"a": KEY_LIKE},
}  # fmt: skip
NO_PROVIDER_FIELD = {
    "name": {"int": 5, "empty": "", "upper case": "X", "space": "a b", "newline": "a\n", "long": "x" * 50},
    "base_url": {"int": 5, "empty": "", "no scheme": "x.example", "query": "https://x.example?q",
    "newline": "https://x.example\n"},
    "key_variable": {"int": 5, "empty": "", "none": (), "space": "a b", "number inside": (5,), "list inside": [["a"]]},
    "poll": {"int": 5, "empty": "", "verb alone": "GET", "other verb": "PUT /{id}", "no id": "GET /x",
    "no slash": "GET x/{id}"},
    "state": {"int": 5, "None": None, "number inside": (5,), "no path": "][", "empty": "", "none": ()},
    "words": {"int": 5, "unknown": {"a": "finished"}, "number": {"a": 5}, "None": {"a": None},
    "pairs": [("a", "queued")], "none": {}},
    "key_format": {"int": 5, "no key": "x", "two lines": "{key}\nX: y"},
    "floor": {"text": "5", "bool": True, "NaN": math.nan, "infinite": math.inf, "zero": 0, "negative": -1,
    "too long": 1e9},
    "outputs": {"int": 5, "number inside": [5], "no path": "]["},
    "progress": {"int": 5, "no path": "]["},
    "progress_max": {"text": "5", "bool": True, "zero": 0, "NaN": math.nan},
    "code": {"int": 5, "number inside": (5,)},
    "endpoints": {"int": 5, "number inside": {"a": 5}, "GET": {"a": "GET /x"}, "no slash": {"a": "POST x"},
    "number as name": {5: "POST /x"}},
    "create_id": {"int": 5, "no path": "]["},
    "reply_id": {"int": 5, "no path": "]["},
    "key_header": {"int": 5, "empty": "", "space": "a b", "two lines": "X\r\nY: z"},
    "key_starts": {"int": 5, "text": "tsk_"},
    "docs": {"int": 5},
    "trace": {"int": 5},
    "lifetime": {"text": "5", "bool": True, "NaN": math.nan, "negative": -1},
    "looks_per_second": {"text": "5", "bool": True, "zero": 0, "negative": -1, "NaN": math.nan},
    "utc_offset": {"text": "8", "NaN": math.nan, "days": 100},
    "max_reply": {"text": "5", "bool": True, "zero": 0, "negative": -1, "NaN": math.nan},
    "confirm": {"int": 5, "text": "unknown"},
    "ok": {"int": 5, "text": "200"},
    "errors": {"int": 5, "number inside": (5,)},
    "strict_code": {"int": 5},
    "resolve": {"int": 5},
    "batch": {"int": 5},
    "other": {"int": 5},
    "adjust": {"int": 5, "text": "x"},
}  # fmt: skip
