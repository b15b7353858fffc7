"""Fixes where something else may change what an expression means: they keep it, or are not made.

Effects of calls, names that are bound anew, storage that is written into, gradients that are cut, dtypes, scopes.
"""

from __future__ import annotations

import ast
import tomllib
from pathlib import Path
from typing import Any

import pytest
import torch
from inprocess import in_process

from nanguard.repair.fixing import fix_paths, save
from nanguard.settings import Settings

HEAD = "import torch\nimport torch.nn.functional as F\n\n"

PROGRAMS: dict[str, str] = tomllib.loads((Path(__file__).parent / "effects.toml").read_text())


@pytest.fixture(scope="module")
def fixed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """What safe fixes make of each program, and all fixes, made once and again: one run for all."""
    folder = tmp_path_factory.mktemp("effects")
    files = {name: folder / f"program{index}.py" for index, name in enumerate(PROGRAMS)}
    for name, path in files.items():
        path.write_text(HEAD + PROGRAMS[name])
    found: dict[str, list[str]] = {name: [] for name in PROGRAMS}
    with in_process():
        for unsafe in (False, True, True):
            outcome = fix_paths([str(folder)], Settings(static=True, quiet=True), unsafe)
            assert outcome.bugs == ()
            after = {Path(file.path): file.after.decode() for file in outcome.files}
            if unsafe:
                save(outcome)
            for name, path in files.items():
                found[name].append(after.get(path, path.read_text()))
    return found


def measured(source: str) -> list[torch.Tensor]:
    """The value of a program, and its gradients, at ordinary inputs."""
    names: dict[str, Any] = {"__name__": "program"}
    exec(compile(source, "program.py", "exec"), names)
    generator = torch.Generator().manual_seed(1)
    inputs = [torch.randn(4, 3, generator=generator, dtype=torch.float64).requires_grad_() for _ in range(2)]
    value = names["case"](*inputs)
    slopes = torch.autograd.grad(value.sum(), inputs, allow_unused=True) if value.requires_grad else ()
    return [value.detach(), *(torch.zeros(()) if slope is None else slope for slope in slopes)]


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_fix_keeps_what_a_program_means(name: str, fixed: dict[str, list[str]]) -> None:
    safe, every, again = fixed[name]
    expected = measured(HEAD + PROGRAMS[name])
    for source in (safe, every):
        ast.parse(source)
        for now, before in zip(measured(source), expected, strict=True):
            assert now.dtype == before.dtype
            torch.testing.assert_close(
                now, before, rtol=1e-5, atol=1e-7, msg=lambda text, made=source: f"{text}\n{made}"
            )
    assert again == every


def test_most_of_these_programs_are_fixed(fixed: dict[str, list[str]]) -> None:
    left = [name for name, texts in fixed.items() if texts[1] == HEAD + PROGRAMS[name]]
    assert len(left) <= len(PROGRAMS) // 4, left
