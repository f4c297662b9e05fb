"""How long a test waits before it gives up: a limit ends what hangs, and a slow machine must never meet it.

``patience(5)`` is the limit for what takes 5 seconds on a quiet machine with two cores. It is 30 times
as long: such a machine under load needs three times as long, and ten times that is the margin. It grows with
what a short measurement says about this machine now.
"""

import math
import os
import time

import numpy as np

MARGIN = 30
# What `work` takes on a quiet machine with two cores.
QUIET_SECONDS = 0.1
# The measurement is made once and handed to child processes, so that pytest's workers agree.
VARIABLE = "COURSE_SLOWNESS"


def patience(seconds: float) -> int:
    """Return the limit, in seconds, for something that takes ``seconds`` on a quiet machine with two cores."""
    return math.ceil(MARGIN * slowness() * seconds)  # whole: nbclient takes no other


def slowness() -> float:
    """Return how many times slower than a quiet machine with two cores this one is now; at least 1."""
    if VARIABLE not in os.environ:
        os.environ[VARIABLE] = f"{measure():.2f}"
    return float(os.environ[VARIABLE])


def measure() -> float:
    """Compare this machine with the quiet one: its speed, the cores it may use, the programs that wait."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    start = time.perf_counter()
    work()
    slow = (time.perf_counter() - start) / QUIET_SECONDS
    # What waits for a core now may not have run during the measurement.
    waiting = os.getloadavg()[0] / cores if hasattr(os, "getloadavg") else 1
    return max(1, slow, waiting) * max(1, 2 / cores)


def work() -> None:
    """Compute for a moment: half of it Python, half NumPy, one thread."""
    total = 0
    for number in range(600_000):
        total += number * number % 7
    values = np.random.default_rng(0).random(400_000)
    for _ in range(2):
        np.sort(values)
