"""Badges per second of the real sending path against a bare thread pool that makes the same PUTs.

    python -m benchmarks.issuing [--count 5000] [--latency 0.05] [--rounds 3]

Prints one line for each way, and the ratio: the bare loop is the limit of what 64 threads and `requests` reach on this
machine at this moment. `PostgreSQL, 2 processes` starts two senders at once on the same queue.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from . import stage

READY, GO = "ready", "go"


def main() -> None:
    """Measure all ways in turn, several rounds, and print the medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=5000, help="badges in each measurement")
    parser.add_argument("--latency", type=float, default=0.05, help="seconds that the fake takes for each answer")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    bare: list[float] = []
    ways: dict[str, list[float]] = {"PostgreSQL, 1 process": [], "PostgreSQL, 2 processes": [], "SQLite, 1 process": []}
    with stage.sandbox(latency=options.latency) as info:
        for _round in range(options.rounds):
            bare.append(_child(["bare", info["navigatr_url"], info["pat"], str(options.count)], {}))
            for way, rates in ways.items():
                database = "sqlite" if way.startswith("SQLite") else "postgres"
                with stage.environment(database, info) as variables:
                    stage.connect(variables, info)
                    stage.run(
                        [sys.executable, "-m", "benchmarks.issuing_child", "queue", str(options.count)], variables
                    )
                    rates.append(_together(2 if "2" in way else 1, options.count, variables))
    limit = statistics.median(bare)
    print(f"{options.count} badges, {options.latency * 1000:.0f} ms for each answer, median of {options.rounds} rounds")
    print(f"{'bare thread pool, requests':28} {limit:7.0f}/s  1.00")
    for way, rates in ways.items():
        rate = statistics.median(rates)
        print(f"{way:28} {rate:7.0f}/s  {rate / limit:.2f}")


def _child(arguments: list[str], variables: dict[str, str]) -> float:
    """Run one measurement in a process of its own; returns badges per second."""
    command = [sys.executable, "-m", "benchmarks.issuing_child", *arguments]
    done = subprocess.run(command, env=variables or None, check=True, stdout=subprocess.PIPE, text=True)
    result = json.loads(done.stdout)
    return float(result["count"] / result["seconds"])


def _together(processes: int, count: int, variables: dict[str, str]) -> float:
    """Let so many senders loose on the same queue at the same moment; returns badges per second of them all."""
    command = [sys.executable, "-m", "benchmarks.issuing_child", "send"]
    senders = [
        subprocess.Popen(command, env=variables, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _number in range(processes)
    ]
    for sender in senders:
        assert sender.stdout is not None
        assert sender.stdout.readline().strip() == READY
    started = time.monotonic()
    results: list[Any] = []
    for sender in senders:
        assert sender.stdin is not None
        sender.stdin.write(f"{GO}\n")
        sender.stdin.flush()
    with ThreadPoolExecutor(processes) as pool:
        results = list(pool.map(lambda sender: json.loads(sender.communicate()[0]), senders))
    seconds = max(result["ended"] for result in results) - started
    issued = sum(result["issued"] for result in results)
    assert issued == count, f"{issued} of {count} issued"
    return float(count / seconds)


if __name__ == "__main__":
    main()
