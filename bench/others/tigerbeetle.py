"""TigerBeetle, by its own `tigerbeetle benchmark`: one replica that it formats, starts and removes.

Never: its batches beside the single requests in one line. In none of it a balance is checked, since
its benchmark's accounts have no limit. Bounds: TRANSFERS a run, or so many as take some seconds.
"""

import re

from others.common import Failed, Measured, need, run

TRANSFERS = 2_000_000
ACCOUNTS = {"batches, 10 000 accounts": 10_000, "batches, 1 000 000 accounts": 1_000_000}
# A transfer a message: every one is a write of its own, and so many of them were seen on a disk that
# makes 4 000 syncs a second.
SINGLES_PER_SECOND = 3_000
# More find no connection free: its benchmark's replica runs as for development.
CLIENTS_MAX = 32


class _Benchmark:
    durability = "direct I/O, its log written through before the answer; one replica"
    warms_up_itself = True

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

    def verify(self, measured):
        """What it has recorded is its own to say."""

    def benchmark(self, transfers, **options):
        """One run of it. Latencies it tells in whole milliseconds, so they are left out."""
        flags = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
        said = run([self.program, "benchmark", f"--transfer-count={transfers}", *flags],
                   cwd=self.settings.work)
        found = re.search(r"load accepted = ([0-9_,]+) tx/s", said)
        if not found:
            raise Failed(f"tigerbeetle benchmark gave no rate: {said[-1000:]}")
        return Measured(rate=float(re.sub("[_,]", "", found.group(1))), p50_ms=None, p99_ms=None,
                        acknowledged=transfers, recorded=transfers)


class TigerBeetle(_Benchmark):
    name = "TigerBeetle, its own benchmark"
    scenarios = tuple(ACCOUNTS)

    def measure(self, scenario, clients, seconds):
        return self.benchmark(TRANSFERS, account_count=ACCOUNTS[scenario])


class TigerBeetleSingles(_Benchmark):
    name = "TigerBeetle, one transfer a message"
    scenarios = ("uniform", "hot")
    clients_max = CLIENTS_MAX

    def measure(self, scenario, clients, seconds):
        return self.benchmark(SINGLES_PER_SECOND * seconds, account_count=self.settings.wallets,
                              account_count_hot=int(scenario == "hot"), transfer_batch_count=1,
                              clients=clients)
