"""Image files, encoded bytes, PIL images and arrays of differing sizes, read by the batch."""

import warnings
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import torch
from joblib import cpu_count

from sklcnn.data.decoding import PILLOW_SILENCE, image_source
from sklcnn.data.glance import glance_at_pictures, some_of
from sklcnn.data.image_cache import IMAGE_CACHE
from sklcnn.data.pixels import WHITE_8, WHITE_16, UnusableImageError

# Batches read ahead of the one that trains: enough that threads always have work, few enough that
# float batches of photographs do not fill the memory.
BATCHES_AHEAD = 3

# Pixels a thread takes at a time, so that handing work over costs little beside the work.
TASK_BYTES = 2**20

HEADERS_PER_TASK = 32

WHITE_RATIO = WHITE_16 // WHITE_8  # 257: a picture of 8 bits is one of 16 whose two bytes are equal

# Other dtypes are filled as float32 first.
NUMPY_DTYPES = {torch.uint8: np.uint8, torch.float32: np.float32, torch.float64: np.float64}


class ImageStore:
    """Images one by one, decoded when a batch needs them.

    All headers are read at once, so that most broken files are found before training, and so that
    the colour mode and the size of a sample are known. Decoded and resized images stay in a bounded
    memory that all stores of the process share (see :class:`sklcnn.data.image_cache.ImageCache`).
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
        What white is in a batch; 1 for arrays of any dtype but uint8, whose values are kept as float32.
    integer : bool
        Whether pixels are on the scale from 0 to 255.

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
        with PILLOW_SILENCE, ThreadPoolExecutor(n_threads(n_jobs)) as pool:
            self._headers = read_headers(self._sources, rows, pool)
        warn_of_frames(self._headers, self._sources)
        self._white, self.unit = find_scale(self._headers, white, self._sources)
        self.integer = self.unit == WHITE_8
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
        with PILLOW_SILENCE:
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
        with PILLOW_SILENCE:
            try:
                for rows in groups:
                    ahead.append(self._start(pool, rows, dtype))
                    if len(ahead) > BATCHES_AHEAD:
                        yield finish(*ahead.popleft(), dtype)
                while ahead:
                    yield finish(*ahead.popleft(), dtype)
            finally:
                # Also where the caller stops early, or an image turns out to be broken.
                pool.shutdown(cancel_futures=True)

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
        with PILLOW_SILENCE:
            keys = []
            for row in self._row_numbers(rows):
                with naming(row, self._sources[row]):
                    keys.append(self._sources[row].digest())
            return keys

    def original(self, row):
        """Give an image as it came: upright, in its own size and colours.

        Parameters
        ----------
        row : int

        Returns
        -------
        pixels : ndarray of shape (h, w, 1 or 3)
        path : str or None
            None where it is not a file.
        """
        with PILLOW_SILENCE, naming(row, self._sources[row]):
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
        """Give one picture as batches have it, ndarray (h, w, c)."""
        [kept] = IMAGE_CACHE.get([self._cache_key(row)])
        with PILLOW_SILENCE:
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
        # An image of its own size needs no name: it costs little to read again.
        source = self._sources[row]
        if not source.encoded and not self._is_resized(row):
            return None
        try:
            return source.identity(), self.sample_shape, self._white
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
        return torch.get_num_threads()
    return n_jobs if n_jobs > 0 else max(1, cpu_count() + 1 + n_jobs)


def read_headers(sources, rows, pool):
    """Read the headers of some images.

    Parameters
    ----------
    sources : list of ImageSource
    rows : sequence of int
    pool : concurrent.futures.Executor

    Returns
    -------
    headers : {row: Header}

    Raises
    ------
    ValueError
        If an image cannot be read, naming the first such row.
    """

    def read_some(start):
        return [(row, read_header(row, sources[row])) for row in rows[start : start + HEADERS_PER_TASK]]

    parts = pool.map(read_some, range(0, len(rows), HEADERS_PER_TASK))
    return dict(pair for part in parts for pair in part)


def read_header(row, source):
    """Read an image's header, unless another store has read it."""
    with naming(row, source):
        if not source.encoded:
            return source.header()
        key = ("header", source.identity())
        [header] = IMAGE_CACHE.get([key])
        if header is None:
            header = source.header()
            IMAGE_CACHE.put(key, header)
        return header


@contextmanager
def naming(row, source):
    """Name the row and the image where one cannot be read."""
    try:
        yield
    except UnusableImageError as error:
        raise named_error(row, source, error) from error


def named_error(row, source, error):
    """Make the error that names the row and the image."""
    return ValueError(f"X has in row {row} {source.name}, {error}.")


def find_scale(headers, white, sources):
    """Give what white is to be in every picture (None: what it is in each), and what it then is in a batch."""
    if any(header.white is None for header in headers.values()):
        return None, WHITE_8 if arrays_are_integer(headers, sources) else 1
    brightest = max(header.white for header in headers.values())
    white = brightest if white == "auto" else white
    return white, white or brightest


def arrays_are_integer(headers, sources):
    """Whether all arrays of some rows are of uint8; others among them are an error."""
    integer = {row: sources[row].integer for row in headers}
    if len(set(integer.values())) > 1:
        rows = {kind: row for row, kind in reversed(integer.items())}
        raise ValueError(
            f"X must hold arrays of uint8 (0 to 255) or of floats, but row {rows[True]} is uint8 and row {rows[False]} "
            "is not. Convert them to one dtype."
        )
    return all(integer.values())


def warn_of_frames(headers, sources):
    """Warn where only the first of several frames is read."""
    rows = [row for row, header in headers.items() if header.frames]
    if not rows:
        return
    others = f" (and so do {len(rows) - 1:,} other rows)" if len(rows) > 1 else ""
    warnings.warn(
        f"X has in row {rows[0]} {sources[rows[0]].name}, which holds several frames{others}: only the first is read. "
        "To use all of them pass arrays: np.stack([np.asarray(frame) for frame in "
        "PIL.ImageSequence.Iterator(PIL.Image.open(path))]) for each row.",
        UserWarning,
        stacklevel=2,
    )


def common_size(headers):
    """Return the height and width that all images share, or name two that differ."""
    first_row, first = next(iter(headers.items()))
    for row, header in headers.items():
        if (header.height, header.width) != (first.height, first.width):
            raise ValueError(
                f"X must hold images of one size unless image_size is set, but row {first_row} has {first.height} x "
                f"{first.width} pixels (height x width) and row {row} has {header.height} x {header.width}. "
                f"Pass image_size, such as image_size=({first.height}, {first.width}); signals are padded or cut first."
            )
    return first.height, first.width


def on_scale(pixels, own_white, white):
    """Bring pixels to where white is as bright as in all pictures.

    Parameters
    ----------
    pixels : ndarray
    own_white, white : {255, 65535, None}
        What white is in them, and what it is to be; None: they stay as they are.

    Returns
    -------
    pixels : ndarray
        float32, unless they are uint8 and stay so.
    """
    same = own_white is None or white is None or own_white == white
    if same and pixels.dtype == np.uint8:
        return pixels
    pixels = pixels.astype(np.float32)
    if same:
        return pixels
    return pixels / np.float32(WHITE_RATIO) if white < own_white else pixels * np.float32(WHITE_RATIO)


def convert(pixels, mode):
    """Make pixels grey or RGB.

    Parameters
    ----------
    pixels : ndarray of shape (h, w, 1 or 3)
    mode : {"L", "RGB"}
        Grey is the luma that Pillow computes (ITU-R 601-2).

    Returns
    -------
    pixels : ndarray of shape (h, w, 1) or (h, w, 3)
    """
    n_channels = 1 if mode == "L" else 3
    if pixels.shape[2] == n_channels:
        return pixels
    if mode == "RGB":
        return np.repeat(pixels, 3, axis=2)
    if pixels.dtype != np.uint8:
        return pixels @ np.array([[0.299], [0.587], [0.114]], pixels.dtype)
    from PIL import Image

    return np.array(Image.fromarray(pixels).convert("L"))[:, :, None]


def resize_pixels(pixels, size):
    """Resize one image of shape (h, w, channels), as :func:`resize_images` does a batch."""
    if pixels.shape[:2] == tuple(size):
        return pixels
    pixels = pixels if pixels.flags.writeable else pixels.copy()  # torch warns about read-only memory
    batch = torch.from_numpy(pixels).movedim(-1, 0)[None]
    return resize_images(batch, size).movedim(1, -1)[0].numpy()


def resize_images(images, size):
    """Resize a batch bilinearly, with antialiasing; squashed if the shape differs.

    Parameters
    ----------
    images : torch.Tensor of shape (n, channels, h, w), uint8 or float
    size : (int, int)
        Height and width.

    Returns
    -------
    resized : torch.Tensor of shape (n, channels, *size)
        Of the same dtype, channels-last in memory.
    """
    from torchvision.transforms.v2.functional import resize

    resized = resize(images, list(size), antialias=True)
    # A copy, because strides of axes of length 1 are kept by contiguous() as they come.
    return resized.movedim(1, -1).clone(memory_format=torch.contiguous_format).movedim(-1, 1)
