import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("quiet_script.py")


def start(how):
    """Exit status and stderr."""
    done = subprocess.run([sys.executable, SCRIPT, how], capture_output=True, text=True, timeout=120)
    return done.returncode, done.stderr


@pytest.mark.parametrize("how", ["fine", "child"])
def test_what_a_start_writes_does_not_reach_the_user_and_what_comes_after_it_does(how):
    assert start(how) == (0, "after the block\n")


def test_an_import_that_fails_is_shown_whole():
    status, text = start("import")
    assert status == 1
    lines = text.splitlines()
    assert lines[:2] == ["from C++", "from Python"]
    assert lines[2].startswith("Traceback") and lines[-1] == "ModuleNotFoundError: No module named 'not_there'"


def test_the_last_words_of_an_abort_are_shown():
    status, text = start("abort")
    assert status < 0 and text.splitlines()[:2] == ["from C++", "from Python"]


def test_an_interruption_is_one():
    status, text = start("interrupt")
    assert status < 0 and text.splitlines()[-1] == "KeyboardInterrupt"


def test_tensorflow_starts_silently_and_has_looked_for_gpus():
    pytest.importorskip("tensorflow")
    assert start("tensorflow") == (0, "after the block\n")
