"""How many instructions a transfer costs, by thread and function: counted by callgrind, not timed.

Never: what the system does for the program, or how long anything takes. What valgrind does not know (the
processor's own SHA-256) is done in another way there. Bounds: one dump of one process.
"""

import pathlib
import re

from others.common import Failed, need, run

# Whose calls are counted as transfers, or operations.
TRANSFER = "ledger::book::Book::decide"
# What a thread is known by: functions that no other has, as callgrind numbers threads in its own way.
MARKS = {
    "kopeck-writer": "store_sqlite::write::append::Lazy::execute",
    "kopeck-http": "hyper::proto::h1::dispatch::Dispatcher<D,Bs,I,T>::poll_write",
    # The writer decides as well, but is found first.
    "kopeck-decider": TRANSFER,
    "kopeck-keys": "store_sqlite::keys::keeper::least",
    "kopeck-checkpoint": "walCheckpoint",
    "the benchmark itself": "kopeck::bench::engine::take",
}
FUNCTIONS = 30
NAME_CHARS_MAX = 110
# Less of a thread than one instruction in so many is left out.
RARE = 1_000


def under_callgrind(command, work):
    """The command, and those that it starts, under callgrind; nothing is counted before it is asked for."""
    valgrind = need("valgrind", "sudo apt-get install valgrind")
    return [valgrind, "--tool=callgrind", "--trace-children=yes", "--fair-sched=try", "--separate-threads=yes",
            "--instr-atstart=no", f"--callgrind-out-file={work}/callgrind.%p", *command]


def begin(process):
    """Counts from now on."""
    run(["callgrind_control", "-i", "on", process])


def end(process, work):
    """Counts no more; gives what was counted, as a table for each thread."""
    run(["callgrind_control", "-i", "off", process])
    run(["callgrind_control", "-d", process])
    threads = [Thread(path) for path in sorted(pathlib.Path(work).glob(f"callgrind.{process}.1-*"))]
    transfers = sum(thread.calls.get(TRANSFER, 0) for thread in threads)
    if not transfers:
        raise Failed("nothing was counted in that time")
    threads = [thread for thread in threads if thread.total >= transfers]
    tables = [thread.table(transfers) for thread in sorted(threads, key=lambda thread: -thread.total)]
    return f"{transfers} transfers counted\n\n" + "\n\n".join(tables)


class Thread:
    """What one thread did, out of callgrind's file."""

    def __init__(self, path):
        self.own, self.calls = {}, {}
        names, function, called = {}, None, None
        with open(path, encoding="utf-8", errors="replace") as lines:
            for line in lines:
                if line.startswith("fn="):
                    function = full(names, line[3:])
                elif line.startswith("cfn="):
                    called = full(names, line[4:])
                elif line.startswith("calls="):
                    self.calls[called] = self.calls.get(called, 0) + int(line[6:].split()[0])
                    # The next line is what the call cost in all, which the called one's own lines have too.
                    next(lines, None)
                elif line[:1] in "0123456789+-*" and function:
                    cost = line.split()[1:2]
                    self.own[function] = self.own.get(function, 0) + int(cost[0] if cost else 0)
        self.total = sum(self.own.values())

    def name(self):
        known = (name for name, mark in MARKS.items() if mark in self.own)
        return next(known, "another thread")

    def table(self, transfers):
        lines = [f"{self.name()}: {self.total / transfers:,.0f} instructions a transfer",
                 "         own     calls"]
        costly = sorted(self.own.items(), key=lambda entry: -entry[1])[:FUNCTIONS]
        for function, own in costly:
            if own * RARE >= self.total:
                calls = self.calls.get(function, 0) / transfers
                lines.append(f"{own / transfers:12,.1f}  {calls:8.2f}  {function[:NAME_CHARS_MAX]}")
        return "\n".join(lines)


def full(names, text):
    """A name is written out once, with a number that stands for it from then on."""
    number, name = re.fullmatch(r"\((\d+)\)(?: (.*))?", text.strip()).groups()
    if name:
        names[number] = name
    return names[number]
