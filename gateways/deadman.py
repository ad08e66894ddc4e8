"""The venue's dead-man switch: armed while orders are open, so that they do not outlive us."""

import asyncio
from collections.abc import Sequence

from engine.net import wait
from gateways.adapter import Call, answers
from gateways.answers import TIMES
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
        self._disarm: set[int] = set()
        """Rows that have no orders any more and may still count down."""
        self._refused: set[int] = set()
        """Rows for which the venue has said that it does not count down."""
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
            wanted = self._wanted() - self._refused
            due = loop.time() - self.timeout_s * ARM_AGAIN_SHARE
            done = True
            for row in [row for row in wanted if self._armed.get(row, due - 1) <= due]:
                done = await self._set(row, self.timeout_s) and done
            wanted = self._wanted()
            for row in [row for row in self._armed if row not in wanted]:
                # Before the call: an order that is sent while it is made wants it armed again.
                del self._armed[row]
                self._disarm.add(row)
            for row in self._disarm - wanted:
                done = await self._set(row, 0.0) and done
            if not self._wake.is_set():
                await wait(self._wake, self.timeout_s * ARM_AGAIN_SHARE / 2 if done else AGAIN_S)

    def _wanted(self) -> set[int]:
        """Return the rows with orders that are open or may be; -1 stands for the account."""
        rows = {order.instrument for order in self._core.orders.active()}
        return rows if self._by_symbol else ({-1} if rows else set())

    async def _set(self, row: int, timeout_s: float) -> bool:
        """Arm or disarm one countdown; return whether there is nothing left to try."""
        core = self._core
        instruments: list[Instrument] = core.instruments.all()
        if self._by_symbol:
            instruments = [each for each in instruments if each.row == row]
        began = asyncio.get_running_loop().time()
        try:
            for i in range(len(self._calls(timeout_s, instruments))):
                if not await self._call(i, timeout_s, instruments):
                    self._refused.add(row)
                    self._disarm.discard(row)
                    return True
        except (RestFailed, ValueError) as error:
            core.count("dead_man_failures")
            core.log.warning(f"dead-man switch not set: {error}")
            return False
        self._disarm.discard(row)
        if timeout_s:
            self._armed[row] = began
        core.count("dead_man_set")
        return True

    def _calls(self, timeout_s: float, instruments: list[Instrument]) -> Sequence[Call]:
        core = self._core
        return core.adapter.dead_man_calls(timeout_s, instruments, core.clock.now_ms())

    async def _call(self, i: int, timeout_s: float, instruments: list[Instrument]) -> bool:
        """Make one of the calls; return False if the venue will never do it.

        Raises
        ------
        RestFailed
            If it has not done it, and may the next time.

        """
        core = self._core
        call = self._calls(timeout_s, instruments)[i]
        reply = await core.rest.call(lambda: self._calls(timeout_s, instruments)[i], urgent=True)
        for answer in answers(
            core.adapter.read_answer(
                call, reply.status, reply.headers, reply.body, core.instruments.by_native
            )
        ):
            if answer.verdict is Verdict.REFUSED and answer.reason not in TIMES:
                core.count("dead_man_failures")
                core.log.error(f"the venue has no dead-man switch for us: {answer.text}")
                return False
            if answer.verdict is Verdict.LIMITED:
                core.rest.quiet(call, reply.headers)
            if answer.verdict is not Verdict.ACCEPTED:
                raise RestFailed(f"{answer.verdict.name}: {answer.text}")
        return True
