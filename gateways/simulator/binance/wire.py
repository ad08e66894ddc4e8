"""JSON as it came over the wire: a signature covers numbers in the form in which they were sent."""

import json
import re
from typing import Any, NoReturn

import orjson

from gateways.simulator.binance.codes import ApiError


class _Raw(str):
    """The text of a number."""

    __slots__ = ()


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


_DECODER = json.JSONDecoder(parse_int=_Raw, parse_float=_Raw, parse_constant=_refuse)
_INTEGER = re.compile(r"-?[0-9]{1,18}|[0-9]{19}")
_ID_TEXT = re.compile(r".{0,36}")
ID_ERROR = (-1135, "Invalid 'id' in JSON request; expected an integer, string.")


def parse(data: str | bytes) -> Any:  # noqa: ANN401 - JSON
    """Read JSON, its numbers as the text that they were; raises ValueError.

    Whole numbers of a flat request are numbers: they can only have been written in one way.
    """
    read = data if isinstance(data, str) else data.decode()
    plain = _parse_flat(read)
    if plain is not None:
        return plain
    try:
        found = _DECODER.decode(read)
        if "\\u" in read:
            # Half of a surrogate pair is no character: it could not be sent back.
            json.dumps(found, ensure_ascii=False).encode()
    except RecursionError:
        raise ValueError("nested too deeply") from None
    return found


def _parse_flat(data: str) -> dict[str, Any] | None:
    """Read a request without fractions and without lists, several times as fast; else None."""
    if "-0" in data:
        return None  # Perhaps a zero with a sign, which would lose it.
    try:
        found = orjson.loads(data)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(found, dict):
        return None
    for value in found.values():
        parts = value.values() if isinstance(value, dict) else (value,)
        if not all(part is None or isinstance(part, str | int) for part in parts):
            return None
    return found


def text(value: Any) -> str:  # noqa: ANN401 - JSON
    """Write a value of ``parse`` as a parameter; raises ApiError for one nested too deeply."""
    try:
        return _text(value)
    except RecursionError:
        raise ApiError(-1135, "Invalid JSON Request") from None


def _text(value: Any) -> str:  # noqa: ANN401 - JSON
    if isinstance(value, str):
        return str(value)
    if value is True or value is False:
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if value is None:
        return "null"
    if isinstance(value, list):
        return f"[{','.join(_quoted(each) for each in value)}]"
    return "{" + ",".join(f'"{name}":{_quoted(each)}' for name, each in value.items()) + "}"


def number(value: Any) -> int | str | None:  # noqa: ANN401 - JSON
    """Return a request id as it is to be sent back, numbers as numbers; raises ApiError."""
    if isinstance(value, _Raw):
        if not _INTEGER.fullmatch(value):
            raise ApiError(*ID_ERROR)
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if value is None or (isinstance(value, str) and _ID_TEXT.fullmatch(value)):
        return value
    raise ApiError(*ID_ERROR)


def rows(name: str, data: str) -> list[dict[str, str]]:
    """Read a parameter that is a JSON list of objects; raises ApiError."""
    found = items(name, data)
    if not all(isinstance(each, dict) for each in found):
        raise ApiError(-1135, f"JSON sent for parameter '{name}' is not valid")
    return [{key: text(each) for key, each in row.items()} for row in found]


def items(name: str, data: str) -> list[Any]:
    """Read a parameter that is a JSON list; raises ApiError."""
    try:
        found = parse(data)
    except ValueError:
        found = None
    if not isinstance(found, list):
        raise ApiError(-1135, f"JSON sent for parameter '{name}' is not valid")
    return found


def _quoted(value: Any) -> str:  # noqa: ANN401 - JSON
    if isinstance(value, str) and not isinstance(value, _Raw):
        return json.dumps(value, ensure_ascii=False)
    return _text(value)
