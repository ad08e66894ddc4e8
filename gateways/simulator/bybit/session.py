"""One WebSocket connection of a Bybit client: subscriptions and JSON pings."""

from typing import TYPE_CHECKING, Any

import orjson

from gateways.simulator.bybit.dialect import ARGUMENT_CHARACTERS, ARGUMENTS_MOST
from gateways.simulator.hub import Client
from gateways.simulator.session import Session

if TYPE_CHECKING:
    from gateways.simulator.bybit.venue import BybitVenue


class RequestError(Exception):
    """A request that the venue refuses, in its words; nothing of it has been done."""


class BybitSession(Session):
    """The server's end of one connection to the address of one category."""

    def __init__(self, venue: "BybitVenue", number: int, *, category: str) -> None:
        super().__init__(venue, number)
        self._venue = venue
        self._category = category

    @property
    def identity(self) -> str:
        """The connection's name in answers."""
        plain = super().identity
        return f"{plain}-{self.number:04x}-4000-8000-{plain}{self.number:04x}"

    def answer(self, client: Client, data: str | bytes) -> None:
        """Answer a request."""
        try:
            request = orjson.loads(data)
        except orjson.JSONDecodeError:
            request = None
        if not isinstance(request, dict):
            self._reply(client, {}, "error:params error", good=False)
            return
        operation, arguments = request.get("op"), request.get("args")
        if operation == "ping":
            self._reply(client, request, "pong")
            return
        now_ms = self._venue.now_ms()
        try:
            if operation not in ("subscribe", "unsubscribe"):
                raise RequestError(f"error:unknown op {operation}")
            topics = self._topics(arguments)
            if operation == "subscribe":
                self._check(client, topics)
        except RequestError as error:
            self._reply(client, request, str(error), good=False)
            return
        if operation == "unsubscribe":
            self.venue.hub.unsubscribe(client, topics)
        # The answer comes before the first data.
        self._reply(client, request, str(operation) if self._category == "spot" else "")
        if operation == "subscribe":
            for name in topics:
                self.venue.hub.subscribe(client, name)
                market = self._venue.streams.markets[name.rpartition(".")[2]]
                market.greet(client, self.venue.hub.topics[name], now_ms)
            self.venue.on_subscribe()

    def refuse_broken(self, client: Client) -> None:
        """Refuse a message that could not be answered."""
        self._reply(client, {}, "error:params error", good=False)

    def _topics(self, arguments: Any) -> list[str]:  # noqa: ANN401 - JSON
        if not isinstance(arguments, list) or not all(isinstance(name, str) for name in arguments):
            raise RequestError("error:params error")
        most = ARGUMENTS_MOST.get(self._category, 0)
        if most and len(arguments) > most:
            raise RequestError(f"args size >{most}")
        return arguments

    def _check(self, client: Client, topics: list[str]) -> None:
        """Raise RequestError unless all topics exist here and are new to the client."""
        characters = sum(map(len, client.topics)) + sum(map(len, topics))
        if characters > ARGUMENT_CHARACTERS:
            raise RequestError(f"error:args length exceeds {ARGUMENT_CHARACTERS}")
        for name in topics:
            market = self._venue.streams.markets.get(name.rpartition(".")[2])
            if market is None or not market.listed or market.category != self._category:
                known = self._venue.handles(name)
                raise RequestError(
                    f"Invalid symbol :[{name}]"
                    if known
                    else f"error:handler not found,topic:{name}"
                )
            if name not in market.topics:
                raise RequestError(f"error:handler not found,topic:{name}")
            if name in client.topics:
                raise RequestError(f"error:already subscribed,topic:{name}")

    def _reply(
        self, client: Client, request: dict[str, Any], message: str, *, good: bool = True
    ) -> None:
        reply: dict[str, Any] = {
            "success": good,
            "ret_msg": message,
            "conn_id": self.identity,
            "req_id": request.get("req_id", ""),
            "op": request.get("op", ""),
        }
        if self._category == "spot" and not reply["req_id"]:
            del reply["req_id"]
        client.control(orjson.dumps(reply))
