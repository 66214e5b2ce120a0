"""The program of the process that reads GPUs: it loads its folder as a package of its own."""

import signal
import sys
import warnings
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

_NAME = "smoltrace_sampler"


def _load_package() -> None:
    """Make the modules beside this file importable without the package that they are part of."""
    folder = Path(__file__).parent
    spec = spec_from_file_location(
        _NAME, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[_NAME] = module
    spec.loader.exec_module(module)


if __name__ == "__main__":
    # The terminal interrupts its whole group: the process that reads outlives the one that ends.
    for name in ("SIGINT", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    warnings.simplefilter("ignore")  # such as that of the package pynvml when it is imported
    _load_package()
    sys.exit(import_module(f"{_NAME}.child").main())
