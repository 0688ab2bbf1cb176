"""Times that other processes did not disturb."""

from __future__ import annotations

import time

import psutil
import torch

FOREIGN_LIMIT = 0.06  # share of the machine that other processes may use during a sample


class Clock:
    """Times calls; knows how much of the machine somebody else used meanwhile."""

    def __init__(self, device: str, retries: int) -> None:
        self.device, self.retries, self.disturbed = device, retries, 0

    def sample(self, call) -> float:
        """Milliseconds of one call."""
        for attempt in range(self.retries + 1):
            busy, own = _cpu_times()
            started = time.perf_counter()
            call()
            if self.device == "cuda":
                torch.cuda.synchronize()
            elapsed = time.perf_counter() - started
            busy_after, own_after = _cpu_times()
            foreign = (busy_after - busy - own_after + own) / (elapsed * psutil.cpu_count())
            if foreign <= FOREIGN_LIMIT:
                break
            if attempt == self.retries:
                self.disturbed += 1
        return elapsed * 1e3


def _cpu_times() -> tuple[float, float]:
    """Seconds of CPU used by the machine and by this process."""
    times = psutil.cpu_times()
    own = psutil.Process().cpu_times()
    return sum(times) - times.idle - getattr(times, "iowait", 0.0), own.user + own.system
