"""Who works on shards, as it is asked for on the command line."""

import sys

import pytest
from commands import echotune


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--dask-address", "tcp://127.0.0.1:8786"], "--dask-address is where --runner dask finds its cluster"),
        (["--runner", "dask", "--dask-address", "127.0.0.1"], "--dask-address 127.0.0.1 is no address; write tcp://"),
        (["--runner", "ray"], "'ray' is not one of 'local', 'dask'"),
    ],
)
def test_what_can_not_be_meant_is_refused_in_one_line_before_anything_is_started(settings, words, line):
    status, out, err = echotune("nightly", *words)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert line in err
    assert not settings.echotune_home.exists()


def test_without_dask_a_line_says_what_to_install(settings, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    status, out, err = echotune("nightly", "--runner", "dask")
    assert (status, out) == (2, "")
    assert err == (
        "error: --runner dask needs Dask, which is not installed; run `pip install 'echotune-features[dask]'`\n"
    )
