"""Tests of plugins need pytester; modules that several folders share show their asserts."""

import os

import pytest

pytest_plugins = ["pytester"]
pytest.register_assert_rewrite("tests.truth.suite", "tests.truth.accounts")


def pytest_configure() -> None:
    """Let no inner session take itself for a worker of the session that runs these tests."""
    for name in ("PYTEST_XDIST_WORKER", "PYTEST_XDIST_WORKER_COUNT", "PYTEST_XDIST_TESTRUNUID"):
        os.environ.pop(name, None)
