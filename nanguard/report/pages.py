"""Pages: the documentation of the rules, one page each, an index and the conditions, generated from their files.

Nothing that a machine or a version of torch measures is on them, so that the same rules give the same pages.
Run as ``python -m nanguard.report.pages FOLDER README``; the README has a table of the families.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from nanguard.matching import predicates, rules
from nanguard.matching.rule import Rule
from nanguard.report import explain

_FAMILIES = {
    "1": "Composed logarithms and exponentials with an exact stable equivalent",
    "2": "Edges of a domain, reached in the forward",
    "3": "Gradients that blow up behind a finite forward",
    "4": "Cancellation and accuracy",
    "5": "Guards that do not guard",
    "6": "Misuse of an API",
}
_FIRST, _LAST = "<!-- rules: written by `make docs` -->", "<!-- end of rules -->"
_SHOWN = 3  # rules of a family that the README names
_NOTE = "<!-- Generated from {source} by `make docs`; edit that file instead. -->"


def pages(known: Sequence[Rule]) -> dict[str, str]:
    """The pages by the name of their file."""
    found = {f"{rule.code}.md": _page(rule) for rule in known}
    found["README.md"] = _index(known)
    found["conditions.md"] = _conditions()
    return found


def readme(page: str, known: Sequence[Rule]) -> str:
    """The README with the table of families as it should be."""
    before, _, rest = page.partition(_FIRST)
    _, _, after = rest.partition(_LAST)
    rows = ["| codes | what they find | rules | such as |", "|---|---|---|---|"]
    for digit, title in _FAMILIES.items():
        family = [rule for rule in known if rule.code[2:3] == digit]
        some = ", ".join(f"[{rule.code}](docs/rules/{rule.code}.md) {rule.name}" for rule in family[:_SHOWN])
        rows.append(f"| [NG{digit}xx](docs/rules/README.md) | {title} | {len(family)} | {some} |")
    table = "\n".join(rows)
    return f"{before}{_FIRST}\n{table}\n{_LAST}{after}"


def _page(rule: Rule) -> str:
    note = _NOTE.format(source=f"`rules/{Path(rule.path).name}`")
    return "\n\n".join([note, *explain.sections(rule), f"[All rules](README.md). `nanguard explain {rule.code}` "
                        "measures where it fails on the torch that you have."]) + "\n"  # fmt: skip


def _index(known: Sequence[Rule]) -> str:
    lines = [_NOTE.format(source="`rules/`"), "", "# The rules", ""]
    for digit, title in _FAMILIES.items():
        family = [rule for rule in known if rule.code[2:3] == digit]
        lines += [
            f"## NG{digit}xx: {title}",
            "",
            "| code | name | hazard | fix | what happens |",
            "|---|---|---|---|---|",
        ]
        lines += map(_row, family)
        lines.append("")
    return "\n".join(lines)


def _conditions() -> str:
    """The page of the predicates, from their docstrings."""
    lines = [
        _NOTE.format(source="`nanguard/matching/predicates/`"), "",
        "# The conditions of a rule", "",
        "What `when` may ask about the variables of a pattern, `not` before it for the contrary;",
        "[writing your own rule](../writing-rules.md) says where.", "",
    ]  # fmt: skip
    for title, table in (
        ("Of operands", predicates.OF_OPERANDS),
        ("Of the whole expression", predicates.OF_EXPRESSIONS),
    ):
        lines += [f"## {title}", "", "| condition | holds where |", "|---|---|"]
        lines += [f"| `{name}({_asked(table[name])})` | {_cell(_said(table[name]))} |" for name in sorted(table)]
        lines.append("")
    return "\n".join(lines)


def _asked(predicate: Callable[..., bool]) -> str:
    """The arguments of a predicate as a rule writes them, without the ranges that it is given."""
    _, *asked = inspect.signature(predicate).parameters.values()
    return ", ".join(f"*{part.name}" if part.kind is part.VAR_POSITIONAL else part.name for part in asked)


def _said(predicate: Callable[..., bool]) -> str:
    return " ".join((predicate.__doc__ or "").replace("``", "`").split())


def _row(rule: Rule) -> str:
    link = f"[{rule.code}]({rule.code}.md)"
    return f"| {link} | {rule.name} | {rule.hazard} | {_fix(rule)} | {_cell(rule.summary)} |"


def _fix(rule: Rule) -> str:
    """The best fix that a rule has."""
    if any(variant.stable and variant.safe for variant in rule.variants):
        return "safe"
    if any(variant.stable for variant in rule.variants):
        return "unsafe"
    return "clamp" if any(variant.clamp for variant in rule.variants) else ""


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def write(folder: Path, page: Path) -> None:
    """Write the pages, remove those of rules that are gone, and bring the table of the README up to date."""
    known = rules.load().rules
    made = pages(known)
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.glob("*.md"):
        if path.name not in made:
            path.unlink()
    for name, text in made.items():
        (folder / name).write_text(text, encoding="utf-8")
    page.write_text(readme(page.read_text(encoding="utf-8"), known), encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]), Path(sys.argv[2]))
