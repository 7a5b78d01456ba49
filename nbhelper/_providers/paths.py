"""What stands at a path of a reply: JMESPath, and a short cut for the plain keys that most paths are."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

import jmespath
import jmespath.exceptions
import jmespath.functions

from .strict_json import NotJson, loads

_NESTED = (dict, list)
_KEYS = r"[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*"
_PLAIN = re.compile(rf"{_KEYS}(?:\s*\|\|\s*{_KEYS})*")
_INSIDE = re.compile(rf"from_json\(({_KEYS})\)")


def _from_json(text: Any) -> Any:
    if not isinstance(text, str):
        return text  # some servers send the object itself where the docs promise a string
    try:
        value = loads(text.encode("utf-8", "surrogatepass"))
        # Twice encoded now and then.
        return loads(value.encode("utf-8", "surrogatepass")) if isinstance(value, str) else value
    except NotJson:
        return None


class _Functions(jmespath.functions.Functions):
    """JMESPath's functions and `from_json`."""

    @jmespath.functions.signature({"types": []})
    def _func_from_json(self, text: Any) -> Any:
        return _from_json(text)


_OPTIONS = jmespath.Options(custom_functions=_Functions())


class _Keys:
    """A path of plain keys: most are such, and cost a tenth so."""

    def __init__(self, path: str) -> None:
        self._keys = tuple(path.strip().split("."))

    def search(self, body: Any, _: object) -> Any:
        try:
            for key in self._keys:
                body = body.get(key)
        except AttributeError:  # no mapping stands there
            return None
        return body


class _Inside:
    """JSON in the text at a path of plain keys."""

    def __init__(self, path: str) -> None:
        self._keys = _Keys(path)

    def search(self, body: Any, _: object) -> Any:
        return _from_json(self._keys.search(body, None))


class _First:
    """The first of several paths of plain keys that leads to something."""

    def __init__(self, path: str) -> None:
        self._paths = tuple(map(_Keys, path.split("||")))

    def search(self, body: Any, _: object) -> Any:
        found = None
        for path in self._paths:
            found = path.search(body, None)
            if not (found is None or found is False or found in ("", [], {})):
                break
        return found


@lru_cache(maxsize=1024)
def compiled(path: str) -> Any:
    """The parsed expression.

    Raises:
        ValueError: It is none.
    """
    if not path:
        return None
    if _PLAIN.fullmatch(path):
        return _First(path) if "||" in path else _Keys(path)
    if inside := _INSIDE.fullmatch(path):
        return _Inside(inside[1])
    try:
        return jmespath.compile(path)
    except jmespath.exceptions.JMESPathError as error:
        raise ValueError(str(error).splitlines()[0].removesuffix(", for expression:")) from None


def find(path: str, body: Any) -> Any:
    """What stands at a path; None where nothing does, or where the reply's types do not fit the path."""
    if not path or not isinstance(body, _NESTED):
        return None
    expression = compiled(path)
    try:
        return expression.search(body, _OPTIONS)
    except (jmespath.exceptions.JMESPathError, TypeError, ValueError, AttributeError, KeyError, RecursionError):
        return None
