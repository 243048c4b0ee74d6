"""`python -m tests.chaos`: one run. Exit 0 when nothing was lost, nothing doubled and no audit row is missing."""

import argparse
import random
import signal
import sys
from pathlib import Path

from .driver import run
from .plan import FULL, Plan


def main() -> int:
    """Run with the given seed, or with one that is made up and printed."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--completions", type=int, default=FULL, help=f"how many ({FULL})")
    parser.add_argument("--seed", type=int, help="repeats a run's plan (made up and printed when left out)")
    parser.add_argument("--logs", type=Path, help="a folder to keep the programs' output in")
    options = parser.parse_args()
    seed = random.SystemRandom().randrange(10**6) if options.seed is None else options.seed
    # Stopped from outside it tidies up like after Ctrl-C.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    return run(Plan.of_size(seed, options.completions), logs=options.logs)


if __name__ == "__main__":
    sys.exit(main())
