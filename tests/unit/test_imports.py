"""A callback comes once a module has been executed, and never a second time."""

import importlib
import sys

import pytest

from pytest_smoltrace.capture.imports import Imports

NAME = "imported_for_a_test"  # a name whose loader is pytest's, one for many modules


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Return a function that writes the module, which nobody has imported."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def write(source):
        (tmp_path / f"{NAME}.py").write_text(source)
        importlib.invalidate_caches()

    write("ready = True")
    yield write
    sys.modules.pop(NAME, None)


@pytest.fixture
def seen():
    return []


@pytest.fixture
def imports(seen):
    made = Imports({NAME: lambda: seen.append(hasattr(sys.modules[NAME], "ready"))})
    made.install()
    yield made
    made.uninstall()


def test_it_comes_when_the_module_is_complete(module, imports, seen):
    assert seen == []
    found = importlib.import_module(NAME)
    importlib.import_module(NAME)
    assert seen == [True]
    assert found.__spec__.loader is found.__loader__
    assert type(found.__loader__).__module__ != Imports.__module__


def test_a_module_that_fails_may_be_imported_again(module, imports, seen):
    module("raise ValueError('not now')")
    with pytest.raises(ValueError, match="not now"):
        importlib.import_module(NAME)
    assert seen == []
    module("ready = True")
    importlib.import_module(NAME)
    assert seen == [True]


def test_it_comes_at_once_for_what_has_been_imported(module, seen):
    importlib.import_module(NAME)
    made = Imports({NAME: lambda: seen.append("at once")})
    made.install()
    made.uninstall()
    assert seen == ["at once"]


def test_none_comes_after_the_session(module, imports, seen):
    imports.uninstall()
    importlib.import_module(NAME)
    assert seen == []
    assert imports not in sys.meta_path


def test_a_module_that_is_not_there_is_missing_as_ever(seen):
    made = Imports({"no_such_module": lambda: seen.append("?")})
    made.install()
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("no_such_module")
    made.uninstall()
    assert seen == []
