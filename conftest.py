"""Tests of plugins need pytester; modules that several folders share show their asserts."""

import pytest

pytest_plugins = ["pytester"]
pytest.register_assert_rewrite("tests.truth.suite", "tests.truth.accounts")
