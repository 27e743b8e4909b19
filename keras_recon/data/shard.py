from typing import NamedTuple


class Shard(NamedTuple):
    """The part of each batch that a process works on.

    Attributes:
        index: of the process; 0 is the chief, which writes.
        count: processes.
        replicas: devices of this process that get different images.

    Example:

    >>> Shard(index=1, count=2, replicas=4).all_replicas
    8
    """

    index: int = 0
    count: int = 1
    replicas: int = 1

    @property
    def all_replicas(self) -> int:
        """Devices of all processes."""
        return self.count * self.replicas


WHOLE = Shard()
