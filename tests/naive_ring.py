"""Slow, obvious versions of the shared structures: what the tests compare against."""


class NaiveRing:
    """A broadcast ring as a list that remembers everything."""

    def __init__(self, capacity):
        self.capacity, self.records = capacity, []

    def publish(self, value):
        self.records.append(value)
        return len(self.records)

    @property
    def newest(self):
        return len(self.records)


class NaiveReader:
    """A position in a ``NaiveRing``, with the loss rule of the real one."""

    def __init__(self, ring, start):
        self.ring, self.lost, self.laps = ring, 0, 0
        oldest = max(1, ring.newest - ring.capacity + 1)
        self.position = {"latest": ring.newest + 1, "oldest": oldest}.get(start, start)

    def poll(self, limit):
        ring = self.ring
        if self.position <= ring.newest - ring.capacity:
            # Half a ring behind; what the tests see is the record that overwrote the wanted one,
            # or the cursor, and both are exact when nobody writes meanwhile.
            target = max(ring.newest - ring.capacity // 2 + 1, self.position + 1)
            self.lost += target - self.position
            self.laps += 1
            self.position = target
        to_the_end = ring.capacity - self.position % ring.capacity
        count = max(0, min(limit, to_the_end, ring.newest - self.position + 1))
        first = self.position
        self.position += count
        return [(n, ring.records[n - 1]) for n in range(first, first + count)]


class NaiveFlow:
    """A flow-controlled ring as a list and the number of records that each reader has done."""

    def __init__(self, capacity, readers):
        self.capacity, self.records = capacity, []
        self.done = dict.fromkeys(readers, 0)

    def try_publish(self, value):
        if len(self.records) - min(self.done.values()) >= self.capacity:
            return False
        self.records.append(value)
        return True
