"""The protocols as Promela models, checked in every interleaving that their bounds allow.

A model proves nothing if it cannot fail: each one is also run with one rule broken at a time, and
must find the error.
"""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

MODELS = Path(__file__).parent / "model"

pytestmark = pytest.mark.skipif(
    not (shutil.which("spin") and shutil.which("gcc")), reason="needs spin and gcc"
)


def mutants(model):
    """Return the names of a model's mutants: its numbered defines but the first."""
    text = (MODELS / f"{model}.pml").read_text()
    return re.findall(r"^#define ([A-Z_]+) [1-9]\d*\b *(?:/\*|$)", text.split("#ifndef")[0], re.M)


def errors(folder, model, *options):
    """Return the errors and the depth reached of an exhaustive search."""
    subprocess.run(
        ["spin", *options, "-a", MODELS / f"{model}.pml"],
        cwd=folder,
        check=True,
        capture_output=True,
        timeout=30,
    )
    build = ["gcc", "-O0", "-w", "-DSAFETY", "-DNOCLAIM", "-DMEMLIM=1024", "-o", "pan", "pan.c"]
    subprocess.run(build, cwd=folder, check=True, timeout=60)
    search = subprocess.run(
        ["./pan", "-m20000", "-w20"], cwd=folder, capture_output=True, text=True, timeout=60
    )
    assert "max search depth too small" not in search.stdout
    assert "Search not completed" not in search.stdout or "errors: 0" not in search.stdout
    return int(re.search(r"errors: (\d+)", search.stdout)[1])


ALL = ["broadcast", "flow", "frames", "table"]


@pytest.mark.parametrize(
    ("model", "options"),
    [*((model, ()) for model in ALL), ("broadcast", ("-DCAP=4",))],
    ids=[*ALL, "broadcast of 4"],
)
def test_protocol_has_no_error_in_any_interleaving(tmp_path, model, options):
    assert errors(tmp_path, model, *options) == 0


@pytest.mark.parametrize(
    ("model", "mutant"), [(model, mutant) for model in ALL for mutant in mutants(model)]
)
def test_broken_rule_is_found(tmp_path, model, mutant):
    assert errors(tmp_path, model, f"-DMUTANT={mutant}", *BOUNDS.get(mutant, ())) > 0


BOUNDS = {"CHECK_NEWEST": ("-DCAP=4",)}
"""A batch of two can only be overwritten in part in a ring of more than two."""
