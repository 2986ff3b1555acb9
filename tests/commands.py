"""`echotune` within the test's process, without the seconds that the start of a process takes."""

import sys
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO

import pytest

from features.settings import get_settings
from flows import cli


def echotune(*words: object) -> tuple[int, str, str]:
    """Runs the command in the environment as it is; returns its status and what it wrote to each of its outputs."""
    out, err = StringIO(), StringIO()
    status = 0
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.setattr(sys, "argv", ["echotune", *map(str, words)])
        get_settings.cache_clear()
        try:
            cli.main()
        except SystemExit as end:
            status = int(end.code or 0)
    return status, out.getvalue(), err.getvalue()
