"""What every system needs: settings, a place to work in, processes that end, and results.

Never: anything of one system alone. Bounds: every process that is started here is waited for at most
PROCESS_SECONDS_MAX, and ended by its own id.
"""

import dataclasses
import os
import pathlib
import pwd
import shutil
import signal
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
SQL = pathlib.Path(__file__).resolve().parent / "sql"
PROCESS_SECONDS_MAX = 900

# What one wallet holds at first, in minor units: no run can empty it, kopeck by kopeck.
OPENING_MINOR = 100_000_000


class Missing(Exception):
    """A system cannot run here: the text says what is missing, and how to get it."""


class Failed(Exception):
    """A run that must not be believed."""


def whole_number(name, default):
    """Of the environment; whoever gives something else is told so, and nothing is begun."""
    text = os.environ.get(name, str(default))
    if not (text.isascii() and text.isdigit()) or int(text) < 1:
        sys.exit(f"{name} must be a whole number above 0, not {text!r}")
    return int(text)


@dataclasses.dataclass(frozen=True)
class Settings:
    """By environment, each with a default."""

    rounds: int
    seconds: int
    warm_up_seconds: int
    clients: tuple
    wallets: int
    tpcb_scale: int
    port: int
    systems: tuple
    work: pathlib.Path

    @classmethod
    def read(cls):
        try:
            # What is named twice is measured once.
            asked = os.environ.get("CLIENTS", "1 8 16 64").split()
            clients = tuple(dict.fromkeys(int(count) for count in asked))
        except ValueError:
            clients = ()
        if not clients or min(clients) < 1 or max(clients) > CLIENTS_MAX:
            raise Failed(f"CLIENTS must be numbers from 1 to {CLIENTS_MAX}")
        return cls(
            rounds=whole_number("ROUNDS", 3),
            seconds=whole_number("SECONDS_EACH", 4),
            warm_up_seconds=whole_number("SECONDS_WARM_UP", 1),
            clients=clients,
            wallets=whole_number("WALLETS", 100_000),
            tpcb_scale=whole_number("TPCB_SCALE", max(clients)),
            port=whole_number("PORT", 5098),
            systems=tuple(os.environ.get("SYSTEMS", "").split()),
            work=pathlib.Path(os.environ.get("WORK_DIR", ROOT / "target")).resolve(),
        )


CLIENTS_MAX = 128


@dataclasses.dataclass
class Measured:
    """One run. `acknowledged` is what the load generator was told is done, and `recorded` what the
    system then has."""

    rate: float
    p50_ms: float | None
    p99_ms: float | None
    acknowledged: int
    recorded: int
    errors: int = 0


def need(program, how, also_in=()):
    """The path of a program, or Missing, which says how to get it."""
    places = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin", *also_in])
    found = shutil.which(program, path=places)
    if not found:
        raise Missing(f"there is no {program}: {how}")
    return found


def account():
    """The user for servers that refuse to be root's: None for the one we are."""
    if os.getuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise Missing("PostgreSQL refuses to run as root, and there is no user postgres or nobody")


def as_user(user):
    """Arguments for subprocess: run as this user."""
    return {} if user is None else {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


def run(arguments, user=None, timeout=PROCESS_SECONDS_MAX, **options):
    """Runs a program to its end and returns what it printed; a failure carries its last words."""
    done = subprocess.run(
        [str(argument) for argument in arguments],
        stdin=subprocess.DEVNULL if "input" not in options else None,
        capture_output=True,
        text=True,
        timeout=timeout,
        cwd=options.pop("cwd", "/"),
        **as_user(user),
        **options,
    )
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip())[-2000:]
        raise Failed(f"{pathlib.Path(str(arguments[0])).name} failed ({done.returncode}): {said}")
    return done.stdout


class Server:
    """A process that runs until it is stopped, by its id."""

    def __init__(self, arguments, log, user=None, **options):
        self.log = log
        with open(log, "ab") as output:
            self.process = subprocess.Popen(
                [str(argument) for argument in arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=options.pop("cwd", "/"),
                **as_user(user),
                **options,
            )

    def is_running(self):
        return self.process.poll() is None

    def last_words(self):
        return self.log.read_text(errors="replace")[-2000:]

    def stop(self, how=signal.SIGTERM):
        if self.is_running():
            self.process.send_signal(how)
            try:
                self.process.wait(timeout=60)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


def percentile(values_sorted, percent):
    """Nearest rank; None of nothing."""
    if not values_sorted:
        return None
    rank = -(-len(values_sorted) * percent // 100)
    return values_sorted[max(0, int(rank) - 1)]
