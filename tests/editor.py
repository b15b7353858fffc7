"""An editor for tests: a client of the language server that talks to it over its standard input and output."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

PATIENCE = 60.0  # seconds; loading torch takes some


class Editor:
    """Starts a server, says what an editor says, and keeps what it is told; use it as a context manager."""

    def __init__(
        self, folder: Path, options: object = None, capabilities: Mapping[str, Any] | None = None,
        command: tuple[str, ...] = ("-m", "nanguard", "server"),
    ) -> None:  # fmt: skip
        self._process = subprocess.Popen(
            [sys.executable, *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=folder,
        )
        self.pid = self._process.pid
        self._arrived: queue.Queue[dict[str, Any]] = queue.Queue()
        self._errors: list[bytes] = []
        self._threads = [threading.Thread(target=target, daemon=True) for target in (self._read, self._read_errors)]
        for thread in self._threads:
            thread.start()
        self.diagnostics: dict[str, list[Any]] = {}  # by URI, as published last
        self.messages: list[str] = []
        self.published = 0
        self._ids = 0
        self._versions: dict[str, int] = {}
        given = {
            "processId": os.getpid(), "rootUri": folder.as_uri(), "capabilities": dict(capabilities or {}),
            "initializationOptions": options,
        }  # fmt: skip
        self.capabilities = self.ask("initialize", given)["capabilities"]
        self.tell("initialized", {})

    def __enter__(self) -> Editor:
        return self

    def __exit__(self, *error: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    # --- messages ----------------------------------------------------------------------------------------

    def tell(self, method: str, params: object) -> None:
        self._send({"method": method, "params": params})

    def ask(self, method: str, params: object) -> Any:
        """The result of a request."""
        self._ids += 1
        wanted = self._ids
        self._send({"id": wanted, "method": method, "params": params})
        reply: dict[str, Any] = self._until(lambda message: message.get("id") == wanted and "method" not in message)
        assert "error" not in reply, reply
        return reply["result"]

    def until(self, done: Callable[[], bool]) -> None:
        """Take in what the server tells until something is so."""
        if not done():
            self._until(lambda message: done())

    def _until(self, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        while True:
            try:
                message = self._arrived.get(timeout=PATIENCE)
            except queue.Empty:
                raise AssertionError(f"nothing came; {self.errors()}") from None
            assert message, f"the server has gone; {self.errors()}"
            self._take(message)
            if wanted(message):
                return message

    def _take(self, message: dict[str, Any]) -> None:
        params = message.get("params")
        if message.get("method") == "textDocument/publishDiagnostics":
            self.diagnostics[params["uri"]] = params["diagnostics"]
            self.published += 1
        elif message.get("method") == "window/showMessage":
            self.messages.append(params["message"])

    def _send(self, message: dict[str, Any]) -> None:
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        assert self._process.stdin is not None
        self._process.stdin.write(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
        self._process.stdin.flush()

    def _read(self) -> None:
        out = self._process.stdout
        assert out is not None
        while (header := out.readline()) != b"":
            length = 0
            while header.strip():
                name, _, value = header.partition(b":")
                assert name in (b"Content-Length", b"Content-Type"), f"no header of a message: {header!r}"
                length = int(value) if name == b"Content-Length" else length
                header = out.readline()
            self._arrived.put(json.loads(out.read(length)))
        self._arrived.put({})

    def _read_errors(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self._errors.append(line)

    def errors(self) -> str:
        return b"".join(self._errors).decode()

    # --- documents ---------------------------------------------------------------------------------------

    def open(self, path: Path, text: str | None = None) -> str:
        """Open a file (with a text that is not saved); its URI."""
        uri = path.as_uri()
        self._versions[uri] = 1
        text = path.read_bytes().decode() if text is None else text
        item = {"uri": uri, "languageId": "python", "version": 1, "text": text}
        self.tell("textDocument/didOpen", {"textDocument": item})
        return uri

    def change(self, uri: str, text: str) -> None:
        """Type, without saving."""
        self._versions[uri] += 1
        document = {"uri": uri, "version": self._versions[uri]}
        self.tell("textDocument/didChange", {"textDocument": document, "contentChanges": [{"text": text}]})

    def save(self, path: Path, text: str) -> None:
        """Put a text into a file, as the editor does."""
        path.write_bytes(text.encode())
        self.change(path.as_uri(), text)
        self.tell("textDocument/didSave", {"textDocument": {"uri": path.as_uri()}})

    def close(self, uri: str) -> None:
        self.tell("textDocument/didClose", {"textDocument": {"uri": uri}})

    def found(self, uri: str) -> list[Any]:
        """The diagnostics of a document, once there are some."""
        self.until(lambda: uri in self.diagnostics)
        return self.diagnostics[uri]

    def actions(self, uri: str, where: object, only: list[str] | None = None) -> list[Any]:
        context = {"diagnostics": [], **({"only": only} if only is not None else {})}
        params = {"textDocument": {"uri": uri}, "range": where, "context": context}
        actions: list[Any] = self.ask("textDocument/codeAction", params)
        return actions

    def hover(self, uri: str, line: int, character: int) -> Any:
        where = {"line": line, "character": character}
        return self.ask("textDocument/hover", {"textDocument": {"uri": uri}, "position": where})

    def leave(self) -> int:
        """Say goodbye; the exit status of the server."""
        self.ask("shutdown", None)
        self.tell("exit", None)
        return self._process.wait(PATIENCE)

    def vanish(self) -> int:
        """Go without a word; the exit status of the server."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        return self._process.wait(PATIENCE)


def edited(text: str, edits: list[Any]) -> str:
    """A text with the edits made, as an editor makes them: columns in UTF-16 units."""
    lines = text.splitlines(keepends=True)

    def offset(position: Mapping[str, int]) -> int:
        line = lines[position["line"]] if position["line"] < len(lines) else ""
        before = line.encode("utf-16-le")[: 2 * position["character"]].decode("utf-16-le")
        return sum(map(len, lines[: position["line"]])) + len(before)

    for edit in sorted(edits, key=lambda edit: -offset(edit["range"]["start"])):
        start, end = offset(edit["range"]["start"]), offset(edit["range"]["end"])
        text = text[:start] + edit["newText"] + text[end:]
    return text
