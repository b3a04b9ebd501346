"""What the figures were measured on, and how often the disk alone can sync.

Never: a figure of a system. Bounds: the probe of the disk takes PROBE_SECONDS.
"""

import datetime
import os
import platform
import subprocess
import time

from others.common import ROOT, Failed, run

PROBE_SECONDS = 1.0
PROBE_BYTES = 4096


def facts(work):
    """Processor, memory, disk, kernel, commit: whatever another machine would differ in."""
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "processor": _first("/proc/cpuinfo", "model name") or platform.processor(),
        "processors": len(os.sched_getaffinity(0)),
        "memory_gib": round(int((_first("/proc/meminfo", "MemTotal") or "0").split()[0]) / 2**20, 1),
        "kernel": platform.release(),
        "file_system": _try(["findmnt", "-no", "FSTYPE", "-T", str(work)]),
        "commit": commit(),
    }


def syncs_per_second(directory):
    """Appends of a page, each followed by fdatasync, one after another: a lone client's ceiling."""
    path = directory / "probe"
    page = b"x" * PROBE_BYTES
    count = 0
    with open(path, "wb", buffering=0) as file:
        began = time.monotonic()
        while (elapsed := time.monotonic() - began) < PROBE_SECONDS:
            file.write(page)
            os.fdatasync(file.fileno())
            count += 1
    path.unlink()
    return count / elapsed


def commit():
    """What was built here; of a binary that somebody names it is not known, and files may have changed."""
    if os.environ.get("KOPECK"):
        return "unknown: KOPECK"
    return _try(["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--exclude=*"])


def _first(path, name):
    try:
        with open(path, encoding="utf-8") as file:
            return next(line.split(":", 1)[1].strip() for line in file if line.startswith(name))
    except (OSError, StopIteration):
        return None


def _try(arguments):
    try:
        return run(arguments, timeout=10).strip()
    except (OSError, subprocess.SubprocessError, Failed):
        return "unknown"
