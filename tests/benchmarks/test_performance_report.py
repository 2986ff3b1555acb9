"""What benchmarks keep, how it is held against the last and against the figures to reach, and the page made of it."""

import json

import pytest

from benchmarks import keeping
from benchmarks.catalogue import ENTRIES, chosen
from benchmarks.measuring import Seconds, comparison, in_turns
from benchmarks.report import PAGE, TITLES, made_of, page
from benchmarks.targets import TARGETS, goals, verdict


def run_of(key, found):
    name, _, size = key.rpartition("-")
    machine = {"cpu": "x", "cores": 2, "memory_gb": 8, "system": "Linux", "python": "3.11", "versions": {}}
    return {
        "benchmark": name,
        "size": size,
        "date": "2026-11-01",
        "commit": "abc",
        "machine": machine | {"blas_threads": 1},
        "load_before": 0.5,
        "minutes": 2.0,
        "found": found,
    }


def beside(name, **ratio):
    seconds = {who: [Seconds(times, times)] for who, times in {"ours": 1.0, **ratio}.items()}
    return comparison(name, f"{name} of something", seconds, peak=10**9)


def test_the_page_in_the_repository_is_what_the_kept_figures_make():
    assert PAGE.read_text() == made_of(keeping.read())


def test_the_page_names_no_folder_of_a_machine():
    text = PAGE.read_text()
    assert not any(root in text for root in ("/tmp", "/home", "/work", "/root", "/var"))


def test_every_kept_file_is_a_benchmark_of_the_catalogue():
    assert set(keeping.read()) <= {entry.key for entry in ENTRIES}
    assert {entry.name for entry in ENTRIES} == set(TITLES)


def test_every_figure_to_reach_names_runs_of_the_catalogue():
    assert {key for target in TARGETS for key in target.runs} <= {entry.key for entry in ENTRIES}


def test_a_ratio_is_the_median_of_the_rounds_own():
    ours, its = [Seconds(s, s) for s in (1.0, 2.0, 4.0)], [Seconds(s, s) for s in (3.0, 4.0, 20.0)]
    made = comparison("x", "x", {"ours": ours, "peer": its})
    assert made["ratio"] == {"peer": 3.0}  # of 3, 2 and 5; that of the medians is 2
    assert made["ours"]["cpu_s"] == 2.0


def test_works_take_turns_and_samples_are_scaled():
    order = []
    turns = in_turns({"ours": lambda: order.append("a"), "peer": lambda: order.append("b")}, 2, {"peer": 1e6})
    assert order == ["a", "b", "a", "b"]
    assert all(peer.wall_s > ours.wall_s for ours, peer in zip(turns.spent["ours"], turns.spent["peer"], strict=True))


def test_what_is_worse_by_more_than_a_fifth_is_told_first():
    last = run_of("pairs-M", [beside("pair_sums", scipy=3.0, pandas=12.0)])
    made = run_of("pairs-M", [beside("pair_sums", scipy=2.0, pandas=15.0)])
    lines = keeping.changes(last, made)
    assert lines == [
        "worse: pair_sums, times scipy 3 → 2",
        "better: pair_sums, times pandas 12 → 15",
    ]
    assert keeping.changes(last, last) == ["as before, to a fifth"]


@pytest.mark.parametrize(("ratio", "said"), [(3.0, "met"), (2.99, "short")])
def test_a_figure_is_met_from_the_one_to_reach_on(ratio, said, tmp_path):
    found = beside("pair_sums", **{"scipy COO→CSR, sums alone": ratio})
    first = goals({"pairs-M": run_of("pairs-M", [found])}, tmp_path)[0]
    assert verdict(first) == said
    assert first.value == f"{ratio:g}×"


def test_a_figure_of_a_smaller_size_is_shown_and_answers_nothing(tmp_path):
    found = beside("pair_sums", **{"scipy COO→CSR, sums alone": 9.0})
    first = goals({"pairs-S": run_of("pairs-S", [found])}, tmp_path)[0]
    assert (first.value, verdict(first)) == ("9×", "a smaller size")
    assert verdict(goals({}, tmp_path)[0]) == ""


def test_shares_are_met_below_the_one_to_reach(tmp_path):
    runs = {"nights-M": run_of("nights-M", [{"name": "second_read", "share": {"cpu_s": 0.08}}])}
    goal = next(goal for goal in goals(runs, tmp_path) if "first night's read" in goal.peer)
    assert (goal.value, verdict(goal)) == ("8 %", "met")


def test_ranking_is_met_where_the_difference_is_above_nothing(tmp_path):
    models = {"ours": {"ndcg100": 0.3}, "EASE": {"ndcg100": 0.31}}
    case = {"title": "x", "models": models, "ours": "ours", "best_peer": "EASE", "difference": -0.01}
    (tmp_path / "x.json").write_text(json.dumps(case | {"difference_interval": [-0.02, 0.0]}))
    assert verdict(goals({}, tmp_path)[-1]) == "short"


def test_names_choose_benchmarks_and_a_size_chooses_itself():
    assert [entry.key for entry in chosen(["overlaps"], quick=True)] == ["overlaps-S"]
    assert [entry.key for entry in chosen(["overlaps"], quick=False)] == ["overlaps-M", "overlaps-L"]
    assert [entry.key for entry in chosen(["overlaps-L", "top_n"], quick=True)] == ["overlaps-L", "top_n-S"]
    assert all(entry.quick for entry in chosen([], quick=True))
    assert "whole_night-L" not in {entry.key for entry in chosen([], quick=False)}
    with pytest.raises(ValueError, match="no benchmark 'overlap'"):
        chosen(["overlap"], quick=True)


def test_the_page_has_a_table_a_measurement_and_tells_the_stages_of_a_night():
    stages = {"interactions": {"wall_s": 1.5, "cpu_s": 2.0, "peak_rss_bytes": 2_500_000_000}}
    night = {"name": "S", "counts": {"users": 10, "tracks": 20, "plays": 30}, "stages": stages}
    runs = {
        "pairs-S": run_of("pairs-S", [beside("pair_sums", pandas=12.0)]),
        "whole_night-S": run_of("whole_night-S", [night]),
    }
    text = page(runs, [], "Nothing is.")
    assert "| pandas | 12.0 | 12.0 | 12.0 |" in text
    assert "| interactions | 1.50 | 2.00 | 2.50 |" in text
    assert "## What is short, and why\n\nNothing is.\n" in text
