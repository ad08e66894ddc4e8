"""The gateway against a toy venue: what is known of the account, and told of it once."""

import pytest

from gateways.types import OrderStatus, Reason, ReportFlag, ReportKind
from tests.gateway_desk import restart_toy, until
from tests.toy_venue import ToyVenue

K = ReportKind


@pytest.fixture
def quick_gaps(monkeypatch):
    monkeypatch.setattr("gateways.reconcile.GAP_AT_S", (0.05, 0.1))


def there(desk, venue, client_id):
    """Return an order as the venue knows it."""
    return venue.by_client(desk.text(client_id))


# -- trades ---------------------------------------------------------------------------------------
class Busy(ToyVenue):
    """Has an order of somebody's, which is filled once more while it is first asked for."""

    def _all(self, op, body):
        found = super()._all(op, body)
        if op == "open_orders" and not self.trades:
            self.fill("1", 5)
        return found


def test_what_was_filled_before_the_first_start_is_not_made_up(play, quick_gaps):
    venue = Busy(delay_queries_s=0.1)
    venue._new("stranger", "AAA", "buy", 10, 20).filled = 7

    async def scene(desk, venue):
        await desk.quiet(0.5)
        assert [each["last_quantity"] for each in desk.of(K.FILL)] == [5]

    play(scene, venue=venue)


def test_a_missing_trade_is_asked_for_without_telling_those_of_other_orders(play):
    venue = ToyVenue()
    venue.fill(venue._new("stranger", "AAA", "buy", 10, 5).id, 3, silent=True)

    async def scene(desk, venue):
        desk.buy(7)
        await desk.got(K.OPEN, client_id=7)
        order = there(desk, venue, 7)
        venue.fill(order.id, 2, silent=True)
        venue.tell(order, "status")
        await desk.got(K.FILL, client_id=7)
        assert len(desk.of(K.FILL)) == 1

    play(scene, venue=venue, lookback_s=0.0)


def test_an_order_that_was_filled_in_part_and_canceled_unseen_is_told_as_canceled(play):
    async def scene(desk, venue):
        desk.buy(7)
        await desk.got(K.OPEN, client_id=7)
        venue.no_events = True
        await venue.disconnect("private")
        order = there(desk, venue, 7)
        venue.fill(order.id, 2)
        venue.end(order.id)
        venue.no_events = False
        await desk.got(K.UP, 2)
        (told,) = desk.of(K.STATUS, client_id=7)
        assert (told["status"], told["filled"]) == (OrderStatus.CANCELED, 2)

    play(scene)


# -- funding --------------------------------------------------------------------------------------
def test_a_funding_payment_is_told_once_whoever_tells_it(play):
    async def scene(desk, venue):
        venue.twice = True
        venue.pay("1.5")
        paid = await desk.got(K.FUNDING)
        assert (paid["fee"], paid["decimals"], paid["asset"]) == (15, 1, "USD")
        await desk.got(K.SYNC_END, request_id=desk.client.reconcile())
        assert len(desk.of(K.FUNDING)) == 1
        assert not desk.of(K.DIFFERENCE)
        assert desk.gateway.core.orders.active() == []

    play(scene)


def test_a_funding_payment_that_no_event_told_is_told_by_reconciliation(play):
    async def scene(desk, venue):
        venue.pay("1.5", silent=True)
        await desk.got(K.SYNC_END, request_id=desk.client.reconcile())
        (paid,) = desk.of(K.FUNDING)
        assert paid["flags"] & ReportFlag.RECONCILED

    play(scene)


def test_a_successor_does_not_tell_a_funding_payment_again(play):
    async def scene(desk, venue):
        venue.pay("1.5")
        await desk.got(K.FUNDING)
        await desk.kill()
        await restart_toy(desk)
        assert not desk.of(K.FUNDING)

    play(scene)


# -- which answers count --------------------------------------------------------------------------
def test_the_gateway_is_not_up_by_answers_from_before_an_outage(play):
    async def scene(desk, venue):
        venue.delay_queries_s = 0.1
        desk.client.reconcile()
        await until(lambda: venue.log.count("open_orders") == 2)
        await venue.disconnect("private")
        await desk.got(K.UP, 2)
        kinds = [each.kind for each in desk.reports]
        up = len(kinds) - 1 - kinds[::-1].index(K.UP)
        assert kinds[:up].count(K.SYNC_END) == 3

    play(scene)


def test_a_reconciliation_is_answered_by_queries_that_began_after_it_was_asked_for(play):
    async def scene(desk, venue):
        venue.delay_queries_s = 0.1
        first = desk.client.reconcile()
        await until(lambda: venue.log.count("open_orders") == 2)
        second = desk.client.reconcile()
        await desk.got(K.SYNC_END, request_id=first)
        await desk.got(K.SYNC_END, request_id=second)
        assert desk.of(K.SYNC_BEGIN, request_id=second)
        assert venue.log.count("open_orders") == 3

    play(scene)


# -- instruments ----------------------------------------------------------------------------------
def rewrite(desk, **changes):
    """Write the first instrument's row as a feed does when the venue changes it."""
    record = desk.table.records()[:1].copy()
    for name, value in changes.items():
        record[name] = value
    desk.table.write(0, record)


def test_orders_of_an_instrument_wait_until_all_is_told_in_its_new_decimals(play):
    async def scene(desk, venue):
        desk.buy(7)
        await desk.got(K.OPEN, client_id=7)
        venue.delay_queries_s = 0.05
        rewrite(desk, price_decimals=1, quantity_decimals=1)
        refused = [desk.buy(8), desk.client.amend(7, 0, price=12, quantity=5)]
        assert (await desk.got(K.REJECTED, request_id=refused[0]))["reason"] == Reason.INSTRUMENT
        rejected = await desk.got(K.AMEND_REJECTED, request_id=refused[1])
        assert rejected["reason"] == Reason.INSTRUMENT
        status = await desk.got(K.STATUS, client_id=7)
        assert (status["price"], status["quantity"]) == (100, 50)
        await until(lambda: not desk.gateway.core.barred)
        desk.buy(9, price=200, quantity=50)
        opened = await desk.got(K.OPEN, client_id=9)
        assert venue.by_client(desk.text(9)).price == 20
        assert opened["price"] == 200
        assert not desk.of(K.DIFFERENCE)

    play(scene)


def test_an_order_of_an_instrument_with_new_decimals_can_be_canceled_at_once(play):
    async def scene(desk, venue):
        desk.buy(7)
        await desk.got(K.OPEN, client_id=7)
        venue.delay_queries_s = 0.1
        rewrite(desk, price_decimals=1)
        desk.client.cancel(7, 0)
        canceled = await desk.got(K.CANCELED, client_id=7)
        assert canceled["price"] == 100
        assert desk.gateway.core.barred

    play(scene)
