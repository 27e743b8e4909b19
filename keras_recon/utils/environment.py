import os
import platform

import keras


def environment() -> dict[str, str]:
    """What figures depend on beside the code, for their protocol."""
    return {
        "backend": f"{keras.backend.backend()}, Keras {keras.version()}",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
    }
