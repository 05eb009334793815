"""What tests/bench/run does to the machine around a process: memory limit, caches, read-ahead.

All of it needs root. What cannot be done raises cgroup.Refused, whose text says why.
"""
import contextlib
import mmap
import os

import cgroup

MADV_POPULATE_WRITE = 23  # Linux 5.14; Python has no name for it


def _read(path):
    with open(path, encoding="ascii") as f:
        return f.read().strip()


def drop_caches():
    os.sync()
    cgroup.write("/proc/sys/vm/drop_caches", "3")


def available_bytes():
    with open("/proc/meminfo", encoding="ascii") as f:
        return next(int(line.split()[1]) * 1024 for line in f if line.startswith("MemAvailable"))


def _touch(n_bytes):
    with mmap.mmap(-1, n_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
        memory.madvise(mmap.MADV_HUGEPAGE)
        memory.madvise(MADV_POPULATE_WRITE)


def touch_memory(n_bytes):
    """Has the hypervisor hand out memory, with a process for each processor, and frees it again.

    One that takes back what a guest has freed makes the first touch of a page many times slower
    than clearing it. It takes it back within seconds, so what is to be measured starts at once."""
    workers, n = [], len(os.sched_getaffinity(0))
    for _ in range(n):
        pid = os.fork()
        if not pid:
            try:
                _touch(n_bytes // n)
            finally:
                os._exit(0)
        workers.append(pid)
    for pid in workers:
        os.waitpid(pid, 0)


@contextlib.contextmanager
def memory_limit(limit):
    """Gives what a child calls before exec to be under a limit of so many bytes; None: none."""
    if limit is None:
        yield lambda: None
        return
    with cgroup.limited(limit) as group:
        yield group.enter


def _read_ahead_file(path):
    number = os.stat(path).st_dev
    device = os.path.realpath(f"/sys/dev/block/{os.major(number)}:{os.minor(number)}")
    for folder in (device, os.path.dirname(device)):  # a partition has the queue of its disk
        name = os.path.join(folder, "queue", "read_ahead_kb")
        if os.path.exists(name):
            return name
    raise cgroup.Refused(f"no block device is known for {path}")


def read_ahead_kib(path):
    """Of the drive that the file lies on."""
    return int(_read(_read_ahead_file(path)))


@contextlib.contextmanager
def read_ahead(path, kib):
    """Sets the read-ahead of the drive that the file lies on; None leaves it."""
    if kib is None:
        yield
        return
    name = _read_ahead_file(path)
    before = _read(name)
    cgroup.write(name, str(kib))
    try:
        yield
    finally:
        cgroup.write(name, before)
