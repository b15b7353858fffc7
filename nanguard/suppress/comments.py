"""Comments: what those of a file say about the findings that are not to be reported.

``# nanguard: ignore[NG101]`` and ``# noqa: NG101`` are about the statement that they stand in, the first one also
about the one below it; ``# nanguard: file-ignore[NG1]`` is about the file.  Comments are found by tokens: text in a
string is none.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import zip_longest
from typing import NamedTuple

from nanguard.finding import Comment, Directive, Note, Span
from nanguard.nearest import nearest
from nanguard.settings import UNUSED, Named, fits, unknown
from nanguard.suppress.layout import Remark, layout

IGNORE, FILE, NOQA = "ignore", "file-ignore", "noqa"
_OWN = "nanguard:"
_NOQA_SPELLINGS = ("noqa", "NOQA", "NoQA", "NoQa", "Noqa")

_MARK = re.compile(r"#\s*(?:(?P<own>nanguard:)|(?P<noqa>(?i:noqa))(?![\w-]))")
_SAID = re.compile(r"\s*(?P<word>[\w-]*)\s*(?:\[(?P<codes>[^\]#]*)(?P<closed>\])?)?", re.DOTALL)
_CODES = re.compile(r"\s*:\s*(?P<codes>[A-Z]+[0-9]*(?:(?:\s*,\s*|\s+)[A-Z]+[0-9]+)*)(?![\w-])", re.IGNORECASE)
_CODE = re.compile(r"[A-Z]{1,3}[0-9]*", re.IGNORECASE)
_NAMED = re.compile(r"#\s*noqa\s*:[^\n#]*\bNG[0-9]", re.IGNORECASE)  # a noqa that names codes of nanguard
_EVERY = "{!r} means every rule; name those that it is about"
_OTHER = re.compile(r"\s+#+\s*[A-Za-z]")  # where another comment begins in the same one; "#12" in a reason is none
_REASON = re.compile(r"^[\s:;,.\u2013\u2014-]+|\s+$")


class Piece(NamedTuple):
    """A directive as it stands in the text of a comment: where it is, where its codes are, and what it says."""

    start: int
    end: int
    codes_start: int
    codes_end: int
    kind: str  # empty where it is no directive that is known
    codes: tuple[str, ...]
    reason: str
    problem: str = ""


def mentioned(source: str) -> bool:
    """Whether a text may hold a comment that suppresses anything; most hold none, and are not looked at closer."""
    return _OWN in source or any(spelling in source for spelling in _NOQA_SPELLINGS)


def names_codes(source: str) -> bool:
    """Whether comments of a text may name codes of nanguard, so that they can be wrong or without use."""
    if _OWN in source:
        return True
    return any(spelling in source for spelling in _NOQA_SPELLINGS) and _NAMED.search(source) is not None


def comments_of(path: str, source: str, rules: Sequence[Named]) -> tuple[tuple[Comment, ...], tuple[Note, ...]]:
    """The comments of a file that suppress something, and notes (NG003) about those that do not do what they say.

    `source` has its line ends as ``\\n``.  `rules` are those that a code may mean.
    """
    found: list[Comment] = []
    notes: list[Note] = []
    for remark in layout(source).remarks if mentioned(source) else ():
        directives: list[Directive] = []
        for piece in pieces(remark.text):
            problem = piece.problem or _misplaced(piece, remark)
            if problem:
                notes.append(_note(path, remark.line, problem))
                continue
            known, problems = _known(piece, rules)
            notes.extend(_note(path, remark.line, problem) for problem in problems)
            blanket = piece.kind == NOQA and not piece.codes
            if (known or blanket) and not _idle(piece, remark):
                lines = (0, 0) if piece.kind == FILE else (remark.first, remark.last)
                directives.append(Directive(piece.kind, known, *lines, piece.reason))
        if directives:
            width = len(remark.text.encode("utf-8", "surrogatepass"))
            span = Span(path, remark.line, remark.column, remark.line, remark.column + width)
            found.append(Comment(span, remark.margin, remark.text, remark.alone, tuple(directives)))
    return tuple(found), tuple(notes)


def expecting(comments: Iterable[Comment], suspected: Iterable[tuple[int, Named]]) -> tuple[Comment, ...]:
    """The comments with the codes that reading suspects in their lines; of each suspect the line and the rule."""
    listed = list(suspected)

    def expected(directive: Directive) -> Directive:
        codes = (
            code
            for code in directive.codes
            if any(covers(directive, line) and fits(code, rule) for line, rule in listed)
        )
        return replace(directive, expected=tuple(codes))

    return tuple(replace(comment, directives=tuple(map(expected, comment.directives))) for comment in comments)


def covers(directive: Directive, line: int) -> bool:
    """Whether a directive is about a line."""
    return directive.kind == FILE or directive.first <= line <= directive.last


def pieces(text: str) -> Iterator[Piece]:
    """The directives in the text of a comment, which may hold several."""
    marks = list(_MARK.finditer(text))
    for mark, following in zip_longest(marks, marks[1:]):
        end = following.start() if following else len(text)
        other = _OTHER.search(text, mark.end(), end)
        end = other.start() if other else end
        rest = text[mark.end() : end]
        yield (_own if mark["own"] else _noqa)(rest, mark.start(), mark.end(), end)


def _own(rest: str, start: int, at: int, end: int) -> Piece:
    said = _SAID.match(rest)
    assert said is not None
    word, codes = said["word"], _split(said["codes"] or "")
    where = (at + said.start("codes"), at + said.end("codes")) if said["codes"] is not None else (end, end)
    kind = word.lower()
    example = f"# nanguard: {kind if kind in (IGNORE, FILE) else IGNORE}[{', '.join(codes) or 'NG101'}]"
    problem = ""
    if kind not in (IGNORE, FILE):
        what = f"{word!r} is nothing that nanguard knows" if word else "it does not say what to do"
        problem = f"{what}{nearest(kind, (IGNORE, FILE)) if word else ''}; write `{example}`"
    elif said["codes"] is None:
        problem = f"it names no codes; write those that it is about, as in `{example}`"
    elif said["closed"] is None:
        problem = f"its bracket is not closed; write `{example}`"
    elif not codes:
        problem = f"its brackets are empty; write the codes that it is about, as in `{example}`"
    return Piece(start, end, *where, kind, codes, _REASON.sub("", rest[said.end() :]), problem)


def _noqa(rest: str, start: int, at: int, end: int) -> Piece:
    named = _CODES.match(rest)
    if named is not None:
        where = at + named.start("codes"), at + named.end("codes")
        return Piece(start, end, *where, NOQA, _split(named["codes"]), _REASON.sub("", rest[named.end() :]))
    if rest.lstrip().startswith(":"):  # codes should follow, and none does
        return Piece(start, end, end, end, "", (), "")
    return Piece(start, end, end, end, NOQA, (), _REASON.sub("", rest))


def _split(codes: str) -> tuple[str, ...]:
    """The codes of a list in capitals; names of rules are written small."""
    listed = (code for code in re.split(r"[\s,]+", codes) if code)
    return tuple(code.upper() if _CODE.fullmatch(code) else code.lower() for code in listed)


def _misplaced(piece: Piece, remark: Remark) -> str:
    """Why a directive is about nothing where it stands."""
    if piece.kind == FILE and not (remark.alone and not remark.inside and remark.column == 0):
        return "it is about the whole file; write it on a line of its own that is not indented"
    if piece.kind == IGNORE and not remark.last:
        return "there is no statement right below it; write it at the end of a line, or on the line above"
    return ""


def _idle(piece: Piece, remark: Remark) -> bool:
    """Whether it is a noqa that is about nothing: those above a statement are not about it."""
    return not piece.kind or (piece.kind == NOQA and (remark.alone and not remark.inside))


def _known(piece: Piece, rules: Sequence[Named]) -> tuple[tuple[str, ...], list[str]]:
    """The codes that mean something, and what is wrong with the others; the codes of other tools are theirs."""
    known: list[str] = []
    problems: list[str] = []
    every = (*rules, UNUSED)
    for code in piece.codes:
        if piece.kind == NOQA and not code.startswith("NG"):
            if any(fits(code, rule) for rule in rules):
                known.append(code)
        elif not any(fits(code, rule) for rule in every):
            hint = unknown(code, every, "").lstrip(": ")
            problems.append(_EVERY.format(code) if code == "ALL" else hint)
        elif piece.kind != NOQA and len(code) < 3:
            problems.append(_EVERY.format(code))
        else:
            known.append(code)
    return tuple(dict.fromkeys(known)), problems


def _note(path: str, line: int, problem: str) -> Note:
    return Note("NG003", path, line, f"this comment suppresses nothing: {problem}", failed=False, warning=True)
