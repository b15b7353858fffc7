"""The rules that come with nanguard are kept as they were read: the same, or not at all."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from nanguard.matching import kept, rules
from nanguard.matching.match import matcher

Load = Callable[[], rules.RuleSet]


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Load:
    """Load the rules as a new process would, with a folder for caches of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return rules.load.__wrapped__


def the_file() -> Path:
    path = kept.place()
    assert path is not None
    return path


def test_kept_rules_are_those_of_the_files(load: Load) -> None:
    read = load()
    assert read.heads == {}
    compiled = matcher(read)
    again = load()
    assert again.heads
    assert replace(again, rules=(), heads=None) == replace(read, rules=(), heads=None)
    for one, other in zip(again.rules, read.rules, strict=True):
        assert tuple(one.examples) == tuple(other.examples)
        assert replace(one, examples=()) == replace(other, examples=())
    assert matcher(again).index.entries == {
        op: [replace(entry, rule=again.find(entry.rule.code)) for entry in listed]
        for op, listed in compiled.index.entries.items()
    }


@pytest.mark.parametrize(
    "harm",
    [
        pytest.param(lambda text: text[: len(text) // 2], id="cut off"),
        pytest.param(lambda text: text.replace('"small"', '"system"'), id="an unknown predicate"),
        pytest.param(lambda text: text.replace('{"Term":', '{"Term":9'), id="terms that are not there"),
        pytest.param(lambda text: text.split("\n")[0] + "\n[]\n[]", id="nothing in it"),
        pytest.param(lambda text: text.split("\n")[0] + "\n[]\n" + "[" * 100_000, id="nested deeply"),
    ],
)
def test_what_is_damaged_is_made_anew(load: Load, harm: Callable[[str], str]) -> None:
    matcher(load())
    path = the_file()
    whole = path.read_text("ascii")
    path.write_text(harm(whole), "ascii")
    assert not load().heads
    matcher(load())
    assert path.read_text("ascii") == whole


def test_a_changed_rule_or_source_is_noticed(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    matcher(load())
    assert load().heads
    monkeypatch.setattr(kept, "own", lambda: ["another state"])
    kept._key.cache_clear()
    assert not load().heads
    kept._key.cache_clear()


@pytest.mark.parametrize("base", ["folder/below", "a file", "relative"])
def test_where_nothing_can_be_kept_rules_are_read(load: Load, tmp_path: Path, base: str, monkeypatch) -> None:
    (tmp_path / "a file").write_text("")
    (tmp_path / "relative").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", base if base == "relative" else str(tmp_path / base))
    matcher(load())
    assert bool(load().heads) == (base == "folder/below")
    assert not list((tmp_path / "relative").iterdir())


def test_rules_of_a_project_are_never_kept(load: Load, tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text(
        'code = "XX1"\nname = "own"\nhazard = "forward-nonfinite"\nsummary = "s"\nmatch = ["log(cosh(x))"]\n'
    )
    matcher(load((str(path),)))  # type: ignore[call-arg]
    assert not the_file().exists()


def test_a_second_process_reads_no_rule_file(tmp_path: Path) -> None:
    script = (
        "import sys, nanguard.matching.rules as r, nanguard.matching.match as m\n"
        "opened = []\n"
        "sys.addaudithook(lambda e, a: opened.append(str(a[0])) if e == 'open' else None)\n"
        "m.matcher(r.load())\n"
        "print(sum(name.endswith('.toml') for name in opened))\n"
    )
    env = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    counts = [
        json.loads(subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, check=True).stdout)
        for _ in range(2)
    ]
    assert counts[0] > 100
    assert counts[1] == 0
