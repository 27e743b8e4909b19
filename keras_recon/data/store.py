from threading import Lock

import numpy as np
from numpy.lib.stride_tricks import as_strided


class Store:
    """Decoded photos of one type and depth, one behind the other in one array of bytes: many are cut in one call.

    Args:
        count: photos that there are.
        room: bytes of memory that they may take; those that find none are not kept.
    """

    def __init__(self, count: int, room: int):
        self.room = room
        self.buffer = None  # uint8, of `room` bytes, of which the system gives those that are written
        self.kind = None  # (type, channels), those of the first photo
        self.offsets = np.full(count, -1, "int64")
        self.sizes = np.zeros((count, 2), "int64")
        self._lock = Lock()
        self._used = 0

    @classmethod
    def of(cls, buffer: np.ndarray, offsets: np.ndarray, sizes: np.ndarray, dtype: str, channels: int) -> "Store":
        """One of photos that lie in `buffer`, uint8, already: from `offsets` on, of `sizes` (height, width)."""
        store = cls(len(offsets), 0)
        store.buffer, store.kind = np.asarray(buffer), (np.dtype(dtype), channels)
        store.offsets, store.sizes = offsets, sizes
        return store

    def add(self, index: int, photo: np.ndarray):
        """Keep photo `index`, (height, width, channels), if there is room."""
        with self._lock:  # tf.data calls from several threads
            start, kind = self._used, (photo.dtype, photo.shape[2])
            if self.offsets[index] >= 0 or start + photo.nbytes > self.room or (self.kind or kind) != kind:
                return
            if self.buffer is None:
                self.buffer = np.empty(self.room, "uint8")
            self.kind = kind
            self._used += photo.nbytes
        self.buffer[start : self._end(start, photo.shape)] = np.ascontiguousarray(photo).reshape(-1).view("uint8")
        self.sizes[index] = photo.shape[:2]
        self.offsets[index] = start  # last: from here on others read it

    def has_room(self, nbytes: int) -> bool:
        """Whether one more photo of so many bytes would be kept."""
        return self._used + nbytes <= self.room

    def get(self, index: int) -> np.ndarray | None:
        """Photo `index`; None if it is not kept."""
        start, shape = self.offsets[index], self.sizes[index]
        if start < 0:
            return None
        return self.buffer[start : self._end(start, shape)].view(self.kind[0]).reshape(*shape, self.kind[1])

    def cut(self, indices: np.ndarray, tops: np.ndarray, lefts: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """Windows of `size` (height, width) of photos that are kept, (photos, height, width, channels).

        Args:
            indices: of the photos, (photos,).
            tops, lefts: the corners of the windows, which are inside of the photos, (photos,).
        """
        height, width = size
        depth = self._end(0, (1, 1))
        strides = depth * self.sizes[indices, 1]
        starts = self.offsets[indices] + tops * strides + lefts * depth
        # (bytes, bytes of a row): what begins at each byte.
        rows = as_strided(self.buffer, (len(self.buffer) - width * depth + 1, width * depth), (1, 1), writeable=False)
        rows = rows[starts[:, None] + np.arange(height) * strides[:, None]]  # (photos, height, bytes of a row)
        return rows.view(self.kind[0]).reshape(len(indices), height, width, self.kind[1])

    def _end(self, start, shape):
        dtype, channels = self.kind or (np.dtype("uint8"), 1)
        return start + int(shape[0]) * int(shape[1]) * channels * dtype.itemsize
