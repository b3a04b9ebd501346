"""A kopeck service on loopback, over a book that is there already, to look at its memory.

Never: a load on it; that is `kopeck bench`. Bounds: one at a time, stopped by its id.
"""

import http.client
import os
import time

from others.common import Failed, Server

START_SECONDS_MAX = 60


class Service:
    def __init__(self, program, data, port, log):
        self.port = port
        self.server = Server([program, "serve", "--listen", f"127.0.0.1:{port}", "--data", data], log,
                             env={"PATH": os.environ["PATH"]})
        until = time.monotonic() + START_SECONDS_MAX
        while not self._is_ready():
            if not self.server.is_running() or time.monotonic() > until:
                raise Failed(f"kopeck did not start: {self.server.last_words()}")
            time.sleep(0.1)

    def memory_bytes(self):
        """What is its own, without the program's text and files."""
        with open(f"/proc/{self.server.process.pid}/status", encoding="utf-8") as lines:
            return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon:")) * 1024

    def stop(self):
        self.server.stop()

    def _is_ready(self):
        try:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
            connection.request("GET", "/readyz")
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
