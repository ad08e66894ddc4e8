"""The simulated venue's clearing house: order types, prevention, amendments, settings."""

from collections import deque
from decimal import Decimal

import pytest

from engine.common import OrderType, Side, TimeInForce
from engine.errors import ConfigError
from gateways.simulator.account import (
    AccountSettings,
    Change,
    PositionEvent,
    Prevention,
    Refused,
    SettingEvent,
    Status,
    Why,
)
from gateways.simulator.instruments import Listing
from gateways.simulator.trading import MarketLimits, Trading, TradingRules
from tests.trading_desk import CANCELED, EXPIRED, NEW, TRADE, TradingDesk, no_fees

IOC, FOK, POST_ONLY = TimeInForce.IOC, TimeInForce.FOK, TimeInForce.POST_ONLY
STOP_MARKET, STOP_LIMIT = OrderType.STOP_MARKET, OrderType.STOP_LIMIT


def why(action):
    """Return why an action is refused."""
    with pytest.raises(Refused) as refused:
        action()
    return refused.value.why


# Order types on spot.


def test_a_limit_buy_locks_its_value_and_the_crowd_can_fill_it():
    desk = TradingDesk()
    order = desk.buy(desk.middle, 10)
    value = desk.units(desk.middle, 10)
    assert desk.locked("USDT") == value
    assert desk.free("USDT") == 1_000_000 - value
    desk.crowd(Side.SELL, desk.middle, 4)
    assert (order.status, order.filled, order.left) == (Status.PARTIAL, 4, 6)
    assert desk.locked("USDT") == desk.units(desk.middle, 6)
    desk.crowd(Side.SELL, desk.middle, 6)
    assert order.status is Status.FILLED
    assert desk.locked("USDT") == 0
    assert desk.changes(order) == [NEW, TRADE, TRADE]


def test_a_spot_fee_is_taken_from_what_is_received():
    desk = TradingDesk()
    desk.asks(desk.middle, 1000)
    order = desk.buy(desk.middle, 1000)
    got = desk.trading.quantity_units(desk.market, 1000)
    assert desk.free("BTC") == 100 + got - got * Decimal("0.001")
    assert order.fees == {"BTC": got * Decimal("0.001")}
    desk.bids(desk.middle, 1000)
    assert desk.sell(desk.middle, 1000).fees == {
        "USDT": desk.units(desk.middle, 1000) * Decimal("0.001")
    }


def test_a_buy_that_is_filled_at_a_better_price_gets_the_difference_back():
    desk = TradingDesk(rules=no_fees())
    desk.asks(desk.middle - 5, 10)
    desk.buy(desk.middle, 10)
    assert desk.locked("USDT") == 0
    assert desk.free("USDT") == 1_000_000 - desk.units(desk.middle - 5, 10)


def test_a_sell_locks_what_it_sells_until_it_is_cancelled():
    desk = TradingDesk()
    order = desk.sell(desk.middle, 10)
    assert desk.locked("BTC") == desk.trading.quantity_units(desk.market, 10)
    desk.trading.cancel(order, desk.now_ms)
    assert (order.status, order.ended, order.left) == (Status.CANCELED, Why.USER, 0)
    assert desk.locked("BTC") == 0
    assert desk.market.book.orders == {}


def test_a_market_order_takes_the_levels_and_the_rest_of_it_expires():
    desk = TradingDesk(rules=no_fees())
    desk.asks(desk.middle, 3)
    desk.asks(desk.middle + 2, 3)
    order = desk.buy(quantity=10)
    assert (order.status, order.ended, order.filled) == (Status.EXPIRED, Why.IMMEDIATE, 6)
    assert desk.locked("USDT") == 0
    spent = desk.units(desk.middle, 3) + desk.units(desk.middle + 2, 3)
    assert desk.free("USDT") == 1_000_000 - spent


def test_a_market_order_into_an_empty_book_finds_nobody():
    desk = TradingDesk()
    order = desk.buy(quantity=10)
    assert (order.status, order.ended, order.filled) == (Status.EXPIRED, Why.NO_LIQUIDITY, 0)


def test_a_market_buy_spends_an_amount_of_the_quote_currency():
    desk = TradingDesk(rules=no_fees())
    desk.asks(desk.middle, 5)
    desk.asks(desk.middle + 10, 50)
    amount = desk.units(desk.middle, 5) + desk.units(desk.middle + 10, 3) + Decimal("0.001")
    order = desk.buy(quantity=0, quote_quantity=amount)
    assert (order.status, order.filled) == (Status.FILLED, 8)
    assert order.value == amount - Decimal("0.001")


def test_a_market_buy_for_an_amount_does_not_count_what_prevention_keeps_from_it():
    desk = TradingDesk(rules=no_fees())
    own = desk.sell(desk.middle, 10)
    desk.asks(desk.middle * 2, 10)
    amount = desk.units(desk.middle, 10)
    order = desk.buy(quantity=0, quote_quantity=amount)
    assert (own.status, order.filled, order.value) == (Status.EXPIRED, 5, amount)


def test_an_immediate_order_takes_what_there_is():
    desk = TradingDesk()
    desk.asks(desk.middle, 4)
    order = desk.buy(desk.middle, 10, time_in_force=IOC)
    assert (order.status, order.ended, order.filled) == (Status.EXPIRED, Why.IMMEDIATE, 4)
    assert desk.changes(order) == [NEW, TRADE, EXPIRED]


def test_a_fill_or_kill_order_takes_all_or_nothing():
    desk = TradingDesk()
    desk.asks(desk.middle, 4)
    killed = desk.buy(desk.middle, 5, time_in_force=FOK)
    assert (killed.status, killed.ended, killed.filled) == (
        Status.EXPIRED,
        Why.FILL_OR_KILL,
        0,
    )
    assert desk.buy(desk.middle, 4, time_in_force=FOK).status is Status.FILLED


def test_a_post_only_order_that_would_take_is_refused():
    desk = TradingDesk()
    desk.asks(desk.middle, 4)
    terms = desk.terms(price=desk.middle, time_in_force=POST_ONLY)
    assert desk.refusal(terms) is Why.POST_ONLY
    assert desk.buy(desk.middle - 1, time_in_force=POST_ONLY).status is Status.NEW


def test_a_post_only_order_expires_where_the_venue_accepts_it_first():
    desk = TradingDesk(rules=TradingRules(post_only_refuses=False))
    desk.asks(desk.middle, 4)
    order = desk.buy(desk.middle, time_in_force=POST_ONLY)
    assert (order.status, order.ended) == (Status.EXPIRED, Why.POST_ONLY)
    assert desk.locked("USDT") == 0


def test_an_order_ends_at_its_date():
    desk = TradingDesk()
    order = desk.buy(desk.middle, time_in_force=TimeInForce.GTD, expire_ms=desk.now_ms + 1000)
    desk.tick(999)
    assert order.status is Status.NEW
    desk.tick(1)
    assert (order.status, order.ended) == (Status.EXPIRED, Why.TIME)


def test_the_older_of_two_orders_at_a_price_is_filled_first():
    desk = TradingDesk()
    first, second = desk.buy(desk.middle, 5), desk.buy(desk.middle, 5)
    desk.crowd(Side.SELL, desk.middle, 6)
    assert (first.filled, second.filled) == (5, 1)


def test_accounts_trade_with_each_other_at_the_makers_price():
    desk = TradingDesk()
    maker = desk.sell(desk.middle, 10, account=desk.other)
    taker = desk.buy(desk.middle + 5, 10)
    assert maker.status is taker.status is Status.FILLED
    assert taker.average == desk.trading.price_units(desk.market, desk.middle)
    (bought,), (sold,) = desk.account.fills, desk.other.fills
    assert bought.id == sold.id
    assert (bought.maker, sold.maker) == (False, True)


def test_what_orders_do_to_a_book_is_published():
    desk = TradingDesk()
    order = desk.buy(desk.middle, 10)
    desk.trading.amend(order, desk.now_ms, quantity=5, keep_priority=True)
    desk.trading.cancel(order, desk.now_ms)
    assert [len(outcome.changes) for outcome in desk.published] == [1, 1, 1]


# Refusals.


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"price": 0, "type": OrderType.LIMIT}, Why.PARAMETER),
        ({"time_in_force": TimeInForce.GTD}, Why.PARAMETER),
        ({"price": 7, "quantity": 0}, Why.MIN_QUANTITY),
        ({"quantity": 100_000_000}, Why.BALANCE),
    ],
)
def test_terms_that_cannot_be_are_refused(changes, reason):
    desk = TradingDesk()
    assert desk.refusal(desk.terms(**({"price": desk.middle} | changes))) is reason
    assert desk.events == []


def test_the_filters_of_an_instrument_hold():
    limits = MarketLimits(2, 100, 50, Decimal(5), 10, 10_000_000)
    rules = TradingRules(limits=lambda instrument: limits, price_band=Decimal("0.1"))
    desk = TradingDesk(rules=rules)
    price = desk.middle

    def refusal(**fields):
        return desk.refusal(desk.terms(**({"price": price, "quantity": 60} | fields)))

    assert refusal(quantity=1) is Why.MIN_QUANTITY
    assert refusal(quantity=101) is Why.MAX_QUANTITY
    assert refusal(price=0, quantity=51) is Why.MAX_QUANTITY
    assert refusal(quantity=2) is Why.NOTIONAL
    assert refusal(price=9) is Why.PRICE_RANGE
    assert refusal(price=price * 3 // 2) is Why.PRICE_BAND
    assert refusal() is None


def test_prices_off_the_grid_and_closed_markets_are_refused():
    desk = TradingDesk()
    desk.simulation.change(desk.market, grid=10)
    assert desk.refusal(desk.terms(price=desk.middle // 10 * 10 + 1)) is Why.TICK
    desk.simulation.change(desk.market, listing=Listing.HALTED)
    assert desk.refusal(desk.terms(price=desk.middle // 10 * 10)) is Why.MARKET_CLOSED
    desk.simulation.change(desk.market, listing=Listing.DELISTED)
    assert desk.refusal(desk.terms(price=desk.middle // 10 * 10)) is Why.SYMBOL


def test_orders_of_a_delisted_instrument_end():
    desk = TradingDesk()
    order = desk.buy(desk.middle)
    desk.simulation.change(desk.market, listing=Listing.DELISTED)
    desk.tick()
    assert (order.status, order.ended) == (Status.CANCELED, Why.DELISTED)


def test_orders_off_a_new_grid_end():
    desk = TradingDesk()
    order = desk.buy(desk.middle // 10 * 10 + 3)
    desk.simulation.change(
        desk.market,
        grid=10,
        observer=lambda market, outcome: desk.trading.observe(market, outcome, 1),
    )
    assert order.status is Status.CANCELED
    assert desk.locked("USDT") == 0


def test_there_are_only_so_many_open_orders():
    desk = TradingDesk(rules=TradingRules(orders_per_symbol=2))
    desk.buy(desk.middle)
    last = desk.buy(desk.middle)
    assert desk.refusal(desk.terms(price=desk.middle)) is Why.TOO_MANY
    desk.trading.cancel(last, desk.now_ms)
    assert desk.refusal(desk.terms(price=desk.middle)) is None


def test_a_client_id_can_be_used_again_when_its_order_has_ended():
    desk = TradingDesk()
    first = desk.buy(desk.middle, client_id="a")
    assert desk.refusal(desk.terms(price=desk.middle, client_id="a")) is Why.DUPLICATE
    desk.trading.cancel(first, desk.now_ms)
    second = desk.buy(desk.middle, client_id="a")
    assert desk.trading.find(desk.account, client_id="a") is second
    assert desk.trading.find(desk.account, order_id=first.id) is first


def test_a_client_id_can_be_used_once_where_the_venue_wants_that():
    desk = TradingDesk(rules=TradingRules(duplicate_ids="forever"))
    desk.trading.cancel(desk.buy(desk.middle, client_id="a"), desk.now_ms)
    assert desk.refusal(desk.terms(price=desk.middle, client_id="a")) is Why.DUPLICATE


def test_an_ended_order_is_neither_cancelled_nor_amended():
    desk = TradingDesk()
    desk.asks(desk.middle, 10)
    filled = desk.buy(desk.middle, 10)
    canceled = desk.trading.cancel(desk.buy(desk.middle - 1), desk.now_ms)
    trading = desk.trading
    assert why(lambda: trading.cancel(filled, desk.now_ms)) is Why.FILLED_ORDER
    assert why(lambda: trading.amend(canceled, desk.now_ms, quantity=9)) is Why.CLOSED_ORDER


def test_an_account_forgets_its_oldest_orders():
    desk = TradingDesk()
    desk.account.history = deque(maxlen=2)
    ended = [
        desk.trading.cancel(desk.buy(desk.middle, client_id=f"c{n}"), desk.now_ms) for n in range(3)
    ]
    found = [desk.trading.find(desk.account, order_id=order.id) for order in ended]
    assert found == [None, *ended[1:]]
    assert desk.trading.find(desk.account, client_id="c0") is None


def test_a_check_changes_nothing():
    desk = TradingDesk()
    desk.trading.check(desk.account, desk.terms(price=desk.middle), desk.now_ms)
    assert (desk.events, desk.published, desk.account.orders) == ([], [], {})


# Self-trade prevention.


@pytest.mark.parametrize(
    ("mode", "maker", "taker", "taken"),
    [
        (Prevention.NONE, Status.FILLED, Status.FILLED, 10),
        (Prevention.MAKER, Status.EXPIRED, Status.FILLED, 10),
        (Prevention.TAKER, Status.NEW, Status.EXPIRED, 4),
        (Prevention.BOTH, Status.EXPIRED, Status.EXPIRED, 4),
    ],
)
def test_an_account_does_not_trade_with_itself(mode, maker, taker, taken):
    desk = TradingDesk(rules=no_fees())
    desk.asks(desk.middle - 1, 4)
    own = desk.sell(desk.middle, 6)
    desk.asks(desk.middle, 6)
    order = desk.buy(desk.middle, 10, prevention=mode)
    assert (own.status, order.status, order.filled) == (maker, taker, taken)
    for each in (own, order):
        if each.status is Status.EXPIRED:
            assert each.ended is Why.SELF_TRADE
            assert each.prevented == each.quantity - each.filled
            assert desk.changes(each)[-2:] == [Change.PREVENTED, EXPIRED]
    assert desk.locked("USDT") == 0


def test_prevention_counts_for_fill_or_kill_and_market_orders():
    desk = TradingDesk(rules=no_fees())
    own = desk.sell(desk.middle, 6)
    desk.asks(desk.middle + 1, 6)
    killed = desk.buy(desk.middle, 6, time_in_force=FOK)
    assert (killed.ended, own.status) == (Why.FILL_OR_KILL, Status.NEW)
    taken = desk.buy(quantity=6)
    assert (taken.filled, own.ended) == (6, Why.SELF_TRADE)
    assert desk.free("USDT") == 1_000_000 - desk.units(desk.middle + 1, 6)


def test_the_orders_of_another_account_are_not_prevented():
    desk = TradingDesk()
    desk.sell(desk.middle, 6, account=desk.other)
    assert desk.buy(desk.middle, 6, prevention=Prevention.BOTH).status is Status.FILLED


# Stop orders.


def test_a_stop_limit_waits_for_the_last_price_and_then_stands_in_the_book():
    desk = TradingDesk()
    order = desk.buy(
        desk.middle - 50, 10, type=STOP_LIMIT, stop_price=desk.middle - 20, client_id="s"
    )
    assert order.status is Status.UNTRIGGERED
    desk.trades_at(desk.middle - 19)
    assert order.status is Status.UNTRIGGERED
    desk.trades_at(desk.middle - 20)
    assert (order.status, order.triggered) == (Status.NEW, True)
    assert desk.changes(order) == [NEW, Change.TRIGGERED]
    assert desk.locked("USDT") == desk.units(desk.middle - 50, 10)


def test_a_stop_market_sells_when_the_price_falls():
    desk = TradingDesk(rules=no_fees())
    desk.bids(desk.middle - 30, 100)
    order = desk.sell(quantity=10, type=STOP_MARKET, stop_price=desk.middle - 20, stop_above=False)
    assert desk.locked("BTC") == desk.trading.quantity_units(desk.market, 10)
    desk.trades_at(desk.middle - 25)
    assert order.status is Status.FILLED
    assert desk.changes(order) == [NEW, Change.TRIGGERED, TRADE]


def test_a_stop_whose_condition_holds_already_is_refused():
    desk = TradingDesk()
    terms = desk.terms(type=STOP_MARKET, stop_price=desk.middle - 20, stop_above=True)
    assert desk.refusal(terms) is Why.WOULD_TRIGGER


def test_a_stop_can_wait_for_the_mark_price():
    desk = TradingDesk("binance_usdm")
    desk.moves_to(desk.middle)
    order = desk.buy(
        quantity=3, type=STOP_MARKET, stop_price=desk.middle + 100, trigger="mark", algo=True
    )
    desk.trades_at(desk.middle + 200)
    desk.moves_to(desk.middle + 99)
    desk.tick()
    assert order.status is Status.UNTRIGGERED
    desk.moves_to(desk.middle + 100)
    desk.tick()
    assert order.status is Status.TRIGGERED
    plain = desk.trading.find(desk.account, order_id=order.triggered_id)
    assert (plain.status, plain.filled, plain.terms.algo) == (Status.FILLED, 3, False)


def test_an_algo_order_and_the_plain_one_that_it_became_are_found_by_the_same_client_id():
    desk = TradingDesk("binance_usdm")
    order = desk.buy(
        desk.middle - 5, 3, type=STOP_LIMIT, stop_price=desk.middle - 2, algo=True, client_id="x"
    )
    assert desk.trading.open_orders(desk.account, algo=False) == []
    desk.trades_at(desk.middle - 2)
    find = desk.trading.find
    assert find(desk.account, client_id="x", algo=True) is order
    plain = find(desk.account, client_id="x", algo=False)
    assert (plain.id, plain.status) == (order.triggered_id, Status.NEW)
    assert find(desk.account, client_id="x") is plain


def test_a_triggered_order_without_the_means_is_rejected():
    desk = TradingDesk("binance_usdm", balances={"USDT": "10"})
    desk.moves_to(desk.middle)
    order = desk.buy(quantity=1000, type=STOP_MARKET, stop_price=desk.middle + 1)
    desk.trades_at(desk.middle + 1)
    assert (order.status, order.ended) == (Status.REJECTED, Why.MARGIN)
    assert desk.changes(order) == [NEW, Change.REJECTED]


def test_one_trigger_can_set_off_the_next():
    desk = TradingDesk()
    desk.bids(desk.middle - 40, 100)
    first = desk.sell(quantity=5, type=STOP_MARKET, stop_price=desk.middle - 20)
    second = desk.sell(quantity=5, type=STOP_MARKET, stop_price=desk.middle - 40)
    desk.trades_at(desk.middle - 20)
    assert first.status is second.status is Status.FILLED


def test_an_untriggered_order_is_cancelled_and_amended_like_another():
    desk = TradingDesk()
    order = desk.buy(desk.middle, 10, type=STOP_LIMIT, stop_price=desk.middle + 20)
    desk.trading.amend(order, desk.now_ms, stop_price=desk.middle + 40, quantity=5)
    assert desk.locked("USDT") == desk.units(desk.middle, 5)
    desk.trades_at(desk.middle + 30)
    assert order.status is Status.UNTRIGGERED
    desk.trading.cancel(order, desk.now_ms)
    desk.trades_at(desk.middle + 50)
    assert (order.status, desk.locked("USDT")) == (Status.CANCELED, 0)


# Amendments.


def test_a_lower_quantity_keeps_the_place_in_the_queue():
    desk = TradingDesk()
    first, second = desk.buy(desk.middle, 10), desk.buy(desk.middle, 10)
    desk.trading.amend(first, desk.now_ms, quantity=4, keep_priority=True)
    desk.crowd(Side.SELL, desk.middle, 6)
    assert (first.filled, second.filled) == (4, 2)


def test_another_amendment_goes_to_the_end_of_the_queue():
    desk = TradingDesk()
    first, second = desk.buy(desk.middle, 10), desk.buy(desk.middle, 10)
    desk.trading.amend(first, desk.now_ms, quantity=4)
    desk.crowd(Side.SELL, desk.middle, 11)
    assert (first.filled, second.filled) == (1, 10)
    assert desk.changes(first) == [NEW, Change.AMENDED, TRADE]


def test_an_amended_price_can_take_at_once():
    desk = TradingDesk(rules=no_fees())
    order = desk.buy(desk.middle - 10, 10)
    desk.asks(desk.middle, 4)
    desk.trading.amend(order, desk.now_ms, price=desk.middle, quantity=12)
    assert (order.status, order.filled, order.quantity) == (Status.PARTIAL, 4, 12)
    assert desk.locked("USDT") == desk.units(desk.middle, 8)


@pytest.mark.parametrize(
    ("rule", "status", "ended", "quantity"),
    [
        ("cancel", Status.CANCELED, Why.AMENDED_AWAY, 10),
        ("fill", Status.FILLED, Why.NONE, 6),
    ],
)
def test_an_amendment_to_what_is_filled_ends_the_order(rule, status, ended, quantity):
    desk = TradingDesk(rules=TradingRules(amend_below_filled=rule))
    order = desk.buy(desk.middle, 10)
    desk.crowd(Side.SELL, desk.middle, 6)
    desk.trading.amend(order, desk.now_ms, quantity=5)
    assert (order.status, order.ended, order.quantity) == (status, ended, quantity)
    assert (order.filled, desk.locked("USDT"), desk.market.book.orders) == (6, 0, {})


def test_an_amendment_to_what_is_filled_can_be_refused():
    desk = TradingDesk(rules=TradingRules(amend_below_filled="refuse"))
    order = desk.buy(desk.middle, 10)
    desk.crowd(Side.SELL, desk.middle, 6)
    refused = why(lambda: desk.trading.amend(order, desk.now_ms, quantity=6))
    assert (refused, order.left) == (Why.AMENDED_AWAY, 4)


def test_an_amendment_that_changes_nothing_or_costs_too_much_is_refused():
    desk = TradingDesk()
    order = desk.buy(desk.middle, 10)

    def amend(**changes):
        return why(lambda: desk.trading.amend(order, desk.now_ms, **changes))

    assert amend(price=desk.middle, quantity=10) is Why.NOT_CHANGED
    assert amend(quantity=100_000_000) is Why.BALANCE
    assert (order.quantity, order.left) == (10, 10)


@pytest.mark.parametrize("rule", ["refuse", "cancel"])
def test_a_post_only_order_does_not_take_by_amendment(rule):
    desk = TradingDesk(rules=TradingRules(amend_post_only=rule))
    order = desk.buy(desk.middle - 9, time_in_force=POST_ONLY)
    desk.asks(desk.middle, 5)
    if rule == "refuse":
        amend = desk.trading.amend
        assert why(lambda: amend(order, desk.now_ms, price=desk.middle)) is Why.POST_ONLY
        assert order.status is Status.NEW
    else:
        desk.trading.amend(order, desk.now_ms, price=desk.middle)
        assert (order.status, order.ended) == (Status.EXPIRED, Why.POST_ONLY)


# Cancelling many, and dead-man switches.


def test_all_orders_of_a_symbol_or_tag_are_cancelled():
    desk = TradingDesk()
    tagged, plain = desk.buy(desk.middle, tag="a"), desk.buy(desk.middle)
    assert desk.trading.cancel_all(desk.account, desk.now_ms, symbol="ETHUSDT") == []
    assert desk.trading.cancel_all(desk.account, desk.now_ms, tag="a") == [tagged]
    assert desk.trading.cancel_all(desk.account, desk.now_ms, symbol="BTCUSDT") == [plain]


@pytest.mark.parametrize(("scope", "left"), [("", 0), ("BTCUSDT", 0), ("tag:a", 1)])
def test_a_dead_man_switch_cancels_what_is_in_its_scope(scope, left):
    desk = TradingDesk()
    tagged = desk.buy(desk.middle, tag="a")
    desk.buy(desk.middle)
    desk.trading.arm(desk.account, scope, 1000, desk.now_ms)
    desk.tick(900)
    desk.trading.arm(desk.account, scope, 1000, desk.now_ms)
    desk.tick(900)
    assert tagged.status is Status.NEW
    desk.tick(100)
    assert (tagged.status, tagged.ended) == (Status.CANCELED, Why.DEAD_MAN)
    assert len(desk.account.orders) == left


def test_a_disarmed_dead_man_switch_does_nothing():
    desk = TradingDesk()
    order = desk.buy(desk.middle)
    desk.trading.arm(desk.account, "", 1000, desk.now_ms)
    desk.trading.arm(desk.account, "", 0, desk.now_ms)
    desk.tick(5000)
    assert order.status is Status.NEW


# Accounts.


@pytest.mark.parametrize(
    ("key", "balances", "message"),
    [
        ("first", {}, "'first' is empty or taken"),
        ("", {}, "is empty or taken"),
        ("new", {"USDT": "much"}, "balance of USDT is no amount: 'much'"),
        ("new", {"USDT": "-1"}, "balance of USDT is no amount: '-1'"),
    ],
)
def test_an_account_that_cannot_be_opened_is_refused(key, balances, message):
    desk = TradingDesk()
    with pytest.raises(ConfigError, match=message):
        desk.trading.add_account(AccountSettings(key=key, balances=balances))


def test_the_settings_of_an_account_do_not_show_its_secret():
    settings = AccountSettings(key="k", secret="hidden", passphrase="hidden")
    desk = TradingDesk()
    assert "hidden" not in repr(settings) + repr(desk.trading.add_account(settings))


def test_money_is_put_in_and_taken_out():
    desk = TradingDesk()
    desk.trading.deposit(desk.account, "ETH", Decimal(3), desk.now_ms)
    desk.trading.deposit(desk.account, "ETH", Decimal(-1), desk.now_ms)
    assert desk.free("ETH") == 2
    taken = why(lambda: desk.trading.deposit(desk.account, "ETH", Decimal(-3), desk.now_ms))
    assert taken is Why.BALANCE
    assert [event.why for event in desk.heard_of_balances()] == ["deposit", "withdrawal"]


def test_an_operation_tells_of_orders_first_and_of_each_balance_once():
    desk = TradingDesk()
    desk.asks(desk.middle, 3)
    desk.asks(desk.middle + 1, 3)
    desk.events.clear()
    order = desk.buy(desk.middle + 1, 6)
    assert desk.changes(order) == [NEW, TRADE, TRADE]
    (balances,) = desk.heard_of_balances()
    assert desk.events[-1] is balances
    assert set(balances.assets) == {"USDT", "BTC"}


def test_a_filled_order_is_ended_when_its_last_trade_is_told():
    desk = TradingDesk()
    desk.asks(desk.middle, 3)
    seen = []
    desk.trading.listeners.append(
        lambda event: seen.append(getattr(event, "order", None) and event.order.status)
    )
    desk.buy(desk.middle, 3)
    assert seen[:2] == [Status.NEW, Status.FILLED]


def test_settings_are_told_when_they_change():
    desk = TradingDesk("binance_usdm")
    trading, account, symbol = desk.trading, desk.account, "BTCUSDT"
    assert trading.set_leverage(account, symbol, 5, desk.now_ms)
    assert not trading.set_leverage(account, symbol, 5, desk.now_ms)
    assert trading.set_isolated(account, symbol, True, desk.now_ms)
    assert trading.set_hedge(account, True, desk.now_ms)
    what = [event.what for event in desk.events if isinstance(event, SettingEvent)]
    assert what == ["leverage", "margin", "hedge"]
    assert why(lambda: trading.set_leverage(account, symbol, 126, desk.now_ms)) is Why.LEVERAGE
    assert why(lambda: trading.set_leverage(account, "XUSDT", 5, desk.now_ms)) is Why.SYMBOL


def test_modes_do_not_change_while_orders_or_positions_are_open():
    desk = TradingDesk("binance_usdm")
    trading, account = desk.trading, desk.account
    order = desk.buy(desk.middle, 3)
    assert why(lambda: trading.set_hedge(account, True, 1)) is Why.OPEN_ORDERS
    desk.crowd(Side.SELL, desk.middle, 3)
    assert order.status is Status.FILLED
    assert why(lambda: trading.set_isolated(account, "BTCUSDT", True, 1)) is Why.OPEN_POSITIONS
    assert not any(isinstance(event, SettingEvent) for event in desk.events)
    assert any(isinstance(event, PositionEvent) for event in desk.events)


def test_the_same_calls_give_the_same_results():
    def run():
        desk = TradingDesk(resting=200)
        for place in range(40):
            desk.buy(desk.middle - place % 7, 10 + place, client_id=f"c{place}")
            desk.simulation.advance(
                20, lambda market, outcome: desk.trading.observe(market, outcome, desk.now_ms)
            )
        return [
            (o.id, o.status, o.filled, o.value) for o in desk.account.history
        ], desk.account.balances

    assert run() == run()
    assert CANCELED is Change.CANCELED


# Stop orders that find out their size when they trigger.


@pytest.mark.parametrize("rule", ["refuse", "accept"])
def test_the_trigger_of_a_stop_that_closes_a_position_is_amended(rule):
    desk = TradingDesk("binance_usdm", rules=no_fees(amend_unchanged=rule))
    desk.moves_to(desk.middle)
    desk.buy(quantity=10)
    stop = desk.sell(quantity=0, type=STOP_MARKET, stop_price=desk.middle - 50, close_position=True)
    desk.trading.amend(stop, desk.now_ms, stop_price=desk.middle - 20)
    assert (stop.status, stop.terms.stop_price) == (Status.UNTRIGGERED, desk.middle - 20)
    desk.moves_to(desk.middle - 30)
    desk.crowd(Side.SELL, desk.middle - 31, 1)
    assert (stop.status, stop.filled, desk.position().lots) == (Status.FILLED, 10, 0)


def test_a_stop_for_an_amount_is_sized_by_the_book_when_it_triggers():
    desk = TradingDesk(rules=no_fees())
    desk.asks(desk.middle + 1, 1000)
    amount = desk.units(desk.middle, 100)
    stop = desk.buy(
        quantity=0, quote_quantity=amount, type=STOP_MARKET, stop_price=desk.middle + 50
    )
    assert (stop.quantity, desk.locked("USDT")) == (0, amount)
    desk.crowd(Side.BUY, desk.middle + 1, 1000)
    desk.asks(desk.middle + 60, 5)
    desk.asks(desk.middle * 2, 1000)
    desk.crowd(Side.BUY, desk.middle + 60, 1)
    left = amount - desk.units(desk.middle + 60, 4)
    lots = 4 + int(left / desk.units(desk.middle * 2, 1))
    assert (stop.status, stop.filled) == (Status.FILLED, lots)
    assert stop.value <= amount
    assert desk.free("USDT") == 1_000_000 - stop.value
    assert desk.locked("USDT") == 0


def test_a_stop_to_sell_for_an_amount_locks_what_it_may_sell():
    desk = TradingDesk(rules=no_fees())
    amount = desk.units(desk.middle - 50, 7)
    stop = desk.sell(
        quantity=0, quote_quantity=amount, type=STOP_MARKET, stop_price=desk.middle - 50
    )
    assert desk.locked("BTC") == desk.trading.quantity_units(desk.market, 8)
    desk.trading.amend(stop, desk.now_ms, stop_price=desk.middle - 60)
    assert (stop.quantity, stop.terms.quote_quantity) == (0, amount)
    desk.trading.cancel(stop, desk.now_ms)
    assert (desk.locked("BTC"), desk.free("BTC")) == (0, 100)


def test_a_stop_for_no_amount_is_refused():
    desk = TradingDesk(rules=no_fees(limits=lambda _: MarketLimits(min_notional=Decimal(5))))
    terms = desk.terms(quantity=0, type=STOP_MARKET, stop_price=desk.middle + 50)
    assert desk.refusal(terms) is Why.MIN_QUANTITY
    terms.quote_quantity = Decimal(4)
    assert desk.refusal(terms) is Why.NOTIONAL


# What is forgotten.


@pytest.mark.parametrize(("rule", "refused"), [("live", None), ("forever", Why.DUPLICATE)])
def test_of_a_forgotten_order_at_most_its_id_stays(rule, refused):
    desk = TradingDesk(rules=no_fees(duplicate_ids=rule))
    desk.account.history = deque(maxlen=2)
    for number in range(5):
        desk.trading.cancel(desk.buy(desk.middle, client_id=f"c{number}"), desk.now_ms)
    assert set(desk.account.clients) == {"c3", "c4"}
    assert desk.trading.find(desk.account, client_id="c0") is None
    assert desk.refusal(desk.terms(price=desk.middle, client_id="c0")) is refused


def test_the_dates_of_orders_that_have_ended_are_not_kept():
    desk = TradingDesk()
    last = None
    for number in range(500):
        last = desk.buy(
            desk.middle,
            time_in_force=TimeInForce.GTD,
            expire_ms=desk.now_ms + 10**6 + number,
        )
        if number != 250:
            desk.trading.cancel(last, desk.now_ms)
    assert len(desk.trading._expiries) < 130
    (kept,) = desk.account.orders.values()
    desk.tick(10**6 + 250)
    assert kept.ended is Why.TIME


def test_an_account_remembers_as_much_as_it_is_told_to():
    desk = TradingDesk()
    trading = Trading("binance_spot", [desk.market], no_fees(), lambda *_: None, 1, history=3)
    account = trading.add_account(AccountSettings(key="k", balances={"USDT": "1000000"}))
    desk.market.book.submit(Side.SELL, desk.middle, 100)
    for _ in range(5):
        trading.place(account, desk.terms(quantity=1), desk.now_ms)
    assert (len(account.history), len(account.fills), len(account.known)) == (3, 3, 3)
