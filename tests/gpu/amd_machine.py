"""A machine with GPUs of AMD that do not exist: a library built here, asked by the real client."""

import importlib.util
import json
import re
import struct
import subprocess
import sys
from collections import Counter
from pathlib import Path

SOURCE = Path(__file__).with_name("fake_amdsmi.c")
NAME = "libamd_smi.so"
FLAGS = ("-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC")
CHILD = Path(__file__).parents[2] / "pytest_smoltrace" / "sampler" / "__main__.py"
_BOUND = re.compile(r"_libraries\['libamd_smi\.so'\]\.(\w+)")
_DEFINED = re.compile(r"^(?:int|void) (amdsmi_\w+)\(", re.MULTILINE)


def build(folder, compiler, *, missing=()):
    """Return the folder of ROCm, whose library lacks some functions that the client binds."""
    client = Path(importlib.util.find_spec("amdsmi").origin).with_name("amdsmi_wrapper.py")
    bound = set(_BOUND.findall(client.read_text()))
    rest = sorted(bound - set(_DEFINED.findall(SOURCE.read_text())) - set(missing))
    assert "amdsmi_get_gpu_metrics_info" in bound, "the client binds its functions in another way"
    stubs = folder / "stubs.c"
    stubs.write_text("".join(f"int {name}(void) {{ return 2; }}\n" for name in rest))
    (folder / "lib").mkdir()
    linked = ("-Wl,-soname," + NAME, "-o", folder / "lib" / NAME, SOURCE, stubs, "-lm")
    subprocess.run((compiler, *FLAGS, *linked), check=True)
    return folder


def unique_id(place):
    """Return the id of a GPU; those of two differ from their first digit on."""
    return f"{place + 1:x}{place:07x}{place + 0xA0:08x}"


def uuid(place):
    """Return what HIP calls a GPU."""
    return f"GPU-{unique_id(place)}"


class AmdMachine:
    """The GPUs that processes find which are started from here on."""

    def __init__(self, folder, monkeypatch, rocm):
        self._file = folder / "scenario"
        self._log = folder / "calls"
        self._clock = folder / "clock"
        self._log.mkdir()
        self._monkeypatch = monkeypatch
        monkeypatch.delenv("ROCM_HOME", raising=False)
        monkeypatch.setenv("ROCM_PATH", str(rocm))
        monkeypatch.setenv("FAKE_AMDSMI", str(self._file))
        monkeypatch.setenv("FAKE_AMDSMI_LOG", str(self._log))
        self.has()

    def has(self, *names, mib=65536, lines=()):
        """Let the machine have these GPUs and no more; return their UUIDs."""
        gpus = [f"gpu {i} {unique_id(i)} {mib} {name}" for i, name in enumerate(names)]
        self._file.write_text("\n".join([*gpus, *lines, ""]))
        return [uuid(place) for place in range(len(names))]

    def says(self, *lines):
        """Let the scenario say more."""
        with self._file.open("a") as file:
            file.writelines(f"{line}\n" for line in lines)

    def text(self):
        return self._file.read_text()

    @property
    def clock(self):
        """Return the file of a clock that goes on only when it is written; it is zero now."""
        self._clock.write_bytes(bytes(8))
        self._monkeypatch.setenv("FAKE_AMDSMI_CLOCK", str(self._clock))
        return self._clock

    def set_clock(self, seconds):
        """Let it be so many seconds since zero."""
        with self._clock.open("r+b") as file:
            file.write(struct.pack("=Q", round(seconds * 1e9)))

    @property
    def calls(self):
        """Return pid -> function -> how often that process called it, as the library saw it."""
        return {
            int(file.name): Counter(line.split()[0] for line in file.read_text().splitlines())
            for file in self._log.iterdir()
        }


class Child:
    """The process that reads GPUs, as its owner sees it."""

    def __init__(self):
        self.process = subprocess.Popen(
            (sys.executable, "-P", CHILD),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.listing = self.line()

    def line(self):
        text = self.process.stdout.readline()
        assert text, self.process.stderr.read()
        return json.loads(text)

    def order(self, file, uuids, period_s=0.02):
        told = {"file": str(file), "uuids": uuids, "period_s": period_s, "clock": "c"}
        self.process.stdin.write(json.dumps({**told, "host": None, "processes": False}) + "\n")
        self.process.stdin.flush()
        return self.line()

    def end(self):
        """Close the input; return the last line, None where it said nothing more."""
        self.process.stdin.close()
        text = self.process.stdout.read()
        assert self.process.wait(10) == 0, self.process.stderr.read()
        self.process.stdout.close()
        self.process.stderr.close()
        return json.loads(text) if text else None
