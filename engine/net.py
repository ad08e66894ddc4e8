"""What every client of a network needs: bounded waits, Retry-After, and which proxy to use."""

import asyncio
import contextlib
import urllib.parse
import urllib.request

RETRY_AFTER_MAX_S = 3600.0
"""Longest wait that a server may order: what is longer (or infinite) is a mistake of its own."""


def seconds(retry_after: str | None) -> float:
    """Return the seconds of a Retry-After header; 0 if there is none or it is a date."""
    try:
        return min(max(0.0, float(retry_after or 0)), RETRY_AFTER_MAX_S)
    except ValueError:
        return 0.0


async def wait(event: asyncio.Event, timeout_s: float) -> None:
    """Return when ``event`` is set, or the time is over.

    Not ``asyncio.wait_for``: before Python 3.12 it swallows a cancellation that comes together with
    the event, and the task that was to end goes on.
    """
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(timeout_s):
            await event.wait()


def is_loopback(url: str) -> bool:
    """Return whether ``url`` is on this machine: no proxy of the environment is for that."""
    host = urllib.parse.urlsplit(url).hostname or ""
    return host in ("localhost", "::1") or host.startswith("127.")


def proxy_for(url: str) -> str | None:
    """Return the HTTP proxy that the environment names for a ``ws`` or ``wss`` URL, if any."""
    parts = urllib.parse.urlsplit(url)
    if is_loopback(url) or urllib.request.proxy_bypass(parts.hostname or ""):
        return None
    return urllib.request.getproxies().get("https" if parts.scheme == "wss" else "http")
