"""What the private events of the simulated Binance tell adds up to the accounts' own books."""

from decimal import Decimal
from random import Random

import pytest

from engine.common import Side
from tests.simulator_binance import SPOT, SYMBOL, USDM, Rest, account_of, api, best, private_stream
from tests.simulator_client import against, message

STEPS = 250


def near(rng, price, tick):
    """Return a price near another one, on the tick."""
    return f"{round((price + rng.randint(-40, 40) * tick) / tick) * tick:.2f}"


async def busy(venue, connection, name, rng):
    """Place, change and cancel orders at random while the crowd trades."""
    tick = 0.1 if name == USDM else 0.01
    names = []
    for number in range(STEPS):
        side = rng.choice(("BUY", "SELL"))
        price = near(rng, best(venue, name)[0], tick)
        terms = {"symbol": SYMBOL, "side": side, "quantity": f"0.{rng.randint(1, 99):03}"}
        what = rng.random()
        if what < 0.5 or not names:
            kind = {"type": "LIMIT", "timeInForce": rng.choice(("GTC", "GTC", "IOC", "FOK"))}
            names.append(f"n{number}")
            kind |= {"price": price, "newClientOrderId": names[-1]}
            await connection("order.place", **terms, **kind)
        elif what < 0.65:
            await connection("order.place", **terms, type="MARKET")
        elif what < 0.85:
            await connection("order.cancel", symbol=SYMBOL, origClientOrderId=rng.choice(names))
        elif name == USDM:
            change = {"origClientOrderId": rng.choice(names), "price": price}
            await connection("order.modify", **terms, **change)
        else:
            await connection(
                "order.cancelReplace",
                **terms,
                type="LIMIT",
                timeInForce="GTC",
                price=price,
                cancelReplaceMode="ALLOW_FAILURE",
                cancelOrigClientOrderId=rng.choice(names),
            )
        venue.step(rng.randint(0, 60))


@pytest.mark.parametrize("seed", [1, 2])
def test_spot_events_add_up_to_orders_fills_and_balances(seed):
    async def use(venue, http):
        async with api(venue, http) as connection:
            await connection("userDataStream.subscribe.signature")
            await busy(venue, connection, SPOT, Random(seed))
            # A deposit is the last thing that is told.
            trading = venue.venues[SPOT].trading
            trading.deposit(trading.accounts[0], "BNB", Decimal(1), 1)
            await connection.until(lambda event: event["e"] == "balanceUpdate")
            return connection.seen, account_of(venue)

    events, account = against(use, seed=seed)
    orders, fills, balances = {}, [], {}
    for event in events:
        if event["e"] == "executionReport":
            known = orders.get(event["i"])
            assert known is None or Decimal(event["z"]) >= Decimal(known["z"])
            assert known is None or known["X"] in ("NEW", "PARTIALLY_FILLED")
            orders[event["i"]] = event
            if event["x"] == "TRADE":
                fills.append((event["t"], Decimal(event["n"]), event["m"]))
        elif event["e"] == "outboundAccountPosition":
            balances |= {row["a"]: (Decimal(row["f"]), Decimal(row["l"])) for row in event["B"]}
    assert fills == [(fill.id, fill.fee, fill.maker) for fill in account.fills]
    alive = {
        number for number, event in orders.items() if event["X"] in ("NEW", "PARTIALLY_FILLED")
    }
    assert alive == set(account.orders)
    assert len(fills) > 50
    for asset in ("BTC", "USDT"):
        held = account.balances[asset]
        assert balances[asset] == (held.free, held.locked)
    held = account.balances["USDT"]
    bids = [order for order in account.orders.values() if order.terms.side is Side.BUY]
    assert held.locked == sum(order.locked for order in bids)


@pytest.mark.parametrize("seed", [1, 2])
def test_contract_events_add_up_to_orders_fills_wallet_and_position(seed):
    async def use(venue, http):
        rest = Rest(http, venue.base(USDM))
        async with (
            private_stream(venue, http, rest) as socket,
            api(venue, http, USDM) as connection,
        ):
            await busy(venue, connection, USDM, Random(seed))
            trading = venue.venues[USDM].trading
            trading.set_leverage(trading.accounts[0], SYMBOL, 3, 1)
            events = [await message(socket)]
            while events[-1]["e"] != "ACCOUNT_CONFIG_UPDATE":
                events.append(await message(socket))
            return events, account_of(venue, USDM)

    events, account = against(use, seed=seed)
    orders, fills, light, wallet, position = {}, [], [], None, None
    for event in events:
        if event["e"] == "ORDER_TRADE_UPDATE":
            told = event["o"]
            known = orders.get(told["i"])
            assert known is None or Decimal(told["z"]) >= Decimal(known["z"])
            orders[told["i"]] = told
            if told["x"] == "TRADE":
                fills.append((told["t"], Decimal(told["n"]), Decimal(told["rp"])))
        elif event["e"] == "TRADE_LITE":
            light.append(event["t"])
        elif event["e"] == "ACCOUNT_UPDATE":
            wallet = Decimal(event["a"]["B"][0]["wb"])
            position = event["a"]["P"][0]
    assert fills == [(fill.id, fill.fee, fill.realised) for fill in account.fills]
    assert light == [fill.id for fill in account.fills]
    alive = {number for number, told in orders.items() if told["X"] in ("NEW", "PARTIALLY_FILLED")}
    assert alive == set(account.orders)
    assert len(fills) > 50
    own = account.positions[SYMBOL, "net"]
    assert wallet == account.balances["USDT"].total
    assert Decimal(position["pa"]) == Decimal(own.lots) / 1000
    assert Decimal(position["ep"]) == own.entry
    assert Decimal(position["cr"]) == own.realised
