"""What the scripts of this folder share: finding programs, describing the machine, tables."""
import csv
import datetime
import os
import platform
import shlex
import statistics
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
SOURCE = os.path.dirname(os.path.dirname(HERE))


def fail(text):
    sys.exit(f"{os.path.basename(sys.argv[0])}: {text}")


def find_program(build, *path):
    """The program at path below the build folder, or below the usual ones."""
    name = os.path.join(*path)
    folders = [build] if build else [os.environ.get("TR_BUILDDIR"), ".", SOURCE,
                                     os.path.join(SOURCE, "build")]
    for folder in filter(None, folders):
        program = os.path.join(folder, name)
        if os.access(program, os.X_OK):
            return os.path.abspath(program)
    fail(f"no {name} in {', '.join(filter(None, folders))}: make {name} there, or give --build")


def output_of(command):
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def run(command, **more):
    """Standard output of a command that must not fail."""
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False, **more)
    if done.returncode:
        fail(f"{shlex.join(command)} failed ({done.returncode})")
    return done.stdout


def commit():
    if not os.path.exists(os.path.join(SOURCE, ".git")):
        return "unknown"
    return output_of(["git", "-C", SOURCE, "describe", "--always", "--dirty", "--abbrev=12"]) \
        or "unknown"


def machine():
    model = platform.machine()
    try:
        with open("/proc/cpuinfo", encoding="ascii", errors="replace") as f:
            model = next((line.split(":", 1)[1].strip() for line in f
                          if line.startswith("model name")), model)
        with open("/proc/meminfo", encoding="ascii") as f:
            memory = int(f.readline().split()[1]) / 2**20
    except OSError:
        memory = 0
    return {"cpu": model, "processors": len(os.sched_getaffinity(0)),
            "memory_gib": round(memory, 1), "kernel": platform.release(),
            "load_average": os.getloadavg()[0]}


def describe():
    """Who ran what where, for the head of a report."""
    name = os.path.relpath(os.path.abspath(sys.argv[0]), SOURCE)
    return {"date": datetime.date.today().isoformat(), "commit": commit(), "machine": machine(),
            "command": shlex.join([name] + sys.argv[1:])}


def print_head(head):
    m = head["machine"]
    print(f"{head['date']}, commit {head['commit']}\n"
          f"{m['cpu']}, {m['processors']} processors, {m['memory_gib']} GiB, Linux {m['kernel']}, "
          f"load average {m['load_average']:.2f}\n{head['command']}\n")


def spread(values, form):
    """min / median / max, or a dash."""
    if not values:
        return "-"
    return " / ".join(form.format(f(values)) for f in (min, statistics.median, max))


def print_table(rows):
    """The first row is the head."""
    wide = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in [rows[0], ["-" * n for n in wide]] + rows[1:]:
        print("| " + " | ".join(text.ljust(n) for text, n in zip(row, wide)) + " |")


def print_csv(records):
    writer = csv.DictWriter(sys.stdout, list(records[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
