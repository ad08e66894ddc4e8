"""Fixtures that every test may use."""

import asyncio
import itertools
import os
import textwrap

import hypothesis
import pytest

from engine.segment import list_segments, unlink_segment

# How long an example takes is the machine's affair; timing is for bench/.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")

_numbers = itertools.count()

TOYS = '''
"""Agents of a package that is not ours, as a third party would write them."""

import asyncio
import os
import pathlib
import time

from engine.errors import ConfigError


def note(context, what):
    with open(context.settings["notes"], "a") as file:
        file.write(f"{context.name} {what}\\n")


class Ticker:
    """Counts its cycles; ends itself or fails if told to."""

    def __init__(self, context):
        self.context, self.name = context, context.name
        self.index = context.counters.counter("ticks")

    def start(self):
        note(self.context, f"start {os.getpid()}")
        time.sleep(self.context.settings.get("start_s", 0))

    def do_work(self):
        self.context.counters.values[self.index] += 1
        if self.context.settings.get("fail"):
            raise ValueError("the agent is broken")
        return 0

    def close(self):
        note(self.context, "close")


class Sleeper:
    """A coroutine that waits for the end, however stubbornly."""

    def __init__(self, context):
        self.context, self.name = context, context.name

    async def run(self, stop):
        note(self.context, f"start {os.getpid()}")
        if self.context.settings.get("fail"):
            raise ValueError("the agent is broken")
        if self.context.settings.get("impossible"):
            raise ConfigError("this cannot work")
        if self.context.settings.get("brief"):
            return
        await stop.wait()
        note(self.context, "close")
'''


@pytest.fixture
def instance():
    """Return the name of an instance of the test's own; its segments are removed afterwards."""
    name = f"test{os.getpid()}-{next(_numbers)}"
    yield name
    for _, segment in list_segments(name):
        unlink_segment(name, segment)


@pytest.fixture
def plugin(tmp_path):
    """Return an environment with a package that has the agents ``ticker`` and ``sleeper``."""
    folder = tmp_path / "plugin"
    folder.mkdir()
    (folder / "toys.py").write_text(TOYS)
    about = folder / "toys-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: toys\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(
        textwrap.dedent("""\
            [trade_infra.agents]
            ticker = toys:Ticker
            sleeper = toys:Sleeper
            """)
    )
    clean = {k: v for k, v in os.environ.items() if not k.startswith("TRADE_INFRA")}
    paths = [str(folder), *filter(None, [clean.get("PYTHONPATH")])]
    # Without the JIT: these agents have no kernels to wait for.
    return clean | {"PYTHONPATH": os.pathsep.join(paths), "NUMBA_DISABLE_JIT": "1"}


@pytest.fixture
def play(instance, monkeypatch):
    """Return what runs a scene with a desk at the toy venue, the gateway up."""

    from tests.gateway_desk import toy_desk

    def run(scene, **settings):
        async def whole():
            async with toy_desk(instance, monkeypatch, **settings) as (desk, venue):
                await scene(desk, venue)

        asyncio.run(whole())

    return run
