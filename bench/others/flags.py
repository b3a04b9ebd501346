"""The first approach: Flask under gunicorn, wallets locked by a flag in their row, in the same
PostgreSQL cluster as the others; driven by wrk.

Never: a package installed outside the work directory's own virtual environment. Bounds: gunicorn on
loopback, WORKERS_EACH workers a processor and one more, THREADS threads each.
"""

import http.client
import json
import os
import pathlib
import secrets
import signal
import sys
import time

from others.common import OPENING_MINOR, ROOT, Failed, Measured, Missing, Server, need, run
from others.postgres import InPostgres

WORKERS_EACH = 2
THREADS = 4
START_SECONDS_MAX = 30
FLAG_SECONDS_MAX = 5
KILLS_MAX = 5
PACKAGES = ("flask", "gunicorn", "psycopg2-binary")
HERE = pathlib.Path(__file__).resolve().parent


class Flags(InPostgres):
    name = "Flask, flags in rows"
    database = "flags"
    recorded = "SELECT count(*) FROM operations"
    sum_minor = "SELECT sum(balance) FROM wallets"
    below_zero = "SELECT count(*) FROM wallets WHERE balance < 0"

    def __init__(self, cluster, settings):
        super().__init__(cluster, settings)
        self.wrk = need("wrk", "Debian: apt-get install wrk")
        self.python = _environment()
        self.server = None
        self.sessions = settings.work / "sessions"
        self.variables = {
            "PATH": os.environ["PATH"],
            "PYTHONDONTWRITEBYTECODE": "1",
            "SECRET_KEY": secrets.token_hex(),
            "DATABASE": cluster.connection(self.database),
            "FLAG_SECONDS_MAX": str(FLAG_SECONDS_MAX),
        }
        processors = len(os.sched_getaffinity(0))
        self.workers = WORKERS_EACH * processors + 1
        flask, gunicorn = run([self.python, "-c", "from importlib.metadata import version;"
                               "print(version('flask'), version('gunicorn'))"]).split()
        self.about = (f"Flask {flask}, gunicorn {gunicorn}, {self.workers} workers with {THREADS} threads, "
                      f"over {cluster.version}")

    def make(self):
        self.cluster.script(self.database, "flags.sql",
                            opening=OPENING_MINOR, wallets=self.settings.wallets)
        lines = run([self.python, HERE / "flags_app.py", "sessions", self.settings.wallets],
                    env=self.variables)
        self.sessions.write_text(lines, encoding="utf-8")

    def begin(self):
        super().begin()
        self.server = Server(
            [self.python, "-m", "gunicorn", "--chdir", HERE, "--bind",
             f"127.0.0.1:{self.settings.port}", "--workers", self.workers, "--worker-class",
             "gthread", "--threads", THREADS, "--keep-alive", "60", "--log-level", "warning",
             "--worker-tmp-dir", "/dev/shm", "flags_app:app"],
            self.settings.work / "gunicorn.log",
            env=self.variables,
        )
        self._await_ready()

    def end(self):
        if self.server is not None:
            self.server.stop()
            self.server = None
        super().end()

    def measure(self, scenario, clients, seconds):
        before = self.number(self.recorded)
        requests, refused, broken, microseconds, p50_ms, p99_ms = self._load(
            scenario, clients, seconds)
        good = int(requests) - int(refused)
        return Measured(
            rate=good / (microseconds / 1e6),
            p50_ms=p50_ms,
            p99_ms=p99_ms,
            acknowledged=good,
            recorded=self._settled() - before,
            errors=int(refused + broken),
        )

    def under_way_max(self, measured):
        """wrk goes away with requests under way, at most one a connection; those may have been done."""
        return max(self.settings.clients) + measured.errors

    def demonstrate(self):
        """What becomes of a wallet whose worker dies. A few tries: it takes a worker that holds flags
        at the moment it is killed, and on a stalled disk none may."""
        for _ in range(KILLS_MAX):
            shown = self._kill_workers()
            if shown["wallets_left_locked"]:
                break
        return shown

    def _kill_workers(self):
        """All workers are killed under load, gunicorn starts others, and the hot wallet is asked for a
        payment."""
        self.begin()
        try:
            load = Server(self._wrk("hot", 16, 3), self.settings.work / "demonstration.log")
            time.sleep(1.5)
            master = self.server.process.pid
            killed = pathlib.Path(f"/proc/{master}/task/{master}/children").read_text().split()
            for worker in killed:
                os.kill(int(worker), signal.SIGKILL)
            load.process.wait(timeout=60)
            self._await_ready()
            self._settled()
            locked = self.number("SELECT count(*) FROM wallets WHERE locked")
            status, answer = self._pay()
        finally:
            self.end()
        return {"workers_killed": len(killed), "wallets_left_locked": locked,
                "then_hot_wallet_pays": status, "answer": answer}

    def _wrk(self, scenario, clients, seconds):
        return [self.wrk, "--threads", min(2, clients), "--connections", clients,
                "--duration", f"{seconds}s", "--timeout", "30s", "--latency",
                "--script", HERE / "flags.lua", f"http://127.0.0.1:{self.settings.port}",
                "--", self.sessions, scenario]

    def _load(self, scenario, clients, seconds):
        said = run(self._wrk(scenario, clients, seconds))
        result = [line for line in said.splitlines() if line.startswith("result ")]
        if not result:
            raise Failed(f"wrk gave no result: {said[-1000:]}")
        return [float(word) for word in result[0].split()[1:]]

    def _settled(self):
        """How many are recorded, when nothing more comes."""
        last, until = -1, time.monotonic() + 2 * FLAG_SECONDS_MAX + 5
        while (now := self.number(self.recorded)) != last:
            if time.monotonic() > until:
                raise Failed(f"{self.name}: it goes on after the load has ended")
            last = now
            time.sleep(0.3)
        return now

    def _pay(self):
        """Wallet 1 pays wallet 2."""
        with open(self.sessions, encoding="utf-8") as file:
            cookie = file.readline().split()[1]
        connection = http.client.HTTPConnection(
            "127.0.0.1", self.settings.port, timeout=FLAG_SECONDS_MAX + 30)
        connection.request("POST", "/wallet_to_wallet", '{"wallet_id": 2, "amount": 0.01}',
                           {"Content-Type": "application/json", "Cookie": cookie})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())

    def _await_ready(self):
        until = time.monotonic() + START_SECONDS_MAX
        while True:
            try:
                connection = http.client.HTTPConnection("127.0.0.1", self.settings.port, timeout=5)
                connection.request("GET", "/ready")
                if connection.getresponse().read() == b"ready":
                    return
            except (OSError, http.client.HTTPException):
                pass
            if not self.server.is_running() or time.monotonic() > until:
                raise Failed(f"gunicorn did not start: {self.server.last_words()}")
            time.sleep(0.1)


def _environment():
    """A Python that has the packages: made once under target/, kept for the next time."""
    home = ROOT / "target" / "compare-python"
    python = home / "bin" / "python"
    try:
        if not python.exists():
            run([sys.executable, "-m", "venv", home])
        run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *PACKAGES])
    except Failed as failed:
        raise Missing(
            "no virtual environment with " + ", ".join(PACKAGES)
            + f" (Debian: apt-get install python3-venv; it needs the network): {failed}") from None
    return python
