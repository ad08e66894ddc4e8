"""A venue of our own: the real wire protocols over a matching engine or a recorded capture.

Map of the package, from the inside out:

================  =================================================================
``matching``      price-time priority order book over integers, update ids
``instruments``   what is traded, and how ticks and lots are written
``flow``          generated orders around a random walk, deterministic from a seed
``market``        the day's figures, mark and index price, funding, open interest
``simulation``    all books and flows behind one ``advance(events)``
``account``       accounts, their orders, fills, balances, positions; the events
``margin``        what ticks and lots are worth; profit, margin
``rules``         a venue's fees, filters, and where venues differ
``triggers``      stop orders, good-till-date, dead-man switches
``ledger``        what is held, and what fills, fees and funding change
``intake``        the checks before an order
``risk``          liquidation and auto-deleveraging
``trading``       the clearing house: place, amend, cancel, what the crowd does to us
``private``       signatures, and the way of private messages
``statement``     an account's books as JSON
``depth``         the best levels as a channel's subscribers know them
``capture``       a recorded capture, paced, with its snapshots
``faults``        what is done to messages and answers on request
``hub``           topics, clients, prebuilt WebSocket frames, back-pressure
``digits``        whole numbers as clients write them
``limits``        request-weight and connection budgets
``timetable``     which intervals are due
``session``       one connection: its clock, its limits, its end
``rest``          what REST sides share
``venue``         one venue: connections, counts, what a dialect must do
``binance/``      the Binance dialects: JSON shapes, streams, REST, sessions
``okx/``          the OKX dialect
``bybit/``        the Bybit dialects, contracts and spot
``registry``      the venues by name
``control``       the addresses under ``/control``
``server``        the process: sockets, pacing
================  =================================================================
"""

from gateways.simulator.server import SimulatedVenue, SimulatorSettings, agent

__all__ = ["SimulatedVenue", "SimulatorSettings", "agent"]
