"""No bytes make the scanner disagree with the reference, crash, or read beyond the padding.

Messages of every channel are made with their keys in any order, unknown keys of any type between
them and whitespace anywhere, and then damaged. What ``orjson`` refuses, the scanner refuses; what
the scanner accepts, it reads as the reference does. Only on undamaged messages must it accept all
that the reference accepts: damage may hit one of the documented stricter rules.
"""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from feeds.message import Reject
from tests.scanning import expected, scanned, symbols_of

pytestmark = pytest.mark.kernels

INSTRUMENTS = {
    "BTCUSDT": (0, 2, 3),
    "ETHUSDT": (1, 8, 8),
    "1000SHIBUSDT_261225": (2, 0, 0),
    "币安人生USDT": (3, 5, 0),
    "我踏马来了币安人生合约USD": (4, 12, 18),
}
INSTRUMENTS = {native: each for native, each in INSTRUMENTS.items() if len(native.encode()) <= 32}
SYMBOLS = symbols_of(INSTRUMENTS)
RUNS = settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow], database=None
)

STREAMS = ["btcusdt@trade", "x@depth", "x@depth@100ms", "x@depth5", "x@depth20@100ms"]
STREAMS += ["!markPrice@arr", "x@rpiDepth@500ms", "币@depth@0ms", "x@depth100ms"]
WHITESPACE = st.sampled_from(["", "", "", "", " ", "\n", "\t ", "\r\n"])
IDS = st.integers(0, 2**63 - 1)
TIMES = st.integers(0, 9_223_372_036_854)


@st.composite
def number_text(draw, decimals):
    """Return decimal text that is mostly exact with ``decimals``."""
    fraction = "".join(draw(st.lists(st.sampled_from("0123456789"), max_size=decimals)))
    zeros = "0" * draw(st.integers(0, 3))
    whole = str(draw(st.integers(0, 10 ** draw(st.integers(0, 9)))))
    return f"{whole}.{fraction}{zeros}" if fraction + zeros else whole


UNKNOWN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**9), 10**9)
    | st.floats(-1e9, 1e9).filter(lambda number: number == 0 or abs(number) > 1e-90)
    | st.text(max_size=12),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)
UNKNOWN_KEYS = st.text(min_size=2, max_size=9).filter(
    lambda key: (
        key not in ("pu", "bids", "asks", "stream", "data", "lastUpdateId", "symbol", "time")
        and json.dumps(key, ensure_ascii=False)[1:-1] == key
    )
)


def _levels(pd, qd):
    return st.lists(st.tuples(number_text(pd), number_text(qd)).map(list), max_size=6)


EVENTS = ["trade", "aggTrade", "depthUpdate", "bookTicker", "markPriceUpdate"]
EVENTS += ["forceOrder", "24hrTicker", "24hrMiniTicker", "openInterest"]


@st.composite
def statistics(draw, pd, qd):
    """Return the numbers of a day's ticker, some of them absent or empty."""
    fields = {key: draw(number_text(pd + 2)) for key in ("c", "o", "h", "l")}
    fields |= {"v": draw(number_text(qd + 1)), "q": draw(number_text(9)), "n": draw(IDS)}
    for key in draw(st.lists(st.sampled_from(["c", "o", "h", "l", "v"]), max_size=5)):
        fields[key] = ""
    return fields


@st.composite
def forced_order(draw, native, pd, qd):
    """Return the order of a liquidation."""
    side = draw(st.sampled_from(["BUY", "SELL", "BUY", "SELL", "BOTH"]))
    fields = {"s": native, "S": side, "o": "LIMIT", "f": "IOC", "q": draw(number_text(qd))}
    return fields | {"p": draw(number_text(pd + 1)), "ap": draw(number_text(pd)), "T": draw(TIMES)}


@st.composite
def event(draw):
    """Return one covered event as a dictionary."""
    native = draw(st.sampled_from(list(INSTRUMENTS)))
    _, pd, qd = INSTRUMENTS[native]
    name = draw(st.sampled_from(EVENTS))
    fields = {"e": name, "E": draw(TIMES), "s": native, "T": draw(TIMES)}
    if name == "openInterest":
        fields = {"symbol": native, name: draw(number_text(qd + 1)), "time": draw(TIMES)}
    elif name in ("trade", "aggTrade"):
        fields |= {"p": draw(number_text(pd)), "q": draw(number_text(qd)), "m": draw(st.booleans())}
        fields |= {"a": draw(IDS), "t": draw(IDS), "b": draw(IDS), "f": draw(IDS)}
        if draw(st.booleans()):
            fields["X"] = draw(st.sampled_from(["MARKET", "INSURANCE_FUND", "ADL", "NA"]))
    elif name == "depthUpdate":
        fields |= {"U": draw(IDS), "u": draw(IDS)}
        fields |= {"b": draw(_levels(pd, qd)), "a": draw(_levels(pd, qd))}
        if draw(st.booleans()):
            fields["pu"] = draw(IDS)
    elif name == "bookTicker":
        fields |= {"u": draw(IDS), "b": draw(number_text(pd)), "B": draw(number_text(qd))}
        fields |= {"a": draw(number_text(pd)), "A": draw(number_text(qd))}
        for key in ("e", "E", "T"):
            if draw(st.booleans()):
                del fields[key]
    elif name == "forceOrder":
        fields = {"e": name, "E": draw(TIMES), "o": draw(forced_order(native, pd, qd))}
    elif name != "markPriceUpdate":
        fields |= draw(statistics(pd, qd))
    else:
        sign = draw(st.sampled_from(["", "-"]))
        rate = st.sampled_from(["", "0.0001", "-0.0001", "-0"]) | number_text(10).map(
            lambda text: sign + text
        )
        fields |= {"p": draw(number_text(9)), "i": draw(number_text(9)), "r": draw(rate)}
        fields |= {"P": draw(st.sampled_from(["", "1.5"]) | number_text(8))}
    return fields


def _dressed(draw, value, level=0):
    """Write JSON with whitespace; objects get unknown keys and another order."""
    space = draw(WHITESPACE)
    if isinstance(value, dict) and level < 3:
        extra = draw(st.dictionaries(UNKNOWN_KEYS, UNKNOWN, max_size=2))
        pairs = [*value.items(), *((k, v) for k, v in extra.items() if k not in value)]
        if draw(st.booleans()):
            pairs = draw(st.permutations(pairs))
        parts = [
            f"{space}{json.dumps(key, ensure_ascii=False)}{space}:{_dressed(draw, each, level + 1)}"
            for key, each in pairs
        ]
        return f"{space}{{{','.join(parts)}{space}}}{space}"
    if isinstance(value, list) and level < 4:
        parts = [_dressed(draw, each, level + 1) for each in value]
        return f"{space}[{space}{','.join(parts)}]{space}"
    return space + json.dumps(value, ensure_ascii=draw(st.booleans()) and value != "s") + space


def _plain(value):
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


@st.composite
def frame(draw):
    """Return (bytes, frame kind, instrument) of a covered frame."""
    if draw(st.integers(0, 7)) == 0:
        native = draw(st.sampled_from(list(INSTRUMENTS)))
        row, pd, qd = INSTRUMENTS[native]
        body = {"lastUpdateId": draw(IDS), "E": draw(TIMES), "T": draw(TIMES)}
        body |= {"bids": draw(_levels(pd, qd)), "asks": draw(_levels(pd, qd))}
        text = _dressed(draw, body) if draw(st.booleans()) else _plain(body)
        return text.encode(), 3, row
    several = draw(st.integers(0, 4)) == 0
    content = draw(st.lists(event(), min_size=1, max_size=3)) if several else draw(event())
    if draw(st.booleans()):
        stream = draw(
            st.sampled_from(
                [
                    "btcusdt@trade",
                    "x@depth",
                    "x@depth@100ms",
                    "x@depth5",
                    "x@depth20@100ms",
                    "!markPrice@arr",
                    "x@rpiDepth@500ms",
                    "币@depth@0ms",
                    "x@depth100ms",
                ]
            )
        )
        content = {"stream": stream, "data": content}
    # Native symbols must not be escaped: see the documented stricter rules.
    text = _dressed(draw, content).encode() if draw(st.booleans()) else _plain(content).encode()
    return text, 1, -1


@st.composite
def damaged(draw):
    """Return a frame with one to three bytes or spans changed."""
    data, kind, row = draw(frame())
    data = bytearray(data)
    for _ in range(draw(st.integers(1, 3))):
        if not data:
            break
        at = draw(st.integers(0, len(data) - 1))
        how = draw(st.integers(0, 5))
        if how == 0:
            data[at] = draw(st.integers(0, 255))
        elif how == 1:
            data[at] = draw(
                st.sampled_from(b'0159.-+eE"\\,:[]{} tfnabpquUEsTm\x00\x1f\x7f\x80\xc0')
            )
        elif how == 2:
            data.insert(at, draw(st.sampled_from(b'09.-"\\,:[]{} \x00\xff\xed')))
        elif how == 3:
            del data[at : at + draw(st.integers(1, 9))]
        elif how == 4:
            del data[at:]
        else:
            end = min(len(data), at + draw(st.integers(1, 40)))
            data[at:at] = data[at:end]
    return bytes(data), kind, row


def agree(given_frame, strict):
    data, kind, row = given_frame
    found = scanned(data, kind, row, SYMBOLS)
    reference = expected(data, kind, row, INSTRUMENTS)
    if isinstance(found, Reject):
        assert isinstance(reference, Reject) or not strict, (data, found)
    else:
        assert found == reference, data


@RUNS
@given(frame())
def test_every_covered_message_reads_as_in_the_reference(given_frame):
    data, _, _ = given_frame
    agree(given_frame, strict=b"\\u" not in data)


@RUNS
@given(damaged())
def test_no_damaged_message_gives_anything_but_the_reference(given_frame):
    agree(given_frame, strict=False)


@RUNS
@given(st.binary(max_size=80), st.sampled_from([1, 3]))
def test_arbitrary_bytes_give_nothing_but_the_reference(data, kind):
    agree((data, kind, 0 if kind == 3 else -1), strict=False)
