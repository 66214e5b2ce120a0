"""The hosts of a session: a TOML file, and the places for workers that it stands for."""

from __future__ import annotations

import re
import shlex
import sys
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_smoltrace.errors import ConfigError
from pytest_smoltrace.suggestion import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

_TYPES: dict[str, tuple[type, ...]] = {
    "name": (str,),
    "ssh": (str,),
    "launch": (str,),
    "local": (bool,),
    "workers": (int,),
    "chdir": (str,),
    "python": (str,),
    "ssh_config": (str,),
    "env": (dict,),
    "start_timeout_s": (int, float),
}
_ONE_OF = ("ssh", "launch", "local")
_ONLY_SSH = ("python", "ssh_config")
_NOT_LOCAL = ("chdir", "start_timeout_s")
_NAMES = {str: "text", bool: "true", int: "a whole number", float: "a number", dict: "a table"}
_VARIABLE = re.compile(r"[A-Za-z_]\w*")
_LAUNCH = Path(__file__).with_name("launch.py")
_SSH = ("ssh", "-C", "-o", "BatchMode=yes", "-o", "ConnectTimeout=10")
# A host that has gone is noticed within a minute and a half.
_ALIVE = ("-o", "ServerAliveInterval=30", "-o", "ServerAliveCountMax=3")


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """One `[[host]]` of the file: exactly one of `ssh`, `launch` and `local` is given."""

    name: str
    ssh: str | None = None
    """Destination, after options of ssh if need be."""
    launch: str | None = None
    """Command that starts a Python and pipes its standard input and output."""
    local: bool = False
    workers: int = 1
    chdir: str | None = None
    """Folder of the project there; None is the same path as here."""
    python: str | None = None
    """Command of the host's shell that starts Python; None is the same path as here."""
    ssh_config: str | None = None
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    start_timeout_s: float = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class HostsFile:
    """What a hosts file says."""

    hosts: tuple[Host, ...]
    forward_env: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Where one worker runs; an engine is what yields a session's placements."""

    spec: str
    """xdist's tx spec; one with the key `host` is not a plain process of this host."""
    host: str
    """Name of the host as messages show it."""
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Variables that are set before anything is imported."""
    chdir: str | None = None
    """Folder that is rootdir there; None for a worker that shares this host's file system."""
    start_timeout_s: float = 120.0
    shares_gpus: bool = False
    """Whether all workers of the host see the same GPUs, so that each is given some of them."""

    @property
    def command(self) -> list[str]:
        """The command that pipes a Python, as execnet reads it from the spec."""
        python = next(part for part in self.spec.split("//") if part.startswith("python="))
        return shlex.split(python.partition("=")[2])


def load(path: Path) -> HostsFile:
    """Return what a hosts file says.

    Raises:
        ConfigError: It cannot be read, or says something that cannot be done.
    """
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 text (byte {error.start})") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: not TOML: {error}") from None
    try:
        return _hosts_file(data)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def placements(
    hosts: Iterable[Host], env: Mapping[str, str], project: Path
) -> tuple[Placement, ...]:
    """Return a place for each worker, host by host, with `env` below each host's own."""
    return tuple(
        place for host in hosts for place in [_placement(host, env, project)] * host.workers
    )


def is_remote(spec: Any) -> bool:
    """Return whether the worker of a tx spec shares neither memory nor files with this host."""
    return bool(spec.via or spec.host or not spec.popen)


def forwarded(
    names: Iterable[str], environment: Mapping[str, str]
) -> tuple[dict[str, str], list[str]]:
    """Return the named variables that are set, and the names that are not."""
    found = {name: environment[name] for name in names if name in environment}
    return found, [name for name in names if name not in environment]


def moved(word: str, here: str, there: str) -> str:
    """Return a word of the command line with the project's folder in another place.

    The folder is found where a path begins: at the start, after `--option=` and after `-c`.
    """
    start = rf"(?P<option>--?[\w-]+=|-[A-Za-z])?{re.escape(here.rstrip('/'))}(?=$|/|::)"
    return re.sub(f"^{start}", lambda match: (match["option"] or "") + there, word)


def _hosts_file(data: Mapping[str, Any]) -> HostsFile:
    _check_keys(data, ("forward_env", "host"), "")
    names = data.get("forward_env", [])
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ConfigError("forward_env must be a list of names of variables")
    for name in names:
        if not _VARIABLE.fullmatch(name):
            raise ConfigError(f"forward_env: {name!r} is not the name of a variable")
    tables = data.get("host", [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise ConfigError("host must be written as [[host]], once for each host")
    if not tables:
        raise ConfigError("names no host: write a [[host]] with ssh, launch or local = true")
    return HostsFile(hosts=tuple(_named(tables)), forward_env=tuple(dict.fromkeys(names)))


def _named(tables: list[dict[str, Any]]) -> Iterator[Host]:
    """Yield the hosts; a name that was used before gets a number."""
    used: set[str] = set()
    for place, table in enumerate(tables, start=1):
        try:
            host = _host(table)
        except ConfigError as error:
            raise ConfigError(f"[[host]] {place}: {error}") from None
        if host.name in used and "name" in table:
            raise ConfigError(f"[[host]] {place}: name {host.name!r} is already used")
        name, number = host.name, 2
        while name in used:
            name, number = f"{host.name}-{number}", number + 1
        used.add(name)
        yield Host(**(_fields(host) | {"name": name}))


def _fields(host: Host) -> dict[str, Any]:
    return {name: getattr(host, name) for name in Host.__slots__}


def _host(table: dict[str, Any]) -> Host:
    _check_keys(table, _TYPES, "")
    for key, value in table.items():
        _check_type(key, value)
    given = [key for key in _ONE_OF if key in table]
    if len(given) != 1 or table.get("local") is False:
        said = f"has {' and '.join(given)}" if len(given) > 1 else "has none of them"
        raise ConfigError(f"give one of ssh, launch and local = true; it {said}")
    foreign = (*_ONLY_SSH, *(_NOT_LOCAL if "local" in table else ()))
    for key in foreign if "ssh" not in table else ():
        if key in table:
            raise ConfigError(f"{key} goes with {'ssh' if key in _ONLY_SSH else 'ssh or launch'}")
    _check_values(table)
    return Host(**({"name": _default_name(table)} | table))


def _check_keys(table: Mapping[str, Any], known: Iterable[str], where: str) -> None:
    for key in table:
        if key not in known:
            hint = did_you_mean(key, known) or f"; known: {', '.join(known)}"
            raise ConfigError(f"{where}unknown key {key!r}{hint}")


def _check_type(key: str, value: Any) -> None:
    types = _TYPES[key]
    if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
        raise ConfigError(f"{key} must be {_NAMES[types[-1]]}, not {value!r}")
    if isinstance(value, str) and not value.strip():
        raise ConfigError(f"{key} is empty")
    if isinstance(value, str) and "//" in value:
        raise ConfigError(f"{key} must not contain '//', which parts the settings of execnet")


def _check_values(table: Mapping[str, Any]) -> None:
    for key in ("workers", "start_timeout_s"):
        if table.get(key, 1) < 1:
            raise ConfigError(f"{key} must be 1 or more, not {table[key]}")
    for name, value in table.get("env", {}).items():
        if not _VARIABLE.fullmatch(name):
            raise ConfigError(f"env: {name!r} is not the name of a variable")
        if not isinstance(value, str):
            raise ConfigError(f"env: {name} must be text in quotes")
    chdir = table.get("chdir", "/")
    if not chdir.startswith(("/", "~")) and not re.match(r"[A-Za-z]:[\\/]", chdir):
        raise ConfigError(f"chdir must be an absolute path, or begin with ~, not {chdir!r}")
    for key in ("ssh", "launch"):
        try:
            shlex.split(table.get(key, ""))
        except ValueError as error:
            raise ConfigError(f"{key}: {error}: {table[key]!r}") from None


def _default_name(table: Mapping[str, Any]) -> str:
    if "local" in table:
        return "local"
    words = shlex.split(table.get("ssh") or table["launch"])
    return words[-1].rpartition("@")[2] if "ssh" in table else Path(words[0]).name


def _placement(host: Host, env: Mapping[str, str], project: Path) -> Placement:
    """Return the place of one worker of a host."""
    if host.local:
        return Placement(spec="popen", host=host.name, env=host.env)
    # Not execnet's own ssh: with it, and with its chdir, xdist copies pytest to the host, makes
    # the folder where it is missing and refuses path arguments.
    start = [sys.executable, "-I", "-S", str(_LAUNCH), *_launched(host)]
    return Placement(
        spec=f"popen//python={shlex.join(start)}//host={host.name}",
        host=host.name,
        env={**env, **host.env},
        chdir=host.chdir or str(project),
        start_timeout_s=host.start_timeout_s,
        shares_gpus=host.ssh is not None,
    )


def _launched(host: Host) -> list[str]:
    """Return the arguments of `launch.py`."""
    if host.launch is not None:
        return ["command", *shlex.split(host.launch)]
    config = ["-F", str(Path(host.ssh_config).expanduser())] if host.ssh_config else []
    python = host.python or shlex.quote(sys.executable)
    return [*("shell", *_SSH, *_ALIVE), *config, *shlex.split(host.ssh or ""), "::", python]
