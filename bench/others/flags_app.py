"""A wallet service whose wallets are locked by a flag in their row: the first approach of the service
that kopeck follows, written anew and kindly.

Both flags are set in one commit, in the order of the wallets' ids; the money and the flags' end are
one commit too. So a transfer is two commits. What no kindness mends: a worker that dies between
the two leaves both wallets locked.

Bounds: one connection to the database a thread; a request tries FLAG_SECONDS_MAX for its flags.

`flags_app.py sessions N` prints a wallet and a session's cookie a line, for the load generator.
"""

import os
import random
import sys
import threading
import time
from decimal import Decimal

import psycopg2
from flask import Flask, jsonify, request, session

FLAG_SECONDS_MAX = float(os.environ.get("FLAG_SECONDS_MAX", "5"))

app = Flask(__name__)
app.secret_key = os.environ["SECRET_KEY"]
here = threading.local()


def database():
    if not hasattr(here, "connection"):
        here.connection = psycopg2.connect(os.environ["DATABASE"])
    return here.connection


def set_flags(wallets):
    """Locks all of them or none."""
    with database() as commit, commit.cursor() as cursor:
        for wallet in sorted(wallets):
            cursor.execute(
                "UPDATE wallets SET locked = true WHERE wallet_id = %s AND NOT locked", (wallet,)
            )
            if cursor.rowcount != 1:
                commit.rollback()
                return False
    return True


def move(debit, credit, amount):
    """Moves the money if there is enough, and ends the flags: one commit. Else ends the flags alone."""
    with database() as commit, commit.cursor() as cursor:
        cursor.execute("SELECT balance FROM wallets WHERE wallet_id = %s", (debit,))
        balance = cursor.fetchone()[0]
        is_enough = balance >= amount
        moved = amount if is_enough else 0
        operation = None
        for wallet, change in sorted([(debit, -moved), (credit, moved)]):
            cursor.execute(
                "UPDATE wallets SET balance = balance + %s, locked = false WHERE wallet_id = %s",
                (change, wallet),
            )
        if is_enough:
            cursor.execute(
                "INSERT INTO operations (debit_wallet_id, credit_wallet_id, amount)"
                " VALUES (%s, %s, %s) RETURNING operation_id",
                (debit, credit, amount),
            )
            operation = cursor.fetchone()[0]
    return operation, balance - moved


@app.get("/ready")
def ready():
    return "ready"


@app.post("/wallet_to_wallet")
def wallet_to_wallet():
    if "wallet_id" not in session:
        return jsonify(error="not logged in"), 401
    body = request.get_json()
    debit, credit = session["wallet_id"], int(body["wallet_id"])
    amount = int(Decimal(str(body["amount"])) * 100)
    if amount <= 0 or debit == credit:
        return jsonify(error="malformed"), 400
    until = time.monotonic() + FLAG_SECONDS_MAX
    while not set_flags((debit, credit)):
        if time.monotonic() > until:
            return jsonify(error="wallet is locked"), 503
        time.sleep(random.uniform(0.001, 0.01))
    operation, balance = move(debit, credit, amount)
    if operation is None:
        return jsonify(error="insufficient funds"), 422
    return jsonify(status="OK", operation_id=operation, wallet_id=debit, balance=balance / 100)


if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[1] != "sessions":
        sys.exit(__doc__)
    signer = app.session_interface.get_signing_serializer(app)
    for number in range(1, int(sys.argv[2]) + 1):
        print(number, "session=" + signer.dumps({"wallet_id": number}))
