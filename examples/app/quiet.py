"""TensorFlow's notes at its start come from C++, some before anything can tell it to be silent."""

import os
import sys
import tempfile
from contextlib import contextmanager


@contextmanager
def quiet_start():
    """Hold back what imports in the block write to stderr; an error in it shows all of that."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    sys.stderr.flush()
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            held.seek(0)
            os.write(stderr, held.read())
            raise
        finally:
            sys.stderr.flush()
            os.dup2(stderr, 2)
            os.close(stderr)
