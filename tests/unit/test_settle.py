"""Waiting for a GPU at the end of a phase: only where torch already uses one."""

import sys
import types

import pytest

from pytest_smoltrace.capture.settle import settle


class Cuda(types.ModuleType):
    def __init__(self, error=None, *, initialized=True):
        super().__init__("torch.cuda")
        self.is_initialized = lambda: initialized
        self.error, self.calls = error, 0

    def synchronize(self):
        self.calls += 1
        if self.error is not None:
            raise self.error


@pytest.fixture
def installed(monkeypatch):
    def install(cuda):
        monkeypatch.setitem(sys.modules, "torch", types.ModuleType("torch"))
        monkeypatch.setitem(sys.modules, "torch.cuda", cuda)
        return cuda

    return install


@pytest.mark.parametrize(("initialized", "calls"), [(True, 1), (False, 0)])
def test_only_a_device_in_use_is_waited_for(installed, initialized, calls):
    cuda = installed(Cuda(initialized=initialized))
    settle()
    assert cuda.calls == calls


def test_a_broken_device_is_not_ours_to_report(installed):
    cuda = installed(Cuda(RuntimeError("CUDA error: an illegal memory access was encountered")))
    settle()
    assert cuda.calls == 1


def test_another_error_is_not_hidden(installed):
    installed(Cuda(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        settle()


@pytest.mark.parametrize("cuda", [None, types.ModuleType("torch.cuda")], ids=["none", "half"])
def test_a_torch_that_is_not_whole(installed, cuda):
    installed(cuda)
    settle()


def test_torch_is_not_imported(monkeypatch):
    class Finder:
        def find_spec(self, name, path=None, target=None):
            raise AssertionError(f"{name} is imported")

    class Lazy(types.ModuleType):
        def __getattr__(self, name):
            raise AssertionError(f"torch.{name} is read")

    for name in ("torch", "torch.cuda"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setattr(sys, "meta_path", [Finder()])
    settle()
    monkeypatch.setitem(sys.modules, "torch", Lazy("torch"))
    settle()
