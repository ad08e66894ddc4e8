"""What an account must have, worked out anew from its trades: slow and obvious."""

from collections import defaultdict
from decimal import Decimal
from fractions import Fraction

from engine.common import Side


def worth(market, lots):
    """Return the base currency behind lots; for inverse contracts the quote currency."""
    quantity, contract = market.instrument.quantity, market.instrument.contract
    return Decimal(lots * quantity.step * contract.step).scaleb(
        -quantity.decimals - contract.decimals
    )


def price_of(market, ticks):
    price = market.instrument.price
    return Decimal(ticks * price.step).scaleb(-price.decimals)


def balances(account):
    """Return total by asset: what came in, and what each trade and funding payment moved."""
    total = defaultdict(Decimal)
    for transfer in account.transfers:
        total[transfer.asset] += transfer.amount
    for fill in account.fills:
        instrument, market = fill.order.market.instrument, fill.order.market
        total[fill.fee_asset] -= fill.fee
        if instrument.settle:
            total[instrument.settle] += fill.realised
            continue
        sign, quantity = int(fill.order.terms.side), worth(market, fill.quantity)
        total[instrument.base] += sign * quantity
        total[instrument.quote] -= sign * quantity * price_of(market, fill.price)
    for payment in account.funding:
        total[payment.asset] -= payment.paid
    return total


def positions(account):
    """Return lots, entry and realised profit by symbol and side, as exact fractions."""
    found = {}
    for fill in account.fills:
        market, side = fill.order.market, fill.order.terms.position_side
        if not market.instrument.settle:
            continue
        key = (market.instrument.symbol, side)
        lots, entry, realised = found.get(key, (0, Fraction(0), Fraction(0)))
        change = fill.quantity * int(fill.order.terms.side)
        price = Fraction(price_of(market, fill.price))
        inverse = market.instrument.settle == market.instrument.base
        each = Fraction(worth(market, 1))
        closed = min(abs(lots), abs(change)) if lots * change < 0 else 0
        if closed:
            sign = 1 if lots > 0 else -1
            gain = (1 / entry - 1 / price) if inverse else price - entry
            realised += gain * sign * closed * each
        left, added = abs(lots) - closed, abs(change) - closed
        if added and left:
            if inverse:
                entry = (left + added) / (left / entry + added / price)
            else:
                entry = (left * entry + added * price) / (left + added)
        elif added:
            entry = price
        elif not left:
            entry = Fraction(0)
        found[key] = (lots + change, entry, realised)
    return found


def locked(account):
    """Return by asset what the open spot limit orders must hold."""
    held = defaultdict(Decimal)
    for order in account.orders.values():
        instrument, market = order.market.instrument, order.market
        if instrument.settle:
            continue
        if order.terms.side is Side.SELL:
            held[instrument.base] += worth(market, order.left)
        else:
            ticks = order.price or order.terms.stop_price
            held[instrument.quote] += worth(market, order.left) * price_of(market, ticks)
    return held
