"""Derive: which identities lead from the code to the pattern of its rule, by building its normal form once more.

The steps are those of the normalizer, which tells of none: here it is asked to write down what it does.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from nanguard.matching.normal import Normalizer
from nanguard.report.explain import show as pattern
from nanguard.report.html.drawn import Step
from nanguard.report.html.subject import Subject
from nanguard.term import Term, make, rebuild, show, walk

_MOST = 12  # steps that are shown
_LONGEST = 160  # characters of a term that is shown


@dataclass(slots=True)
class _Telling(Normalizer):
    """A normalizer that remembers which terms its identities made others of."""

    told: list[tuple[Term, Term, str]] = field(default_factory=list)

    def spelled(self, head: Term) -> Term:
        result = Normalizer.spelled(self, head)
        self._tell(head, result, "another name of the same")
        return result

    def identity(self, term: Term) -> Term | None:
        result = Normalizer.identity(self, term)
        if result is not None:
            self._tell(term, result, "identity")
        return result

    def _tell(self, before: Term, after: Term, why: str) -> None:
        if before is not after and not any(known[:2] == (before, after) for known in self.told):
            self.told.append((before, after, why))


def derivation(subject: Subject) -> tuple[Step, ...]:
    """The steps from the code as written to the pattern, ending with what its variables stand for."""
    match, matcher = subject.match, subject.matcher
    root = _short(match.root, subject)
    normal = matcher.unguarded if match.guards else matcher.normal
    telling = _Telling(normal.spellings, normal.rewrites, matcher.ranges, traits=normal.traits)
    head = telling.head(root)
    steps = [Step(show(before), show(after), why) for before, after, why in telling.told]
    steps = [step for step in steps if max(len(step.before), len(step.after)) <= _LONGEST and step.before != step.after]
    return (
        Step("", _cut(show(root)), "as written"),
        *(Step("", _cut(show(_short(guard, subject))), "a guard, looked through") for guard in match.guards),
        *steps[-_MOST:],
        *([Step(_cut(show(root)), _cut(show(head)), "normal form")] if steps or head is not root else []),
        Step(_cut(pattern(match.variant.match)), ", ".join(_bound(subject)) or "as it is", "fits the pattern"),
    )


def _bound(subject: Subject) -> Iterator[str]:
    for name, term in sorted(subject.match.bindings.items()):
        text = _cut(subject.names.get(term) or show(_short(term, subject)))
        if text != name:
            yield f"{name} = {text}"
    for name, value in sorted(subject.match.attrs.items()):
        yield f"{name} = {value}"


def _short(root: Term, subject: Subject) -> Term:
    """A term in which what the pattern's variables stand for, and is not written out in it, has the program's name."""
    bound = {term for term in subject.match.bindings.values() if term.args and term is not root}
    named = {term: subject.names[term] for term in bound if term in subject.names}
    inside = set(walk(root))
    names = {term: text for term, text in named.items() if term in inside and len(text) <= 40 and text.isidentifier()}

    def change(node: Term, args: tuple[Term, ...]) -> Term:
        if node in names:
            return make("symbol", (), (("name", names[node]),))
        return make(node.op, args, node.attrs)

    return rebuild(root, change) if names else root


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."
