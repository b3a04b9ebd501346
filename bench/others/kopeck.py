"""kopeck, by its own `kopeck bench`: a service over HTTP, sessions, keys, one transfer a request.

Never: a figure of the engine alone beside the other systems. Bounds: one run at a time, its data in the
work directory, made anew for each turn.
"""

import json
import os

from others.common import ROOT, Failed, Measured, Missing, need, run

# Our names for what `kopeck bench` calls so.
SCENARIOS = {"uniform": "uniform", "hot": "hot-both"}
# As many wallets as TigerBeetle's benchmark has accounts.
BATCHES = {"batches of 8 192, 10 000 wallets": 10_000, "batches of 8 192, 1 000 000 wallets": 1_000_000}
BATCH = 8192
BATCH_CONNECTIONS = 4


class Kopeck:
    name = "kopeck, over HTTP"
    durability = "one fsync for all that wait, before any of them is answered"
    warms_up_itself = True

    def __init__(self, settings):
        self.settings = settings
        self.program = binary()
        try:
            run([self.program, "bench", "--help"])
        except Failed:
            raise Missing(f"{self.program} has no `bench` command: build a newer one") from None
        self.about = run([self.program, "--version"]).strip()
        self.scenarios = (*SCENARIOS, *BATCHES)
        self.told = {}

    def prepare(self):
        """It makes its own wallets; here it is only seen whether it takes batches."""
        try:
            bench(self.program, self.settings.work, 1, BATCH, BATCH_CONNECTIONS, "--wallets", 100)
        except Failed:
            self.scenarios = (*SCENARIOS,)

    def begin(self):
        self.told = {}

    def end(self):
        """It has stopped what it started."""

    def measure(self, scenario, clients, seconds):
        """One command measures all points of a turn, so that wallets are made and sums compared once."""
        warm_up = ("--warm-up-seconds", self.settings.warm_up_seconds)
        if scenario in BATCHES:
            return _measured(bench(self.program, self.settings.work, seconds, BATCH, BATCH_CONNECTIONS,
                                   "--wallets", BATCHES[scenario], *warm_up))
        if not self.told:
            said = _runs(self.program, self.settings.work, "--seconds", seconds, *warm_up,
                         "--wallets", self.settings.wallets,
                         "--scenario", ",".join(SCENARIOS.values()),
                         "--connections", ",".join(map(str, self.settings.clients)))
            self.told = {(told["scenario"], told["connections"]): _measured(told) for told in said}
        return self.told[SCENARIOS[scenario], clients]

    def verify(self, measured):
        """`kopeck bench` checks its whole book, its sum and the count of effects, and ends with an error
        if anything is off."""
        if measured.errors:
            raise Failed(f"{self.name}: {measured.errors} answers were errors")


def bench(program, work, seconds, batch, connections, *more):
    """One run of `kopeck bench`: its part of the JSON. An answer that is an error fails it, as all are
    where the service takes no batches."""
    told = _runs(program, work, "--seconds", seconds, "--batch", batch, "--connections", connections,
                 *more)[0]
    if told["errors_total"] or not told["operations_acknowledged"]:
        raise Failed(f"kopeck bench: these answers were errors: {told['errors']}")
    return told


def engine(program, work, wallets, operations):
    """The engine alone, in batches, with keys: its part of the JSON."""
    return _runs(program, work, "--engine", "--batch", BATCH, "--wallets", wallets, "--operations",
                 operations, on="engine")[0]


def _runs(program, work, *more, on="kopeck"):
    # The others' load generators are wherever the system puts them, so this one is too.
    anywhere = ["--client-processors", "any"] if on == "kopeck" else []
    said = run([program, "bench", "--rounds", 1, "--json", *anywhere, *more], cwd=work)
    try:
        document = json.loads(said)
        if not document["checks_hold"]:
            raise Failed(f"`kopeck bench` does not trust its own result: {document['checks']}")
        return [told for told in document["runs"] if told["on"] == on]
    except (KeyError, TypeError, ValueError) as error:
        raise Failed(f"`kopeck bench --json` said something else: {error!r}: {said[:500]}") from None


def _measured(told):
    return Measured(
        rate=told["operations_per_second"]["median"],
        p50_ms=told["latency_ms"]["p50"],
        p99_ms=told["latency_ms"]["p99"],
        acknowledged=told["operations_acknowledged"],
        # That each of them had one effect is among its checks.
        recorded=told["operations_acknowledged"],
        errors=told["errors_total"],
    )


def binary():
    """Its whole path: the one that was asked for, or the release build of this checkout."""
    wanted = os.environ.get("KOPECK")
    if wanted:
        return os.path.abspath(need(wanted, "KOPECK names a binary, or leave it out"))
    need("cargo", "see https://rustup.rs")
    run(["cargo", "build", "--release", "--locked", "--quiet", "-p", "kopeck"], cwd=ROOT,
        env=os.environ)
    return os.path.join(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"), "release", "kopeck")
