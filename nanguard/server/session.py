"""Session: what an editor has open, what was found in it, and the answers to what the editor asks."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import BinaryIO

from lsprotocol import types
from pygls.lsp.server import LanguageServer
from pygls.uris import to_fs_path

import nanguard
from nanguard.config.effective import Given, effective
from nanguard.config.keys import BY_NAME
from nanguard.config.load import configuration_for
from nanguard.config.values import Wrong, value_of
from nanguard.errors import NanguardError
from nanguard.nearest import nearest
from nanguard.running.checking import has_torch
from nanguard.server.checks import Checked, Checks
from nanguard.server.positions import Positions
from nanguard.server.shown import FIX_ALL, Shown
from nanguard.settings import Settings

OPTIONS = ("select", "ignore", "static")
_log = logging.getLogger(__name__)
_NO_TORCH = "torch is not installed where nanguard runs: what it shows is read from the code, and not proved"


def serve(requests: BinaryIO, answers: BinaryIO) -> None:
    """Talk to an editor until it says exit, or goes."""
    server = LanguageServer(
        "nanguard", nanguard.__version__, text_document_sync_kind=types.TextDocumentSyncKind.Full, max_workers=1
    )
    session = Session(server)
    try:
        server.start_io(requests, answers)
    finally:
        session.close()


class Session:
    """One editor and its documents; everything here runs in the thread that talks to it."""

    def __init__(self, server: LanguageServer) -> None:
        self._server = server
        self._options: Mapping[str, Given] = {}
        self._checks: Checks | None = None
        self._checked: dict[str, Checked] = {}  # by path; not shown where the text is another one by now
        self._shown: dict[str, Shown] = {}  # by URI
        self._told: set[str] = set()
        kinds = [types.CodeActionKind.QuickFix, FIX_ALL]
        handlers: dict[str, Callable[..., object]] = {
            types.INITIALIZE: self._initialize,
            types.INITIALIZED: self._initialized,
            types.TEXT_DOCUMENT_DID_OPEN: self._opened,
            types.TEXT_DOCUMENT_DID_SAVE: self._saved,
            types.TEXT_DOCUMENT_DID_CHANGE: self._changed,
            types.TEXT_DOCUMENT_DID_CLOSE: self._left,
            types.TEXT_DOCUMENT_HOVER: self._hover,
            types.TEXT_DOCUMENT_CODE_ACTION: self._actions,
        }
        features = {types.TEXT_DOCUMENT_CODE_ACTION: types.CodeActionOptions(code_action_kinds=kinds)}
        for name, handler in handlers.items():  # pygls marks what it is given, which a method does not allow
            server.feature(name, features.get(name))(partial(handler))

    def close(self) -> None:
        """End the checks."""
        if self._checks is not None:
            self._checks.close()

    # --- what the editor tells ---------------------------------------------------------------------------

    def _initialize(self, params: types.InitializeParams) -> None:
        try:
            self._options = options(params.initialization_options)
        except NanguardError as error:
            self._tell(f"{error}; the initialization options are not used")

    def _initialized(self, params: types.InitializedParams) -> None:
        loop = asyncio.get_running_loop()

        def done(checked: Checked) -> None:
            with suppress(RuntimeError):  # the editor has gone, and the loop with it
                loop.call_soon_threadsafe(self._take, checked)

        self._checks = Checks(self._settings, done)

    def _opened(self, params: types.DidOpenTextDocumentParams) -> None:
        self._check(params.text_document.uri)

    def _saved(self, params: types.DidSaveTextDocumentParams) -> None:
        self._check(params.text_document.uri)

    def _changed(self, params: types.DidChangeTextDocumentParams) -> None:
        uri = params.text_document.uri
        if uri not in self._shown and (path := _path(uri)) in self._checked:
            self._show(uri, self._checked[path])  # it may be the text again that was checked

    def _left(self, params: types.DidCloseTextDocumentParams) -> None:
        uri = params.text_document.uri
        path = _path(uri)
        self._checked.pop(path, None)
        if self._checks is not None:
            self._checks.forget(path)
        if self._shown.pop(uri, None) is not None:
            self._publish(uri, None, [])

    def _check(self, uri: str) -> None:
        path = _path(uri)
        if self._checks is not None and os.path.isfile(path):
            self._checks.ask(path)

    # --- what was found ----------------------------------------------------------------------------------

    def _settings(self, path: str) -> Settings:
        """What a file is checked with: its project's configuration, and what the editor says; raises `NanguardError`.

        Called from the thread of the checks.
        """
        settings = effective(self._options, configuration_for([path])).settings
        root = settings.root or self._server.workspace.root_path or os.path.dirname(path)
        settings = replace(settings, root=root, force_exclude=True, shard=None, quiet=True)
        return settings if has_torch() else replace(settings, static=True, pedantic=True)

    def _take(self, checked: Checked) -> None:
        """Show what was found, unless the document has been closed meanwhile."""
        for note in checked.notes:
            _log.log(logging.WARNING if note.failed else logging.INFO, "%s: %s", note.path or "nanguard", note.message)
            if note.failed and not note.path:
                self._tell(note.message)
        if not has_torch():
            self._tell(_NO_TORCH, types.MessageType.Info)
        for uri in self._server.workspace.text_documents:
            if _path(uri) == checked.path:
                self._checked[checked.path] = checked
                self._shown.pop(uri, None)
                self._show(uri, checked)

    def _show(self, uri: str, checked: Checked) -> None:
        """Show the findings, where the document has the text that was checked: only there are their places right."""
        document = self._server.workspace.get_text_document(uri)
        encoding = self._server.workspace.position_encoding or types.PositionEncodingKind.Utf16
        positions = Positions(document.source, str(getattr(encoding, "value", encoding)))
        if positions.source != checked.source:
            return
        notes = tuple(note for note in checked.notes if note.warning and note.line and note.path == checked.path)
        shown = Shown(uri, document.version, positions, checked.findings, notes, checked.rules)
        self._shown[uri] = shown
        self._publish(uri, document.version, shown.diagnostics)

    def _publish(self, uri: str, version: int | None, diagnostics: list[types.Diagnostic]) -> None:
        params = types.PublishDiagnosticsParams(uri, diagnostics, version)
        self._server.text_document_publish_diagnostics(params)

    def _tell(self, message: str, kind: types.MessageType = types.MessageType.Error) -> None:
        """Tell the user something, once."""
        if message not in self._told:
            self._told.add(message)
            self._server.window_show_message(types.ShowMessageParams(kind, f"nanguard: {message}"))

    # --- what the editor asks ----------------------------------------------------------------------------

    def _current(self, uri: str) -> Shown | None:
        """What is shown of a document, None where its text is not the one that was checked."""
        shown = self._shown.get(uri)
        if shown is None or self._server.workspace.get_text_document(uri).source != shown.positions.text:
            return None
        return shown

    def _hover(self, params: types.HoverParams) -> types.Hover | None:
        shown = self._current(params.text_document.uri)
        return shown.hover(params.position) if shown is not None else None

    def _actions(self, params: types.CodeActionParams) -> list[types.CodeAction]:
        shown = self._current(params.text_document.uri)
        if shown is None:
            return []
        document = self._server.workspace.get_text_document(shown.uri)
        only = params.context.only
        kinds = None if only is None else [str(getattr(kind, "value", kind)) for kind in only]
        return list(replace(shown, version=document.version).actions(params.range, kinds, self._versioned()))

    def _versioned(self) -> bool:
        """Whether the editor takes edits for one version of a document."""
        workspace = self._server.client_capabilities.workspace
        edit = workspace.workspace_edit if workspace is not None else None
        return bool(edit and edit.document_changes)


def _path(uri: str) -> str:
    """The file of a document, empty for one that is none."""
    return (to_fs_path(uri) or "") if uri.startswith("file:") else ""


def options(given: object) -> dict[str, Given]:
    """The settings that an editor gives as initialization options; raises `NanguardError`.

    They are `select` and `ignore` (lists of codes, prefixes of codes or names) and `static` (true or false).
    """
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise NanguardError(f"initialization options: {given!r} is no object with select, ignore or static")
    found: dict[str, Given] = {}
    for key, value in given.items():
        where = f"initialization options: {key}"
        if key not in OPTIONS:
            hint = nearest(str(key), OPTIONS) or f"; known are {', '.join(OPTIONS)}"
            raise NanguardError(f"initialization options: unknown {key!r}{hint}")
        try:
            found[key] = Given(value_of(BY_NAME[key], value, ""), where, "editor")
        except Wrong as error:
            raise NanguardError(f"{where}{error}") from None
    return found
