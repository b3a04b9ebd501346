"""PostgreSQL: a private cluster, and three ways to move money in it, driven by pgbench.

Never: a cluster that was there before, a TCP port, or a setting that makes commits less durable than
PostgreSQL's defaults. Bounds: the cluster lies under the work directory, runs only while one of its
systems is measured, and is removed with it.
"""

import os
import pathlib
import re
import shutil
import signal
import tempfile
import time

from others.common import (
    OPENING_MINOR,
    SQL,
    Failed,
    Measured,
    Missing,
    Server,
    account,
    need,
    percentile,
    run,
)

START_SECONDS_MAX = 60

# The first three are PostgreSQL's defaults, said aloud. A fifth of a run must not be the checkpoint
# that another system's run has caused, so the log may grow; each turn begins with a checkpoint.
CONFIGURATION = """
fsync = on
synchronous_commit = on
full_page_writes = on
listen_addresses = ''
max_connections = 200
shared_buffers = '1GB'
max_wal_size = '8GB'
checkpoint_timeout = '15min'
"""

DURABILITY = (
    "fsync, synchronous_commit and full_page_writes on: the log is synced before COMMIT is answered, "
    "one sync for all that commit together"
)


class Cluster:
    """One cluster for all systems that live in PostgreSQL."""

    def __init__(self, work):
        places = sorted(map(str, pathlib.Path("/usr/lib/postgresql").glob("*/bin")), reverse=True)
        how = "Debian: apt-get install postgresql"
        self.programs = {
            name: need(name, how, places) for name in ("initdb", "postgres", "psql", "pgbench")
        }
        self.user = account()
        said = run([self.programs["postgres"], "--version"])  # postgres (PostgreSQL) 15.18 (…)
        self.version = "PostgreSQL " + said.split()[2]
        self.home = work / "postgres"
        self.data = self.home / "data"
        self.sockets = None
        self.server = None

    def create(self):
        """Makes the files. Whatever becomes of it, `remove` cleans up."""
        self.sockets = pathlib.Path(tempfile.mkdtemp(prefix="compare-"))  # their paths must be short
        self.home.mkdir()
        if self.user is not None:
            for directory in (self.home, self.sockets):
                # Its owner alone comes in: the cluster trusts whoever reaches its socket.
                directory.chmod(0o700)
                os.chown(directory, self.user.pw_uid, self.user.pw_gid)
        try:
            run(["test", "-w", self.home], user=self.user)
        except Failed:
            raise Missing(f"user {self.user.pw_name} cannot reach {self.home}: set WORK_DIR") from None
        run(
            [self.programs["initdb"], "-D", self.data, "-A", "trust", "-U", "bench", "-E", "UTF8",
             "--locale=C", "--no-sync"],
            user=self.user,
        )
        with open(self.data / "postgresql.conf", "a", encoding="utf-8") as file:
            file.write(CONFIGURATION + f"unix_socket_directories = '{self.sockets}'\n")

    def start(self):
        if self.server is None:
            self.server = Server(
                [self.programs["postgres"], "-D", self.data], self.home / "log", self.user
            )
            until = time.monotonic() + START_SECONDS_MAX
            while not self._answers():
                if not self.server.is_running() or time.monotonic() > until:
                    raise Failed(f"PostgreSQL did not start: {self.server.last_words()}")
                time.sleep(0.1)

    def stop(self):
        """A fast stop, which ends with a checkpoint: nothing of it is left to write afterwards."""
        if self.server is not None:
            self.server.stop(signal.SIGINT)
            self.server = None

    def remove(self):
        self.stop()
        if self.sockets is not None:
            shutil.rmtree(self.sockets, ignore_errors=True)

    def sql(self, database, text):
        return self._psql(database, ["-c", text])

    def script(self, database, name, **variables):
        """Makes a database and runs a file of SQL in it."""
        self.sql("postgres", f"CREATE DATABASE {database}")
        given = [word for name_, value in variables.items() for word in ("-v", f"{name_}={value}")]
        # The file is ours and the user may not be let near it: psql reads it from its input.
        self._psql(database, given, input=(SQL / name).read_text(encoding="utf-8"))

    def settle(self, database):
        """Before a turn: no dead rows of the turn before, no checkpoint owed."""
        self.sql(database, "VACUUM ANALYZE")
        self.sql(database, "CHECKPOINT")

    def connection(self, database):
        """In libpq's words."""
        return f"host={self.sockets} user=bench dbname={database}"

    def _psql(self, database, more, **options):
        return run(
            [self.programs["psql"], "-XqAt", "-v", "ON_ERROR_STOP=1", *more,
             self.connection(database)],
            **options,
        ).strip()

    def _answers(self):
        try:
            return self.sql("postgres", "SELECT 1") == "1"
        except Failed:
            return False




class InPostgres:
    """What the systems in the cluster have in common: a database, a count and a sum."""

    database = ""
    scenarios = ("uniform", "hot")
    durability = DURABILITY
    # SQL that gives one number each.
    recorded = ""
    sum_minor = ""
    below_zero = ""

    def __init__(self, cluster, settings):
        self.cluster = cluster
        self.settings = settings
        self.about = cluster.version

    def prepare(self):
        self.cluster.start()
        self.make()
        self.cluster.stop()

    def begin(self):
        self.cluster.start()
        self.cluster.settle(self.database)

    def end(self):
        self.cluster.stop()

    def number(self, text):
        return int(self.cluster.sql(self.database, text))

    def verify(self, measured):
        """Conserved, nobody below zero, and as many recorded as acknowledged."""
        total, below = self.number(self.sum_minor), self.number(self.below_zero)
        if total != self.settings.wallets * OPENING_MINOR:
            raise Failed(f"{self.name}: money was lost or made: {total}")
        if below:
            raise Failed(f"{self.name}: {below} wallets are below zero")
        under_way = measured.recorded - measured.acknowledged
        if not 0 <= under_way <= self.under_way_max(measured):
            raise Failed(f"{self.name}: {measured.acknowledged} said, {measured.recorded} recorded")

    def under_way_max(self, measured):
        """pgbench waits for the answer to everything it has sent."""
        return 0

    def measure(self, scenario, clients, seconds):
        before = self.number(self.recorded)
        rate, latencies_ms, done = self.pgbench(
            ["-f", self.script_of(scenario)], clients, seconds, self.database
        )
        return Measured(
            rate=rate,
            p50_ms=percentile(latencies_ms, 50),
            p99_ms=percentile(latencies_ms, 99),
            acknowledged=done,
            recorded=self.number(self.recorded) - before,
        )

    def script_of(self, scenario):
        """Who pays whom, then how: one file for pgbench."""
        path = self.settings.work / f"{self.database}-{scenario}.pgbench"
        parts = (SQL / f"{scenario}.pgbench", SQL / f"{self.database}.pgbench")
        path.write_text("".join(part.read_text(encoding="utf-8") for part in parts), "utf-8")
        return path

    def pgbench(self, what, clients, seconds, database):
        """Transactions a second, their latencies in ascending order, and how many were done."""
        with tempfile.TemporaryDirectory(dir=self.settings.work) as logs:
            said = run(
                [self.cluster.programs["pgbench"], "-n", "-M", "prepared", *what,
                 "-D", f"wallets={self.settings.wallets}", "-c", clients, "-j", min(2, clients),
                 "-T", seconds, "--log", "--log-prefix", f"{logs}/log",
                 self.cluster.connection(database)],
            )
            latencies_ms = sorted(
                int(line.split()[2]) / 1000
                for path in pathlib.Path(logs).iterdir()
                for line in path.read_text().splitlines()
            )
        failed = _said(said, r"number of failed transactions: (\d+)")
        if failed:
            raise Failed(f"{self.name}: pgbench tells of {failed:.0f} failed transactions")
        done = int(_said(said, r"transactions actually processed: (\d+)"))
        # Of none at all pgbench tells no rate.
        rate = _said(said, r"tps = ([0-9.]+) \(without initial") if done else 0.0
        return rate, latencies_ms, done


def _said(text, pattern):
    found = re.search(pattern, text)
    if not found:
        raise Failed(f"pgbench did not say {pattern!r}: {text[-500:]}")
    return float(found.group(1))


class RowLocks(InPostgres):
    name = "PostgreSQL, row locks"
    database = "row_locks"
    recorded = "SELECT count(*) FROM transfers"
    sum_minor = "SELECT sum(balance) FROM wallets"
    below_zero = "SELECT count(*) FROM wallets WHERE balance < 0"

    def make(self):
        self.cluster.script(self.database, "row_locks.sql",
                            opening=OPENING_MINOR, wallets=self.settings.wallets)

    def bytes_each(self):
        """What a transfer takes on the disk for good: its row and its indexes."""
        size = self.number("SELECT pg_total_relation_size('transfers')")
        return size / max(1, self.number(self.recorded))


class Pgledger(InPostgres):
    name = "PostgreSQL, pgledger's way"
    database = "pgledger"
    recorded = "SELECT count(*) FROM transfers"
    sum_minor = "SELECT sum(balance) FROM accounts"
    below_zero = "SELECT count(*) FROM accounts WHERE balance < 0"

    def make(self):
        self.cluster.script(self.database, "pgledger.sql",
                            opening=OPENING_MINOR, wallets=self.settings.wallets)

    def verify(self, measured):
        super().verify(measured)
        entries, off = self.number("SELECT count(*) FROM entries"), self.number(
            "SELECT count(*) FROM entries WHERE current_balance <> previous_balance + amount")
        if entries != 2 * self.number(self.recorded) or off:
            raise Failed(f"{self.name}: {entries} entries do not fit the transfers, {off} are off")

    def bytes_each(self):
        size = self.number(
            "SELECT pg_total_relation_size('transfers') + pg_total_relation_size('entries')")
        return size / max(1, self.number(self.recorded))


class TpcB(InPostgres):
    """pgbench's own scenario: three updates and an insert; no balance is checked, none refused.
    Hot is its scale 1: one branch is in every transaction."""

    name = "PostgreSQL, pgbench TPC-B"
    databases = {"uniform": "tpcb", "hot": "tpcb_hot"}

    def make(self):
        for scenario, database in self.databases.items():
            self.cluster.sql("postgres", f"CREATE DATABASE {database}")
            scale = self.settings.tpcb_scale if scenario == "uniform" else 1
            run([self.cluster.programs["pgbench"], "-i", "-q", "-s", scale,
                 self.cluster.connection(database)])

    def begin(self):
        self.cluster.start()
        for database in self.databases.values():
            self.cluster.settle(database)

    def measure(self, scenario, clients, seconds):
        self.database = self.databases[scenario]
        before = self.number("SELECT count(*) FROM pgbench_history")
        rate, latencies_ms, done = self.pgbench(
            ["-b", "tpcb-like"], clients, seconds, self.database)
        return Measured(
            rate=rate,
            p50_ms=percentile(latencies_ms, 50),
            p99_ms=percentile(latencies_ms, 99),
            acknowledged=done,
            recorded=self.number("SELECT count(*) FROM pgbench_history") - before,
        )

    def verify(self, measured):
        if measured.recorded != measured.acknowledged:
            raise Failed(f"{self.name}: {measured.acknowledged} said, {measured.recorded} recorded")
        sums = self.cluster.sql(
            self.database,
            "SELECT count(DISTINCT total) FROM ("
            "SELECT sum(bbalance) AS total FROM pgbench_branches"
            " UNION ALL SELECT sum(tbalance) FROM pgbench_tellers"
            " UNION ALL SELECT coalesce(sum(delta), 0) FROM pgbench_history) AS sums",
        )
        if sums != "1":
            raise Failed(f"{self.name}: branches, tellers and history do not agree")
