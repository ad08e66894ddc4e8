"""The errors of the engine: what, the value, where, and what to do about it."""


class TradeInfraError(Exception):
    """Any error that a user can act on; the command line prints it without a traceback."""

    exit_code = 1


class NotFound(TradeInfraError):
    """What the command line names is not there: a file, a venue, a process, a segment."""

    exit_code = 2


class UsageError(TradeInfraError):
    """What the command line asks for makes no sense."""

    exit_code = 2


class ConfigError(TradeInfraError):
    """A configuration that cannot be run; the message names the key."""

    exit_code = 4


class ConfigNotFound(NotFound, ConfigError):
    """A configuration, or a part of it, that is not there."""


class SegmentError(TradeInfraError):
    """A shared-memory segment that cannot be used as asked."""


class SegmentNotFound(NotFound, SegmentError):
    """No segment has that name."""


class SegmentNotReady(SegmentError):
    """The segment exists, but its writer has not finished making it."""

    exit_code = 3


class SegmentForbidden(SegmentError):
    """The segment belongs to another user, who lets us not do that."""


class SegmentExists(SegmentError):
    """A segment of that name exists already."""


class LayoutMismatch(SegmentError):
    """The segment holds something else than the caller expects; the message says what differs."""


class WriterExists(SegmentError):
    """Another live process writes to the segment."""


class RingFull(SegmentError):
    """A flow-controlled ring's slowest reader has not made room in time."""


class ReaderLost(SegmentError):
    """A flow-controlled reader was evicted, or joined too late to be protected."""
