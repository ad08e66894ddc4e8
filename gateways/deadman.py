"""The venue's dead-man switch: armed while orders are open, so that they do not outlive us."""

import asyncio

from engine.net import wait
from gateways.adapter import Call
from gateways.core import Core
from gateways.message import Instrument, Verdict
from gateways.rest import RestFailed

ARM_AGAIN_SHARE = 1 / 3
"""Of the countdown: two attempts may fail before it runs out."""
AGAIN_S = 1.0
"""After an attempt that failed."""


class DeadMan:
    """Keeps the countdown of a venue that has one from running out while orders are open."""

    def __init__(self, core: Core) -> None:
        self._core = core
        shortest, longest = core.adapter.dialect.dead_man_s
        wanted = core.settings.dead_man_s
        active = core.adapter.dialect.dead_man != "none" and wanted > 0
        self.timeout_s = min(max(wanted, shortest), longest or wanted) if active else 0.0
        self._armed: dict[int, float] = {}
        """Row (-1: the account) -> when it was armed last (loop's clock)."""
        self._wake = asyncio.Event()

    @property
    def armed(self) -> bool:
        """Whether the venue counts down."""
        return bool(self._armed)

    def order_sent(self, row: int) -> None:
        """Arm soon: an order has left for an instrument."""
        if self.timeout_s and (row if self._by_symbol else -1) not in self._armed:
            self._wake.set()

    @property
    def _by_symbol(self) -> bool:
        return self._core.adapter.dialect.dead_man == "symbol"

    async def run(self) -> None:
        """Arm and disarm until cancelled."""
        if not self.timeout_s:
            await asyncio.Event().wait()
        loop = asyncio.get_running_loop()
        while True:
            self._wake.clear()
            wanted = self._wanted()
            due = loop.time() - self.timeout_s * ARM_AGAIN_SHARE
            arm = [row for row in wanted if self._armed.get(row, due - 1) <= due]
            disarm = [row for row in self._armed if row not in wanted]
            done = not arm or await self._set(arm, self.timeout_s)
            if disarm:
                done = await self._set(disarm, 0.0) and done
            await wait(self._wake, self.timeout_s * ARM_AGAIN_SHARE / 2 if done else AGAIN_S)

    def _wanted(self) -> set[int]:
        """Return the rows with orders that are open or may be; -1 stands for the account."""
        rows = {order.instrument for order in self._core.orders.active()}
        return rows if self._by_symbol else ({-1} if rows else set())

    async def _set(self, rows: list[int], timeout_s: float) -> bool:
        """Arm or disarm; return whether the venue has done it."""
        core = self._core
        instruments: list[Instrument] = core.instruments.all()
        if self._by_symbol:
            instruments = [each for each in instruments if each.row in rows]
        count = len(core.adapter.dead_man_calls(timeout_s, instruments, core.clock.now_ms()))
        now = asyncio.get_running_loop().time()
        try:
            for i in range(count):

                def build(i: int = i) -> Call:
                    calls = core.adapter.dead_man_calls(timeout_s, instruments, core.clock.now_ms())
                    return calls[i]

                call = build()
                reply = await core.rest.fetch(build, urgent=True)
                for event in core.adapter.read_answer(
                    call, reply.status, reply.headers, reply.body, core.instruments.by_native
                ):
                    if getattr(event, "verdict", Verdict.ACCEPTED) is not Verdict.ACCEPTED:
                        raise RestFailed(f"refused: {getattr(event, 'text', '')}")
        except RestFailed as error:
            core.count("dead_man_failures")
            core.log.warning(f"dead-man switch not set: {error}")
            return False
        for row in rows:
            if timeout_s:
                self._armed[row] = now
            else:
                self._armed.pop(row, None)
        core.count("dead_man_set")
        return True
