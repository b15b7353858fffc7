"""The README shows what nanguard really prints; what it tells a newcomer to write works."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import textwrap
import tomllib
from contextlib import nullcontext
from pathlib import Path

import click
import pytest
import torch
import yaml
from inprocess import in_process

from nanguard.cli import cli, main
from nanguard.matching import rules
from nanguard.report import pages

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    """The blocks of code in a language; those of lists are indented."""
    found = re.findall(rf"^( *)```{language}\n(.*?)^\1```$", README, re.DOTALL | re.MULTILINE)
    return [textwrap.dedent(text) for _, text in found]


def commands() -> list[str]:
    """The calls of nanguard that are shown."""
    shown = re.findall(rf"^ *(nanguard (?:{'|'.join(cli.commands)})\b.*)$", README, re.MULTILINE)
    return [line.partition("  #")[0].strip() for line in shown]


def test_the_output_of_the_example_is_current() -> None:
    shown = re.search(r"<!-- output of `make run`: begin -->\n```\n(.*?)```\n", README, re.DOTALL)
    assert shown is not None
    done = subprocess.run(
        [sys.executable, "-m", "nanguard", "check", "--no-cache", "examples/skipgram.py"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert shown[1].strip() == done.stdout.strip()


def test_the_skip_gram_loss_is_that_of_the_examples() -> None:
    shown = re.search(r"```python\n(def skipgram_loss.*?)```", README, re.DOTALL)
    assert shown is not None
    assert shown[1].splitlines()[1:] == [
        line for line in _body((ROOT / "examples" / "skipgram.py").read_text(encoding="utf-8")) if '"""' not in line
    ]


def _body(source: str) -> list[str]:
    lines = source.splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("def skipgram_loss"))
    end = next(number for number in range(start, len(lines)) if lines[number].startswith("    return"))
    return lines[start + 1 : end + 1]


def test_the_table_of_rules_is_current() -> None:
    assert pages.readme(README, rules.load().rules) == README, "run `make docs`"


@pytest.mark.parametrize("line", commands())
def test_the_commands_exist(line: str) -> None:
    _, name, *arguments = shlex.split(line)
    command = cli.commands[name]
    context = command.make_context(name, arguments, parent=click.Context(cli, info_name="nanguard"))
    assert context.params


def test_what_is_linked_is_there() -> None:
    linked = re.findall(r"\]\(([^)#:]+)\)", README)
    assert linked
    assert [target for target in linked if not (ROOT / target).exists()] == []


def test_the_python_runs(tmp_path: Path) -> None:
    """One block after the other, as a reader would paste them; a guarded function needs its source in a file."""
    example, interface, running, test = blocks("python")[0], *_without_comments()
    path = tmp_path / "readme.py"
    path.write_text(f"import torch\n{example}\n{interface}\n{_DATA}\n{running}\n{test}\n", encoding="utf-8")
    names: dict[str, object] = {}
    exec(compile(path.read_text(encoding="utf-8"), str(path), "exec"), names)
    stable = names["stable"]
    assert callable(stable)
    value = stable(torch.tensor([200.0]), torch.tensor([-1.0]), torch.tensor([1.0]))
    assert value.item() == 400
    guarded = names["loss"]
    assert callable(guarded)
    assert guarded(torch.tensor([200.0]), torch.tensor([-1.0])).item() == 200


_DATA = "x, y = torch.tensor([200.0], requires_grad=True), torch.tensor([-1.0])"


def _without_comments() -> list[str]:
    return [text for text in blocks("python")[1:] if "nanguard: ignore" not in text]


def test_the_hook_is_one_that_there_is() -> None:
    hooks = next(text for text in blocks("yaml") if "hooks:" in text)
    named = yaml.safe_load(hooks)["repos"][0]["hooks"][0]["id"]
    there = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8"))
    assert named in {hook["id"] for hook in there}


def test_the_action_takes_what_it_is_given() -> None:
    job = next(text for text in blocks("yaml") if "jobs:" in text)
    given = yaml.safe_load(job)["jobs"]["nanguard"]["steps"][-1]["with"]
    action = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
    assert set(given) <= set(action["inputs"])


LOSSES = """\
import torch


def positive(score):
    return -torch.log(torch.sigmoid(score))


def negative(score):
    return -torch.log(1 - torch.sigmoid(score))


def known(score):
    return torch.log(torch.softmax(score, dim=-1))
"""


def test_turning_it_on_in_a_project_with_findings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def check(*arguments: str, depth: str = "--static") -> tuple[int, list[str]]:
        with in_process() if depth == "--static" else nullcontext(), pytest.raises(SystemExit) as ended:
            main(["check", depth, "--format", "json", *arguments, "src"])
        text = capsys.readouterr().out
        found = json.loads(text)["findings"] if text.startswith("{") else []
        return int(ended.value.code or 0), [finding["code"] for finding in found]

    source = tmp_path / "src" / "losses.py"
    source.parent.mkdir()
    source.write_text(LOSSES)
    monkeypatch.chdir(tmp_path)
    assert check() == (1, ["NG101", "NG102", "NG103"])

    assert check("--write-baseline")[0] == 0
    configured = next(text for text in blocks("toml") if "baseline" in text)
    assert tomllib.loads(configured)
    (tmp_path / "pyproject.toml").write_text(configured)
    assert check() == (0, [])

    new = "\n\ndef new(score):\n    loss = -torch.log(torch.sigmoid(score))\n    return loss\n"
    source.write_text("# a line above\n" + LOSSES + new)
    assert check() == (1, ["NG101"])
    excused = next(text for text in blocks("python") if "nanguard: ignore" in text)
    source.write_text(source.read_text().replace("    loss = -torch.log(torch.sigmoid(score))\n", f"    {excused}"))
    assert check() == (0, [])

    (tmp_path / "nanguard-baseline.json").rename(tmp_path / "kept.json")
    (tmp_path / "pyproject.toml").unlink()
    assert check("--fix") == (0, [])
    assert "F.logsigmoid" in source.read_text() or "functional.logsigmoid" in source.read_text()
    assert "nanguard: ignore[NG101]" in source.read_text()
    (tmp_path / "kept.json").rename(tmp_path / "nanguard-baseline.json")
    (tmp_path / "pyproject.toml").write_text(configured)
    assert check("--write-baseline", depth="--no-static")[0] == 0  # only what was run is sure to be gone
    assert json.loads((tmp_path / "nanguard-baseline.json").read_text())["findings"] == []
    assert check() == (0, [])
