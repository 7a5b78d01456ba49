"""What stands at a path of a reply: JMESPath, and a short cut for the plain keys that most paths are."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import jmespath
import jmespath.exceptions
import jmespath.functions

from .strict_json import NotJson, loads

Finder = Callable[[Any], Any]
"""What stands at a path in a parsed reply; None where nothing does."""
_NESTED = (dict, list)
_MISFITS = (jmespath.exceptions.JMESPathError, TypeError, ValueError, AttributeError, KeyError, RecursionError)
"""What a search raises where no mapping stands, or where the types do not fit."""
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


def _nothing(_: Any) -> None:
    """Where the path is empty: the API does not say."""


def _keys(path: str) -> Finder:
    """A path of plain keys: most are such, and cost a tenth so."""
    keys = tuple(path.strip().split("."))

    def search(body: Any) -> Any:
        try:
            for key in keys:
                body = body.get(key)
        except _MISFITS:
            return None
        return body

    if len(keys) != 2:
        return search
    first, second = keys

    def inside(body: Any) -> Any:
        try:
            return body.get(first).get(second)
        except _MISFITS:
            return None

    return inside


def _inside(path: str) -> Finder:
    """JSON in the text at a path of plain keys."""
    search = _keys(path)
    return lambda body: _from_json(search(body))


def _first(path: str) -> Finder:
    """The first of several paths of plain keys that leads to something."""
    searches = tuple(map(_keys, path.split("||")))

    def first(body: Any) -> Any:
        found = None
        for search in searches:
            found = search(body)
            try:
                if not (found is None or found is False or found in ("", [], {})):
                    break
            except _MISFITS:  # no value of JSON
                return None
        return found

    return first


def _expression(path: str) -> Finder:
    """Any JMESPath.

    Raises:
        ValueError: It is none.
    """
    try:
        expression = jmespath.compile(path)
    except jmespath.exceptions.JMESPathError as error:
        raise ValueError(str(error).splitlines()[0].removesuffix(", for expression:")) from None

    def search(body: Any) -> Any:
        if not isinstance(body, _NESTED):
            return None
        try:
            return expression.search(body, _OPTIONS)
        except _MISFITS:
            return None

    return search


@lru_cache(maxsize=1024)
def finder(path: str) -> Finder:
    """What reads a path.

    Raises:
        ValueError: It is no JMESPath.
    """
    if not path:
        return _nothing
    if _PLAIN.fullmatch(path):
        return _first(path) if "||" in path else _keys(path)
    if inside := _INSIDE.fullmatch(path):
        return _inside(inside[1])
    return _expression(path)


def find(path: str, body: Any) -> Any:
    """What stands at a path, as a `Finder` tells it."""
    return finder(path)(body)
