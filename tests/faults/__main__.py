"""Runs the points and writes their table: `python -m faults --points 300 --seed 1`."""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from faults.run import Row

PREFECT_START_S = 180.0


def main() -> int:
    """Returns the exit status: 0 when every point held, 1 when one did not."""
    options = _options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that no server is left behind
    with ExitStack() as stack:
        scratch = Path(options.scratch or stack.enter_context(tempfile.TemporaryDirectory(prefix="faults-")))
        stack.enter_context(_prefect(scratch))  # first: Prefect reads the environment when it is imported
        rows = _run(scratch, options)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "faults.json").write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")
    (options.out / "faults.md").write_text(_markdown(rows, options.seed))
    held = sum(row.passed for row in rows)
    left_out = sum(row.outcome.startswith("left out") for row in rows)
    _say(f"{held} of {len(rows)} points held, {left_out} of them left out; the table is {options.out / 'faults.md'}")
    return 0 if held == len(rows) else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="faults", description=__doc__)
    parser.add_argument("--points", type=int, default=30)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--side-by-side", type=int, default=2, help="points at a time, each with a server of its own")
    parser.add_argument("--only", default="", help="a text in the names of the faults to run")
    parser.add_argument("--point", type=int, action="append", help="only this point of the plan; repeatable")
    parser.add_argument("--out", type=Path, default=Path("data/faults"), help="where faults.json and faults.md go")
    parser.add_argument("--scratch", type=Path, help="a folder to work in; failed points' folders stay in it")
    return parser.parse_args()


def _run(scratch: Path, options: argparse.Namespace) -> list["Row"]:
    from faults import points, run, world

    base = world.make_base(scratch / "base", datetime.now(UTC).replace(microsecond=0))
    expected = run.expect(base, scratch)
    night = expected.night
    _say(f"an undisturbed night takes {night.seconds:.1f} s and has {len(night.moments)} moments")
    chosen = [
        point
        for point in points.plan(options.points, options.seed, night.moments)
        if options.only in point.kind.name and (not options.point or point.number in options.point)
    ]
    rows: list[Row] = []
    pool = ThreadPoolExecutor(options.side_by_side)
    try:
        for done in as_completed([pool.submit(run.run_point, point, base, expected, scratch) for point in chosen]):
            rows.append(row := done.result())
            verdict = "held" if row.passed else "FAILED: " + "; ".join(row.problems)
            what = f"{row.fault} ({row.moment}): {row.outcome}: {verdict}"
            _say(f"{len(rows):3d}/{len(chosen)} point {row.point:3d} {row.seconds:5.1f} s  {what}")
    finally:
        pool.shutdown(cancel_futures=True)
    return sorted(rows, key=lambda row: row.point)


@contextmanager
def _prefect(scratch: Path) -> Iterator[None]:
    """One Prefect server for all jobs, with a home of its own; each would start and leave one otherwise."""
    from faults.server import free_port

    port = free_port()
    os.environ |= {
        "PREFECT_HOME": str(scratch / "prefect"),
        "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "PREFECT_LOGGING_LEVEL": "CRITICAL",
    }
    words = [Path(sys.executable).parent / "prefect", "server", "start", "--host", "127.0.0.1", "--port", port]
    scratch.mkdir(parents=True, exist_ok=True)
    with (scratch / "prefect.log").open("wb") as log:
        server = subprocess.Popen([*map(str, words), "--no-ui", "--no-services"], stdout=log, stderr=log)
    try:
        _wait_for_prefect(server, port)
        yield
    finally:
        server.terminate()
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            server.kill()


def _wait_for_prefect(server: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + PREFECT_START_S
    while server.poll() is None and time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/health", timeout=2):
                return
        except OSError:
            time.sleep(0.2)
    raise RuntimeError("Prefect's server does not start; see prefect.log in the folder that --scratch names")


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _markdown(rows: Sequence["Row"], seed: int) -> str:
    held = sum(row.passed for row in rows)
    lines = [f"# {held} of {len(rows)} points held, seed {seed}", "", "| fault | points | held | seconds a point |"]
    lines.append("|---|---|---|---|")
    kinds: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        kinds[row.fault].append(row)
    for fault, group in sorted(kinds.items()):
        seconds = sum(row.seconds for row in group) / len(group)
        lines.append(f"| {fault} | {len(group)} | {sum(row.passed for row in group)} | {seconds:.1f} |")
    lines += [
        "",
        "| point | fault | moment | outcome of the run | looks | verdict | s |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        verdict = "held" if row.passed else "**failed**: " + "; ".join(row.problems)
        cells = (row.point, row.fault, row.moment, row.outcome, row.observations, verdict, row.seconds)
        lines.append("| " + " | ".join(str(cell).replace("|", "/").replace("\n", " ") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
