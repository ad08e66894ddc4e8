"""The Binance dialects, spot and USDⓈ-M: what goes over the wire, and the venue's rules.

Sources: the venue's public documentation (spot 2026-07, USDⓈ-M 2026-08) and recorded messages.
"""

from gateways.simulator.binance.dialect import DIALECTS, Dialect

__all__ = ["DIALECTS", "Dialect"]
