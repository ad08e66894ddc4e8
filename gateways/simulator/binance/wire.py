"""JSON as it came over the wire: a signature covers numbers in the form in which they were sent."""

import json
from typing import Any

from gateways.simulator.binance.codes import ApiError


class _Raw(str):
    """The text of a number."""

    __slots__ = ()


_DECODER = json.JSONDecoder(parse_int=_Raw, parse_float=_Raw)


def parse(data: str | bytes) -> Any:  # noqa: ANN401 - JSON
    """Read JSON, its numbers as the text that they were; raises ValueError."""
    return _DECODER.decode(data if isinstance(data, str) else data.decode())


def text(value: Any) -> str:  # noqa: ANN401 - JSON
    """Write a value of ``parse`` as a parameter."""
    if isinstance(value, str):
        return str(value)
    if value is True or value is False:
        return "true" if value else "false"
    if value is None:
        return "null"
    if isinstance(value, list):
        return f"[{','.join(_quoted(each) for each in value)}]"
    return "{" + ",".join(f'"{name}":{_quoted(each)}' for name, each in value.items()) + "}"


def number(value: Any) -> int | str | None:  # noqa: ANN401 - JSON
    """Return a request id as it is to be sent back: numbers as numbers."""
    if isinstance(value, _Raw):
        return int(value) if value.lstrip("-").isdecimal() else str(value)
    return value if value is None or isinstance(value, str) else text(value)


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
    return text(value)
