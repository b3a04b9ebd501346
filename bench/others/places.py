"""Where the system puts the busy threads, and how many requests are answered meanwhile.

Never: a look that costs what it looks at much: some files of /proc, each LOOK_SECONDS. Bounds: Linux;
requests are counted as the segments that all TCP of this machine sends, two a request, so nothing
else may speak meanwhile.
"""

import collections
import pathlib
import time

LOOK_SECONDS = 0.02
LOOKS = 5
PARTS = 3


def compare(busy, seconds):
    """`busy`: the threads' ids and names, the busiest first. Text: the slowest to the fastest part of the
    time, with each thread's share of running and of waiting, and where the others stood beside the first."""
    slices = []
    until = time.monotonic() + seconds
    before = _now(busy)
    while time.monotonic() < until:
        beside = collections.Counter()
        for _ in range(LOOKS):
            time.sleep(LOOK_SECONDS)
            first, *others = (_processor(thread) for thread in busy)
            beside.update(thread for thread, where in zip(list(busy)[1:], others) if where == first)
        after = _now(busy)
        slices.append((before, after, beside))
        before = after
    slices.sort(key=lambda looked: _rate([looked]))
    size = -(-len(slices) // PARTS)
    parts = [slices[start:start + size] for start in range(0, len(slices), size)]
    return "\n".join(_tell(part, busy) for part in parts)


def _tell(part, busy):
    first, *others = busy
    passed = sum(after[0] - before[0] for before, after, _ in part)
    words = []
    for thread, name in busy.items():
        ran, waited = (sum(after[2][thread][which] - before[2][thread][which] for before, after, _ in part)
                       / 1e9 / passed for which in (0, 1))
        words.append(f"{name} ran {ran:.0%}, waited {waited:.0%}")
        if thread in others:
            shared = sum(beside[thread] for _, _, beside in part) / (LOOKS * len(part))
            words[-1] += f", was {shared:.0%} on the processor of {busy[first]}"
    return f"{_rate(part):.0f} requests/s: " + "; ".join(words)


def _rate(part):
    return (sum(after[1] - before[1] for before, after, _ in part) / 2
            / sum(after[0] - before[0] for before, after, _ in part))


def _now(busy):
    """The time, the segments sent so far, and how long each thread ran and waited so far, in ns."""
    times = {thread: ran_and_waited(thread) for thread in busy}
    names, values = (line.split() for line in pathlib.Path("/proc/net/snmp").read_text().splitlines()
                     if line.startswith("Tcp:"))
    return time.monotonic(), int(values[names.index("OutSegs")]), times


def ran_and_waited(thread):
    """How long it ran and how long it waited for a processor so far, in ns."""
    ran, waited, _ = map(int, pathlib.Path(f"/proc/{thread}/schedstat").read_text().split())
    return ran, waited


def _processor(thread):
    """Where it runs, or ran last."""
    return pathlib.Path(f"/proc/{thread}/stat").read_text().rpartition(")")[2].split()[36]
