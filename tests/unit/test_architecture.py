"""Rules of size and of place, over every module of the package."""

import ast
import statistics
from pathlib import Path

import pytest

import pytest_smoltrace

PACKAGE = Path(pytest_smoltrace.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))
NAMES = [path.relative_to(PACKAGE).as_posix() for path in MODULES]
WRITERS = {
    "plugin.py",
    "cli.py",
    "terminal.py",
    "capture/local_server.py",  # the program of a child process
    "host_facts.py",  # the program of another host
}
TABLES = ("results", "traces", "metrics", "leaderboard")


def functions(tree):
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return [node for node in ast.walk(tree) if isinstance(node, kinds)]


def length(function):
    """Return the lines of a function without its decorators."""
    return function.end_lineno - function.lineno + 1


def parsed(path):
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def test_the_modules_are_found():
    assert {"plugin.py", "capture/case.py", "schema/results.py"} <= set(NAMES)


@pytest.mark.parametrize("path", MODULES, ids=NAMES)
def test_no_module_is_longer_than_300_lines(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 300


@pytest.mark.parametrize("path", MODULES, ids=NAMES)
def test_no_function_is_longer_than_50_lines(path):
    long = {f.name: length(f) for f in functions(parsed(path)) if length(f) > 50}
    assert long == {}


def test_functions_are_short():
    lengths = sorted(length(f) for path in MODULES for f in functions(parsed(path)))
    assert len(lengths) > 300
    assert statistics.median(lengths) <= 10
    assert lengths[int(0.9 * len(lengths))] <= 30


@pytest.mark.parametrize("path", MODULES, ids=NAMES)
def test_only_the_entry_modules_write(path):
    if path.relative_to(PACKAGE).as_posix() in WRITERS or path.parent.name == "commands":
        return
    tree = parsed(path)
    calls = [n for n in ast.walk(tree) if isinstance(n, ast.Call)]
    printed = [c.lineno for c in calls if isinstance(c.func, ast.Name) and c.func.id == "print"]
    written = [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and node.attr in ("stdout", "stderr")
        and isinstance(node.value, ast.Name)
        and node.value.id == "sys"
    ]
    assert (printed, written) == ([], [])


@pytest.mark.parametrize("path", MODULES, ids=NAMES)
def test_nothing_catches_everything(path):
    broad = [
        handler.lineno
        for handler in ast.walk(parsed(path))
        if isinstance(handler, ast.ExceptHandler)
        and (
            handler.type is None
            or (
                isinstance(handler.type, ast.Name)
                and handler.type.id in ("Exception", "BaseException")
                and not any(isinstance(node, ast.Raise) for node in ast.walk(handler))
                and not _keeps_the_error(handler)
            )
        )
    ]
    assert broad == []


def _keeps_the_error(handler):
    """Return whether the handler keeps what it caught or hands it on: it is raised later."""
    return handler.name is not None and any(
        isinstance(value, ast.Name) and value.id == handler.name
        for node in ast.walk(handler)
        for value in _kept_by(node)
    )


def _kept_by(node):
    if isinstance(node, ast.Assign):
        return [node.value]
    is_future = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    return node.args if is_future and node.func.attr == "set_exception" else []


@pytest.mark.parametrize("path", MODULES, ids=NAMES)
def test_no_module_has_a_name_that_says_nothing(path):
    assert path.stem not in ("utils", "helpers", "base", "manager", "common", "misc")


@pytest.mark.parametrize("path", MODULES, ids=NAMES)
def test_every_module_says_what_it_is(path):
    assert ast.get_docstring(parsed(path))


TABLE_MODULES = [
    path
    for path in sorted((PACKAGE / "schema").glob("*.py"))
    if path.stem.partition("_")[0] in TABLES
]


@pytest.mark.parametrize("path", TABLE_MODULES, ids=lambda path: path.stem)
def test_a_table_is_declarations_only(path):
    tree = parsed(path)
    assert functions(tree) == []
    allowed = (ast.Import, ast.ImportFrom, ast.ClassDef, ast.Assign, ast.AnnAssign, ast.Expr)
    strange = [type(node).__name__ for node in tree.body if not _declares(node, allowed)]
    assert strange == []


def _declares(node, allowed):
    if isinstance(node, ast.If):  # if TYPE_CHECKING
        return isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Constant)
    return isinstance(node, allowed)


@pytest.mark.parametrize("name", ["facts", "config"])
def test_value_types_are_frozen(name):
    """Facts and configuration cannot change after they were made."""
    classes = [n for n in parsed(PACKAGE / f"{name}.py").body if isinstance(n, ast.ClassDef)]
    assert len(classes) >= 5
    for node in classes:
        (decorator,) = node.decorator_list
        given = {word.arg: word.value.value for word in decorator.keywords}
        assert given == {"frozen": True, "slots": True, "kw_only": True}, node.name
