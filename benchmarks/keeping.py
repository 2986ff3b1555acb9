"""Figures as they are kept, a file a benchmark and size: with machine, date and commit; and what changed."""

import importlib.metadata
import json
import os
import platform
import subprocess
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

KEPT = Path(__file__).parent / "kept" / "performance"
ROOT = Path(__file__).parents[1]
WORSE = 0.2
"""A figure that is worse by more than this share is told of."""
ENVIRONMENT = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
"""What benchmarks run with."""
PACKAGES = (
    *("numpy", "scipy", "numba", "pyarrow", "pandas", "pymongo", "scikit-learn"),
    *("implicit", "sparse_dot_topn", "SecantusDB"),
)


def machine() -> dict[str, Any]:
    """What figures depend on besides the code: processor, memory, versions, threads of BLAS."""
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "cpu": _processor(),
        "cores": os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": versions,
        "blas_threads": 1,  # as `ENVIRONMENT` has it
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    told = {line.split("\t")[0]: line.partition(": ")[2] for line in lines if ": " in line}
    vectors = "AVX-512" if "avx512f" in told.get("flags", "") else "AVX2" if "avx2" in told.get("flags", "") else ""
    return ", ".join(part for part in (told.get("model name", platform.processor()), vectors) if part)


def commit() -> str:
    """Of the code that was measured; with a plus where files of it have changed since."""
    try:
        head = _git("rev-parse", "--short", "HEAD").strip()
        return head + ("+" if _git("status", "--porcelain", "--", "features", "benchmarks/*.py").strip() else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _git(*words: str) -> str:
    return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout  # noqa: S607


def record(key: str, found: Any, *, load: float, minutes: float | None) -> dict[str, Any]:
    """What is kept of a run.

    Args:
        key: name and size.
        found: what the benchmark made, a measurement or several.
        load: how many processes wanted a core in the minute before.
        minutes: that it took, where known.
    """
    name, _, size = key.rpartition("-")
    return {
        "benchmark": name,
        "size": size,
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "commit": commit(),
        "machine": machine(),
        "load_before": round(load, 2),
        "minutes": None if minutes is None else round(minutes, 2),
        "found": found if isinstance(found, list) else [found],
    }


def write(made: Mapping[str, Any], folder: Path = KEPT) -> None:
    """Keeps a run instead of the last one."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{made['benchmark']}-{made['size']}.json").write_text(json.dumps(made, indent=1) + "\n")


def read(folder: Path = KEPT) -> dict[str, dict[str, Any]]:
    """The last run of each by name and size."""
    return {path.stem: json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))}


def largest(runs: Mapping[str, Mapping[str, Any]], name: str) -> Mapping[str, Any] | None:
    """The run of a benchmark at its largest size that was kept."""
    return next((runs[key] for size in ("L", "M", "S", "XS") if (key := f"{name}-{size}") in runs), None)


def changes(last: Mapping[str, Any] | None, made: Mapping[str, Any]) -> list[str]:
    """Lines on what differs by more than `WORSE` from the last run: worse first, better after.

    Seconds and bytes are better when lower, ratios of peers when higher. The machine's noise is more in seconds.
    """
    if last is None:
        return ["kept for the first time"]
    before, now = dict(_figures(last)), dict(_figures(made))
    lines: dict[bool, list[str]] = {True: [], False: []}
    for (name, higher), value in now.items():
        old = before.get((name, higher))
        if not old or not value:
            continue
        times = value / old if higher else old / value
        if times < 1 / (1 + WORSE) or times > 1 + WORSE:
            lines[times < 1].append(f"{'worse' if times < 1 else 'better'}: {name} {old:.4g} → {value:.4g}")
    return [*lines[True], *lines[False]] or ["as before, to a fifth"]


def _figures(made: Mapping[str, Any]) -> Iterator[tuple[tuple[str, bool], float]]:
    """Each figure's name, whether higher is better, and its value."""
    for found in made["found"]:
        for peer, ratio in found.get("ratio", {}).items():
            yield (f"{found['name']}, times {peer}", True), ratio
        if "ours" in found:
            yield (f"{found['name']}, CPU s", False), found["ours"]["cpu_s"]
        for kind, share in found.get("share", {}).items():
            yield (f"{found['name']}, share of {kind}", False), share
        for stage, one in found.get("stages", {}).items():
            yield (f"{stage}, CPU s", False), one["cpu_s"]
        if "peak_rss_bytes" in found:
            yield (f"{found['name']}, peak RSS bytes", False), found["peak_rss_bytes"]
