"""The OMS as a process: orders through everything, kill -9, and operators' commands."""

import json
import multiprocessing
import subprocess
import sys
import time

import pytest

from bench import oms_soak
from bench.orders import serve
from oms.client import Trader, UpdateKind
from oms.control import Control
from oms.types import Deny, OrderState

pytestmark = [pytest.mark.slow, pytest.mark.processes]

SYMBOL = "BTC/USDT:USDT"


@pytest.fixture(scope="module")
def port():
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    settings = {"rate": 50.0, "symbols": [SYMBOL], "venues": ["okx"]}
    server = context.Process(target=serve, args=(theirs, settings))
    server.start()
    yield ours.recv()
    ours.send("stop")
    server.join(5.0)
    server.terminate()


@pytest.fixture(scope="module")
def trader(port):
    instance = "test-oms-process"
    with oms_soak.running("okx", port, instance):
        trader = Trader.open(instance, oms_soak.STRATEGY, wait_s=120.0)
        deadline = time.monotonic() + 60.0
        while not ready(trader) and time.monotonic() < deadline:
            time.sleep(0.2)
        yield trader
        trader.close()


def ready(trader):
    """Return whether an order passes: the account is up and reconciled, the book is live."""
    number = trader.buy(SYMBOL, "0.01", "1000.1")
    update = trader.wait_for(number, UpdateKind.ROUTED, UpdateKind.DENIED, timeout_s=10.0)
    if update["kind"] == UpdateKind.DENIED:
        return False
    trader.cancel(number)
    ended(trader, number)
    return True


def ended(trader, number):
    deadline = time.monotonic() + 10.0
    while time.monotonic() < deadline:
        order = trader.order(number)
        if order is not None and order["state"] >= OrderState.FILLED:
            return OrderState(int(order["state"]))
        time.sleep(0.01)
    raise AssertionError(f"order {number} has not ended")


def command(*words):
    line = [sys.executable, "-c", "import sys; from engine.cli import main; sys.exit(main())"]
    done = subprocess.run([*line, *words], capture_output=True, text=True, check=False, timeout=60)
    return done.returncode, done.stdout + done.stderr


def risk(trader, verb, *words):
    return command("risk", verb, *words, "--instance", trader.intents.segment.instance)


def test_an_order_goes_to_the_venue_and_its_trades_come_back(trader):
    before = trader.position(SYMBOL).quantity
    number = trader.buy(SYMBOL, "0.05")
    update = trader.wait_for(number, UpdateKind.FILL, UpdateKind.DENIED, timeout_s=10.0)
    assert update["kind"] == UpdateKind.FILL
    assert ended(trader, number) is OrderState.FILLED
    position = trader.position(SYMBOL)
    assert position.quantity - before == trader.instrument(SYMBOL).lot * 5
    assert position.average_price > 1000


def test_a_limit_set_while_running_holds_at_once_and_is_shown(trader):
    scope = f"strategy:{oms_soak.STRATEGY}"
    code, text = risk(trader, "limit", scope, "order_notional", "10")
    assert code == 0, text
    number = trader.buy(SYMBOL, "0.99", "1000.1")  # A contract is 0.01 coins: worth 9.90.
    update = trader.wait_for(number, UpdateKind.DENIED, UpdateKind.ROUTED)
    assert update["kind"] == UpdateKind.ROUTED
    trader.cancel(number)
    number = trader.buy(SYMBOL, "1", "1000.1")
    assert trader.wait_for(number, UpdateKind.DENIED)["reason"] == Deny.ORDER_NOTIONAL
    code, text = risk(trader, "show", "--json")
    shown = {row["scope"]: row for row in map(json.loads, text.splitlines())}
    assert shown[scope]["limits"] == {"order_notional": "10"}
    assert risk(trader, "limit", scope, "order_notional", "none")[0] == 0


def test_a_halted_strategy_is_cancelled_and_resumes_only_when_confirmed(trader):
    scope = f"strategy:{oms_soak.STRATEGY}"
    resting = trader.buy(SYMBOL, "0.01", "1000.1")
    trader.wait_for(resting, UpdateKind.ROUTED)
    assert risk(trader, "state", scope, "halt")[0] == 0
    assert ended(trader, resting) is OrderState.CANCELED
    refused = trader.buy(SYMBOL, "0.01", "1000.1")
    assert trader.wait_for(refused, UpdateKind.DENIED)["reason"] == Deny.TRADING_STATE
    code, text = risk(trader, "state", scope, "normal")
    assert code == 2
    assert "--confirm" in text
    assert risk(trader, "state", scope, "normal", "--confirm")[0] == 0
    assert ready(trader)


def test_names_that_are_not_there_are_named(trader):
    code, text = risk(trader, "limit", "strategy:nobody", "order_rate", "1")
    assert code == 2
    assert "strategy 'nobody': known: soak" in text


def test_flatten_closes_the_position_and_nothing_more(trader):
    number = trader.buy(SYMBOL, "0.03")
    trader.wait_for(number, UpdateKind.FILL, timeout_s=10.0)
    ended(trader, number)
    assert trader.position(SYMBOL).quantity != 0
    assert risk(trader, "state", f"strategy:{oms_soak.STRATEGY}", "flatten")[0] == 0
    deadline = time.monotonic() + 10.0
    while trader.position(SYMBOL).quantity and time.monotonic() < deadline:
        time.sleep(0.05)
    assert trader.position(SYMBOL).quantity == 0
    scope = f"strategy:{oms_soak.STRATEGY}"
    assert risk(trader, "state", scope, "normal", "--confirm")[0] == 0
    control = Control(trader.intents.segment.instance)
    rows = [row for row in control.positions() if not row["strategy"]]
    control.close()
    assert all(row["quantity"] == row["venue_quantity"] for row in rows)


@pytest.mark.parametrize("venue", ["okx"])
def test_after_kills_at_random_moments_everything_equals_the_venues_books(venue):
    result = oms_soak.soak(venue, kills=6, every_s=0.8, seed=1)
    assert result["differences"] == 0, result["examples"]
    assert result["trades"] > 0
    assert result["counts"]["routed"] > 0
