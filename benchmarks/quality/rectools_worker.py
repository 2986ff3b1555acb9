"""RecTools in a Python of its own: it needs an older numpy and pandas than we do, so it is asked over a pipe.

`python rectools_worker.py FOLDER` reads a split out of the folder, then a line of JSON a question from its input:
`{"model": …, "parameters": {…}, "out": path}`. It writes the lists to that path and answers with a line,
`{"fit_s": …}`. It imports nothing of this repository.
"""

import json
import os
import sys
import time
import warnings
from pathlib import Path

os.environ.update({"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "TQDM_DISABLE": "1"})
warnings.filterwarnings("ignore")

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
import scipy.sparse as sp  # noqa: E402
from implicit.als import AlternatingLeastSquares  # noqa: E402
from rectools import Columns  # noqa: E402
from rectools.dataset import Dataset  # noqa: E402
from rectools.models import EASEModel, ImplicitALSWrapperModel, PureSVDModel  # noqa: E402


def main() -> None:
    """Answers until its input ends."""
    folder = Path(sys.argv[1])
    split = np.load(folder / "split.npz", allow_pickle=False)
    values = sp.load_npz(folder / "values.npz")
    features = sp.load_npz(folder / "features.npz") if (folder / "features.npz").exists() else None
    datasets: dict[tuple[float, bool], Dataset] = {}
    for line in sys.stdin:
        asked = json.loads(line)
        given = asked["parameters"]
        key = (given.pop("weight_power", 0.0), bool(given.pop("with_features", False)) and features is not None)
        if key not in datasets:
            datasets.clear()  # one at a time: a dataset is some hundred megabytes
            datasets[key] = dataset(values, key[0], features if key[1] else None)
        begin = time.process_time()
        model = MODELS[asked["model"]](given).fit(datasets[key])
        fit_s = time.process_time() - begin
        np.save(asked["out"], lists(model, datasets[key], split))
        print(json.dumps({"fit_s": fit_s}), flush=True)


def als(given: dict) -> ImplicitALSWrapperModel:
    """Alternating least squares, of the library implicit; with features where the dataset has them."""
    together = bool(given.pop("together", 0))
    model = AlternatingLeastSquares(num_threads=1, random_state=0, use_gpu=False, **given)
    return ImplicitALSWrapperModel(model, fit_features_together=together)


MODELS = {
    "als": als,
    "ease": lambda given: EASEModel(**given),
    "svd": lambda given: PureSVDModel(random_state=0, **given),
}


def dataset(values: sp.csr_matrix, power: float, features: sp.csr_matrix | None) -> Dataset:
    """The split as RecTools wants it; a row of `features` is a track's."""
    pairs = values.tocoo()
    interactions = pd.DataFrame(
        {
            Columns.User: pairs.row,
            Columns.Item: pairs.col,
            Columns.Weight: (pairs.data / pairs.data.mean()) ** power,
            Columns.Datetime: pd.Timestamp("2026-01-01"),
        }
    )
    if features is None:
        return Dataset.construct(interactions)
    known = features.tocoo()
    known_items = np.isin(known.row, interactions[Columns.Item].unique())
    frame = pd.DataFrame({"id": known.row[known_items], "feature": "word", "value": known.col[known_items]})
    return Dataset.construct(interactions, item_features_df=frame, cat_item_features=["word"])


def lists(model: object, data: Dataset, split: np.lib.npyio.NpzFile) -> np.ndarray:
    """(users asked, 100) int32: the model's own lists; -1 for an empty slot."""
    allowed = np.intersect1d(np.flatnonzero(split["candidates"]), data.item_id_map.external_ids)
    found = np.full((len(split["users"]), 100), -1, np.int32)
    if not len(allowed):
        return found
    recommended = model.recommend(
        split["users"], data, k=100, filter_viewed=bool(split["mask_heard"]), items_to_recommend=allowed
    )
    row = np.searchsorted(split["users"], recommended[Columns.User])
    found[row, recommended[Columns.Rank].to_numpy() - 1] = recommended[Columns.Item]
    return found


if __name__ == "__main__":
    main()
