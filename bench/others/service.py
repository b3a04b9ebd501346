"""A kopeck service on loopback, and people on it who have money.

Never: a service that was there before. Bounds: one at a time, stopped by its id, its data in the
directory it is given.
"""

import http.client
import json
import os
import secrets
import time

from others.common import Failed, Server

START_SECONDS_MAX = 60
BANK = "bank@localhost"
DEPOSIT = 1_000_000


class Service:
    def __init__(self, program, data, port, log):
        self.port = port
        self.password = secrets.token_hex()
        # The bank of a book that is there already is not ours to name.
        bank = {} if data.exists() else {"BANK_EMAIL": BANK, "BANK_PASS": self.password}
        self.server = Server(
            [program, "serve", "--listen", f"127.0.0.1:{port}", "--data", data], log,
            env={"PATH": os.environ["PATH"], **bank},
        )
        until = time.monotonic() + START_SECONDS_MAX
        while not self._is_ready():
            if not self.server.is_running() or time.monotonic() > until:
                raise Failed(f"kopeck did not start: {self.server.last_words()}")
            time.sleep(0.1)

    def sign_up(self, people, sessions):
        """Writes a line for each: wallet and cookie."""
        _, bank = self._post("/api/login", {"email": BANK, "password": self.password})
        with open(sessions, "w", encoding="utf-8") as file:
            for number in range(people):
                person, cookie = self._post("/api/signup", {
                    "name": "somebody", "email": f"{number}@localhost", "password": self.password})
                self._post("/api/external_to_wallet",
                           {"wallet_id": person["wallet_id"], "amount": DEPOSIT}, bank)
                print(person["wallet_id"], cookie, file=file)

    def processor_seconds(self):
        """Of the whole process, user and system."""
        with open(f"/proc/{self.server.process.pid}/stat", encoding="utf-8") as file:
            fields = file.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def written_bytes(self):
        """What the kernel was given for the disk: data, log, checkpoints."""
        return self._told("io", "write_bytes")

    def memory_bytes(self):
        """What is its own, without the program's text and files."""
        return self._told("status", "RssAnon") * 1024

    def stop(self):
        self.server.stop()

    def _told(self, file, name):
        with open(f"/proc/{self.server.process.pid}/{file}", encoding="utf-8") as lines:
            return next(int(line.split()[1]) for line in lines if line.startswith(name + ":"))

    def _is_ready(self):
        try:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
            connection.request("GET", "/readyz")
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False

    def _post(self, path, body, cookie=""):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request("POST", path, json.dumps(body),
                           {"Content-Type": "application/json", "Cookie": cookie})
        answer = connection.getresponse()
        text = answer.read()
        if answer.status >= 300:
            raise Failed(f"{path} was answered {answer.status}: {text[:500]!r}")
        return json.loads(text), (answer.getheader("Set-Cookie") or "").split(";")[0]
