"""A worker that sums integers; its misbehaviour is chosen by the task."""

from __future__ import annotations

import os
import signal
import time

import numpy as np

from relion_mpi.core.errors import InputError


class SummingWorker:
    def __init__(self, rank=0):
        self.rank = rank
        self.log = []

    def begin(self, message, arrays):
        self.weights = arrays["weights"]
        self.scale = message["scale"]
        self.total = np.zeros(self.weights.shape, dtype=np.float32)
        self.count = np.zeros((), dtype=np.int32)
        if message.get("stop") == self.rank:
            os.kill(os.getpid(), signal.SIGSTOP)

    def prepare(self, task):
        self.log.append(("prepare", task, time.monotonic()))
        if task == "fail in prepare":
            raise RuntimeError("the stack has no image 7")
        if task == "slow to prepare":
            time.sleep(30)
        return -1 if isinstance(task, str) else 2 * task

    def work(self, task, prepared):
        self.log.append(("work", task, time.monotonic()))
        if task == "fail in work":
            raise RuntimeError("particle 12 has no weight")
        if task == "input error in work":
            raise InputError("particles.star: row 3: found nan, expected a defocus")
        if task == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if task == "stop":
            os.kill(os.getpid(), signal.SIGSTOP)
        if task == "work hard":
            end = time.monotonic() + 4
            while time.monotonic() < end:
                sum(range(1000))
        if task == "sleep":
            time.sleep(30)
            return None
        if isinstance(task, str):
            return self.rank
        self.total += self.weights * task * self.scale
        self.count += 1
        return prepared + 1

    def sums(self):
        return [self.total.ravel(), self.count]

    def counts(self):
        return {"log_lines": len(self.log)}
