"""Augmentation: random changes to whole training batches, with a draw of its own for each sample.

The names a user may give are the keys of `AUGMENTATIONS`; they are applied in the order of that table,
however they were written. Nothing is assumed about the range of the values: colours are changed relative
to each sample's own mean and spread, and what a move uncovers is filled from the sample itself, so that
pixels in 0..255, in 0..1 and standardised ones are treated alike.

Inside this module a batch is called ``images`` and is channels-last: ``(n, *spatial, c)``, where
``spatial`` is ``(length,)``, ``(h, w)`` or ``(d, h, w)``. All draws come from torch's global CPU generator,
whatever the device of the batch.
"""

import copy
import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from numbers import Real

import torch
from torch.nn import functional

from sklcnn.suggestions import did_you_mean
from sklcnn.wording import shown

_KINDS = {1: "signals", 2: "images", 3: "volumes"}

# Bounds of what is erased: the area as a share of the picture, and the ratio between two sides.
_ERASED_AREA = (0.02, 0.25)
_ERASED_RATIO = 3.3

# Luma and the two chroma axes of YIQ (NTSC 1953). A hue is an angle in the chroma plane, so turning it
# is a linear map: no range of values is needed, unlike in HSV.
_YIQ = torch.tensor([[0.299, 0.587, 0.114], [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]], dtype=torch.float64)
_FROM_YIQ = torch.linalg.inv(_YIQ)


def check_augmentation(augmentation):
    """Check the `augmentation` hyper-parameter, whatever the data.

    Parameters
    ----------
    augmentation : object
        What the user passed.

    Raises
    ------
    TypeError
        If it is not None, a name, a dict ``{name: strength}``, a callable, or a tuple or list of such.
    ValueError
        If a name is unknown or given twice, a strength is out of its range, or a callable changes targets.
    """
    for name, strength in _strengths(augmentation).items():
        _check_strength(name, strength)
    for function in filter(_is_function, _written_parts(augmentation)):
        _check_function(function)


def build_augmentation(augmentation, *, spatial_dims, sample_shape=None, unit=1):
    """Turn the `augmentation` hyper-parameter into a function on training batches.

    Parameters
    ----------
    augmentation : None, str, dict or callable, or tuple or list of such
        Names have their default strength, a dict maps names to strengths, and a callable gets the batch
        ``(n, c, *spatial)``. Those of torchvision, which draw once a call, are called sample by sample. In a tuple a
        callable has its place: names before it come first, those behind it follow; mixes are always last.
    spatial_dims : {1, 2, 3}
        Signals, images or volumes.
    sample_shape : tuple of int, optional
        ``(channels, *spatial)``. Where given, moves of less than half a pixel are refused.
    unit : float, default=1
        What a callable is given as 1: 255 for integer pixels, since other libraries take 0..1 for granted.

    Returns
    -------
    augment : Augmentation or None
        None where nothing would change: no names, or strength zero for all of them.

    Raises
    ------
    TypeError, ValueError
        As `check_augmentation`, and where a name does not suit the kind of data.
    """
    check_augmentation(augmentation)
    strengths = _strengths(augmentation)
    for name in strengths:
        _check_kind(name, spatial_dims)
    active = {name: float(strengths[name]) for name in AUGMENTATIONS if strengths.get(name, 0) > 0}
    if sample_shape is not None:
        for name, strength in active.items():
            _check_moves(name, strength, sample_shape[1:])

    mixes = {name: strength for name, strength in active.items() if AUGMENTATIONS[name].step is _mix}
    steps = []
    for are_functions, parts in itertools.groupby(_written_parts(augmentation), key=_is_function):
        if are_functions:
            steps += [_function_step(function, unit) for function in parts]
        else:
            written = _strengths(list(parts))
            steps += _named_steps({name: active[name] for name in active if name in written and name not in mixes})
    return Augmentation(steps, partial(_mix, **mixes) if mixes else None) if steps or mixes else None


def _function_step(function, unit):
    # A module may keep its last draws on itself: the user's own must stay as it was.
    owned = copy.deepcopy(function) if isinstance(function, torch.nn.Module) else function
    return partial(_call_function, function=owned, unit=unit)


def _named_steps(strengths):
    """Bind strengths, in the order of the table, to what applies them: neighbours that share a step in one."""
    return [
        partial(step, **{name: strengths[name] for name in names})
        for step, names in itertools.groupby(strengths, key=lambda name: AUGMENTATIONS[name].step)
    ]


class Augmentation:
    """A random change of training batches.

    Parameters
    ----------
    steps : list of callable
        Each maps images ``(n, *spatial, c)`` to images of the same shape.
    mix : callable or None
        Maps images and targets to images and targets; applied last.

    Attributes
    ----------
    mixes : bool
        Whether targets are changed.
    """

    def __init__(self, steps, mix=None):
        self._steps = steps
        self._mix = mix
        self.mixes = mix is not None

    @torch.no_grad()
    def __call__(self, batch, targets):
        """Augment one training batch.

        Parameters
        ----------
        batch : torch.Tensor of shape (n, c, *spatial)
            Floating point values in any range; left as it is.
        targets : torch.Tensor
            For the mixes ``(n, k)`` floats: class probabilities, indicators or standardised values.
            Anything otherwise.

        Returns
        -------
        batch : torch.Tensor of shape (n, c, *spatial)
            Of the same dtype, channels-last in memory.
        targets : torch.Tensor
            Mixed with the shares of the images; untouched without mixes.
        """
        images = batch.movedim(1, -1).contiguous()  # (n, *spatial, c)
        for step in self._steps:
            images = step(images)
        if self._mix is not None:
            images, targets = self._mix(images, targets)
        return images.contiguous().movedim(-1, 1), targets


def _is_function(augmentation):
    return callable(augmentation) and not isinstance(augmentation, type)


def _written_parts(augmentation):
    """List the names, dicts and callables, in the order in which they are written."""
    if augmentation is None:
        return []
    if isinstance(augmentation, str | Mapping) or _is_function(augmentation):
        return [augmentation]
    if isinstance(augmentation, tuple | list):
        return list(augmentation)
    raise TypeError(
        "augmentation must be None, a name, a dict {name: strength}, a callable on a batch or a tuple of such, "
        f"but is {shown(augmentation)}. The names are {_listed(AUGMENTATIONS)}."
    )


def _strengths(augmentation):
    """Read names and strengths, ``{name: strength}``, with every name known; callables are left out."""
    strengths = {}
    for part in _written_parts(augmentation):
        if _is_function(part):
            continue
        for name in part if isinstance(part, Mapping) else [part]:
            _check_name(name)
            if name in strengths:
                raise ValueError(
                    f"augmentation must name each change once, but has {shown(name)} twice. "
                    "Use a dict {name: strength} for a stronger one."
                )
            strengths[name] = part[name] if isinstance(part, Mapping) else AUGMENTATIONS[name].default
    return strengths


def _check_name(name):
    if not isinstance(name, str):
        raise TypeError(
            f"augmentation must have names, but has {shown(name)}. The names are {_listed(AUGMENTATIONS)}; "
            'a callable stands alone or in a tuple, such as ({"rotate": 5}, function).'
        )
    if name not in AUGMENTATIONS:
        meant = did_you_mean(name, [*AUGMENTATIONS, None])
        raise ValueError(f"augmentation has no {shown(name)}. The names are {_listed(AUGMENTATIONS)}.{meant}")


def _check_strength(name, strength):
    technique = AUGMENTATIONS[name]
    rule = f"augmentation {shown(name)} must have a strength from 0 to {technique.maximum:g} ({technique.unit})"
    if not isinstance(strength, Real) or isinstance(strength, bool):
        raise TypeError(f"{rule}, but has {shown(strength)}. Its default is {technique.default:g}.")
    if not 0 <= strength <= technique.maximum:  # false for NaN too
        raise ValueError(f"{rule}, but has {shown(strength)}. Its default is {technique.default:g}.")


def _check_kind(name, spatial_dims):
    if spatial_dims not in AUGMENTATIONS[name].spatial_dims:
        kind = _KINDS[spatial_dims]
        suited = [other for other in AUGMENTATIONS if spatial_dims in AUGMENTATIONS[other].spatial_dims]
        raise ValueError(f"augmentation {shown(name)} does not work on {kind}. Those that do are {_listed(suited)}.")


def _check_moves(name, share, spatial):
    """Refuse a move that rounds to no pixel along every axis: it would silently do nothing."""
    if name in ("shift", "crop") and not any(_reach(side, share) for side in spatial):
        sides = "x".join(map(str, spatial))
        remedy = f"Use {math.ceil(500 / max(spatial)) / 1000} or more." if max(spatial) > 1 else f"Leave {name!r} out."
        raise ValueError(
            f"augmentation {shown(name)} must move by half a pixel or more, but {share:g} of {sides} is less. " + remedy
        )


def _check_function(function):
    """Refuse the mixes of torchvision and kornia: they need the targets, which a callable is not given."""
    for part in _parts(function):
        classes = {base.__name__ for base in type(part).__mro__}
        if classes & {"_BaseMixUpCutMix", "MixAugmentationBaseV2"}:
            raise ValueError(
                f"augmentation must leave targets alone as a callable, but has {type(part).__name__}. "
                "Use the names 'mixup' and 'cutmix'."
            )


def _parts(function):
    """Yield a callable and every transform nested in it."""
    yield function
    nested = list(function.children()) if isinstance(function, torch.nn.Module) else []
    transforms = getattr(function, "transforms", None)  # torchvision's Compose keeps a plain list
    if isinstance(transforms, tuple | list):
        nested.extend(transforms)
    for part in nested:
        yield from _parts(part)


def _listed(names):
    return ", ".join(repr(name) for name in names)


def _call_function(images, function, unit):
    # A copy: the batch may be a view of the user's array, and a callable may write in place.
    batch = (images / unit).movedim(-1, 1)  # (n, c, *spatial)
    # A batch of one at a time where a call draws only once: each sample gets its own draw.
    pieces = batch.split(1) if _draws_once(function) else (batch,)
    changed = [_check_result(function(piece), piece) for piece in pieces]
    return (torch.cat(changed).to(images.dtype) * unit).movedim(1, -1).contiguous()


def _draws_once(function):
    """Tell whether a callable is torchvision's, without importing it."""
    return any(
        base.__module__.startswith("torchvision.transforms") for part in _parts(function) for base in type(part).__mro__
    )


def _check_result(result, batch):
    if not isinstance(result, torch.Tensor):
        raise TypeError(f"augmentation must return a tensor, but returned {type(result).__name__}.")
    if result.shape != batch.shape:
        raise ValueError(
            "augmentation must return a batch of the shape it is given, but turned "
            f"{tuple(batch.shape)} into {tuple(result.shape)}. Crop or resize back inside it."
        )
    return result


def _uniform(shape, low, high, like):
    """Draw uniformly from low..high, in the dtype and on the device of `like`."""
    return torch.empty(shape, dtype=like.dtype).uniform_(low, high).to(like.device)


def _chosen(images, probability):
    """Choose samples: a boolean tensor (n, 1, ..., 1)."""
    return _per_sample(torch.rand(len(images)) < probability, images).to(images.device)


def _offsets(n, side, share):
    """Draw a whole number of pixels a sample: (n,), at most `share` of the side either way."""
    reach = _reach(side, share)
    return torch.randint(-reach, reach + 1, (n,))


def _reach(side, share):
    return min(int(share * side + 0.5), side - 1)


def _per_sample(values, images):
    """Shape one value a sample, (n,), to broadcast over images: (n, 1, ..., 1)."""
    return values.reshape(-1, *[1] * (images.ndim - 1))


def _along(values, axis, n_axes):
    """Shape one value a sample and position, (n, side), to broadcast over (n, *spatial)."""
    shape = [len(values)] + [1] * n_axes
    shape[1 + axis] = values.shape[1]
    return values.reshape(shape)


def _flip(images, flip):
    return torch.where(_chosen(images, flip), images.flip(-2), images)


def _flip_vertically(images, vertical_flip):
    return torch.where(_chosen(images, vertical_flip), images.flip(-3), images)


def _crop(images, crop):
    """Pad by reflection and crop back at random, without building the padded batch."""
    return _take(images, crop, lambda places, last: last - (last - places.abs()).abs())


def _move(images, shift=0.0, rotate=0.0, zoom=0.0):
    """Shift, rotate and zoom: whole pixels where nothing else is asked, one interpolation otherwise."""
    if not rotate and not zoom:
        return _take(images, shift, lambda places, last: places.clamp(0, last))
    n, height, width, _ = images.shape
    shifts = torch.stack([_offsets(n, width, shift), _offsets(n, height, shift)], dim=1)
    # As likely to shrink as to grow by the same factor.
    limit = math.log1p(zoom)
    factors = _uniform(n, -limit, limit, images).exp()
    matrices = _rotations(_uniform(n, -rotate, rotate, images)) / factors[:, None, None]
    return _warp(images, matrices, shifts.to(images))


def _take(images, share, fold):
    """Move each sample by whole pixels; `fold` brings places outside 0..last back inside."""
    n, *spatial, channels = images.shape
    index = _along(torch.arange(n)[:, None], 0, len(spatial))
    for axis, side in enumerate(spatial):
        places = torch.arange(side) + _offsets(n, side, share)[:, None]  # (n, side)
        index = index * side + _along(fold(places, side - 1), axis, len(spatial))
    # Selecting from one flat list of pixels is several times faster than indexing every axis.
    pixels = images.reshape(-1, channels)
    return pixels.index_select(0, index.flatten().to(images.device)).view(images.shape)


def _rotations(degrees):
    """Matrices (n, 2, 2) that turn by an angle, in degrees."""
    radians = degrees.deg2rad()
    cos, sin = radians.cos(), radians.sin()
    return torch.stack([cos, sin, -sin, cos], dim=1).reshape(-1, 2, 2)


def _warp(images, matrices, shifts):
    """Sample ``images[matrix @ (place - shift)]`` bilinearly; beyond the edge, the edge is repeated.

    Parameters
    ----------
    images : torch.Tensor of shape (n, h, w, c)
    matrices : torch.Tensor of shape (n, 2, 2)
        On (x, y) in pixels from the centre.
    shifts : torch.Tensor of shape (n, 2)
        In pixels, (x, y).
    """
    height, width = images.shape[1:3]
    half = torch.tensor([width, height]).to(images) / 2  # grid_sample counts in half sides
    linear = matrices * half / half[:, None]
    offset = -(matrices @ shifts[:, :, None]) / half[:, None]
    batch = images.movedim(-1, 1)  # (n, c, h, w)
    grid = functional.affine_grid(torch.cat([linear, offset], dim=2), list(batch.shape), align_corners=False)
    return functional.grid_sample(batch, grid, padding_mode="border", align_corners=False).movedim(1, -1).contiguous()


def _scale(images, scale):
    return images * _per_sample(_uniform(len(images), 1 - scale, 1 + scale, images), images)


def _color(images, color):
    n = len(images)
    brightness = _uniform(n, -color, color, images)
    contrast = _uniform(n, 1 - color, 1 + color, images)
    if images.shape[-1] != 3:
        return _relight(images, brightness, contrast)
    saturation = _uniform(n, 1 - color, 1 + color, images)
    hue = _uniform(n, -color / 4, color / 4, images)  # in turns: a full one would make skies of faces
    return _recolor(_relight(images, brightness, contrast), saturation, hue)


def _relight(images, brightness, contrast):
    """Multiply deviations from each sample's mean by `contrast`; add `brightness` spreads.

    Mean and spread are those of all values of an RGB picture, so that its tint stays, and of each channel
    of anything else, where channels may have units of their own.
    """
    n, channels = len(images), images.shape[-1]
    axes = (1, 2) if channels == 3 else (1,)
    values = images.reshape(n, -1, channels)
    mean = values.mean(axes, keepdim=True)  # (n, 1, 1) or (n, 1, c)
    deviations = values - mean
    spread = deviations.square().mean(axes, keepdim=True).sqrt()
    lit = torch.addcmul(mean + brightness[:, None, None] * spread, deviations, contrast[:, None, None])
    return lit.view(images.shape)


def _recolor(images, saturation, hue):
    """Turn the chroma of RGB pictures by `hue` turns and multiply it by `saturation`; luma stays."""
    angle = 2 * math.pi * hue
    cos, sin = saturation * angle.cos(), saturation * angle.sin()
    one, zero = torch.ones_like(cos), torch.zeros_like(cos)
    turn = torch.stack([one, zero, zero, zero, cos, -sin, zero, sin, cos], dim=1).view(-1, 3, 3)
    matrices = _FROM_YIQ.to(images) @ turn @ _YIQ.to(images)  # (n, 3, 3)
    return (images.flatten(1, 2) @ matrices.mT).view(images.shape)


def _noise(images, noise):
    values = images.reshape(-1, images.shape[-1])
    spread = (values - values.mean(0)).square().mean(0).sqrt()  # (c,), of the whole batch
    draws = torch.randn(images.shape, dtype=images.dtype).to(images.device)
    return torch.addcmul(images, draws, noise * spread)


def _erase(images, erase):
    """Replace a box by the sample's mean: no value is known to mean nothing in every range."""
    n, *spatial, _ = images.shape
    n_axes = len(spatial)
    area = _uniform((n, 1), *_ERASED_AREA, images)
    stretch = math.log(_ERASED_RATIO) / 2
    logs = _uniform((n, n_axes), -stretch, stretch, images)
    shares = area ** (1 / n_axes) * (logs - logs.mean(1, keepdim=True)).exp()
    erased = _boxes(shares, spatial)[..., None] & _chosen(images, erase)
    return torch.where(erased, images.mean(tuple(range(1, 1 + n_axes)), keepdim=True), images)


def _boxes(shares, spatial):
    """Draw one box a sample, inside the picture, with sides of the given shares.

    Returns
    -------
    inside : torch.Tensor of bool of shape (n, *spatial)
    """
    inside = torch.ones((), dtype=torch.bool, device=shares.device)
    for axis, side in enumerate(spatial):
        length = (shares[:, axis] * side).round().clamp(max=side)
        start = (_uniform(len(shares), 0, 1, shares) * (side - length + 1)).floor()
        places = torch.arange(side, device=shares.device)
        within = (places >= start[:, None]) & (places < (start + length)[:, None])  # (n, side)
        inside = inside & _along(within, axis, len(spatial))
    return inside


def _trivial_augment(images, trivial_augment):
    """Give each sample one change, drawn with its amount.

    References
    ----------
    Müller and Hutter, *TrivialAugment: Tuning-free Yet State-of-the-Art Data Augmentation* (2021).
    """
    names = [name for name in _TRIVIAL if name != "saturation" or images.shape[-1] == 3]
    amounts = _uniform(len(images), -trivial_augment, trivial_augment, images)
    picks = torch.randint(len(names) + 1, (len(images),))  # the last: no change
    changed = images.clone()
    for pick, name in enumerate(names):
        rows = (picks == pick).nonzero().squeeze(1).to(images.device)
        if len(rows):
            changed[rows] = _TRIVIAL[name](images[rows], amounts[rows])
    return changed


def _shift_one_axis(images, amounts, axis):
    sides = images.new_tensor([images.shape[2], images.shape[1]])
    shifts = torch.zeros(len(images), 2).to(images)
    shifts[:, axis] = (0.3 * amounts * sides[axis]).round()
    return _warp(images, torch.eye(2).to(images).expand(len(images), 2, 2), shifts)


def _shear_one_axis(images, amounts, axis):
    matrices = torch.eye(2).to(images).repeat(len(images), 1, 1)
    matrices[:, axis, 1 - axis] = 0.3 * amounts
    return _warp(images, matrices, torch.zeros(len(images), 2).to(images))


def _rotate_by(images, amounts):
    return _warp(images, _rotations(30 * amounts), torch.zeros(len(images), 2).to(images))


def _brighten(images, amounts):
    return _relight(images, 0.9 * amounts, torch.ones_like(amounts))


def _change_contrast(images, amounts):
    return _relight(images, torch.zeros_like(amounts), 1 + 0.9 * amounts)


def _saturate(images, amounts):
    return _recolor(images, 1 + 0.9 * amounts, torch.zeros_like(amounts))


def _sharpen(images, amounts):
    """Blur (below zero) or sharpen, against the mean of the 3x3 neighbourhood."""
    batch = images.movedim(-1, 1)
    blurred = functional.avg_pool2d(batch, 3, stride=1, padding=1, count_include_pad=False).movedim(1, -1)
    return torch.lerp(blurred, images, _per_sample(1 + 0.9 * amounts, images))


def _posterize(images, amounts):
    """Round to 2**8 down to 2**4 levels between each sample's least and greatest value."""
    low, high = _extremes(images)
    levels = _per_sample(2 ** (8 - 4 * amounts.abs()).round(), images)
    step = ((high - low) / levels).clamp(min=torch.finfo(images.dtype).tiny)
    return low + ((images - low) / step).round() * step


def _solarize(images, amounts):
    """Invert the values above a threshold, within each sample's own range."""
    low, high = _extremes(images)
    threshold = high - _per_sample(amounts.abs(), images) * (high - low)
    return torch.where(images > threshold, low + high - images, images)


def _extremes(images):
    axes = tuple(range(1, images.ndim))
    return images.amin(axes, keepdim=True), images.amax(axes, keepdim=True)


# Each takes images (m, h, w, c) and an amount a sample, (m,), from -1 to 1.
_TRIVIAL = {
    "shift_x": partial(_shift_one_axis, axis=0),
    "shift_y": partial(_shift_one_axis, axis=1),
    "shear_x": partial(_shear_one_axis, axis=0),
    "shear_y": partial(_shear_one_axis, axis=1),
    "rotate": _rotate_by,
    "brightness": _brighten,
    "contrast": _change_contrast,
    "saturation": _saturate,
    "sharpness": _sharpen,
    "posterize": _posterize,
    "solarize": _solarize,
}


def _mix(images, targets, mixup=0.0, cutmix=0.0):
    """Mix samples and their targets; with both mixes, a sample gets one or the other, as likely."""
    n = len(images)
    kept = [keep(images, alpha) for keep, alpha in [(_keep_all_over, mixup), (_keep_outside_box, cutmix)] if alpha]
    pick = torch.randint(len(kept), (n,))
    weights = torch.stack([weight for weight, _ in kept])[pick, torch.arange(n)]  # (n, *spatial, 1)
    shares = torch.stack([share for _, share in kept])[pick, torch.arange(n)]  # (n,)
    partners = torch.randperm(n).to(images.device)
    shares = _per_sample(shares, targets).to(targets.device, targets.dtype)
    return (
        torch.lerp(images[partners], images, weights),
        torch.lerp(targets[partners.to(targets.device)], targets, shares),
    )


def _keep_all_over(images, alpha):
    """Mixup: every value keeps the same share (Zhang et al., 2018)."""
    shares = _kept_shares(images, alpha)
    return _per_sample(shares, images).expand(*images.shape[:-1], 1), shares


def _keep_outside_box(images, alpha):
    """CutMix: all outside a box, nothing inside (Yun et al., 2019); the box lies inside the picture."""
    n, *spatial, _ = images.shape
    sides = (1 - _kept_shares(images, alpha)) ** (1 / len(spatial))
    inside = _boxes(sides[:, None].expand(n, len(spatial)), spatial)
    weights = (~inside).to(images.dtype)[..., None]
    return weights, weights.flatten(1).mean(1)  # what the rounded box really left


def _kept_shares(images, alpha):
    """Draw from Beta(alpha, alpha), the greater of the share and its rest: (n,).

    A sample thus remains the larger part of what its row becomes, and its weight still belongs there.
    """
    # Much below 1e-2 both gamma draws behind a beta often underflow, and the share would be 1/2.
    concentration = torch.tensor(max(alpha, 1e-2), dtype=torch.float64)
    shares = torch.distributions.Beta(concentration, concentration).sample((len(images),))
    return torch.maximum(shares, 1 - shares).to(images)


@dataclass(frozen=True)
class Technique:
    """One name of the `augmentation` hyper-parameter.

    Parameters
    ----------
    step : callable
        What it does to images; neighbours in the table that share a step are applied in one.
    default, maximum : float
        Strength where only the name is given, and the largest one. The least is 0: no change.
    unit : str
        What a strength is.
    doc : str
        What is done, in a sentence.
    spatial_dims : tuple of int
        Where it can be used: 1 signals, 2 images, 3 volumes.
    """

    step: Callable
    default: float
    maximum: float
    unit: str
    doc: str
    spatial_dims: tuple[int, ...]


AUGMENTATIONS = {
    "flip": Technique(_flip, 0.5, 1, "probability", "Mirror left and right.", (2, 3)),
    "vertical_flip": Technique(_flip_vertically, 0.5, 1, "probability", "Mirror top and bottom.", (2, 3)),
    "crop": Technique(
        _crop,
        0.125,
        0.5,
        "padding, as a share of the side",
        "Pad every side by reflection and crop back at random, by whole pixels.",
        (2, 3),
    ),
    "shift": Technique(
        _move,
        0.1,
        0.5,
        "greatest share of the side",
        "Move along each axis by whole pixels; the edge is repeated.",
        (1, 2, 3),
    ),
    "rotate": Technique(
        _move,
        15,
        180,
        "greatest angle, in degrees",
        "Turn about the centre, either way; the edge is repeated.",
        (2,),
    ),
    "zoom": Technique(
        _move,
        0.1,
        1,
        "greatest relative change of size",
        "Grow or shrink about the centre by a factor from 1 / (1 + strength) to 1 + strength; the edge is repeated.",
        (2,),
    ),
    "color": Technique(
        _color,
        0.2,
        1,
        "greatest relative change",
        "Change brightness (in units of the sample's standard deviation), contrast and, where there are "
        "three channels, saturation and hue (by up to a quarter of a turn at strength 1).",
        (2,),
    ),
    "trivial_augment": Technique(
        _trivial_augment,
        1,
        1,
        "factor on every amount",
        "TrivialAugment: one change a sample, drawn with its amount from none, shift, shear (either axis, "
        "up to 0.3), rotation (30 degrees), brightness, contrast, saturation, sharpness (0.9), posterize "
        "(16 levels) and solarize.",
        (2,),
    ),
    "scale": Technique(
        _scale,
        0.1,
        1,
        "greatest relative change",
        "Multiply a sample by one factor from 1 - strength to 1 + strength.",
        (1, 2, 3),
    ),
    "noise": Technique(
        _noise,
        0.1,
        10,
        "standard deviation, as a share of the channel's",
        "Add Gaussian noise to every value.",
        (1, 2, 3),
    ),
    "erase": Technique(
        _erase,
        0.25,
        1,
        "probability",
        "Replace a box of 2 to 25 per cent of the area by the sample's mean (random erasing).",
        (2, 3),
    ),
    "mixup": Technique(
        _mix,
        0.2,
        100,
        "alpha of Beta(alpha, alpha)",
        "Average each sample and its target with another's; its own share is the greater.",
        (1, 2, 3),
    ),
    "cutmix": Technique(
        _mix,
        1,
        100,
        "alpha of Beta(alpha, alpha)",
        "Paste a box of another sample, at most half the area, and mix the targets by area.",
        (1, 2, 3),
    ),
}
