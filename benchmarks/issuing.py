"""Badges per second of the portal, compared with a bare thread pool that makes the same PUTs.

    python -m benchmarks.issuing [--count 5000] [--latency 0.05] [--rounds 3]
    python -m benchmarks.issuing --table

The bare thread pool is what 64 threads with `requests` reach on this machine. With two processes, two senders work on
the same queue. `--table` measures PostgreSQL with one process and two, with answers that take 0, 50 and 200 ms.
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

# What a sender prints when it is ready, and what starts it.
READY, GO = "ready", "go"
# The ways that are measured.
ONE, TWO, SQLITE = "PostgreSQL, 1 process", "PostgreSQL, 2 processes", "SQLite, 1 process"
# Seconds of an answer in the table.
LATENCIES = [0, 0.05, 0.2]


def main() -> None:
    """Measure and print the medians of several rounds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=5000, help="badges in each measurement")
    parser.add_argument("--latency", type=float, default=0.05, help="seconds that the sandbox takes for each answer")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--table", action="store_true", help="0, 50 and 200 ms, with one process and two")
    options = parser.parse_args()
    print(f"{options.count} badges, median of {options.rounds} rounds")
    if options.table:
        print(f"{'an answer takes':>15} {'bare thread pool':>17} {'1 process':>18} {'2 processes':>18}")
        for latency in LATENCIES:
            limit, rates = _measure([ONE, TWO], latency, options.count, options.rounds)
            row = "".join(f"{rates[way]:10.0f}/s  {rates[way] / limit:.2f}" for way in (ONE, TWO))
            print(f"{latency * 1000:12.0f} ms {limit:15.0f}/s {row}", flush=True)
        return
    limit, rates = _measure([ONE, TWO, SQLITE], options.latency, options.count, options.rounds)
    print(f"{options.latency * 1000:.0f} ms for each answer")
    print(f"{'bare thread pool, requests':28} {limit:7.0f}/s  1.00")
    for way, rate in rates.items():
        print(f"{way:28} {rate:7.0f}/s  {rate / limit:.2f}")


def _measure(ways: list[str], latency: float, count: int, rounds: int) -> tuple[float, dict[str, float]]:
    """Badges per second of the bare thread pool and of each way, as medians of `rounds`."""
    bare: list[float] = []
    rates: dict[str, list[float]] = {way: [] for way in ways}
    with stage.sandbox(latency=latency) as info:
        for _round in range(rounds):
            bare.append(_child(["bare", info["navigatr_url"], info["pat"], str(count)], {}))
            for way in ways:
                with stage.environment("sqlite" if way == SQLITE else "postgres", info) as variables:
                    stage.connect(variables, info)
                    stage.run([sys.executable, "-m", "benchmarks.issuing_child", "queue", str(count)], variables)
                    rates[way].append(_send(2 if way == TWO else 1, count, variables))
    return statistics.median(bare), {way: statistics.median(measured) for way, measured in rates.items()}


def _child(arguments: list[str], variables: dict[str, str]) -> float:
    """Run a measurement in its own process; return badges per second."""
    command = [sys.executable, "-m", "benchmarks.issuing_child", *arguments]
    process = subprocess.run(command, env=variables or None, check=True, stdout=subprocess.PIPE, text=True)
    result = json.loads(process.stdout)
    return float(result["count"] / result["seconds"])


def _send(processes: int, count: int, variables: dict[str, str]) -> float:
    """Start `processes` senders on the same queue at the same time; return their badges per second in total."""
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
