"""``trade-infra layout``: the records as tables, or as a C header with readers of the segments.

The header is generated from the same ``Layout`` objects that the Python side uses, so that it
cannot differ from them; it asserts every offset at compile time. It is C11 and C++11, needs GCC's
or Clang's ``__atomic`` built-ins, and reads only: a strategy in C maps ``PROT_READ``.

Domains declare their layouts as entry points of the group ``trade_infra.layouts``. Nothing here
imports Numba.
"""

import argparse
import re
from importlib.metadata import entry_points
from importlib.resources import files
from typing import TYPE_CHECKING

from engine import segment as seg
from engine.cli import add_command
from engine.errors import NotFound
from engine.layout import Field, Layout
from engine.records import ENGINE_LAYOUTS

if TYPE_CHECKING:
    from engine.cli import Subparsers

GROUP = "trade_infra.layouts"

_CELLS = {
    "MAGIC": "magic",
    "VERSION": "version",
    "KIND": "kind",
    "RECORD_BYTES": "record_bytes",
    "CAPACITY": "capacity",
    "DATA_OFFSET": "data_offset",
    "SEGMENT_BYTES": "segment_bytes",
    "FINGERPRINT": "fingerprint",
    "CREATED_NS": "created_ns",
    "AREA_OFFSET": "area_offset",
    "AREA_BYTES": "area_bytes",
    "WRITER_PID": "writer_pid",
    "WRITER_START": "writer_start",
    "EPOCH": "epoch",
    "HEARTBEAT_NS": "heartbeat_ns",
    "CURSOR": "cursor",
    "CLAIM": "claim",
}
_KEYWORDS = frozenset(
    re.findall(
        r"\w+",
        """auto break case char class const default delete do double else enum export extern float
        for friend goto if inline int long namespace new operator private protected public register
        return short signed sizeof static struct switch template this throw try typedef union
        unsigned using virtual void volatile while""",
    )
)


class UnknownLayout(NotFound):
    """No layout has that name."""


def known_layouts() -> dict[str, Layout]:
    """Return every layout of the engine and of the installed packages, by name."""
    found = {layout.name: layout for layout in ENGINE_LAYOUTS}
    for point in sorted(entry_points(group=GROUP), key=lambda point: point.name):
        layout = point.load()
        found[layout.name] = layout
    return found


def _identifier(name: str) -> str:
    clean = re.sub(r"\W", "_", name)
    return clean + "_" if clean in _KEYWORDS or clean[0].isdigit() else clean


def _declaration(field: Field) -> str:
    kind, size = field.type[0], int(field.type[1:])
    array = "".join(f"[{n}]" for n in field.shape)
    if kind == "S":
        return f"char {_identifier(field.name)}{array}[{size}];"
    sign = "u" if kind == "u" else ""
    return f"{sign}int{size * 8}_t {_identifier(field.name)}{array};"


def _struct(layout: Layout) -> str:
    name, upper = f"ti_{_identifier(layout.name)}", f"TI_{_identifier(layout.name).upper()}"
    lines = [
        f"#define {upper}_VERSION {layout.version}",
        f"#define {upper}_FINGERPRINT INT64_C({layout.fingerprint})",
        f"struct {name} {{",
    ]
    for field in layout.fields:
        doc = field.doc.replace("*/", "* /")
        lines.append(f"    {_declaration(field)} /* {doc} */")
    lines += [
        "};",
        f'TI_ASSERT(sizeof(struct {name}) == {layout.dtype.itemsize}, "{layout.name}");',
    ]
    for field in layout.fields:
        offset, member = layout.column(field.name)[1], _identifier(field.name)
        lines.append(
            f'TI_ASSERT(offsetof(struct {name}, {member}) == {offset}, "{layout.name}.{member}");'
        )
    return "\n".join(lines)


def _header_struct() -> str:
    cells = sorted((int(getattr(seg, cell)), member) for cell, member in _CELLS.items())
    lines, at = ["struct ti_header {"], 0
    for index, member in cells:
        if index > at:
            lines.append(f"    int64_t reserved{at}[{index - at}];")
        lines.append(f"    int64_t {member};")
        at = index + 1
    lines += [
        f"    int64_t reserved{at}[{seg.DESCRIPTION_AT // 8 - at}];",
        f"    char description[{seg.READERS_AT - seg.DESCRIPTION_AT}]; /* JSON, zero-terminated */",
        f"    char readers[{seg.HEADER_BYTES - seg.READERS_AT}]; /* JSON, zero-terminated */",
        "};",
        f'TI_ASSERT(sizeof(struct ti_header) == {seg.HEADER_BYTES}, "ti_header");',
    ]
    lines += [
        f'TI_ASSERT(offsetof(struct ti_header, {member}) == {index * 8}, "ti_header.{member}");'
        for index, member in cells
    ]
    return "\n".join(lines)


def _constants() -> str:
    lines = [
        f"#define TI_MAGIC INT64_C({seg.MAGIC_VALUE})",
        f"#define TI_HEADER_VERSION {seg.HEADER_VERSION}",
        f"#define TI_HEADER_BYTES {seg.HEADER_BYTES}",
        "enum ti_kind {",
        *(f"    TI_KIND_{kind.name} = {kind.value}," for kind in seg.Kind),
        "};",
    ]
    return "\n".join(lines)


def c_header(layouts: list[Layout]) -> str:
    """Return ``trade_infra.h`` for these layouts."""
    template = files("engine").joinpath("trade_infra.h.in").read_text()
    parts = {
        "CONSTANTS": _constants(),
        "HEADER": _header_struct(),
        "RECORDS": "\n\n".join(_struct(layout) for layout in layouts),
    }
    for name, text in parts.items():
        template = template.replace(f"/* @{name}@ */", text)
    return template


def _show(args: argparse.Namespace) -> None:
    known = known_layouts()
    unknown = [name for name in args.names if name not in known]
    if unknown:
        raise UnknownLayout(f"no layout {unknown[0]!r}: there are {', '.join(sorted(known))}")
    layouts = [known[name] for name in args.names] if args.names else list(known.values())
    if args.c_header:
        print(c_header(layouts), end="")
    else:
        print("\n\n".join(layout.table() for layout in layouts))


def register(subparsers: "Subparsers") -> None:
    """Add ``trade-infra layout``."""
    parser = add_command(
        subparsers,
        "layout",
        "show the layouts of records, or a C header that reads them",
        example="trade-infra layout --c-header > trade_infra.h",
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="layouts; all if none is named")
    parser.add_argument("--c-header", action="store_true", help="print a C11 and C++11 header")
    parser.set_defaults(handler=_show)
