"""kopeck, by its own `kopeck bench`: a service over HTTP, sessions, single requests.

Never: a figure of the engine alone; that is `cargo bench`. Bounds: one run at a time, its data in the
work directory.
"""

import json
import os

from others.common import ROOT, Failed, Measured, Missing, need, run


class Kopeck:
    name = "kopeck, over HTTP"
    scenarios = ("uniform", "hot")
    durability = "one fsync for all that wait, before any of them is answered"

    def __init__(self, settings):
        self.settings = settings
        self.program = os.environ.get("KOPECK") or built()
        if "bench" not in run([self.program, "--help"]):
            raise Missing(f"{self.program} has no `bench` command: build a newer one")
        self.about = run([self.program, "--version"]).strip()

    def prepare(self):
        """Each run makes its own wallets."""

    def begin(self):
        """Each run starts its own service."""

    def end(self):
        """And stops it."""

    def measure(self, scenario, clients, seconds):
        return self._read(run(
            [self.program, "bench", "--scenario", scenario, "--connections", clients,
             "--seconds", seconds, "--json"],
            cwd=self.settings.work,
        ))

    def verify(self, measured):
        """`kopeck bench` compares its wallets with what it paid, and ends with an error if they are
        off; here only the counts are left to compare."""
        if measured.recorded != measured.acknowledged or measured.errors:
            raise Failed(f"{self.name}: {measured.acknowledged} said, {measured.recorded} recorded, "
                         f"{measured.errors} errors")

    @staticmethod
    def _read(said):
        """The one place that knows what `kopeck bench --json` says."""
        told = json.loads(said.strip().splitlines()[-1])
        return Measured(
            rate=told["transfers_per_second"],
            p50_ms=told.get("p50_ms"),
            p99_ms=told.get("p99_ms"),
            acknowledged=told["acknowledged"],
            recorded=told.get("recorded", told["acknowledged"]),
            errors=told.get("errors", 0),
        )


def built():
    """The release build of this checkout."""
    need("cargo", "see https://rustup.rs")
    run(["cargo", "build", "--release", "--locked", "--quiet", "-p", "kopeck"], cwd=ROOT,
        env=os.environ)
    return os.path.join(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"), "release", "kopeck")
