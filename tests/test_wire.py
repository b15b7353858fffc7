"""What processes say to each other survives the way, and nothing else is let in."""

from __future__ import annotations

from typing import Any

import pytest

from nanguard.finding import Edit, FileResult, Finding, Fix, Note, Span, Target, Witness
from nanguard.running import wire
from nanguard.running.wire import Answer, Failure, Request, WireError
from nanguard.settings import Settings

SPAN = Span("m.py", 1, 2, 3, 4)
WITNESS = Witness("float32", {"x": -104.0, "y": [1.0, ["nan"]], "m": [True]}, "-inf", -104, None, "1.5")
FINDING = Finding(
    "NG101", "log-sigmoid", "forward-nonfinite", "error", SPAN, "loss", "log(s)", "π \ud800", True, WITNESS,
    {"float16": -17.3, "float64": "-inf"}, Fix("stable", "logsigmoid(x)", True, (Edit(SPAN, "x"),)), None,
)  # fmt: skip
RESULT = FileResult(
    "m.py", (Target("m.py", "loss", SPAN, "function"),), (FINDING,), (Note("NG001", "m.py", 1, "no", True),)
)


@pytest.mark.parametrize(
    "said",
    [
        Answer(1, RESULT),
        Answer(2, failure=Failure("took too long", detail="a\nb")),
        Answer(0),
        Request(3, "m.py", "x = 1\n\x0c'\n'", Settings(select=("NG1", "ALL"), eps=1e-4), ("f", "C.g")),
        Request(4, "m.py", "", Settings(timeout=float("inf")), None),
    ],
)
def test_what_is_said_arrives(said: Answer | Request) -> None:
    line = wire.dumps(said)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert wire.loads(type(said), line) == said


ANSWER = wire.encode(Answer(1, RESULT))


def changed(*path: Any, to: Any) -> Any:
    """The answer with one value in it replaced."""

    def change(data: Any, keys: tuple[Any, ...]) -> Any:
        if not keys:
            return to
        items = data.items() if isinstance(data, dict) else enumerate(data)
        made = {key: change(value, keys[1:]) if key == keys[0] else value for key, value in items}
        return made if isinstance(data, dict) else list(made.values())

    return change(ANSWER, path)


@pytest.mark.parametrize(
    "data",
    [
        None,
        [],
        {},
        {**ANSWER, "more": 1},
        changed("ticket", to="1"),
        changed("ticket", to=True),
        changed("result", to=[]),
        changed("result", "path", to=None),
        changed("result", "targets", to={}),
        changed("result", "targets", 0, "span", "line", to=1.5),
        changed("result", "findings", 0, "confirmed", to=1),
        changed("result", "findings", 0, "witness", "inputs", "x", to={}),
        changed("result", "findings", 0, "witness", "inputs", "y", to=[1.0, [None]]),
        changed("result", "findings", 0, "thresholds", to=[1]),
        changed("result", "findings", 0, "fix", to="x"),
    ],
)
def test_anything_else_is_refused(data: Any) -> None:
    assert wire.decode(Answer, ANSWER) == Answer(1, RESULT)
    with pytest.raises(WireError):
        wire.decode(Answer, data)


@pytest.mark.parametrize("line", [b"", b"\n", b"{", b"\xff\n", b"[" * 100_000 + b"\n", b"import os\n"])
def test_a_line_that_is_no_json_is_refused(line: bytes) -> None:
    with pytest.raises(WireError):
        wire.loads(Answer, line)
