"""Who is who: numbers of accounts, strategies and instruments, over restarts.

The loop knows accounts, strategies and instruments by number, and so does the journal. Names of
accounts and strategies get numbers once (records NAME). An instrument's number is its row in
``md.instruments``, which may be another one after the machine was started anew: the journal says
what each row was (records INSTRUMENT, at each START and when one appears), and a replay translates.
An instrument that is not listed any more gets a row behind the table's, so that its position stays.
"""

from typing import Any

import numpy as np

from engine.errors import ConfigError
from feeds.types import INSTRUMENT
from oms.emit import Record
from oms.memory import put_instrument
from oms.recovery import note
from oms.state import (
    ACCOUNTS_MAX,
    I_KNOWN,
    I_STATUS,
    INSTRUMENT_WORDS,
    NONE,
    STRATEGIES_MAX,
    State,
    Words,
)

GHOSTS = 256
"""Rows for instruments that the journal knows and the worker does not."""
ACCOUNT, STRATEGY = 1, 2
_NAME_WORDS = 6
_ROW_WORDS = INSTRUMENT.dtype.itemsize // 8
_HALTED = 2
"""``feeds.types.Status.HALTED``."""

RINGS_OF_START = 1 + 2 * ACCOUNTS_MAX + STRATEGIES_MAX
"""A START holds when these were made: updates; requests, reports of each account; intents."""

__all__ = ["ACCOUNT", "GHOSTS", "STRATEGY", "Instruments", "Names", "note_start"]


class Names:
    """Numbers of names: accounts from 0, strategies from 1 (0 is nobody)."""

    def __init__(self) -> None:
        self.accounts: dict[str, int] = {}
        self.strategies: dict[str, int] = {}

    def recall(self, body: Words) -> None:
        """Take in a NAME record."""
        name = body[2:_NAME_WORDS].tobytes().rstrip(b"\0").decode()
        table = self.accounts if body[0] == ACCOUNT else self.strategies
        table[name] = int(body[1])

    def number(self, state: State, what: int, name: str) -> int:
        """Return a name's number, given and noted in the journal if it is new.

        Raises
        ------
        ConfigError
            If there are more names than numbers, or the name is too long.

        """
        table = self.accounts if what == ACCOUNT else self.strategies
        if name in table:
            return table[name]
        data = name.encode()
        first, end = (0, ACCOUNTS_MAX) if what == ACCOUNT else (1, STRATEGIES_MAX)
        number = first + len(table)
        if number >= end or len(data) > 8 * (_NAME_WORDS - 2):
            kind = "accounts" if what == ACCOUNT else "strategies"
            raise ConfigError(
                f"{name!r}: an OMS has at most {end - first} {kind}, with names of at most "
                f"{8 * (_NAME_WORDS - 2)} bytes (those of its journal count)"
            )
        body = np.zeros(_NAME_WORDS, np.int64)
        body[0], body[1] = what, number
        body[2:] = np.frombuffer(data.ljust(8 * (_NAME_WORDS - 2), b"\0"), np.int64)
        note(state, Record.NAME, 0, body, len(body))
        table[name] = number
        return number


class Instruments:
    """The rows of md.instruments as the loop has them, and those that only the journal knows."""

    def __init__(self, state: State) -> None:
        self.state = state
        self._rows = len(state.instruments) // INSTRUMENT_WORDS
        self._ghosts = self._rows
        self._numbers: dict[tuple[bytes, bytes], int] = {}
        self.terms: dict[int, np.void] = {}
        """Number -> its row as it was put."""
        self._places: dict[int, tuple[int, int]] = {}

    def number(self, venue: bytes, native: bytes) -> int:
        """Return the number of an instrument, NONE if it is not known."""
        return self._numbers.get((venue, native), NONE)

    def put(self, number: int, row: np.void, account: int, there: int) -> str:
        """Enter a row of md.instruments; return what is wrong with it, if anything.

        Other decimals, or another contract value, would make other amounts of what is held: the
        instrument is halted until somebody has looked at it.
        """
        key = bytes(row["venue"]), bytes(row["native"])
        before = self.terms.get(number)
        held = NONE if before is None else self._numbers.get(key, NONE)
        put_instrument(self.state, number, row, account, there)
        self._numbers[key], self.terms[number] = number, row.copy()
        self._places[number] = account, there
        if held == number and before is not None:
            meaning = ("price_decimals", "quantity_decimals", "contract_value", "kind")
            changed = [name for name in meaning if before[name] != row[name]]
            if changed:
                self.state.instruments[number * INSTRUMENT_WORDS + I_STATUS] = _HALTED
                return f"{key[1].decode()}: {', '.join(changed)} changed: halted"
        return ""

    def note(self, number: int) -> None:
        """Say in the journal what a number stands for."""
        account, there = self._places[number]
        body = np.zeros(3 + _ROW_WORDS, np.int64)
        body[:3] = number, account, there
        body[3:] = np.frombuffer(self.terms[number].tobytes(), np.int64)
        note(self.state, Record.INSTRUMENT, 0, body, len(body))

    def note_all(self) -> None:
        """Say in the journal what all numbers stand for."""
        for number in self.terms:
            self.note(number)

    def forget_numbers(self) -> None:
        """In a replay, at a START: what the numbers stand for is said next."""
        self.state.remap[:] = NONE
        self.state.there[:] = NONE

    def recall(self, body: Words) -> None:
        """Take in an INSTRUMENT record."""
        old, account, there = (int(word) for word in body[:3])
        row = np.frombuffer(body[3 : 3 + _ROW_WORDS].tobytes(), INSTRUMENT.dtype)[0]
        number = self.number(bytes(row["venue"]), bytes(row["native"]))
        if number == NONE:
            self._ghosts -= 1
            number = self._ghosts
            self.put(number, row, account, NONE)
            self.state.instruments[number * INSTRUMENT_WORDS + I_STATUS] = _HALTED
        if old < len(self.state.remap):
            self.state.remap[old] = number
        if account != NONE and there != NONE:
            self.state.there[account * self._rows + there] = number

    def settle(self) -> None:
        """After a replay: numbers are what they are now."""
        state = self.state
        state.remap[:] = np.arange(len(state.remap))
        state.there[:] = NONE
        for number, (account, there) in self._places.items():
            if account != NONE and there != NONE:
                state.there[account * self._rows + there] = number

    def known(self, number: int) -> bool:
        """Return whether a number is in use."""
        return bool(self.state.instruments[number * INSTRUMENT_WORDS + I_KNOWN])


def note_start(state: State, made_ns: Any) -> None:  # noqa: ANN401 - int64[RINGS_OF_START]
    """Say in the journal that an OMS starts, and when the rings were made that it uses."""
    body = np.ascontiguousarray(made_ns, np.int64)
    note(state, Record.START, 0, body, len(body))
