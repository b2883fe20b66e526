"""How much memory is left, from files that Linux would show."""

import platform
import subprocess
import sys

import pytest

from bayestds import memory

GIB = 2**30


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_free_memory_is_what_linux_says(tmp_path):
    write(tmp_path / "meminfo", "MemTotal:  8388608 kB\nMemFree:  1024 kB\nMemAvailable:  2097152 kB\n")
    assert memory._free(tmp_path / "meminfo") == 2 * GIB
    assert memory._free(tmp_path / "none") == float("inf")


def test_the_tightest_group_counts_with_what_the_kernel_can_drop(tmp_path):
    """A batch job of 3 GiB in a container of 8 GiB, of which 6 are used, 1 of it by files in the cache."""
    write(tmp_path / "own", "0::/box/job\n")
    root = tmp_path / "groups"
    write(root / "box/memory.max", f"{8 * GIB}\n")
    write(root / "box/memory.current", f"{6 * GIB}\n")
    write(root / "box/memory.stat", f"anon 5\ninactive_file {GIB}\nfile 7\n")
    write(root / "box/job/memory.max", "max\n")
    write(root / "box/job/memory.current", f"{GIB}\n")
    assert memory._left_in_groups(tmp_path / "own", root) == 3 * GIB
    write(root / "box/job/memory.max", f"{3 * GIB}\n")
    assert memory._left_in_groups(tmp_path / "own", root) == 2 * GIB
    write(root / "box/job/memory.current", f"{4 * GIB}\n")
    assert memory._left_in_groups(tmp_path / "own", root) == 0


@pytest.mark.parametrize("folder", ["memory", "memory/batch"])
def test_groups_of_version_1(tmp_path, folder):
    """A container sees its own group as the root, whatever the path that is told."""
    write(tmp_path / "own", "9:name=systemd:/\n6:cpu,memory:/batch\n")
    root = tmp_path / "groups"
    write(root / folder / "memory.limit_in_bytes", f"{2 * GIB}\n")
    write(root / folder / "memory.usage_in_bytes", f"{GIB}\n")
    write(root / folder / "memory.stat", "cache 1\ntotal_inactive_file 1024\n")
    assert memory._left_in_groups(tmp_path / "own", root) == GIB + 1024


def test_without_groups_there_is_no_limit(tmp_path):
    write(tmp_path / "own", "0::/\n")
    assert memory._left_in_groups(tmp_path / "own", tmp_path) == float("inf")
    assert memory._left_in_groups(tmp_path / "none", tmp_path) == float("inf")


def test_the_sentence(monkeypatch):
    monkeypatch.setattr(memory, "_free", lambda: 1.5 * GIB)
    assert memory.too_much(1.5 * GIB) is None
    assert memory.too_much(3 * GIB) == "This takes 3.0 GiB, and this computer has 1.5 GiB free."


def test_this_computer():
    assert 0 < memory.available_memory() <= memory.physical_memory()


FAULTS = """
import resource
import numpy as np
from bayestds.memory import keep_freed_memory
keep_freed_memory()
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.ones(2**23)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults()
print(faults())
"""


def test_freed_memory_is_kept():
    """New pages when 64 MiB are allocated for the second time: 500 or more where the first were not kept.

    They are kept by the GNU C library only; beside any other the call must do no harm.
    """
    done = subprocess.run([sys.executable, "-c", FAULTS], check=True, capture_output=True, text=True)
    assert int(done.stdout) < (100 if platform.libc_ver()[0] == "glibc" else float("inf"))
