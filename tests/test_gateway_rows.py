"""What of the venues' words cannot be read: it costs nothing but itself, and somebody is told."""

import json

import pytest

from engine.secrets import Secret
from gateways.adapter import Call, Identity, Query
from gateways.bybit import Bybit
from gateways.message import Instrument, Notice, NoticeKind, Update, read_rows
from gateways.numbers import amount
from gateways.okx import Okx
from gateways.types import ReportKind
from tests.gateway_desk import until
from tests.toy_venue import Toy

K = ReportKind
ME = Identity(Secret("k"), lambda payload: "s")


def instrument(native):
    return Instrument(0, native, "BTC/USDT", "BTC", "USDT", "USDT", 2, 1, 3, 1, 1)


def test_a_row_that_cannot_be_read_is_an_alert_among_the_others():
    rows = read_rows(["1", "x", "2"], lambda row: Update(kind=K.FILL, trade_id=int(row)))

    assert [type(row) for row in rows] == [Update, Notice, Update]
    assert rows[1].kind is NoticeKind.ALERT


def test_a_fee_of_more_digits_than_fit_is_cut():
    assert amount("0.1234567890123456789012345") == (123456789012345678, 18)
    assert amount("-12.34567890123456789") == (-123456789012345678, 16)


@pytest.mark.parametrize("adapter", [Okx(ME), Bybit(ME)], ids=["okx", "bybit"])
def test_a_page_with_a_bad_row_tells_the_others(adapter):
    native = "BTC-USDT-SWAP" if isinstance(adapter, Okx) else "BTCUSDT"
    if isinstance(adapter, Okx):
        good = {
            "instId": native,
            "ordId": "1",
            "clOrdId": "",
            "tradeId": "5",
            "billId": "6",
            "fillPx": "100.5",
            "fillSz": "2",
            "side": "buy",
            "ts": "1700000000000",
            "fillTime": "1700000000000",
            "fee": "-0.1",
            "feeCcy": "USDT",
        }
        body = {"code": "0", "data": [good | {"fillPx": "x"}, good]}
        path = "/api/v5/trade/fills"
    else:
        good = {
            "symbol": native,
            "orderId": "1",
            "execId": "5",
            "execTime": "1700000000000",
            "execPrice": "100.5",
            "execQty": "2",
            "side": "Buy",
            "execType": "Trade",
        }
        body = {"retCode": 0, "result": {"list": [good | {"execPrice": "x"}, good]}}
        path = "/v5/execution/list"
    told = adapter.read_page(
        Query.FILLS, Call("GET", path), json.dumps(body).encode(), {native: instrument(native)}
    )
    notice, fill = told
    assert notice.kind is NoticeKind.ALERT
    assert (fill.kind, fill.last_quantity) == (K.FILL, 2000)


def test_reconciliation_goes_on_when_a_row_cannot_be_read(play, monkeypatch):
    read = Toy.read_page

    def with_a_bad_row(self, *page):
        return [*read(self, *page), Notice(kind=NoticeKind.ALERT, text="a bad row")]

    monkeypatch.setattr(Toy, "read_page", with_a_bad_row)

    async def scene(desk, venue):
        assert desk.of(K.SYNC_END)
        assert desk.counted("alerts") > 0

    play(scene)


def test_an_alert_of_the_venue_is_counted_and_logged(play, caplog):
    async def scene(desk, venue):
        venue._send("private", {"notice": "alert", "text": "margin call"})
        await until(lambda: desk.counted("alerts") == 1)
        assert "margin call" in caplog.text

    play(scene)
