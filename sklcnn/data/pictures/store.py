"""A store of images one by one: files, encoded bytes, PIL images and arrays, decoded by the batch."""

from collections import deque
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from joblib import cpu_count

from sklcnn.data.glance import glance_at_pictures, some_of
from sklcnn.data.pictures.cache import IMAGE_CACHE
from sklcnn.data.pictures.errors import UnusableImageError, named_error, naming, pillow_silence
from sklcnn.data.pictures.headers import common_size, extremes_of, find_scale, read_headers, warn_of_frames
from sklcnn.data.pictures.pixels import WHITE_8
from sklcnn.data.pictures.resizing import convert, on_scale, resize_pixels
from sklcnn.data.pictures.sources import image_source
from sklcnn.data.stores.base import Store
from sklcnn.process import Undone, interrupts_wait
from sklcnn.threads import allowed_threads

# Batches read ahead of the one that trains: enough that threads always have work, few enough that
# float batches of photographs do not fill the memory.
BATCHES_AHEAD = 3
# Pixels a thread takes at a time, so that handing work over costs little beside the work.
TASK_BYTES = 2**20
# Other dtypes are filled as float32 first.
NUMPY_DTYPES = {torch.uint8: np.uint8, torch.float32: np.float32, torch.float64: np.float64}


class ImageStore(Store):
    """Images one by one, decoded when a batch needs them.

    All headers are read at once, so that most broken files are found before training, and so that
    the colour mode and the size of a sample are known. Decoded and resized images stay in a bounded
    memory that all stores of the process share (see :class:`sklcnn.data.pictures.cache.ImageCache`).
    EXIF orientations are respected, alpha channels laid over white, and all 16 bits kept where there are
    so many; of several frames, the first counts, with a warning.

    Parameters
    ----------
    sources : list
        Paths, encoded bytes, PIL images or arrays, as :func:`image_sources` returns.
    image_size : (int, int), default=None
        Height and width that images are resized to, squashed if the shape differs. None: as they
        come, which must be of one size.
    mode : {"L", "RGB"}, default=None
        Grey or colour. None: grey if every image is grey, else colour.
    n_jobs : int, default=None
        Threads that read and decode. None: torch's number of threads; -1: all cores. Batches do
        not depend on it.
    rows : ndarray of int, default=None
        The rows that will be asked for: others are not looked at, and may be broken. None: all.
    white : {255, 65535, None, "auto"}, default="auto"
        What white is in each picture, whatever its bits. None: 255 in pictures of 8 bits, 65535 in those of 16.
        "auto": 65535 if any picture has 16 bits, else 255. Arrays are taken as they are.

    Attributes
    ----------
    sample_shape : (int, int, int)
        Channels, height and width of one sample.
    mode : {"L", "RGB"}
    image_size : (int, int) or None
        As passed.
    unit : {255, 65535, 1}
        What white is in a batch; 1 for arrays of anything but integers from 0 to 255: their values stay as they are.
    integer : bool
        Whether pixels are on the scale from 0 to 255.
    whole : bool
        Whether they are integers.
    extremes : (float, float) or None
        The least and the greatest value of arrays; None of pictures, and where all are uint8.

    Raises
    ------
    ValueError
        If an image cannot be read (the error names row and path), or sizes differ without
        `image_size`.
    """

    def __init__(self, sources, *, image_size=None, mode=None, n_jobs=None, rows=None, white="auto"):
        self.n_jobs = n_jobs
        self._sources = [image_source(image) for image in sources]
        rows = range(len(sources)) if rows is None else rows.tolist()
        pool = ThreadPoolExecutor(n_threads(n_jobs), thread_name_prefix="sklcnn-images")
        with pillow_silence(), Undone(pool.shutdown):
            self._headers = read_headers(self._sources, rows, pool)
        warn_of_frames(self._headers, self._sources)
        self._white, self.unit = find_scale(self._headers, white, self._sources)
        self.integer = self.unit == WHITE_8
        self.whole = all(self._sources[row].integer for row in self._headers)
        self.extremes = extremes_of(self._headers)
        self.image_size = image_size
        self.mode = mode or ("L" if all(header.grey for header in self._headers.values()) else "RGB")
        height, width = image_size or common_size(self._headers)
        self.sample_shape = (1 if self.mode == "L" else 3, height, width)

    def __len__(self):
        return len(self._sources)

    def batch(self, rows, dtype):
        """Read a batch in the calling thread.

        Parameters
        ----------
        rows : slice or int64 tensor of shape (n,)
        dtype : torch.dtype

        Returns
        -------
        images : torch.Tensor of shape (n, channels, h, w)
            Channels-last in memory.
        """
        rows = self._row_numbers(rows)
        pixels = self._empty(len(rows), dtype)
        with pillow_silence():
            self._fill(pixels, rows)
        return channels_first(pixels, dtype)

    def batches(self, groups, dtype):
        """Read one batch for each group of rows, a few ahead of the one that is asked for.

        Parameters
        ----------
        groups : iterable of slices or int64 tensors
        dtype : torch.dtype

        Yields
        ------
        images : torch.Tensor of shape (n, channels, h, w)
            As :meth:`batch` returns.
        """
        ahead = deque()
        pool = ThreadPoolExecutor(n_threads(self.n_jobs), thread_name_prefix="sklcnn-images")
        # Ended also where the caller stops early, or an image turns out to be broken.
        with pillow_silence(), Undone(lambda: pool.shutdown(cancel_futures=True)):
            for rows in groups:
                ahead.append(self._start(pool, rows, dtype))
                if len(ahead) > BATCHES_AHEAD:
                    yield finish(*ahead.popleft(), dtype)
            while ahead:
                yield finish(*ahead.popleft(), dtype)

    def keys(self, rows):
        """Digest the content of samples, whatever the size and mode they are read with.

        Parameters
        ----------
        rows : slice or int64 tensor of shape (n,)

        Returns
        -------
        keys : list of bytes
            16 bytes each: of the encoded content for files and bytes, else of the pixels.
        """
        with pillow_silence():
            keys = []
            for row in self._row_numbers(rows):
                with naming(row, self._sources[row]):
                    keys.append(self._sources[row].digest())
            return keys

    def original(self, row):
        """Return an image as it came: upright, in its own size and colours.

        Parameters
        ----------
        row : int

        Returns
        -------
        pixels : ndarray of shape (h, w, 1 or 3)
        path : str or None
            None where it is not a file.
        """
        with pillow_silence(), naming(row, self._sources[row]):
            source = self._sources[row]
            return source.pixels(self._headers[row]), getattr(source, "path", None)

    def glance(self, rows):
        """Look at a few of some rows, or of all.

        Parameters
        ----------
        rows : ndarray of int or None

        Returns
        -------
        glance : Glance
            Pictures are decoded until one is neither dark nor of a single colour; see `glance_at_pictures`.
        """
        some = some_of(range(len(self)) if rows is None else rows, int(np.prod(self.sample_shape)))
        white = None if self._headers[some[0]].white is None else self.unit
        return glance_at_pictures(self._picture, some, white)

    def _picture(self, row):
        """Return one picture as batches have it, ndarray (h, w, c)."""
        [kept] = IMAGE_CACHE.get([self._cache_key(row)])
        with pillow_silence():
            return self._decode(row) if kept is None else kept

    def _row_numbers(self, rows):
        return range(len(self))[rows] if isinstance(rows, slice) else rows.tolist()

    def _empty(self, n, dtype):
        channels, height, width = self.sample_shape
        # NumPy's large arrays lie on huge pages where Linux offers them, which torch's do not: batches of
        # photographs fill twice as fast.
        return np.empty((n, height, width, channels), NUMPY_DTYPES.get(dtype, np.float32))

    def _start(self, pool, rows, dtype):
        rows = self._row_numbers(rows)
        pixels = self._empty(len(rows), dtype)
        step = max(8, TASK_BYTES // int(np.prod(self.sample_shape)))
        with interrupts_wait():  # Thread.start makes a KeyError of what a handler raises within it
            tasks = [
                pool.submit(self._fill, pixels[start : start + step], rows[start : start + step])
                for start in range(0, len(rows), step)
            ]
        return pixels, tasks

    def _fill(self, pixels, rows):
        kept = IMAGE_CACHE.get(self._cache_key(row) for row in rows)
        for i, (row, image) in enumerate(zip(rows, kept, strict=True)):
            pixels[i] = self._decode(row) if image is None else image

    def _cache_key(self, row):
        # An array that is not resized is not cached: it costs little to read again.
        source = self._sources[row]
        if not source.encoded and not self._is_resized(row):
            return None
        try:
            return source.identity(), self.sample_shape, self._white, self.integer
        except UnusableImageError as error:
            raise named_error(row, source, error) from error

    def _is_resized(self, row):
        header = self._headers[row]
        return (header.height, header.width) != self.sample_shape[1:]

    def _decode(self, row):
        """Decode, convert and resize one image, and keep it."""
        header = self._headers[row]
        with naming(row, self._sources[row]):
            pixels = self._sources[row].pixels(header)
        if self.integer and header.extremes is not None:
            pixels = pixels.astype(np.uint8)  # of another type, but from 0 to 255: resized and rounded as those are
        pixels = on_scale(pixels, header.white, self._white)
        image = resize_pixels(convert(pixels, self.mode), self.sample_shape[1:])
        key = self._cache_key(row)
        if key is not None:
            IMAGE_CACHE.put(key, image, image.nbytes)
        return image


def finish(pixels, tasks, dtype):
    """Wait for a batch, and raise what its threads raised."""
    for task in tasks:
        task.result()
    return channels_first(pixels, dtype)


def channels_first(pixels, dtype):
    """View (n, h, w, c) pixels as (n, c, h, w), channels-last in memory."""
    return torch.from_numpy(pixels).to(dtype).movedim(-1, 1)


def n_threads(n_jobs):
    """Return how many threads `n_jobs` stands for."""
    if n_jobs is None:
        return allowed_threads()
    return int(n_jobs) if n_jobs > 0 else max(1, cpu_count() + 1 + int(n_jobs))
