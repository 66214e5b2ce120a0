"""Notice that a library is imported, so that nothing has to be imported in case it is used."""

from __future__ import annotations

import sys
from importlib.abc import Loader, MetaPathFinder
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from importlib.machinery import ModuleSpec
    from types import ModuleType


class Imports(MetaPathFinder):
    """Calls back right after a module has been executed, or at once where it has been."""

    def __init__(self, callbacks: Mapping[str, Callable[[], None]]) -> None:
        self._callbacks = callbacks
        self._pending: dict[str, Callable[[], None]] = {}

    def install(self) -> None:
        """Begin to look at imports."""
        self._pending = {
            name: do for name, do in self._callbacks.items() if name not in sys.modules
        }
        sys.meta_path.insert(0, self)
        for name in self._callbacks.keys() - self._pending.keys():
            self._callbacks[name]()

    def uninstall(self) -> None:
        """Look at no import any more."""
        if self in sys.meta_path:
            sys.meta_path.remove(self)

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> ModuleSpec | None:  # noqa: ARG002
        """Return what the other finders find, with a callback after its execution."""
        callback = self._pending.pop(fullname, None)  # the search below comes here again
        spec = find_spec(fullname) if callback is not None else None
        if spec is None or spec.loader is None or callback is None:
            return None
        spec.loader = _Loader(spec.loader, callback, lambda: self._watch(fullname, callback))
        return spec

    def _watch(self, name: str, callback: Callable[[], None]) -> None:
        self._pending[name] = callback


class _Loader(Loader):
    """Executes a module as its own loader does, which may be that of other modules too."""

    def __init__(
        self, loader: Loader, done: Callable[[], None], failed: Callable[[], None]
    ) -> None:
        self._loader = loader
        self._done = done
        self._failed = failed

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        spec = module.__spec__
        assert spec is not None
        spec.loader = module.__loader__ = self._loader
        try:
            self._loader.exec_module(module)
        except BaseException:
            self._failed()  # it may be imported again
            raise
        self._done()
