"""The file of a journal: when it is forced to the disk, and what becomes of it elsewhere."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_smoltrace import journal_file
from pytest_smoltrace.errors import ConfigError
from pytest_smoltrace.journal_file import JournalFile

HEADER = b'{"k":"header"}\n'
OPEN = b'{"k":"open"}\n'
CASE = b'{"k":"case"}\n'


class Disk:
    """Counts what is forced to the disk, on a clock that the test moves."""

    def __init__(self, monkeypatch):
        self.events = []
        self.now_s = 100.0
        self.error = None
        monkeypatch.setattr(journal_file, "_force", self.force)
        monkeypatch.setattr(os, "fsync", self.directory)
        monkeypatch.setattr(journal_file.time, "monotonic", lambda: self.now_s)

    def force(self, fd):
        self.events.append(os.fstat(fd).st_size)
        if self.error:
            raise OSError(self.error, os.strerror(self.error))

    def directory(self, fd):
        self.events.append(str(Path(f"/proc/self/fd/{fd}").readlink()))


@pytest.fixture
def disk(monkeypatch):
    return Disk(monkeypatch)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "runs" / "s1" / "journal.jsonl"


def names(folder):
    return sorted(each.name for each in folder.iterdir())


def created(path, fsync="off"):
    made = JournalFile(path, fsync)
    made.create(HEADER)
    return made


def write(file, *waits_s, disk):
    """Write a case after each of these waits, and the start of the next right after it."""
    for wait in waits_s:
        disk.now_s += wait
        file.append(CASE, durable=True)
        file.append(OPEN)


def synced_cases(disk):
    """Return after how many cases each sync came."""
    sizes = [size for size in disk.events if isinstance(size, int)]
    return [-(-(size - len(HEADER)) // len(CASE + OPEN)) for size in sizes]


@pytest.mark.skipif(sys.platform != "linux", reason="reads the name of a descriptor")
@pytest.mark.parametrize("fsync", ["interval", "case"])
def test_a_new_journal_and_its_names_reach_the_disk(path, disk, fsync):
    created(path, fsync)
    root = path.parents[2]
    directories = [str(root / part) for part in ("runs/s1", "runs", "")]
    assert disk.events == [len(HEADER), *(each.rstrip("/") for each in directories)]


def test_without_a_policy_nothing_is_forced(path, disk):
    file = created(path)
    write(file, 5, 5, disk=disk)
    file.close()
    assert disk.events == []


def test_each_case_is_forced(path, disk):
    file = created(path, "case")
    write(file, 0, 0, 5, disk=disk)
    file.close()
    assert synced_cases(disk) == [0, 1, 2, 3, 3]


def test_an_interval_bounds_the_syncs_and_the_end_has_one(path, disk):
    file = created(path, "interval")
    write(file, 0.4, 0.4, 0.4, 0.4, 0.7, 30, disk=disk)
    file.close()
    # After 1.2 s, after 2.3 s, after 32.3 s, at the end.
    assert synced_cases(disk) == [0, 3, 5, 6, 6]


def test_a_file_system_that_cannot_sync_is_let_be(path, disk):
    disk.error = errno.EINVAL
    file = created(path, "case")
    write(file, 0, disk=disk)
    file.close()
    assert len(synced_cases(disk)) == 1
    assert file.unsynced is None


def test_a_sync_that_fails_is_kept_for_the_summary(path, disk):
    file = created(path, "case")
    disk.error = errno.EIO
    write(file, 0, disk=disk)
    file.close()
    assert file.unsynced == os.strerror(errno.EIO)
    assert path.read_bytes() == HEADER + CASE + OPEN


def test_a_close_that_fails_is_kept_for_the_summary(path, monkeypatch):
    file = created(path)
    real = os.close

    def close(fd):
        real(fd)
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    monkeypatch.setattr(os, "close", close)
    file.close()
    assert file.unsynced == os.strerror(errno.EDQUOT)


@pytest.mark.skipif(not hasattr(os, "fdatasync"), reason="has fsync alone")
def test_the_cheaper_call_is_taken():
    assert journal_file._force is os.fdatasync


def test_where_there_is_no_fdatasync_fsync_does():
    """As on macOS and Windows."""
    program = (
        "import os, sys, pathlib; del os.fdatasync\n"
        "real = os.fsync\n"
        "from pytest_smoltrace import journal_file\n"
        "assert journal_file._force is real\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def remove(folder):
    shutil.rmtree(folder)


def move(folder):
    folder.rename(folder.with_name("elsewhere"))


def empty(folder):
    for each in folder.rglob("*.jsonl"):
        each.unlink()


def copy(folder):
    """Leave an equal copy, as one does who moves it to another disk and back."""
    shutil.copytree(folder, folder.with_name("copy"))
    shutil.rmtree(folder)
    folder.with_name("copy").rename(folder)


@pytest.mark.parametrize("vanish", [remove, move, empty, copy])
@pytest.mark.parametrize("level", [0, 1])
def test_a_journal_that_vanished_is_whole_again_after_the_next_line(path, vanish, level):
    file = created(path)
    file.append(CASE)
    vanish(path.parents[level])
    file.append(OPEN)
    assert path.read_bytes() == HEADER + CASE + OPEN
    assert (file.restored, file.adrift) == (True, None)
    file.append(CASE)
    remove(path.parents[1 - level])
    file.close()
    assert path.read_bytes() == HEADER + CASE + OPEN + CASE
    assert names(path.parent) == [path.name]


def test_a_large_journal_is_copied_whole(path, monkeypatch):
    monkeypatch.setattr(journal_file, "_COPY_BYTES", 10)
    file = created(path)
    for _ in range(9):
        file.append(CASE)
    remove(path.parents[1])
    file.append(OPEN)
    assert path.read_bytes() == HEADER + CASE * 9 + OPEN


def test_another_working_directory_is_no_removal(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    relative = (tmp_path / "runs" / "s1" / "journal.jsonl").relative_to(tmp_path)
    file = created(relative)
    other = tmp_path / "other"
    other.mkdir()
    monkeypatch.chdir(other)
    file.append(CASE)
    file.close()
    assert not file.restored
    assert names(other) == []


def test_a_file_system_whose_inode_numbers_change_is_no_removal(path, monkeypatch):
    file = created(path)
    monkeypatch.setattr(file, "_identity", (0, 0))
    file.append(CASE)
    assert not file.restored


def test_a_foreign_journal_is_not_overwritten(path):
    file = created(path)
    file.append(CASE)
    remove(path.parents[1])
    other = created(path)
    other.append(OPEN)
    file.append(OPEN)
    assert file.adrift == "another file has taken its place"
    assert path.read_bytes() == HEADER + OPEN
    other.close()
    file.close()
    assert names(path.parent) == [path.name]


def test_what_cannot_be_written_again_now_is_later(path):
    file = created(path)
    root = path.parents[1]
    remove(root)
    root.write_text("in the way")
    file.append(CASE)
    assert file.adrift
    assert not file.restored
    root.unlink()
    file.append(OPEN)
    assert (file.adrift, file.restored) == (None, True)
    assert path.read_bytes() == HEADER + CASE + OPEN


def test_a_header_that_does_not_fit_leaves_nothing(path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="No space"):
        created(path)
    assert names(path.parents[1]) == []


def test_a_journal_that_somebody_writes_is_not_reopened(path):
    file = created(path)
    with pytest.raises(ConfigError, match="run 's1' still runs: another process writes"):
        JournalFile(path).reopen(len(HEADER))
    file.close()
    JournalFile(path).reopen(len(HEADER))


def test_a_journal_that_has_grown_since_it_was_read_is_not_reopened(path):
    created(path).close()
    with pytest.raises(ConfigError, match="still runs"):
        JournalFile(path).reopen(len(HEADER) - 1)


def test_a_journal_that_was_written_again_is_still_locked(path):
    file = created(path)
    remove(path.parent)
    file.append(CASE)
    with pytest.raises(ConfigError, match="still runs"):
        JournalFile(path).reopen(len(HEADER + CASE))
    file.close()


@pytest.mark.parametrize(
    ("tail", "kept"),
    [
        (b"", b""),
        (b'{"k":"ca', b'{"k":"ca\0\n'),
        (b'{"k":"case"}', b'{"k":"case"}\n'),
        (b'{"k":"spans"}\n', b'{"k":"spans"}\n\0\n'),
        (b'{"k":"spans"}', b'{"k":"spans"}\0\n'),
        (b'{"k":"case"}\0', b'{"k":"case"}\0\0\n'),
    ],
)
def test_what_a_cut_left_joins_no_line(path, tail, kept):
    created(path).close()
    path.write_bytes(HEADER + tail)
    file = JournalFile(path)
    file.reopen(len(HEADER + tail))
    file.append(CASE)
    file.close()
    assert path.read_bytes() == HEADER + kept + CASE


@pytest.mark.parametrize("room", range(len(CASE)))
def test_what_did_not_fit_is_taken_back(path, monkeypatch, room):
    file = created(path)
    real = os.write
    left = [room]

    def nearly_full(fd, data):
        if not left[0]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        done = real(fd, data[: left[0]])
        left[0] -= done
        return done

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", nearly_full)
        with pytest.raises(OSError, match="No space"):
            file.append(CASE)
    assert path.read_bytes() == HEADER
    file.append(OPEN)
    assert path.read_bytes() == HEADER + OPEN
