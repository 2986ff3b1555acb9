"""RecTools beside the others: `rectools_worker.py` in a Python of its own, asked over a pipe."""

import json
import subprocess
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any
from weakref import WeakKeyDictionary

import numpy as np
import scipy.sparse as sp

from benchmarks.quality.cases import Split
from benchmarks.quality.measure import Answer, Answering
from benchmarks.quality.peers import WEIGHT_POWER
from features.recommend.models.contract import Range

PYTHON = Path(__file__).parents[2] / ".venv-rectools" / "bin" / "python"
WORKER = Path(__file__).with_name("rectools_worker.py")

SPACES: Mapping[str, Mapping[str, Range]] = {
    "als": {
        "factors": Range(8, 256, log=True, whole=True),
        "alpha": Range(0.3, 150, log=True),
        "regularization": Range(0.01, 300, log=True),
        "iterations": Range(5, 25, whole=True),
        "with_features": Range(0, 1, whole=True),
        "together": Range(0, 1, whole=True),
        "weight_power": WEIGHT_POWER,
    },
    "svd": {"factors": Range(4, 256, log=True, whole=True), "weight_power": WEIGHT_POWER},
}


MOST_GENRES = 100
"""RecTools factorizes genres beside users, a dense row each in every pass: a search over two thousand takes hours."""


def common_genres(genres: sp.csr_matrix) -> sp.csr_matrix:
    """(tracks, n) the most common genres, in their order."""
    count = np.asarray(genres.sum(axis=0)).ravel()
    return genres[:, np.sort(np.argsort(-count, kind="stable")[:MOST_GENRES])]


def there() -> bool:
    """Whether its Python was made, whole."""
    return (PYTHON.parents[1] / ".ready").exists()


def answering(model: str) -> Answering:
    """One of RecTools' models, as the harness sees it."""

    def answer(split: Split, parameters: Mapping[str, Any]) -> Answer:
        return _worker(split).ask(model, parameters)

    return answer


class _Worker:
    """A process that holds one split."""

    def __init__(self, split: Split) -> None:
        self._folder = tempfile.TemporaryDirectory()
        folder = Path(self._folder.name)
        sp.save_npz(folder / "values.npz", split.history.weights)
        np.savez(folder / "split.npz", users=split.users, candidates=split.candidates, mask_heard=split.mask_heard)
        if split.history.catalog is not None:
            sp.save_npz(folder / "features.npz", common_genres(split.history.catalog.genres).astype(np.int8))
        self._errors = folder / "errors.txt"  # where its progress bars go, too
        with self._errors.open("w") as errors:
            self._process = subprocess.Popen(
                [PYTHON, "-P", WORKER, folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True
            )

    def ask(self, model: str, parameters: Mapping[str, Any]) -> Answer:
        """One question, its answer awaited."""
        out = Path(self._folder.name) / "lists.npy"
        to, from_ = self._pipes()
        print(json.dumps({"model": model, "parameters": dict(parameters), "out": str(out)}), file=to, flush=True)
        line = from_.readline()
        if not line:
            status, told = self._process.wait(), self._errors.read_text()[-2000:]
            raise RuntimeError(f"{WORKER.name} ended with status {status}: {told}")
        return Answer(np.load(out), json.loads(line)["fit_s"])

    def _pipes(self) -> tuple[IO[str], IO[str]]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        return self._process.stdin, self._process.stdout

    def __del__(self) -> None:
        with suppress(OSError):
            self._pipes()[0].close()
        self._process.wait()
        self._folder.cleanup()


_workers: WeakKeyDictionary[Split, _Worker] = WeakKeyDictionary()


def _worker(split: Split) -> _Worker:
    if split not in _workers:
        _workers[split] = _Worker(split)
    return _workers[split]
