"""Wallets that exist, amounts that they have, and keys that are new. Made-up numbers hardly ever
meet one, and a made-up key is mostly `0`: then no money moves. What the description forbids stays as
it is, and so does about every third amount and key."""

import itertools
import re

import schemathesis

ID_MAX = 2**53 - 1
AMOUNT_MAX = 10**15 - 1
# Of the people of the script, one who does not send.
RECEIVER = 3
NUMBERS = itertools.count()


@schemathesis.hook
def map_body(context, body):
    if isinstance(body, dict):
        wallet, amount = body.get("wallet_id"), body.get("amount")
        if type(wallet) is int and 1 <= wallet <= ID_MAX:
            body["wallet_id"] = RECEIVER
        if type(amount) in (int, float) and 0 < amount <= AMOUNT_MAX and int(amount) % 3:
            body["amount"] = int(amount) % 100 + 0.5
        if type(amount) is str and len(amount) % 3 and re.fullmatch("[1-9][0-9]*", amount):
            body["amount"] = amount[:3] + ".50"
    return body


@schemathesis.hook
def map_headers(context, headers):
    key = (headers or {}).get("Idempotency-Key")
    if type(key) is str and re.fullmatch("[!-~]{1,200}", key) and next(NUMBERS) % 3:
        headers["Idempotency-Key"] = f"{key}-{next(NUMBERS)}"
    return headers
