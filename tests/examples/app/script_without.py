"""Run a script where some modules cannot be imported: script_without.py NAME,NAME SCRIPT [ARGUMENT ...]."""

import runpy
import sys
from pathlib import Path

names, *sys.argv = sys.argv[1:]
sys.modules |= dict.fromkeys(names.split(","))
sys.path.insert(0, str(Path(sys.argv[0]).parent))
runpy.run_path(sys.argv[0], run_name="__main__")
