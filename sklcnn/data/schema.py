"""What the hyper-parameters say about X, and how X was read in `fit`."""

from __future__ import annotations

from dataclasses import dataclass

from sklcnn.data.glance import Glance

DIMENSION_NAMES = {1: "signals", 2: "images", 3: "volumes"}


@dataclass(frozen=True)
class InputSpec:
    """What the estimator's hyper-parameters say about X."""

    estimator: str  # its name, for messages
    input_shape: tuple[int, ...] | None = None
    spatial_dims: int | None = None
    data_format: str = "auto"
    image_size: tuple[int, int] | None = None
    n_jobs: int | None = None
    precision: str = "float32"  # what the network computes in
    pixels: bool = False  # integers must be 0..255 and floats 0..1: what a named backbone needs


@dataclass(frozen=True)
class InputSchema:
    """How X was read in `fit`, kept for `predict`.

    Attributes
    ----------
    spec : InputSpec
    sample_shape : tuple of int
        Channels first, as the network sees one sample.
    array_shape : tuple of int or None
        Shape of one sample as X gives it; None for pictures.
    channel_axis : int or None
        0 or -1 within `array_shape`; None where X has no channel axis.
    flat : bool
        Whether X is a table of flat rows.
    integer : bool
        Whether values are integers 0..255.
    unit : float
        The value of white: 255 for such integers, 65535 in pictures of 16 bits, else 1.
    mode : str or None
        Colour mode of pictures, "L" or "RGB".
    glance : Glance or None
        What a few samples hold.
    constants : tuple of (int, float)
        The channels that were one value in all rows that trained, and that value: where samples are standardised, the
        network leaves them out.
    """

    spec: InputSpec
    sample_shape: tuple[int, ...]
    array_shape: tuple[int, ...] | None = None
    channel_axis: int | None = None
    flat: bool = False
    integer: bool = False
    unit: float = 1
    mode: str | None = None
    glance: Glance | None = None
    constants: tuple[tuple[int, float], ...] = ()

    @property
    def spatial_dims(self) -> int:
        """1 for signals, 2 for images, 3 for volumes."""
        return len(self.sample_shape) - 1
