"""Time: Unix nanoseconds everywhere, one clock for Python and for kernels.

The real-time clock is used and not the monotonic one because the stamps of several processes and
of the venue are compared; a step of the clock (NTP) shows as a step of the latencies.
"""

from engine.atomics import realtime_ns
from engine.jit import kernel


@kernel("int64()")
def now_ns() -> int:
    """Return the present time, Unix ns (CLOCK_REALTIME); callable from Python and from kernels."""
    return realtime_ns()
