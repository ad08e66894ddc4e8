"""The public market events: one 64- or 128-byte record each.

Prices and quantities are int64 mantissas: the value is ``mantissa / 10**decimals`` with the
``price_decimals`` and ``quantity_decimals`` of the record's instrument (its row of the instrument
table). All times are Unix nanoseconds (int64). ``sequence`` is the record's place in its ring, from
1; it is written last, and is negative while the record is being written.
"""

from enum import IntEnum, IntFlag

from engine.layout import Field, Layout

RATE_DECIMALS = 18
"""Funding rates are mantissas of 1e-18: venues print up to sixteen decimals."""

INDEX_DECIMALS = 12
"""Mark, index and settlement prices are mantissas of 1e-12: finer than any instrument's tick (OKX
lists swaps with 1e-11), and up to nine million. What a venue computes finer is rounded half up."""

BOOK_LEVELS = 20
"""Levels a side in a book image."""


class Kind(IntEnum):
    """What an instrument is."""

    SPOT = 1
    LINEAR_PERPETUAL = 2
    LINEAR_FUTURE = 3
    INVERSE_PERPETUAL = 4
    INVERSE_FUTURE = 5


class Status(IntEnum):
    """Whether an instrument trades."""

    UNKNOWN = 0
    TRADING = 1
    HALTED = 2
    DELISTED = 3


class BookState(IntEnum):
    """Whether a book can be believed: only ``LIVE`` can."""

    EMPTY = 0
    SYNCING = 1
    LIVE = 2
    GAP = 3
    STALE = 4


class Flag(IntFlag):
    """Bits of a record's ``flags``."""

    LAST = 1
    """The last record of its venue message."""
    SNAPSHOT = 2
    """Part of a snapshot: the first one of it clears the book."""
    CLEAR = 4
    """The book is emptied before this record applies."""
    NOT_MARKET = 8
    """A print that is not a market trade (insurance fund, ADL)."""
    AGGREGATED = 16
    """The trade stands for several fills of one taker order."""
    PARTIAL = 32
    """Part of a book message that always shows the whole of a shallow book (``books5``)."""


class TopSource(IntEnum):
    """Where a top of book comes from."""

    BOOK = 1
    TICKER = 2


_HEAD = (
    Field("sequence", "i8", "place in the ring, from 1; written last"),
    Field("exchange_ns", "i8", "the venue's event time, Unix ns; 0 if it gives none"),
    Field("received_ns", "i8", "when the frame left the socket, Unix ns"),
    Field("published_ns", "i8", "when the worker wrote the record, Unix ns"),
)

TRADE = Layout(
    "trade",
    1,
    (
        *_HEAD,
        Field("price", "i8", "mantissa, price_decimals of the instrument"),
        Field("quantity", "i8", "mantissa, quantity_decimals of the instrument"),
        Field("trade_id", "i8", "the venue's trade id (aggregate id if AGGREGATED)"),
        Field("instrument", "i4", "row of the instrument table"),
        Field("side", "i1", "aggressor: +1 buy, -1 sell, 0 unknown"),
        Field("flags", "u1", "bits of Flag"),
        Field("reserved", "u2", "zero"),
    ),
)

BOOK_DELTA = Layout(
    "book_delta",
    1,
    (
        *_HEAD,
        Field("price", "i8", "mantissa; with CLEAR and no levels 0"),
        Field("quantity", "i8", "the level's new quantity, mantissa; 0 removes the level"),
        Field("update_id", "i8", "the venue's last update id of the message"),
        Field("instrument", "i4", "row of the instrument table"),
        Field("side", "i1", "+1 bid, -1 ask, 0 with CLEAR and no levels"),
        Field("flags", "u1", "bits of Flag"),
        Field("epoch", "u2", "low 16 bits of the book's epoch: raised by each resynchronisation"),
    ),
)

BOOK_TOP = Layout(
    "book_top",
    1,
    (
        *_HEAD,
        Field("bid_price", "i8", "mantissa; 0 if the side is empty"),
        Field("bid_quantity", "i8", "mantissa"),
        Field("ask_price", "i8", "mantissa; 0 if the side is empty"),
        Field("ask_quantity", "i8", "mantissa"),
        Field("update_id", "i8", "the venue's update id"),
        Field("epoch", "i8", "the book's epoch"),
        Field("instrument", "i4", "row of the instrument table"),
        Field("source", "u1", "TopSource: own book or the venue's ticker"),
        Field("state", "u1", "BookState after this change: believe the prices only if LIVE"),
        Field("flags", "u2", "bits of Flag"),
        Field("reserved", "i8", "zero", (5,)),
    ),
)

FUNDING = Layout(
    "funding",
    1,
    (
        *_HEAD,
        Field("mark_price", "i8", "mantissa of 1e-12"),
        Field("index_price", "i8", "mantissa of 1e-12; 0 if absent"),
        Field("settle_price", "i8", "estimated settlement price, mantissa of 1e-12; 0 if absent"),
        Field("rate", "i8", "funding rate of the present interval, mantissa of 1e-18"),
        Field("next_funding_ns", "i8", "Unix ns; 0 if there is none"),
        Field("instrument", "i4", "row of the instrument table"),
        Field("flags", "u4", "bits of Flag; feeds.message.Has << KNOWN_SHIFT: what is known yet"),
        Field("open_interest", "i8", "mantissa, quantity_decimals of the instrument"),
        Field("updated", "i8", "feeds.message.Has: what the message itself carried"),
        Field("reserved", "i8", "zero", (4,)),
    ),
)
"""All that is known of a derivative when a message about it came; an unknown number is 0."""
KNOWN_SHIFT = 8

LIQUIDATION = Layout(
    "liquidation",
    1,
    (
        *_HEAD,
        Field("price", "i8", "mantissa, price_decimals of the instrument"),
        Field("quantity", "i8", "mantissa, quantity_decimals of the instrument"),
        Field("reserved", "i8", "zero"),
        Field("instrument", "i4", "row of the instrument table"),
        Field("side", "i1", "of the order that closes the position: -1 if a long was liquidated"),
        Field("flags", "u1", "bits of Flag"),
        Field("reserved2", "u2", "zero"),
    ),
)

STATS = Layout(
    "stats",
    1,
    (
        *_HEAD,
        Field("last_price", "i8", "mantissa, price_decimals of the instrument; 0 if unknown"),
        Field("open_price", "i8", "24 hours ago"),
        Field("high_price", "i8", "of the last 24 hours"),
        Field("low_price", "i8", "of the last 24 hours"),
        Field("volume", "i8", "of the last 24 hours, mantissa, quantity_decimals"),
        Field("instrument", "i4", "row of the instrument table"),
        Field("flags", "u4", "bits of Flag; feeds.message.Has << KNOWN_SHIFT: what is known yet"),
        Field("updated", "i8", "feeds.message.Has: what the message itself carried"),
        Field("reserved", "i8", "zero", (5,)),
    ),
)
"""A venue's 24-hour ticker, all that is known of it when a message came."""

RINGS: dict[str, Layout] = {
    "md.trades": TRADE,
    "md.book": BOOK_DELTA,
    "md.top": BOOK_TOP,
    "md.funding": FUNDING,
    "md.liquidations": LIQUIDATION,
    "md.stats": STATS,
}
"""The worker's rings, each with the records of all venues; all are announced by one doorbell."""

INSTRUMENT = Layout(
    "instrument",
    1,
    (
        Field("version", "i8", "row lock: odd while being written"),
        Field("tick", "i8", "price step, mantissa of price_decimals"),
        Field("lot", "i8", "quantity step, mantissa of quantity_decimals"),
        Field("contract_value", "i8", "base (inverse: quote) units a contract, mantissa of 1e-8"),
        Field("minimum_quantity", "i8", "mantissa of quantity_decimals"),
        Field("maximum_quantity", "i8", "mantissa of quantity_decimals; 0 if none"),
        Field("minimum_notional", "i8", "quote units, mantissa of 1e-8; 0 if none"),
        Field("instrument", "i4", "this row's number"),
        Field("price_decimals", "i4", "decimals of every price of the instrument"),
        Field("quantity_decimals", "i4", "decimals of every quantity of the instrument"),
        Field("kind", "i4", "Kind"),
        Field("status", "i4", "Status"),
        Field("flags", "i4", "zero"),
        Field("updated_ns", "i8", "when the row changed last, Unix ns"),
        Field("venue", "S24", "the venue's name, UTF-8"),
        Field("native", "S32", "the venue's symbol, UTF-8"),
        Field("symbol", "S48", "the unified symbol, UTF-8"),
        Field("base", "S16", "base currency"),
        Field("quote", "S16", "quote currency"),
        Field("settle", "S16", "settlement currency; empty for spot"),
        Field("cadence_ds", "u2", "longest normal silence of a channel, 0.1 s; 0: any", (6,)),
        Field("reserved", "i4", "zero"),
    ),
)

BOOK_IMAGE = Layout(
    "book_image",
    1,
    (
        Field("version", "i8", "row lock: odd while being written"),
        Field("exchange_ns", "i8", "the venue's time of the last message"),
        Field("received_ns", "i8", "when its frame left the socket"),
        Field("published_ns", "i8", "when the image was written"),
        Field("update_id", "i8", "the venue's last update id"),
        Field("epoch", "i8", "raised by each resynchronisation"),
        Field("gaps", "i8", "holes found in the venue's sequence since the start"),
        Field("messages", "i8", "depth messages applied since the start"),
        Field("instrument", "i4", "row of the instrument table; -1 if the row is unused"),
        Field("state", "i4", "BookState: believe the levels only if LIVE"),
        Field("bid_count", "i4", "levels in bids"),
        Field("ask_count", "i4", "levels in asks"),
        Field("bid_depth", "i8", "levels of the whole book, bids"),
        Field("ask_depth", "i8", "levels of the whole book, asks"),
        Field("reserved", "i8", "zero", (4,)),
        Field("bids", "i8", "price and quantity mantissas, best first", (BOOK_LEVELS, 2)),
        Field("asks", "i8", "price and quantity mantissas, best first", (BOOK_LEVELS, 2)),
    ),
)

RESYNC = Layout(
    "resync",
    1,
    (
        Field("sequence", "i8", "place in the ring, from 1; written last"),
        Field("requested_ns", "i8", "when the worker asked, Unix ns"),
        Field("epoch", "i8", "the book's epoch at the time"),
        Field("instrument", "i4", "row of the feed's own instrument table"),
        Field("reason", "i4", "BookState that made it necessary (SYNCING, GAP, STALE)"),
        Field("venue", "S24", "the venue's name, UTF-8"),
        Field("channel", "i4", "index of feeds.adapter.CHANNELS"),
        Field("attempt", "i4", "how often this was asked for since it last came true, from 0"),
    ),
)
"""A worker's request to a feed: see that a subscription of an instrument delivers again.

For a book that is a snapshot, by REST or, where the venue sends it in the stream, by subscribing
anew; for other channels the subscription is renewed.
"""

REJECT = Layout(
    "reject",
    1,
    (
        Field("version", "i8", "row lock: odd while being written"),
        Field("received_ns", "i8", "when the frame left the socket, Unix ns"),
        Field("count", "i8", "frames refused for this reason until then, this one included"),
        Field("length", "i8", "bytes of the frame"),
        Field("reason", "i4", "feeds.message.Reject; 0 if the row is unused"),
        Field("kind", "i4", "engine.frames.FrameKind"),
        Field("venue", "S24", "the venue's name, UTF-8"),
        Field("data", "u1", "the frame's first bytes", (448,)),
    ),
)
"""A frame that gave no record: the last few for each reason, ``REJECTS_KEPT`` rows a reason."""
REJECTS_KEPT = 4
