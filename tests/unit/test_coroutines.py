"""Coroutine functions run inside what is entered for them, and nothing else changes."""

import asyncio
import inspect
from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from pytest_smoltrace.coroutines import held


class Log(list):
    @contextmanager
    def enter(self):
        self.append("in")
        try:
            yield
        finally:
            self.append("out")


@pytest.fixture
def log():
    return Log()


def test_coroutine_function(log):
    async def work(value, *, more):
        log.append(value + more)
        return value

    work.mark = "kept"
    owner = SimpleNamespace(obj=work)
    with held(owner, "obj", log.enter):
        assert inspect.iscoroutinefunction(owner.obj)
        assert owner.obj.mark == "kept"
        assert list(inspect.signature(owner.obj).parameters) == ["value", "more"]
        assert asyncio.run(owner.obj(1, more=2)) == 1
    assert log == ["in", 3, "out"]
    assert owner.obj is work


def test_generator_function_is_left_between_its_steps(log):
    async def fixture():
        log.append("set up")
        yield "value"
        log.append("torn down")

    async def use(function):
        steps = function()
        log.append(await anext(steps))
        with pytest.raises(StopAsyncIteration):
            await anext(steps)

    owner = SimpleNamespace(func=fixture)
    with held(owner, "func", log.enter):
        assert inspect.isasyncgenfunction(owner.func)
        asyncio.run(use(owner.func))
    assert log == ["in", "set up", "out", "value", "in", "torn down", "out"]
    assert owner.func is fixture


def test_generator_function_that_goes_on_still_does(log):
    async def fixture():
        yield 1
        yield 2

    async def use(function):
        return [value async for value in function()]

    owner = SimpleNamespace(func=fixture)
    with held(owner, "func", log.enter):
        assert asyncio.run(use(owner.func)) == [1, 2]


def test_generator_that_is_closed_closes_the_fixture(log):
    async def fixture():
        try:
            yield 1
        finally:
            log.append("closed")

    async def use(function):
        steps = function()
        await anext(steps)
        await steps.aclose()

    owner = SimpleNamespace(func=fixture)
    with held(owner, "func", log.enter):
        asyncio.run(use(owner.func))
    assert log == ["in", "out", "closed"]


def test_bound_method_stays_one(log):
    class Suite:
        async def test(self):
            return self

    suite = Suite()
    owner = SimpleNamespace(obj=suite.test)
    with held(owner, "obj", log.enter):
        assert inspect.ismethod(owner.obj)
        assert owner.obj.__self__ is suite
        assert asyncio.run(owner.obj()) is suite
    assert log == ["in", "out"]


@pytest.mark.parametrize("value", [lambda: 1, None, 3])
def test_others_are_left_alone(log, value):
    owner = SimpleNamespace(obj=value)
    with held(owner, "obj", log.enter):
        assert owner.obj is value
    with held(SimpleNamespace(), "obj", log.enter):
        pass
    assert log == []


def test_error_is_the_functions_own(log):
    async def work():
        raise ValueError("mine")

    owner = SimpleNamespace(obj=work)
    with held(owner, "obj", log.enter), pytest.raises(ValueError, match="mine"):
        asyncio.run(owner.obj())
    assert log == ["in", "out"]
    assert owner.obj is work
