"""A memory limit for one process, page cache included, by a control group of its own.

Version 1 of the memory controller where it is mounted, else version 2. The group is a child of this
process's own. What it leaves in the page cache is dropped with it.
"""
import contextlib
import os

V1, V2 = "/sys/fs/cgroup/memory", "/sys/fs/cgroup"
FILES = {V1: ("memory.limit_in_bytes", "memory.max_usage_in_bytes"),
         V2: ("memory.max", "memory.peak")}


class Refused(Exception):
    pass


def own_group():
    """The mount of the controller, and the folder of this process's group."""
    with open("/proc/self/cgroup", encoding="ascii") as f:
        groups = [line.rstrip("\n").split(":", 2) for line in f]
    for _, controllers, path in groups:
        if "memory" in controllers.split(","):
            return V1, V1 + path
    for number, _, path in groups:
        if number == "0":
            return V2, V2 + path
    raise Refused("this process is in no group of the memory controller")


def write(path, text):
    try:
        with open(path, "w", encoding="ascii") as f:
            f.write(text)
    except OSError as e:
        raise Refused(f"{path}: {e.strerror}") from e


class Group:
    def __init__(self, limit):
        mount, parent = own_group()
        self.limit_file, self.peak_file = FILES[mount]
        self.path = os.path.join(parent, f"tierra-bench-{os.getpid()}")
        if mount == V2:
            write(os.path.join(parent, "cgroup.subtree_control"), "+memory")
        try:
            os.mkdir(self.path)
        except OSError as e:
            raise Refused(f"{self.path}: {e.strerror}") from e
        try:
            write(os.path.join(self.path, self.limit_file), str(limit))
        except Refused:
            os.rmdir(self.path)
            raise

    def enter(self):
        """To be called in the child, before exec."""
        write(os.path.join(self.path, "cgroup.procs"), str(os.getpid()))

    def peak(self):
        with contextlib.suppress(OSError, ValueError):
            with open(os.path.join(self.path, self.peak_file), encoding="ascii") as f:
                return int(f.read())
        return 0

    def close(self):
        with contextlib.suppress(Refused):
            write(os.path.join(self.path, "memory.force_empty"), "0")  # version 1 only
        os.rmdir(self.path)


@contextlib.contextmanager
def limited(limit):
    """with limited(bytes) as group: start a process with preexec_fn=group.enter"""
    group = Group(limit)
    try:
        yield group
    finally:
        group.close()


def forget(path):
    """Drops a file from the page cache, so that it is charged to whoever reads it next."""
    with open(path, "rb") as f:
        os.fsync(f.fileno())
        os.posix_fadvise(f.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
