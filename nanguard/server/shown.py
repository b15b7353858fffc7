"""Shown: what an editor is told of a document: diagnostics, what is behind one, and its fixes as actions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from lsprotocol import types

from nanguard.finding import Finding, Fix, Note, Number, Witness
from nanguard.matching.rules import folder, load
from nanguard.report.explain import rule_text
from nanguard.report.text import number
from nanguard.server.positions import Positions, touches

FIX_ALL = "source.fixAll.nanguard"

_SEVERITY = {
    "error": types.DiagnosticSeverity.Error,
    "warning": types.DiagnosticSeverity.Warning,
    "info": types.DiagnosticSeverity.Information,
}
_LONGEST = 60  # characters of a replacement in a title


@dataclass(frozen=True)
class Shown:
    """The findings of a document as it was checked.

    `version` is the editor's number of the text, `notes` are about lines of it, `rules` are the user's own rule files.
    """

    uri: str
    version: int | None
    positions: Positions
    findings: tuple[Finding, ...]
    notes: tuple[Note, ...] = ()
    rules: tuple[str, ...] = ()

    @property
    def diagnostics(self) -> list[types.Diagnostic]:
        """A diagnostic for each finding, with its fixes as data, and for each note."""
        return [*(diagnostic for diagnostic, _ in self._found), *map(self._noted, self.notes)]

    @cached_property
    def _found(self) -> list[tuple[types.Diagnostic, Finding]]:
        return [(self._diagnostic(finding), finding) for finding in self.findings]

    def _diagnostic(self, finding: Finding) -> types.Diagnostic:
        return types.Diagnostic(
            range=self.positions.range(finding.span),
            message=finding.message,
            severity=_SEVERITY[finding.severity],
            code=finding.code,
            code_description=_page(finding.code),
            source="nanguard",
            data={"name": finding.name, "fixes": [self._fix_data(finding, fix) for fix in _fixes(finding)]},
        )

    def _noted(self, note: Note) -> types.Diagnostic:
        return types.Diagnostic(
            range=self.positions.line(note.line),
            message=note.message,
            severity=types.DiagnosticSeverity.Warning,
            code=note.code,
            source="nanguard",
        )

    def _fix_data(self, finding: Finding, fix: Fix) -> dict[str, Any]:
        edits = [
            {
                "range": {"start": _plain(edit.range.start), "end": _plain(edit.range.end)},
                "newText": edit.new_text,
            }
            for edit in self.positions.edits(fix.edits)
        ]
        return {"title": _title(finding, fix), "safe": fix.safe, "edits": edits}

    def hover(self, position: types.Position) -> types.Hover | None:
        """The findings at a position with their witnesses, and the text of the innermost one's rule."""
        here = types.Range(position, position)
        found = [(diagnostic.range, finding) for diagnostic, finding in self._found if touches(diagnostic.range, here)]
        if not found:
            return None
        found.sort(key=lambda item: (item[0].start.line, item[0].start.character), reverse=True)
        parts = [text for _, finding in found for text in _explained(finding)]
        rule = load(self.rules).find(found[0][1].code)
        if rule is not None:
            parts += ["---", rule_text(rule)]
        content = types.MarkupContent(types.MarkupKind.Markdown, "\n\n".join(parts))
        return types.Hover(content, found[0][0])

    def actions(
        self, where: types.Range, only: Sequence[str] | None, versioned: bool
    ) -> Iterator[types.CodeAction]:  # fmt: skip
        """What can be done about the findings at a range, and about all of them; `only` are the kinds asked for.

        `versioned` says that the editor takes edits for one version of a document.
        """
        if _asked(types.CodeActionKind.QuickFix, only):
            for diagnostic, finding in self._found:
                if not touches(diagnostic.range, where):
                    continue
                for fix in _fixes(finding):
                    yield types.CodeAction(
                        title=_title(finding, fix),
                        kind=types.CodeActionKind.QuickFix,
                        diagnostics=[diagnostic],
                        is_preferred=fix.safe and fix is finding.fix,
                        edit=self._edit(self.positions.edits(fix.edits), versioned),
                    )
                if edits := self.positions.edits(self.positions.ignored(finding)):
                    yield types.CodeAction(
                        title=f"{finding.code}: ignore it here, with a comment",
                        kind=types.CodeActionKind.QuickFix,
                        diagnostics=[diagnostic],
                        edit=self._edit(edits, versioned),
                    )
        if _asked(FIX_ALL, only) and (edits := self._all()):
            yield types.CodeAction(
                title="nanguard: make all safe fixes", kind=FIX_ALL, edit=self._edit(edits, versioned)
            )

    def _all(self) -> list[types.TextEdit]:
        """The edits of the safe fixes; of fixes that overlap, the outer one's."""
        outer_first = sorted(self.findings, key=lambda finding: -len(finding.expression))
        safe = (fix.edits for finding in outer_first for fix in _fixes(finding) if fix is finding.fix and fix.safe)
        return self.positions.edits(self.positions.apart(safe))

    def _edit(self, edits: Sequence[types.TextEdit], versioned: bool) -> types.WorkspaceEdit:
        if not versioned:
            return types.WorkspaceEdit(changes={self.uri: edits})
        document = types.OptionalVersionedTextDocumentIdentifier(uri=self.uri, version=self.version)
        return types.WorkspaceEdit(document_changes=[types.TextDocumentEdit(document, edits)])


def _page(code: str) -> types.CodeDescription | None:
    """The page of a rule, which a checkout of nanguard has."""
    page = folder().parent / "docs" / "rules" / f"{code}.md"
    return types.CodeDescription(page.as_uri()) if page.is_file() else None


def _fixes(finding: Finding) -> list[Fix]:
    """The fixes of a finding that are edits of its own file: the stable form, and the clamped one."""
    return [fix for fix in (finding.fix, finding.clamp) if fix is not None and _here(fix, finding.span.path)]


def _here(fix: Fix, path: str) -> bool:
    return bool(fix.edits) and all(edit.span.path == path for edit in fix.edits)


def _title(finding: Finding, fix: Fix) -> str:
    text = " ".join(fix.replacement.split())
    if not text:
        return f"{finding.code}: remove this"
    text = text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."
    return f"{finding.code}: replace by `{text}`{'' if fix.safe else ' (unsafe: changes some values)'}"


def _asked(kind: str, only: Sequence[str] | None) -> bool:
    return only is None or any(kind == wanted or kind.startswith(wanted + ".") for wanted in only)


def _plain(position: types.Position) -> dict[str, int]:
    return {"line": position.line, "character": position.character}


def _explained(finding: Finding) -> Iterator[str]:
    """What is wrong, and the numbers that prove it."""
    yield f"**{finding.code}** {finding.name}: {finding.message}"
    if finding.witness is not None:
        yield _table(finding.witness)
    elif not finding.confirmed:
        yield "Possible, not proved."


def _table(witness: Witness) -> str:
    inputs = ", ".join(f"`{name} = {number(value, witness.dtype)}`" for name, value in witness.inputs.items())
    inputs = inputs.replace("|", "\\|")  # which would be the end of a cell
    rows = [
        f"| at {inputs} in {witness.dtype} | as written | exact |",
        "|---|---|---|",
        _row("value", witness.computed, witness.exact, witness.dtype),
    ]
    if witness.gradient is not None and witness.exact_gradient is not None:
        rows.append(_row("gradient", witness.gradient, witness.exact_gradient, witness.dtype))
    return "\n".join(rows)


def _row(name: str, computed: Number, exact: Number, dtype: str) -> str:
    return f"| {name} | {number(computed, dtype)} | {number(exact, dtype)} |"
