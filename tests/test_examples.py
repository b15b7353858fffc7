"""The examples: each gives the findings that are listed beside it and no others, and the training shows the cure."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from nanguard.analyse import examine
from nanguard.settings import Settings

FOLDER = Path(__file__).parents[1] / "examples"
EXPECTED = tomllib.loads((FOLDER / "expected.toml").read_text())


@pytest.mark.parametrize("name", EXPECTED)
def test_findings(name: str) -> None:
    path = FOLDER / name
    result = examine(str(path), path.read_text(), Settings(), None)
    found = [
        {"code": finding.code, "line": finding.span.line, "hazard": finding.hazard}
        for finding in result.findings
        if finding.severity != "info"
    ]
    assert found == EXPECTED[name]["findings"]


def test_every_example_is_listed() -> None:
    assert {path.name for path in FOLDER.glob("*.py")} == set(EXPECTED)


TRAINING = """
import bpr, gan, nanguard

naive = gan.train((gan.discriminator_loss, gan.generator_loss), 4)
guarded = gan.train((nanguard.guard(gan.discriminator_loss), nanguard.guard(gan.generator_loss)), 8)
by_hand = gan.train((gan.stable_discriminator_loss, gan.stable_generator_loss), 8)
print(naive.nan_weights > 0, guarded.nan_weights == 0, guarded.losses == by_hand.losses)

naive, guarded = bpr.train(bpr.bpr_loss, 60), bpr.train(nanguard.guard(bpr.bpr_loss), 60)
by_hand = bpr.train(bpr.stable_bpr_loss, 60)
print(naive.after < 0.7, guarded.after > 0.9, guarded.losses == by_hand.losses)
"""


def test_training_fails_naively_and_guarded_is_as_by_hand_at_every_step() -> None:
    done = subprocess.run(
        [sys.executable, "-c", TRAINING], cwd=FOLDER, capture_output=True, text=True, timeout=200,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.stdout.split() == ["True"] * 6, done.stderr


def test_training_breaks_naively_and_goes_on_rewritten() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import skipgram; skipgram.EPOCHS = 1; skipgram.main()"],
        cwd=FOLDER, capture_output=True, text=True, timeout=120, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    naive, _, stable = done.stdout.partition("rewritten by nanguard")
    assert "the loss is inf" in naive
    assert "mean loss: nan" in naive
    assert " 0 of " in stable
    assert "the loss is" not in stable
