"""TigerBeetle, by its own `tigerbeetle benchmark`: one replica that it formats, starts and removes.

Never: beside the single requests in one line. It is told batches of 8 189 transfers, and its
benchmark's accounts have no limit, so no balance is checked. Bounds: TRANSFERS a run.
"""

import re

from others.common import Failed, Measured, need, run

TRANSFERS = 2_000_000
ACCOUNTS = {"batches, 10 000 accounts": 10_000, "batches, 1 000 000 accounts": 1_000_000}


class TigerBeetle:
    name = "TigerBeetle, its own benchmark"
    scenarios = tuple(ACCOUNTS)
    warms_up_itself = True
    durability = "direct I/O, its log written through before the answer; one replica"

    def __init__(self, settings):
        self.settings = settings
        self.program = need(
            "tigerbeetle", "see https://docs.tigerbeetle.com/operating/installing")
        self.about = run([self.program, "version"]).strip()

    def prepare(self):
        """Its benchmark makes what it needs."""

    def begin(self):
        """Its benchmark starts what it needs."""

    def end(self):
        """And stops it."""

    def measure(self, scenario, clients, seconds):
        said = run([self.program, "benchmark", f"--account-count={ACCOUNTS[scenario]}",
                    f"--transfer-count={TRANSFERS}"], cwd=self.settings.work)
        found = re.search(r"load accepted = ([0-9_,]+) tx/s", said)
        if not found:
            raise Failed(f"tigerbeetle benchmark gave no rate: {said[-1000:]}")
        return Measured(
            rate=float(re.sub("[_,]", "", found.group(1))), p50_ms=None, p99_ms=None,
            acknowledged=TRANSFERS, recorded=TRANSFERS,
        )

    def verify(self, measured):
        """What it has recorded is its own to say."""
