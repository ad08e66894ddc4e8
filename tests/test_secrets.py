"""Secrets: where they come from, and that they do not show."""

import copy
import pickle

import pytest

from engine import secrets
from engine.errors import ConfigError
from engine.secrets import Secret


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "key"
    path.write_text("hunter2\n")
    path.chmod(0o600)
    return path


@pytest.mark.parametrize(
    "show",
    [
        repr,
        str,
        lambda s: f"{s}",
        lambda s: f"{s!r:>5}",
        lambda s: "%s" % s,  # noqa: UP031 - logging formats this way
        lambda s: str([s]),
        lambda s: str({"key": s}),
        lambda s: pickle.dumps(s).decode("latin-1"),
        lambda s: copy.copy(s).reveal(),
    ],
)
def test_a_secret_never_shows_itself(show):
    assert "hunter2" not in show(Secret("hunter2"))
    assert "***" in show(Secret("hunter2"))


def test_a_secret_has_no_attributes_to_list():
    assert not hasattr(Secret("hunter2"), "__dict__")


def test_a_secret_is_revealed_on_demand():
    assert Secret("hunter2").reveal() == "hunter2"


def test_secrets_are_equal_by_value_and_not_to_strings():
    assert Secret("a") == Secret("a") != Secret("b")
    assert Secret("a") != "a"


def test_a_secret_comes_from_the_environment():
    found = secrets.find("venue-key", {"TRADE_INFRA_SECRET_VENUE_KEY": "hunter2"})
    assert found.reveal() == "hunter2"


def test_a_missing_secret_is_named_with_both_ways_to_give_it():
    with pytest.raises(ConfigError, match=r"TRADE_INFRA_SECRET_KEY .*TRADE_INFRA_SECRET_KEY_FILE"):
        secrets.find("key", {})


def test_a_secret_comes_from_a_file_without_the_newline(file):
    found = secrets.find("key", {"TRADE_INFRA_SECRET_KEY_FILE": str(file)})
    assert found.reveal() == "hunter2"


def test_two_sources_for_one_secret_are_refused(file):
    environment = {"TRADE_INFRA_SECRET_KEY_FILE": str(file), "TRADE_INFRA_SECRET_KEY": "other"}
    with pytest.raises(ConfigError, match="both set"):
        secrets.find("key", environment)


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o660, 0o604, 0o601])
def test_a_file_that_others_can_use_is_refused_with_the_remedy(file, mode):
    file.chmod(mode)
    with pytest.raises(ConfigError, match=f"mode {mode:04o}.*chmod 600"):
        secrets.from_file(file)


def test_a_read_only_file_of_the_owner_is_fine(file):
    file.chmod(0o400)
    assert secrets.from_file(file).reveal() == "hunter2"


def test_a_missing_file_is_a_configuration_error(tmp_path):
    with pytest.raises(ConfigError, match="No such file"):
        secrets.from_file(tmp_path / "none")


def test_a_folder_is_no_secret(tmp_path):
    with pytest.raises(ConfigError, match="not a regular file"):
        secrets.from_file(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [(b" \n", "empty"), (b"\xff\xfe", "not UTF-8"), (b"x" * 70_000, "more than")],
)
def test_a_useless_file_is_refused(file, content, message):
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        secrets.from_file(file)
