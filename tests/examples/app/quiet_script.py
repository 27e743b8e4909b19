"""A start as that of the scripts, which goes as the argument says."""

import os
import signal
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3] / "examples"))
from app.quiet import quiet_start

how = sys.argv[1]
with quiet_start():
    os.write(2, b"from C++\n")
    print("from Python", file=sys.stderr)
    if how == "child":
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])  # has this stderr, too
    if how == "import":
        import not_there  # noqa: F401
    if how == "abort":
        sys.stderr.flush()
        os.abort()
    if how == "interrupt":
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job's shell has it ignored
        os.kill(os.getpid(), signal.SIGINT)
    if how == "tensorflow":
        import tensorflow as tf
print("after the block", file=sys.stderr, flush=True)
if how == "tensorflow":
    tf.config.list_physical_devices()
if how == "child":
    child.kill()
