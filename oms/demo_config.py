"""What the demo runs: its options, and the configuration made of them.

The configuration is one that ``trade-infra up`` takes: a simulated venue, a feed for each venue,
one market-data worker for all of them, and the two sample strategies.
"""

import json
import os
from dataclasses import dataclass, replace
from typing import Any

from engine.errors import ConfigError
from feeds.adapter import Channel, find_venue, venue_names

PREFIX = "demo-"
"""What the instances of demos are called, and the process id after it."""
SIMULATOR, WORKER = "simulator", "worker"
STRATEGIES = ("strategy-python", "strategy-jitted")
OMS, MAKER = "oms", "maker"
DEFAULT_VENUES = ("binance_usdm", "binance_spot", "okx", "bybit")
"""On two cores they take half of one, with the simulated venues, at the default rate."""
DEFAULT_SYMBOLS = ("BTC/USDT", "ETH/USDT", "BTC/USDT:USDT", "ETH/USDT:USDT")
SPOT, LINEAR, INVERSE = "spot", "linear", "inverse"
MARKETS = {
    "binance_spot": (SPOT,),
    "binance_usdm": (LINEAR,),
    "okx": (SPOT, LINEAR, INVERSE),
    "bybit": (LINEAR, INVERSE),
    "bybit_spot": (SPOT,),
}
"""Which of the symbols a venue is asked for; one that does not stand here is asked for all."""

__all__ = [
    "DEFAULT_VENUES",
    "MAKER",
    "MARKETS",
    "OMS",
    "SIMULATOR",
    "STRATEGIES",
    "WORKER",
    "DemoOptions",
    "build_config",
    "check_venues",
    "feed_name",
    "fitted",
    "gateway_name",
    "secrets",
    "symbols_of",
    "to_toml",
]


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """What the command line says; ``seconds`` None runs until Ctrl-C."""

    seconds: float | None = None
    json: bool = False
    instance: str = ""
    seed: int = 1
    rate: float = 2000.0
    venues: tuple[str, ...] = DEFAULT_VENUES
    symbols: tuple[str, ...] = DEFAULT_SYMBOLS
    """Unified or native symbols, each for the venues that have it."""
    lines: int = 1
    """Redundant lines of each feed."""
    environment: str = "simulator"
    verbose: bool = False
    trade: bool = False
    """A gateway for each venue, an OMS and a market maker besides; on the simulator only."""


def check_venues(options: DemoOptions) -> None:
    """Refuse venues that are not installed, named twice, or not served by the simulator.

    Raises
    ------
    ConfigError
        Which venue, why, and what there is.

    """
    installed = venue_names()
    for venue in options.venues:
        if venue not in installed:
            find_venue(venue)  # Raises, and knows the near names.
        if options.venues.count(venue) > 1:
            raise ConfigError(f"--venues: {venue!r} is named twice")
    if not options.venues:
        raise ConfigError(f"--venues: name at least one of {', '.join(installed)}")
    if options.environment == "simulator":
        from gateways.simulator import SimulatorSettings

        served = SimulatorSettings().venues
        for venue in options.venues:
            if venue not in served:
                raise ConfigError(
                    f"--venues: the simulated venue does not serve {venue!r}, only "
                    f"{', '.join(served)} - leave it out, or use --environment live"
                )


def fitted(options: DemoOptions) -> tuple[DemoOptions, list[str]]:
    """Return the options without what no venue has, and a sentence for each thing left out.

    Raises
    ------
    ConfigError
        If a venue cannot run, or none has any of the symbols.

    """
    check_venues(options)
    found = {venue: symbols_of(venue, options) for venue in options.venues}
    venues = tuple(venue for venue, symbols in found.items() if symbols)
    symbols = tuple(s for s in options.symbols if any(s in each for each in found.values()))
    if not venues:
        wanted = ", ".join(options.symbols) or "nothing"
        raise ConfigError(
            f"--symbols: {wanted} is on none of {', '.join(options.venues)} - name one that is "
            "(BTC/USDT is a spot symbol, BTC/USDT:USDT a linear perpetual, BTC/USD:BTC an inverse "
            "one)"
        )
    notes = [f"no venue has {s}: left out" for s in options.symbols if s not in symbols]
    notes += [f"{v} has none of the symbols: left out" for v in options.venues if v not in venues]
    return replace(options, venues=venues, symbols=symbols), notes


def symbols_of(venue: str, options: DemoOptions) -> list[str]:
    """Return those of the symbols that a venue is asked for: what it has, as far as is known.

    A simulated venue's instruments are known; of a real one it is known what kind they are.
    """
    markets = MARKETS.get(venue, (SPOT, LINEAR, INVERSE))
    asked = [s for s in options.symbols if "/" not in s or _market(s) in markets]
    if options.environment != "simulator":
        return asked
    from gateways.simulator.instruments import GENERATED

    simulated = GENERATED.get(venue, {}).values()
    known = {name for each in simulated for name in (each.symbol, each.names[-1])}
    return [symbol for symbol in asked if symbol in known]


def _market(symbol: str) -> str:
    """Return which kind of market a unified symbol is of."""
    pair, colon, contract = symbol.partition(":")
    if not colon:
        return SPOT
    return INVERSE if contract.partition("-")[0] == pair.partition("/")[0] else LINEAR


def feed_name(venue: str) -> str:
    """Return the name of the process that feeds a venue."""
    return f"feed-{venue}"


def build_config(
    options: DemoOptions, port: int | None = None, journal: str = ""
) -> dict[str, Any]:
    """Return the configuration as plain data, as ``engine.config.parse`` takes it.

    Parameters
    ----------
    options
        What to run.
    port
        Where the simulator listens; None for its usual port, which needs no ``endpoints``.
    journal
        Folder of the OMS' journal, if the demo trades.

    """
    processes: list[dict[str, Any]] = []
    config: dict[str, Any] = {
        "instance": options.instance or f"{PREFIX}{os.getpid()}",
        "environment": options.environment,
    }
    if options.environment == "simulator":
        where = {} if port is None else {"port": port}
        processes.append({"name": SIMULATOR, "agents": [_simulator(options) | where]})
        if port is not None:
            config["endpoints"] = {
                venue: {
                    "rest": f"http://127.0.0.1:{port}/{venue}",
                    "websocket": f"ws://127.0.0.1:{port}/{venue}",
                }
                for venue in options.venues
            }
    processes += [
        {"name": feed_name(venue), "agents": [_feed(venue, options)]} for venue in options.venues
    ]
    worker = {"kind": "market-data", "venues": list(options.venues)}
    processes.append({"name": WORKER, "agents": [worker]})
    processes += [{"name": name, "agents": [{"kind": name}]} for name in STRATEGIES]
    if options.trade:
        processes += _trading(options, journal)
    return config | {"process": processes}


def gateway_name(venue: str) -> str:
    """Return the name of the process that sends a venue's orders."""
    return f"gateway-{venue}"


def _trading(options: DemoOptions, journal: str) -> list[dict[str, Any]]:
    """Return the processes that trade: the accounts are called as the venues.

    The limits are so narrow that they bite within the first minute.
    """
    limits: list[dict[str, Any]] = [
        {"limits": {"gross_notional": "50000", "daily_loss": "5000"}},
        {"strategy": MAKER, "limits": {"order_rate": 40, "rate_period": 1, "collar": 200}},
    ]
    for venue in options.venues:
        for symbol in symbols_of(venue, options):
            where = {"strategy": MAKER, "instrument": f"{venue}:{symbol}"}
            limits.append(where | {"limits": {"gross_notional": "1000", "open_orders": 4}})
    gateways = [
        {
            "name": gateway_name(venue),
            "agents": [{"kind": "gateway", "account": venue, "venue": venue}],
        }
        for venue in options.venues
    ]
    oms = {
        "kind": "oms",
        "accounts": {venue: venue for venue in options.venues},
        "strategies": [MAKER],
        "journal": journal,
        "limits": limits,
    }
    maker = {"kind": "market-maker", "strategy": MAKER}
    return [
        *gateways,
        {"name": OMS, "agents": [oms]},
        {"name": MAKER, "agents": [maker]},
    ]


def secrets(options: DemoOptions) -> dict[str, str]:
    """Return the simulated venues' keys as environment variables."""
    values = {"KEY": "demo-key", "SECRET": "demo-secret", "PASSPHRASE": "demo-pass"}
    return {
        f"TRADE_INFRA_SECRET_{venue.upper()}_{name}": value
        for venue in options.venues
        for name, value in values.items()
    }


def _simulator(options: DemoOptions) -> dict[str, Any]:
    wanted = dict.fromkeys(s for v in options.venues for s in symbols_of(v, options))
    return {
        "kind": "simulator",
        "venues": list(options.venues),
        "symbols": list(wanted),
        "seed": options.seed,
        "rate": options.rate,
        "continue_ids": True,
    }


def _feed(venue: str, options: DemoOptions) -> dict[str, Any]:
    feed: dict[str, Any] = {
        "kind": "feed",
        "venue": venue,
        "symbols": symbols_of(venue, options),
        "channels": [channel.value for channel in Channel],
    }
    return feed | ({"lines": options.lines} if options.lines > 1 else {})


def to_toml(config: dict[str, Any]) -> str:
    """Return ``build_config``'s data as the TOML that ``trade-infra up`` reads."""
    lines = [
        "# trade-infra up THIS_FILE",
        '# environment = "live" is all it takes to read the real venue: public data, no keys.',
        f"instance = {_toml(config['instance'])}",
        f"environment = {_toml(config['environment'])}",
    ]
    for venue, endpoint in config.get("endpoints", {}).items():
        lines += ["", f"[endpoints.{venue}]"]
        lines += [f"{key} = {_toml(value)}" for key, value in endpoint.items()]
    for process in config["process"]:
        lines += ["", "[[process]]", f"name = {_toml(process['name'])}"]
        lines += [f"agents = [{', '.join(_toml(agent) for agent in process['agents'])}]"]
    return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:  # noqa: ANN401 - what JSON and TOML have in common
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_toml(each)}" for key, each in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(_toml(each) for each in value) + "]"
    return json.dumps(value, ensure_ascii=False)
