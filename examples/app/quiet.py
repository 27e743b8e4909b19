"""TensorFlow's notes at its start come from C++, some before anything can tell it to be silent."""

import os
import subprocess
import sys
from contextlib import contextmanager

SHOW, DROP = b"\0", b"\1"  # what ends the text
# A process of its own holds the text: it outlives an abort, as of a TensorFlow that this processor cannot run.
HOLDER = """
import os, sys
text = b""
while not text.endswith((b"\\0", b"\\1")) and (part := os.read(0, 65536)):
    text += part
if not text.endswith(b"\\1"):
    sys.stderr.buffer.write(text.rstrip(b"\\0"))
"""


@contextmanager
def quiet_start():
    """Hold back what imports in the block write to stderr; an error in it, or an abort, shows all of that.

    Where TensorFlow was imported it also looks for GPUs, as it tells of a machine that has none. From then on C++ tells
    only of what ends the process: other errors come as exceptions, and those of its graph optimiser mean nothing.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.stderr.flush()
    stderr = os.dup(2)
    holder = subprocess.Popen([sys.executable, "-IS", "-c", HOLDER], stdin=subprocess.PIPE, start_new_session=True)
    os.dup2(holder.stdin.fileno(), 2)
    end = SHOW
    try:
        yield
        if tensorflow := sys.modules.get("tensorflow"):
            tensorflow.config.list_physical_devices()
        end = DROP
    finally:
        sys.stderr.flush()
        os.write(2, end)
        holder.wait()
        holder.stdin.close()
        os.dup2(stderr, 2)
        os.close(stderr)
