"""32 clients that guess passwords as fast as they are answered, each from an address of its own.

Usage: python tests/hostile/guessers.py PORT SECONDS. Prints how often each status came, as JSON.
"""

import http.client
import json
import os
import re
import sys
import threading
import time
from collections import Counter
from urllib.parse import urlencode

CLIENTS = 32


def guess(port: int, number: int, until: float, statuses: Counter[int]) -> None:
    """Sign in under a new name each time: no account is locked, so that each guess would be hashed."""
    # All of 127.0.0.0/8 is this machine.
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30, source_address=(f"127.0.1.{number + 1}", 0))
    connection.request("GET", "/sign-in/")
    page = connection.getresponse()
    cookie = (page.getheader("Set-Cookie") or "").split(";")[0]
    token = re.findall(r'name="csrfmiddlewaretoken" value="([^"]+)"', page.read().decode())[0]
    headers = {"Cookie": cookie, "Content-Type": "application/x-www-form-urlencoded"}
    attempt = 0
    while time.monotonic() < until:
        attempt += 1
        form = {"csrfmiddlewaretoken": token, "login": f"name {number} {attempt}", "password": "a wrong password"}
        try:
            connection.request("POST", "/sign-in/", urlencode(form), headers)
            answer = connection.getresponse()
            answer.read()
        except (OSError, http.client.HTTPException):
            # The server has closed an idle connection.
            connection.close()
            continue
        statuses[answer.status] += 1


def main() -> None:
    """Guess, then tell."""
    port, seconds = int(sys.argv[1]), float(sys.argv[2])
    # They stand for other machines, and should not take this one's processors from the portal.
    os.nice(10)
    statuses: Counter[int] = Counter()
    until = time.monotonic() + seconds
    threads = [threading.Thread(target=guess, args=(port, number, until, statuses)) for number in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(json.dumps(statuses))


if __name__ == "__main__":
    main()
