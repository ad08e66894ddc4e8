"""The cost of a book update, per level, by the book's depth: ``python -m bench.book [--json]``.

A book of a given number of levels a side is kept at that depth by random updates: levels change,
vanish and appear, near the best price more often than far from it, as recorded books do. Timed is
``feeds.book.apply_levels`` on messages of twenty levels, its call from Python included; beside it,
in turns and in the same process, plain Python: a dict assignment or deletion a level, which keeps
no order and no best price. Both books are compared at the end of each round.
"""

import argparse
import json
import random
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from feeds.book import apply_levels, depth, new_books, start_book, top_levels

DEPTHS = (50, 400, 1000)
LEVELS = 20
"""Levels of a message."""
MESSAGES = 2_000
ROUNDS = 9
MIDDLE = 1_000_000


def updates(levels: int, seed: int) -> tuple[dict[int, int], list[NDArray[np.int64]]]:
    """Return a book of so many bids (price -> quantity) and messages that keep it about there."""
    dice = random.Random(seed)
    book = {MIDDLE - i: dice.randrange(1, 10**6) for i in range(levels)}
    present, messages = dict(book), []
    for _ in range(MESSAGES):
        rows = {}
        for _ in range(LEVELS):
            price = MIDDLE - min(int(dice.expovariate(4 / levels)), 2 * levels)
            full = len(present) >= levels
            quantity = 0 if full and dice.random() < 0.5 else dice.randrange(1, 10**6)
            rows[price] = present[price] = quantity
            if not quantity:
                del present[price]
        messages.append(np.array(list(rows.items()), np.int64))
    return book, messages


def in_python(book: dict[int, int], messages: list[list[list[int]]]) -> None:
    """Apply messages to a dict."""
    for message in messages:
        for price, quantity in message:
            if quantity:
                book[price] = quantity
            else:
                book.pop(price, None)


def measure(levels: int) -> dict[str, Any]:
    """Return ns a level, ours and the dict's, best of ``ROUNDS`` rounds."""
    start, messages = updates(levels, levels)
    plain = [message.tolist() for message in messages]
    count = sum(len(message) for message in messages)
    best = {"jitted": float("inf"), "dict": float("inf")}
    for _ in range(ROUNDS):
        books = new_books(1)
        start_book(books, 0, 1)
        rows = np.array(list(start.items()), np.int64)
        apply_levels(books, 0, 1, rows, 0, len(rows))
        began = time.perf_counter_ns()
        for message in messages:
            apply_levels(books, 0, 1, message, 0, len(message))
        best["jitted"] = min(best["jitted"], (time.perf_counter_ns() - began) / count)
        book = dict(start)
        began = time.perf_counter_ns()
        in_python(book, plain)
        best["dict"] = min(best["dict"], (time.perf_counter_ns() - began) / count)
        held = np.zeros((depth(books, 0, 1), 2), np.int64)
        top_levels(books, 0, 1, len(held), held)
        if held.tolist() != [[p, q] for p, q in sorted(book.items(), reverse=True)]:
            raise AssertionError(f"the books differ at depth {levels}")
    return {"levels": levels, "per_message": round(count / len(messages), 1)} | best


def main() -> None:
    """Measure every depth and print a table, or JSON with ``--json``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    args = parser.parse_args()
    rows = [measure(levels) for levels in DEPTHS]
    if args.json:
        print(json.dumps(rows, indent=1))
        return
    print(f"{'depth':>7}{'levels/message':>16}{'ns a level':>12}{'dict':>8}{'dict/':>7}")
    for row in rows:
        ratio = row["dict"] / row["jitted"]
        print(
            f"{row['levels']:>7}{row['per_message']:>16}{row['jitted']:>12.1f}"
            f"{row['dict']:>8.1f}{ratio:>7.2f}"
        )


if __name__ == "__main__":
    main()
