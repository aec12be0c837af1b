"""Text from outside has one way in: code that takes it by another fails here."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import deliverykit

PACKAGE = Path(deliverykit.__file__).resolve().parent
WATCHED = ("engine", "providers", "cli", "contracts", "records")
"""Packages that handle what an ESP or a transport says."""

READ = {"header", "headers", "json", "text", "body", "content"}
"""What gives the text of an answer."""
RAW = {"body", "content", "headers"}
"""What gives it before it is cleaned: nobody may take that."""
ANSWERS = {"response", "answer", "reply", "page"}
"""The names that answers have here."""
ALLOWED = {
    # The methods that read an ESP's shape; what they return goes through Provider.outcome.
    "providers": {"accepted", "error"},
}
ALLOWED_FILES = {
    # Checks of credentials: the engine cleans their reports (engine/rooms/checking.py).
    "providers/*/control.py",
    "contracts/checking.py",
    # Provider.outcome itself, the tables' judges and the times that they read.
    "contracts/provider.py",
    "contracts/answers.py",
    "providers/*/table.py",
}
FAILURES = {"TransportError", "Exception", "BaseException"}
"""Exceptions whose text may come from outside: a transport's, or whatever a host's callable raises."""
CLEANERS = {"safe_text", "clean", "scrubbed", "failed"}
"""What may be given such an exception."""


def violations(source: str, path: str) -> Iterator[str]:
    """Each place where the text of an answer or of a foreign exception is taken by another way."""
    tree = ast.parse(source)
    yield from _readings(tree, path)
    yield from _failures(tree, path)


def _readings(tree: ast.Module, path: str) -> Iterator[str]:
    free = any(Path(path).match(pattern) for pattern in ALLOWED_FILES)
    methods = ALLOWED.get(path.partition("/")[0], set())
    for node, function in _within_functions(tree):
        if not isinstance(node, ast.Attribute) or node.attr not in READ or not _is_answer(node.value):
            continue
        if node.attr in RAW or not (free or function in methods):
            yield f"{path}:{node.lineno}: .{node.attr} of an answer in {function or 'the module'}"


def _within_functions(tree: ast.AST, function: str = "") -> Iterator[tuple[ast.AST, str]]:
    for child in ast.iter_child_nodes(tree):
        yield child, function
        inner = child.name if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef) else function
        yield from _within_functions(child, inner)


def _is_answer(node: ast.expr) -> bool:
    """Whether an expression is an answer, by its name: ``response``, ``answer.response``, ``self.reply``."""
    if isinstance(node, ast.Await):
        node = node.value
    name = node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""
    if isinstance(node, ast.Call):
        called = node.func
        return isinstance(called, ast.Attribute) and called.attr == "transmit"
    return name.lstrip("_") in ANSWERS and not _is_judged(node)


def _is_judged(node: ast.expr) -> bool:
    """``answer`` of a table's judge has a text that is clean already; its ``response`` is watched by its own name."""
    return isinstance(node, ast.Name) and node.id == "answer"


def _failures(tree: ast.Module, path: str) -> Iterator[str]:
    for handler in ast.walk(tree):
        if not isinstance(handler, ast.ExceptHandler) or not handler.name or not _foreign(handler.type):
            continue
        allowed = {id(argument) for call in ast.walk(handler) if _cleans(call) for argument in ast.walk(call)}
        for node in ast.walk(handler):
            if id(node) in allowed:
                continue
            taken = _text_of(node, handler.name)
            if taken:
                yield f"{path}:{node.lineno}: the text of {handler.name} by {taken}"


def _foreign(kind: ast.expr | None) -> bool:
    kinds = kind.elts if isinstance(kind, ast.Tuple) else [kind]
    return any(isinstance(one, ast.Name) and one.id in FAILURES for one in kinds)


def _cleans(node: ast.AST) -> bool:
    if not isinstance(node, ast.Call):
        return False
    called = node.func
    return (called.attr if isinstance(called, ast.Attribute) else called.id if isinstance(called, ast.Name) else "") in CLEANERS


def _text_of(node: ast.AST, name: str) -> str:
    """By what an expression takes the text of the exception of this name, or nothing."""

    def is_it(one: ast.expr) -> bool:
        return isinstance(one, ast.Name) and one.id == name

    match node:
        case ast.Call(func=ast.Name(id="str" | "repr" | "format" as function), args=[argument]) if is_it(argument):
            return f"{function}()"
        case ast.FormattedValue(value=value) if is_it(value):
            return "an f-string"
        case ast.Attribute(value=value, attr="reason" | "args" as attribute) if is_it(value):
            return f".{attribute}"
    return ""


def test_text_from_outside_has_one_way_in() -> None:
    found = [
        violation
        for folder in WATCHED
        for file in sorted((PACKAGE / folder).rglob("*.py"))
        if "demo" not in file.parts
        for violation in violations(file.read_text("utf-8"), file.relative_to(PACKAGE).as_posix())
    ]
    assert not found, "\n".join(found)


PLANTED = {
    "engine/x.py": """
async def sent(ports, request):
    response = await ports.transmit(request)
    return response.text(100)
""",
    "engine/json.py": "async def sent(ports, r):\n    return (await ports.transmit(r)).json()\n",
    "engine/y.py": "def f(reply):\n    return Unknown(reply.header('x'))\n",
    "cli/x.py": "def f(self):\n    return self.response.json()\n",
    "providers/own/send.py": "class Own:\n    def accepted(self, response):\n        return response.body.decode()\n",
    "providers/own/other.py": "class Own:\n    def scope_key(self, response):\n        return response.text()\n",
    "contracts/provider.py": "def f(response):\n    return response.headers['x']\n",
    "engine/a.py": """
try:
    send()
except TransportError as error:
    told = Unknown(str(error))
""",
    "engine/b.py": "try:\n    f()\nexcept (OSError, TransportError) as error:\n    g(f'it failed: {error}')\n",
    "engine/c.py": "try:\n    f()\nexcept Exception as error:\n    g(error.args)\n",
    "cli/d.py": "try:\n    f()\nexcept TransportError as e:\n    g(e.reason)\n",
}


@pytest.mark.parametrize("path", PLANTED)
def test_a_planted_violation_is_found(path: str) -> None:
    assert list(violations(PLANTED[path], path))


CLEAN = {
    "engine/a.py": "try:\n    f()\nexcept TransportError as error:\n    g(provider.safe_text(error))\n",
    "engine/b.py": "try:\n    f()\nexcept Exception as error:\n    teller.failed('x', error, trace=False)\n    g(type(error).__name__)\n",
    "engine/c.py": "def f(request, row):\n    return request.body, row.body\n",
    "providers/own/send.py": "class Own:\n    def error(self, response):\n        return response.json()\n",
    "contracts/answers.py": "def at(response):\n    return response.header('retry-after')\n",
}


@pytest.mark.parametrize("path", CLEAN)
def test_clean_code_is_let_through(path: str) -> None:
    assert not list(violations(CLEAN[path], path))
