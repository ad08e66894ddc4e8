"""Order ids as Bybit writes them: UUIDs for contracts, numbers for spot; both lead back."""

from gateways.simulator.digits import whole

_BITS = 64
_MASK = (1 << _BITS) - 1
_FACTOR = 0x9E3779B97F4A7C15
_INVERSE = pow(_FACTOR, -1, 1 << _BITS)
_REST = 0xC2B2AE3D27D4EB4F


def order_text(number: int, *, spot: bool) -> str:
    """Return an order's id as the venue writes it."""
    if spot:
        return str(number)
    mixed = f"{number * _FACTOR & _MASK:016x}"
    rest = f"{number * _REST & _MASK:016x}"
    # Version 4, variant 1; the other digits are the number's, scattered.
    return f"{mixed[:8]}-{mixed[8:12]}-4{mixed[12:15]}-8{mixed[15]}{rest[:2]}-{rest[2:14]}"


def order_number(text: str, *, spot: bool) -> int:
    """Return an order's number; 0 for what is not an id of this venue."""
    if spot:
        return whole(text) or 0
    parts = text.lower().split("-")
    if [len(part) for part in parts] != [8, 4, 4, 4, 12]:
        return 0
    digits = parts[0] + parts[1] + parts[2][1:] + parts[3][1]
    try:
        number = int(digits, 16) * _INVERSE & _MASK
    except ValueError:
        return 0
    return number if order_text(number, spot=False) == text.lower() else 0


def trade_uuid(trade_id: int) -> str:
    """Return the text that stands for a trade of a contract: always the same for the same id."""
    digest = f"{trade_id * 0x9E3779B97F4A7C15F39CC0605CEDC835 & (1 << 128) - 1:032x}"
    return f"{digest[:8]}-{digest[8:12]}-5{digest[13:16]}-a{digest[17:20]}-{digest[20:]}"


def trade_text(trade_id: int, *, spot: bool) -> str:
    """Return a trade's id as the venue writes it."""
    return str(trade_id) if spot else trade_uuid(trade_id)
