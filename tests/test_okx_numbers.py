"""Numbers for OKX's book messages that the venue sent without."""

import orjson
import pytest

from feeds.okx.infer import numbered


def message(action, time, checksum, price="1", **more):
    data = {"asks": [[price, "1", "0", "1"]], "bids": [], "ts": str(time), "checksum": checksum}
    body = {"arg": {"channel": "books", "instId": "X"}, "action": action, "data": [data | more]}
    return orjson.dumps(body)


def update(time, checksum, price="1"):
    return message("update", time, checksum, price)


def numbers(number, *frames):
    data = [orjson.loads(number(frame))["data"][0] for frame in frames]
    return [(each["prevSeqId"], each["seqId"]) for each in data]


def test_an_update_is_numbered_by_its_place_on_all_lines():
    frames = [update(time, -time) for time in range(1, 5)]
    number = numbered([frames[:2], frames[3:], frames[2:3]])
    assert numbers(number, *frames) == [(1, 2), (2, 3), (3, 4), (4, 5)]


def test_updates_of_one_millisecond_keep_the_order_of_the_lines():
    first, second, third, fourth = (update(7, 50 - each, str(each)) for each in range(4))
    number = numbered([[first, third, fourth], [first, second, third], [second, fourth]])
    assert numbers(number, first, second, third, fourth) == [(1, 2), (2, 3), (3, 4), (4, 5)]


def test_updates_that_differ_only_below_what_the_checksum_covers_are_two():
    one, other = update(7, 1, "1"), update(7, 1, "2")
    assert numbers(numbered([[one, other], [one, other]]), one, other) == [(1, 2), (2, 3)]


@pytest.mark.parametrize(
    ("time", "checksum", "wanted"), [(1, 99, 1), (4, 99, 2), (5, 52, 3), (5, 99, 4), (9, 53, 4)]
)
def test_a_snapshot_has_the_number_of_the_newest_update_in_it(time, checksum, wanted):
    snapshot = message("snapshot", time, checksum)
    number = numbered([[update(3, 51), update(5, 52), update(5, 53)], [snapshot]])
    assert numbers(number, snapshot) == [(-1, wanted)]


def test_frames_that_are_no_book_messages_stay_as_they_are():
    others = [b"pong", b'{"event":"subscribe"}', b'{"action":1}', b'"action"']
    number = numbered([[*others, update(1, 2)], []])
    assert [number(each) for each in others] == others


def test_lines_that_the_venue_numbered_are_left_alone():
    assert numbered([[message("update", 1, 2, seqId=5, prevSeqId=4)], []]) is None


def test_lines_without_books_are_left_alone():
    assert numbered([[b"pong"], []]) is None
