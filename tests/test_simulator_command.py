"""The simulated venue as an agent and as a command."""

import asyncio
import logging
import signal
import subprocess
import sys
import urllib.request
from types import SimpleNamespace

import pytest

from engine.errors import ConfigError
from gateways.simulator import agent

COMMAND = """
import argparse, sys
from gateways.cli import register
parser = argparse.ArgumentParser()
register(parser.add_subparsers())
args = parser.parse_args(sys.argv[1:])
sys.exit(args.handler(args))
"""


def context(log=None, environment="simulator", **settings):
    return SimpleNamespace(
        name="venue",
        settings=settings,
        where="process[0].agents[0]",
        log=log or logging.root,
        config=SimpleNamespace(environment=environment),
    )


class Lines(logging.Handler):
    """Hands log lines to a coroutine."""

    def __init__(self):
        super().__init__()
        self.queue = asyncio.Queue()

    def emit(self, record):
        self.queue.put_nowait(record.getMessage())


def test_the_agent_serves_until_it_is_told_to_stop():
    async def run():
        stop, lines = asyncio.Event(), Lines()
        log = logging.getLogger("tests.venue")
        log.setLevel(logging.INFO)
        log.addHandler(lines)
        task = asyncio.create_task(agent(context(log, port=0, rate=100.0)).run(stop))
        line = await asyncio.wait_for(lines.queue.get(), 5)
        assert not task.done()
        stop.set()
        await asyncio.wait_for(task, 5)
        log.removeHandler(lines)
        return line

    assert "http://127.0.0.1:" in asyncio.run(run())


def test_in_another_environment_the_agent_serves_nothing():
    async def run():
        stop = asyncio.Event()
        task = asyncio.create_task(agent(context(environment="live", port=-1)).run(stop))
        await asyncio.sleep(0)
        stop.set()
        await asyncio.wait_for(task, 5)

    asyncio.run(run())


def test_a_wrong_setting_is_named_with_its_place():
    with pytest.raises(ConfigError, match=r"process\[0\]\.agents\[0\].*rat"):
        agent(context(rat=1))


@pytest.mark.processes
def test_the_command_prints_its_addresses_and_ends_on_ctrl_c():
    process = subprocess.Popen(
        [sys.executable, "-c", COMMAND, "venue", "--port", "0", "--symbols", "btcusdt"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        line = process.stdout.readline()
        assert line.startswith("binance_spot")
        rest = line.split()[2]
        with urllib.request.urlopen(f"{rest}/api/v3/ping", timeout=10) as response:
            assert response.read() == b"{}"
        line = process.stdout.readline()
        assert line.split()[:2] == ["orders", rest.replace("http", "ws") + "/ws-api/v3"]
        while not line.startswith("account"):
            line = process.stdout.readline()
        assert line.split()[1:3] == ["key", "demo-key"]
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=20)
        assert (process.returncode, errors) == (0, "")
    finally:
        process.kill()
        process.communicate()
