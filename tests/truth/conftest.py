import pytest

pytest.register_assert_rewrite("tests.truth.suite", "tests.truth.accounts")
