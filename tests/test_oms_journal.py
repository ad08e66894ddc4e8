"""The journal on disk: what survives, what is refused, how it goes on."""

import logging
import os

import numpy as np
import pytest

from oms.emit import Record
from oms.journal import (
    HEAD_WORDS,
    JournalDamaged,
    JournalError,
    JournalWriter,
    chunks,
    cut,
    entries,
)
from oms.memory import new_state
from oms.recovery import note
from oms.state import C_JOURNAL, C_JOURNAL_AT

LOG = logging.getLogger("test")
BODY = np.arange(6, dtype=np.int64)
CHUNK = 1 << 20


class Book:
    """A journal and the part of the loop's memory that writes it."""

    def __init__(self, folder):
        self.writer = JournalWriter(folder, CHUNK, 0, LOG)
        self.writer.open()
        self.state = new_state(2)
        sequence, at = 0, HEAD_WORDS
        for path, words, _ in self.writer.read():
            assert path.exists()
            at = HEAD_WORDS
            from oms.journal import length_of

            while count := length_of(words, at, sequence + 1):
                sequence, at = sequence + 1, at + count
        self.state.control[C_JOURNAL] = sequence
        at = self.writer.open_at(sequence, at)
        self.take()
        self.state.control[C_JOURNAL_AT] = at

    def take(self):
        self.state = self.state._replace(journal=self.writer.words)

    def write(self, count=1):
        for _ in range(count):
            note(self.state, Record.NAME, 0, BODY, len(BODY))

    def rotate(self):
        self.state.control[C_JOURNAL_AT] = self.writer.rotate(int(self.state.control[C_JOURNAL]))
        self.take()

    def close(self):
        self.state = None
        self.writer.close()


def sequences(folder):
    return [entry.sequence for entry in entries(folder)]


def test_records_come_back_in_order_over_chunks(tmp_path):
    book = Book(tmp_path)
    book.write(3)
    book.rotate()
    book.write(2)
    book.close()
    assert sequences(tmp_path) == [1, 2, 3, 4, 5]
    assert all((entry.body == BODY).all() for entry in entries(tmp_path))


def test_a_successor_goes_on_behind_the_last_record(tmp_path):
    first = Book(tmp_path)
    first.write(3)
    first.close()
    second = Book(tmp_path)
    second.write(2)
    second.close()
    assert sequences(tmp_path) == [1, 2, 3, 4, 5]


def test_a_record_that_was_cut_short_is_not_believed_and_is_written_over(tmp_path):
    book = Book(tmp_path)
    book.write(3)
    at = int(book.state.control[C_JOURNAL_AT])
    book.close()
    (path,) = chunks(tmp_path)
    with path.open("r+b") as file:  # The head of a fourth one, and part of its body.
        file.seek(at * 8)
        file.write(np.array([(0x5449 << 48) | 6 << 40 | 11, 4, 1, 0, 7, 7], np.int64).tobytes())
    assert sequences(tmp_path) == [1, 2, 3]
    book = Book(tmp_path)
    book.write(1)
    book.close()
    assert sequences(tmp_path) == [1, 2, 3, 4]


@pytest.mark.parametrize("word", [HEAD_WORDS + 1, HEAD_WORDS + 5, HEAD_WORDS + 10])
def test_a_changed_record_is_refused_with_its_place(tmp_path, word):
    book = Book(tmp_path)
    book.write(300)
    book.close()
    (path,) = chunks(tmp_path)
    with path.open("r+b") as file:
        file.seek(word * 8)
        file.write(b"\x55")
    with pytest.raises(JournalDamaged, match=f"byte {HEAD_WORDS * 8:,}"):
        sequences(tmp_path)


def test_cutting_gives_up_what_stands_behind_the_damage(tmp_path):
    book = Book(tmp_path)
    book.write(300)
    book.rotate()
    book.write(5)
    book.close()
    path = chunks(tmp_path)[0]
    record_words = 4 + len(BODY) + 1
    with path.open("r+b") as file:
        file.seek((HEAD_WORDS + 100 * record_words + 5) * 8)
        file.write(b"\x55")
    assert cut(tmp_path) == 100
    assert sequences(tmp_path) == list(range(1, 101))
    assert len(list(tmp_path.glob("*.damaged"))) == 1


def test_a_missing_chunk_is_noticed(tmp_path):
    book = Book(tmp_path)
    for _ in range(3):
        book.write(2)
        book.rotate()
    book.close()
    chunks(tmp_path)[1].unlink()
    with pytest.raises(JournalDamaged, match="begins at 5, not 3"):
        sequences(tmp_path)


def test_a_journal_of_other_records_is_refused(tmp_path):
    book = Book(tmp_path)
    book.write(1)
    book.close()
    (path,) = chunks(tmp_path)
    with path.open("r+b") as file:
        file.seek(2 * 8)
        file.write(b"\x55")
    with pytest.raises(JournalError, match="other records"):
        sequences(tmp_path)


def test_two_writers_of_one_journal_are_refused(tmp_path):
    book = Book(tmp_path)
    second = JournalWriter(tmp_path, CHUNK, 0, LOG)
    with pytest.raises(JournalError, match="another OMS"):
        second.open()
    second.close()
    book.close()


def test_a_full_disk_is_an_error_that_says_so(tmp_path, monkeypatch):
    def no_room(*_):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "posix_fallocate", no_room)
    writer = JournalWriter(tmp_path, CHUNK, 0, LOG)
    writer.open()
    with pytest.raises(JournalError, match="no 1 MiB for the next chunk"):
        writer.open_at(0, HEAD_WORDS)
    writer.close()
