"""Stages tell their time and the memory that was held meanwhile, not before."""

import sys

import numpy as np
import pytest

from features.measured import Stages, peak_memory, reset_peak


def test_the_peak_of_a_stage_is_its_own():
    if not sys.platform.startswith("linux"):
        pytest.skip("the mark can be reset on Linux only")
    stages = Stages()
    with stages("large"):
        block = np.ones(40_000_000, np.int64)  # 320 MB
        del block
    with stages("small"):
        pass
    assert stages.peak_memory["large"] > stages.peak_memory["small"] + 250_000_000
    assert list(stages.timings) == ["large", "small"]


def test_a_stage_entered_twice_has_both_times_and_the_higher_peak():
    told = []
    stages = Stages(lambda what, done, total: told.append((what, done, total)))
    with stages("work"):
        block = np.ones(10_000_000, np.int64)
        del block
    first, peak = stages.timings["work"], stages.peak_memory["work"]
    with stages("work"):
        pass
    assert stages.timings["work"] >= first
    assert stages.peak_memory["work"] >= peak
    assert told == [("computing work", 0, None), ("computing work", 1, 1)] * 2


def test_memory_is_in_bytes_where_there_is_no_proc_either(monkeypatch, tmp_path):
    reset_peak()
    here = peak_memory()
    monkeypatch.setattr("features.measured.STATUS", tmp_path / "none")
    monkeypatch.setattr("features.measured.RESET", tmp_path / "gone" / "none")
    reset_peak()
    assert here / 2 < peak_memory() < 100 * here
