#!/usr/bin/env python3
"""Runs the public reference implementation of MLRsearch on simulated systems and records every trial.

    pip install MLRsearch==1.2.1
    python3 record.py > trials.json

tests/mlrsearch.rs feeds the trials to ctbench's search and expects the same bounds after each, and lets ctbench's own
search loose on the same simulated systems. Everything here is seeded: the output is the same each time.
"""

import json
import math
import random
from dataclasses import dataclass, field

from MLRsearch import (
    AbstractMeasurer,
    Config,
    MeasurementResult,
    MultipleLossRatioSearch,
    SearchGoal,
)

MIN, MAX = 10_000.0, 10_000_000.0


@dataclass
class System:
    """A system under test. Trial number n at a load lasts so long; how many packets does it lose?"""

    capacity: float = 2_345_678.0  # Packets a second.
    queue: int = 0  # Packets that wait instead of being lost.
    leak_from: float = 0.0  # From this load on up to the capacity, losses grow ...
    leak: float = 0.0  # ... to this share.
    band: list = field(default_factory=lambda: [0.0, 0.0, 0.0])  # From, to: this share more.
    noise: list = field(default_factory=lambda: [1.0])  # Multiples of the capacity, trial by trial, round and round.
    stalls: list = field(default_factory=lambda: [0.0])  # Lost shares, likewise.

    def lost(self, load, seconds, n):
        offered = math.floor(load * seconds)
        handled = self.capacity * self.noise[n % len(self.noise)] * seconds
        excess = max(0, math.floor(offered - handled) - self.queue)
        share = self.stalls[n % len(self.stalls)]
        if self.leak > 0.0 and load > self.leak_from:
            share += self.leak * min(1.0, (load - self.leak_from) / (self.capacity - self.leak_from))
        if self.band[0] <= load < self.band[1]:
            share += self.band[2]
        return offered, min(offered, excess + math.floor(offered * share))


class Measurer(AbstractMeasurer):
    def __init__(self, system, overhead):
        self.system, self.overhead, self.trials = system, overhead, []

    def measure(self, intended_duration, intended_load):
        offered, lost = self.system.lost(intended_load, intended_duration, len(self.trials))
        lasted = intended_duration * self.overhead
        self.trials.append([intended_load, intended_duration, lasted, offered, lost])
        return MeasurementResult(
            intended_duration=intended_duration,
            intended_load=intended_load,
            offered_count=offered,
            loss_count=lost,
            duration_with_overheads=lasted,
        )


class Recorded(MultipleLossRatioSearch):
    """Notes the relevant bounds of every goal after every trial."""

    def measure(self, duration, load):
        result = super().measure(duration, load)
        bounds = []
        for goal in self.config.goals:
            found = self.database.get_relevant_bounds(self.scaling.goal_to_final_target[goal])
            bounds.append([float(bound) if bound else None for bound in (found.clo, found.chi)])
        self.measurer.trials[-1].append(bounds)
        return result


def goals(width=0.005, **more):
    """No loss, and half a percent."""
    return [SearchGoal(loss_ratio=ratio, relative_width=width, fail_fast=False, **more) for ratio in (0.0, 0.005)]


def record(name, system, goals, overhead=1.0):
    config = Config()
    config.max_load, config.min_load = MAX, MIN
    config.goals, config.search_duration_max = goals, 1e9
    config.warmup_duration = 0.0
    measurer = Measurer(system, overhead)
    results = Recorded(config).search(measurer)
    attributes = "loss_ratio exceed_ratio relative_width initial_trial_duration final_trial_duration duration_sum preceding_targets"
    return {
        "name": name,
        "system": vars(system),
        "overhead": overhead,
        "min": MIN,
        "max": MAX,
        "goals": [{name: getattr(goal, name) for name in attributes.split()} for goal in goals],
        "results": [
            {
                "lower": float(r.relevant_lower_bound) if r.relevant_lower_bound else None,
                "upper": float(r.relevant_upper_bound) if r.relevant_upper_bound else None,
                "conditional_throughput": float(r.conditional_throughput) if r.relevant_lower_bound else None,
            }
            for r in (results[goal] for goal in goals)
        ],
        "trials": measurer.trials,
    }


def main():
    draw = random.Random(7)

    def noise(share):
        return [round(1.0 + draw.uniform(-share, share), 6) for _ in range(97)]

    def stalls(often, most):
        return [round(draw.uniform(0.0, most), 6) if draw.random() < often else 0.0 for _ in range(89)]

    one_long_trial = goals(exceed_ratio=0.0, initial_trial_duration=1.0, final_trial_duration=30.0, duration_sum=30.0)
    growing = goals(width=0.01, initial_trial_duration=0.5, final_trial_duration=3.0, duration_sum=15.0)
    cases = [
        record("a hard edge", System(), goals()),
        record("losses that grow", System(leak_from=1e6, leak=0.01), goals()),
        record("a queue that hides short overload", System(queue=40_000), growing),
        record("one long trial a load, as RFC 2544", System(leak_from=2e6, leak=0.02), one_long_trial),
        record("more than the highest load", System(capacity=2e7), goals()),
        record("less than the lowest load", System(capacity=9_000.0), goals()),
        record("losses below the highest good load", System(band=[2.0e6, 2.345e6, 0.02]), goals()),
        record("a noisy capacity", System(noise=noise(0.05)), goals()),
        record("a noisy capacity, long trials", System(noise=noise(0.02), queue=10_000), growing),
        record("stalls in a third of the trials", System(stalls=stalls(0.33, 0.02)), goals()),
        record("trials that take longer than asked", System(noise=noise(0.01)), goals(width=0.02), overhead=1.37),
        record("stalls, none allowed", System(stalls=stalls(0.02, 0.02)), one_long_trial),
    ]
    lines = [json.dumps(case, separators=(",", ":")).replace('"trials":[[', '"trials":[\n[').replace("]]],[", "]]],\n[") for case in cases]
    print("[" + ",\n".join(lines) + "]")


if __name__ == "__main__":
    main()
