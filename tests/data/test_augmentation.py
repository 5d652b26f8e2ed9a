"""Laws of `sklcnn.data.augmentation`."""

import random
import subprocess
import sys

import numpy as np
import pytest
import torch

from sklcnn.data.augmentation import AUGMENTATIONS, build_augmentation, check_augmentation

SHAPES = {1: (3, 40), 2: (3, 16, 20), 3: (2, 8, 10, 12)}
PAIRS = [(name, dims) for name, technique in AUGMENTATIONS.items() for dims in technique.spatial_dims]
MISFITS = [(name, dims) for name in AUGMENTATIONS for dims in SHAPES if (name, dims) not in PAIRS]
RARER = [name for name, technique in AUGMENTATIONS.items() if technique.unit == "probability"]
MIXES = [name for name in AUGMENTATIONS if name in ("mixup", "cutmix")]
# Strong enough to change nearly every sample.
STRONG = {name: max(technique.default, min(technique.maximum, 1)) for name, technique in AUGMENTATIONS.items()}


def make_batch(n=32, dims=2, dtype=torch.float32, channels=None, seed=0):
    """Draw a channels-last batch of values around 100, of both smooth and rough places."""
    channels_first = (channels or SHAPES[dims][0], *SHAPES[dims][1:])
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn((n, *channels_first[1:], channels_first[0]), generator=generator, dtype=dtype)
    return (100 + 30 * images.cumsum(1)).movedim(-1, 1)


def augmented(augmentation, batch, targets=None, seed=0):
    targets = torch.eye(len(batch), dtype=batch.dtype) if targets is None else targets
    augment = build_augmentation(augmentation, spatial_dims=batch.ndim - 2)
    torch.manual_seed(seed)
    return (batch, targets) if augment is None else augment(batch, targets)


@pytest.mark.parametrize(("name", "dims"), PAIRS)
def test_strength_zero_is_the_identity(name, dims):
    batch = make_batch(dims=dims)
    changed, targets = augmented({name: 0}, batch)
    assert torch.equal(changed, batch)
    assert torch.equal(targets, torch.eye(len(batch)))


# A smaller probability makes changes rarer, not smaller.
@pytest.mark.parametrize(("name", "dims"), [(name, dims) for name, dims in PAIRS if name not in RARER])
def test_a_vanishing_strength_changes_next_to_nothing(name, dims):
    batch = make_batch(dims=dims, dtype=torch.float64, n=8)
    changed, _ = augmented({name: 1e-9}, batch)
    # Posterizing to 256 levels is the smallest step there is; inverting starts at the greatest value.
    tolerance = float((batch.max() - batch.min()) / 256) if name == "trivial_augment" else 1e-4
    assert torch.allclose(changed, batch, rtol=0, atol=tolerance)


@pytest.mark.parametrize("name", ["flip", "vertical_flip"])
@pytest.mark.parametrize("dims", [2, 3])
def test_flips_twice_are_the_identity(name, dims):
    batch = make_batch(dims=dims)
    once, _ = augmented({name: 1}, batch)
    assert torch.equal(once, batch.flip(-1 if name == "flip" else -2))
    assert torch.equal(augmented({name: 1}, once)[0], batch)


@pytest.mark.parametrize("name", ["shift", "crop"])
def test_moves_are_by_whole_pixels_within_reach(name):
    batch = make_batch(n=64)
    height, width = batch.shape[2:]
    down, across = round(0.125 * height), int(0.125 * width + 0.5)
    changed, _ = augmented({name: 0.125}, batch)
    inner = changed[:, :, down : height - down, across : width - across]
    seen = set()
    for before, after in zip(batch, inner, strict=True):
        seen |= {
            (y, x)
            for y in range(2 * down + 1)
            for x in range(2 * across + 1)
            if torch.equal(before[:, y : y + after.shape[1], x : x + after.shape[2]], after)
        }
    assert len(seen) > 10
    assert {y for y, _ in seen} == set(range(2 * down + 1))


def test_a_shift_holds_the_edge_and_a_crop_reflects():
    ramp = torch.arange(8.0).expand(64, 1, 1, 8)
    shifted, _ = augmented({"shift": 0.25}, ramp)
    assert set(shifted[:, 0, 0, 0].tolist()) == {0.0, 1.0, 2.0}
    assert [0, 0, 0, 1, 2, 3, 4, 5] in shifted[:, 0, 0].tolist()
    cropped, _ = augmented({"crop": 0.25}, ramp)
    assert [2, 1, 0, 1, 2, 3, 4, 5] in cropped[:, 0, 0].tolist()


def test_a_rotation_keeps_a_disc_and_turns_a_bar():
    y, x = torch.meshgrid(torch.linspace(-1, 1, 64), torch.linspace(-1, 1, 64), indexing="ij")
    disc = torch.sigmoid(20 * (0.5 - (x**2 + y**2).sqrt())).expand(8, 1, 64, 64)
    bar = torch.sigmoid(20 * (0.1 - y.abs())).expand(8, 1, 64, 64)
    assert torch.allclose(augmented({"rotate": 90}, disc)[0], disc, atol=0.02)
    assert (augmented({"rotate": 90}, bar)[0] - bar).abs().flatten(1).max(1).values.max() > 0.5


def test_a_rotation_is_a_rotation_on_oblong_pictures_too():
    y, x = torch.meshgrid(torch.arange(48) - 23.5, torch.arange(96) - 47.5, indexing="ij")
    disc = torch.sigmoid(12 - (x**2 + y**2).sqrt()).expand(8, 1, 48, 96)
    assert torch.allclose(augmented({"rotate": 180}, disc)[0], disc, atol=0.02)


def test_zoom_changes_sizes_within_its_bounds():
    y, x = torch.meshgrid(torch.linspace(-1, 1, 65), torch.linspace(-1, 1, 65), indexing="ij")
    distance = (x**2 + y**2).sqrt().expand(200, 1, 65, 65)
    factors = distance[0, 0, 32, 48] / augmented({"zoom": 0.5}, distance)[0][:, 0, 32, 48]
    assert factors.min() >= 1 / 1.5 - 0.01
    assert factors.max() <= 1.5 + 0.01
    assert (factors < 0.75).any()
    assert (factors > 1.3).any()


def test_several_moves_interpolate_once():
    batch = make_batch()
    augment = build_augmentation(("shift", "rotate", "zoom"), spatial_dims=2)
    assert len(augment._steps) == 1
    assert augment(batch, None)[0].shape == batch.shape


@pytest.mark.parametrize(("name", "dims"), PAIRS)
def test_shape_dtype_and_layout_are_kept(name, dims):
    for dtype in (torch.float32, torch.float64):
        for channels in (1, 3):
            batch = make_batch(n=8, dims=dims, dtype=dtype, channels=channels)
            changed, targets = augmented({name: STRONG[name]}, batch)
            assert changed.shape == batch.shape
            assert changed.dtype == targets.dtype == dtype
            assert changed.movedim(1, -1).is_contiguous()
            assert torch.isfinite(changed).all()


@pytest.mark.parametrize(("name", "dims"), PAIRS)
def test_the_batch_given_is_left_as_it_was(name, dims):
    batch = make_batch(dims=dims)
    before = batch.clone()
    augmented({name: STRONG[name]}, batch)
    assert torch.equal(batch, before)


@pytest.mark.parametrize(("name", "dims"), PAIRS)
def test_each_sample_has_its_own_draw(name, dims):
    same = make_batch(n=1, dims=dims).expand(64, *SHAPES[dims])
    if name in MIXES:
        # Partners must differ from the sample to be seen: make two kinds.
        same = torch.cat([same[:32], same[32:] + 500])
    strength = 0.5 if name in RARER else STRONG[name]
    changed, _ = augmented({name: strength}, same)
    distinct = {sample.numpy().tobytes() for sample in changed}
    assert len(distinct) >= 2 if "flip" in name else len(distinct) > 16


@pytest.mark.parametrize(("name", "dims"), PAIRS)
def test_the_same_torch_seed_gives_the_same_bits(name, dims):
    batch = make_batch(dims=dims)
    first = augmented({name: STRONG[name]}, batch, seed=3)
    again = augmented({name: STRONG[name]}, batch, seed=3)
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])


def test_numpy_and_python_generators_are_left_alone():
    before = random.getstate(), np.random.get_state()[1].copy()
    augmented(list(AUGMENTATIONS), make_batch())
    assert random.getstate() == before[0]
    assert np.array_equal(np.random.get_state()[1], before[1])


@pytest.mark.parametrize("name", [name for name, dims in PAIRS if dims == 2 and name != "scale"])
def test_any_range_of_values_is_treated_alike(name):
    batch = make_batch(dtype=torch.float64)
    changed, _ = augmented({name: STRONG[name]}, batch)
    moved, _ = augmented({name: STRONG[name]}, batch / 255 - 3)
    assert torch.allclose(moved, changed / 255 - 3, rtol=0, atol=1e-9)


@pytest.mark.parametrize(("name", "dims"), [(name, dims) for name, dims in PAIRS if name != "noise"])
def test_values_stay_near_the_range_of_the_batch(name, dims):
    batch = make_batch(dims=dims)
    changed, _ = augmented(name, batch)
    spread = batch.max() - batch.min()
    assert changed.max() <= batch.max() + spread
    assert changed.min() >= batch.min() - spread


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_constant_samples_stay_finite(name):
    changed, _ = augmented({name: STRONG[name]}, torch.full((32, 3, 8, 8), 7.0))
    assert torch.isfinite(changed).all()


def test_grey_pictures_keep_a_linear_relation_under_color():
    batch = make_batch(channels=1, dtype=torch.float64)
    changed, _ = augmented({"color": 0.5}, batch)
    for before, after in zip(batch.flatten(1), changed.flatten(1), strict=True):
        assert torch.corrcoef(torch.stack([before, after]))[0, 1] == pytest.approx(1)


def test_grey_pixels_of_colour_pictures_stay_grey_under_color():
    batch = make_batch(channels=1, dtype=torch.float64).expand(-1, 3, -1, -1)
    changed, _ = augmented({"color": 1}, batch)
    assert torch.allclose(changed[:, 0], changed[:, 1], atol=1e-2 * float(batch.std()))
    assert torch.allclose(changed[:, 0], changed[:, 2], atol=1e-2 * float(batch.std()))


def test_noise_has_the_declared_share_of_each_channels_deviation():
    batch = make_batch(n=200, channels=2, dtype=torch.float64) * torch.tensor([1.0, 1000.0])[:, None, None]
    changed, _ = augmented({"noise": 0.3}, batch)
    share = (changed - batch).std((0, 2, 3)) / batch.std((0, 2, 3))
    assert torch.allclose(share, torch.full_like(share, 0.3), rtol=0.02)


def test_erased_boxes_have_the_declared_area():
    batch = make_batch(n=100, channels=1)
    share = (augmented({"erase": 1}, batch)[0] != batch).float().mean((1, 2, 3))
    assert 0.01 <= share.min()
    assert share.max() <= 0.3
    assert 0.08 < share.mean() < 0.18


@pytest.mark.parametrize("shape", [(4, 4), (4, 9), (8, 8), (4, 4, 4), (1, 30), (5, 1, 7)])
def test_no_erased_box_is_empty_or_larger_than_a_quarter(shape):
    batch = make_batch(n=500, dims=len(shape), channels=1)[:, :, *(slice(side) for side in shape)]
    share = (augmented({"erase": 1}, batch)[0] != batch).flatten(1).double().mean(1)
    assert share.min() > 0
    assert share.max() <= 0.25


@pytest.mark.parametrize("shape", [(3,), (7,), (2, 2), (4, 4), (8, 8), (1, 9), (4, 4, 4), (5, 1, 7)])
def test_a_cutmix_pastes_half_the_area_at_most_and_something(shape):
    batch, targets = torch.zeros(500, 1, *shape), torch.eye(500)
    kept = augmented({"cutmix": 1}, batch, targets)[1].diagonal()
    assert kept.min() >= 0.5 - 1e-6
    assert (kept < 1).double().mean() > 0.3


def test_erase_is_as_frequent_as_its_strength():
    batch = make_batch(n=400)
    touched = (augmented({"erase": 0.25}, batch)[0] != batch).flatten(1).any(1).float().mean()
    assert 0.15 < touched < 0.35


@pytest.mark.parametrize("dims", SHAPES)
@pytest.mark.parametrize("augmentation", ["mixup", "cutmix", ("mixup", "cutmix")])
def test_labels_of_mixes_sum_to_one(augmentation, dims):
    targets = torch.eye(5)[torch.arange(32) % 5]
    _, mixed = augmented(augmentation, make_batch(dims=dims), targets)
    assert torch.allclose(mixed.sum(1), torch.ones(32))
    assert (mixed.max(1).values < 1).any()
    assert (mixed >= 0).all()


@pytest.mark.parametrize("dims", SHAPES)
@pytest.mark.parametrize("name", MIXES)
def test_targets_are_mixed_in_the_shares_of_the_images(name, dims):
    # Every value of a sample is its number, so a mixed sample's mean is its mixed number.
    numbers = torch.arange(32, dtype=torch.float64)
    batch = numbers.view(-1, *[1] * (dims + 1)).expand(32, *SHAPES[dims])
    changed, mixed = augmented({name: 1}, batch, torch.stack([numbers, -3 * numbers + 1], dim=1))
    means = changed.flatten(1).mean(1)
    assert torch.allclose(mixed[:, 0], means)
    assert torch.allclose(mixed[:, 1], -3 * means + 1)
    assert not torch.allclose(means, numbers)


@pytest.mark.parametrize("name", MIXES)
def test_a_mixed_sample_keeps_the_greater_share_of_itself(name):
    targets = torch.eye(64)
    _, mixed = augmented({name: 1}, make_batch(n=64), targets)
    assert (mixed.diagonal() >= 0.5 - 1e-6).all()
    assert mixed.diagonal().mean() < 0.9


def test_only_mixes_change_targets():
    for name, technique in AUGMENTATIONS.items():
        targets = torch.arange(32)
        augment = build_augmentation(name, spatial_dims=technique.spatial_dims[-1])
        assert augment.mixes == (name in MIXES)
        if not augment.mixes:
            assert augment(make_batch(dims=technique.spatial_dims[-1]), targets)[1] is targets


def test_the_order_of_names_does_not_matter():
    batch, names = make_batch(), list(AUGMENTATIONS)
    forward, backward = augmented(names, batch), augmented(tuple(reversed(names)), batch)
    assert torch.equal(forward[0], backward[0])
    defaults = {name: technique.default for name, technique in AUGMENTATIONS.items()}
    assert torch.equal(forward[0], augmented(defaults, batch)[0])


@pytest.mark.parametrize("augmentation", [None, (), {}, {"flip": 0, "mixup": 0.0}])
def test_nothing_asked_builds_nothing(augmentation):
    assert build_augmentation(augmentation, spatial_dims=2) is None


@pytest.mark.parametrize(("name", "dims"), MISFITS)
def test_names_that_do_not_suit_the_data_are_refused_with_those_that_do(name, dims):
    with pytest.raises(ValueError, match=f"{name}.*does not work on.*'shift'.*'noise'"):
        build_augmentation(name, spatial_dims=dims)


@pytest.mark.parametrize("augmentation", ["flipp", ("flip", "flipp"), {"flipp": 1}])
def test_unknown_names_are_refused_with_the_known_ones(augmentation):
    with pytest.raises(ValueError, match=r"no 'flipp'.*'flip'.*'cutmix'"):
        check_augmentation(augmentation)


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_strengths_out_of_their_declared_range_are_refused(name):
    maximum = AUGMENTATIONS[name].maximum
    for good in (0, maximum, AUGMENTATIONS[name].default, np.float32(maximum)):
        check_augmentation({name: good})
    for bad in (-0.1, maximum * 1.01, float("nan"), float("inf")):
        with pytest.raises(ValueError, match=f"'{name}' must have a strength from 0 to"):
            check_augmentation({name: bad})
    for bad in ("1", None, True, (1, 2)):
        with pytest.raises(TypeError, match=f"'{name}' must have a strength from 0 to"):
            check_augmentation({name: bad})


@pytest.mark.parametrize("augmentation", [3, b"flip", {"flip"}, (3,), ("flip", dict), {3: 1}, {len: 1}, dict])
def test_other_kinds_are_refused(augmentation):
    with pytest.raises(TypeError, match=r"augmentation must.*'flip'"):
        check_augmentation(augmentation)


def test_a_name_given_twice_is_refused():
    for twice in (["flip", "flip"], ["flip", len, "flip"], ["flip", {"flip": 0.2}]):
        with pytest.raises(ValueError, match="'flip' twice"):
            check_augmentation(twice)


def test_moves_that_round_to_nothing_are_refused():
    with pytest.raises(ValueError, match=r"'shift' must move by half a pixel.*0\.063 or more"):
        build_augmentation({"shift": 0.01}, spatial_dims=2, sample_shape=(1, 8, 8))
    assert build_augmentation({"shift": 0.063}, spatial_dims=2, sample_shape=(1, 8, 8)) is not None


def test_a_callable_gets_the_batch_channels_first():
    seen = []
    batch = make_batch()
    changed, targets = augmented(lambda images: seen.append(images.shape) or images + 1, batch, "targets")
    assert seen == [batch.shape]
    assert torch.equal(changed, batch + 1)
    assert targets == "targets"


def test_a_callable_that_writes_in_place_leaves_the_batch_as_it_was():
    batch = make_batch()
    before = batch.clone()
    assert torch.equal(augmented(lambda images: images.mul_(0), batch)[0], torch.zeros_like(batch))
    assert torch.equal(batch, before)


def test_a_callable_keeps_dtype_and_layout():
    batch = make_batch(dtype=torch.float64)
    changed, _ = augmented(lambda images: images.float().contiguous(), batch)
    assert changed.dtype == torch.float64
    assert changed.movedim(1, -1).is_contiguous()


def test_a_callable_that_changes_the_shape_is_refused():
    with pytest.raises(ValueError, match=r"\(32, 3, 16, 20\) into \(32, 3, 16, 16\)"):
        augmented(lambda images: images[..., :16], make_batch())
    with pytest.raises(TypeError, match="returned tuple"):
        augmented(lambda images: (images, None), make_batch())


def test_kornia_modules_are_seeded_draw_per_sample_and_stay_as_they_were():
    kornia = pytest.importorskip("kornia.augmentation")
    module = kornia.RandomAffine(30.0, translate=(0.1, 0.1), p=1.0)
    batch = make_batch(n=1).expand(8, *SHAPES[2]) / 255
    changed, _ = augmented(module, batch, seed=5)
    assert torch.equal(changed, augmented(module, batch, seed=5)[0])
    assert len({sample.numpy().tobytes() for sample in changed}) == 8
    assert changed.movedim(1, -1).is_contiguous()
    assert not module._params


def test_torchvision_transforms_draw_for_each_sample():
    v2 = pytest.importorskip("torchvision.transforms.v2")
    batch = make_batch(n=1).expand(16, *SHAPES[2])
    for transform in (
        v2.Compose([v2.RandomHorizontalFlip(), v2.RandomAffine(30)]),
        torch.nn.Sequential(v2.RandomAffine(30)),
        v2.RandomAffine(30),
    ):
        changed, _ = augmented(transform, batch)
        assert len({sample.numpy().tobytes() for sample in changed}) > 8
        assert torch.equal(changed, augmented(transform, batch)[0])


def test_mixes_of_other_libraries_are_refused_with_the_names_to_use():
    v2 = pytest.importorskip("torchvision.transforms.v2")
    kornia = pytest.importorskip("kornia.augmentation")
    mixes = [
        v2.MixUp(num_classes=3),
        v2.Compose([v2.RandomHorizontalFlip(), v2.CutMix(num_classes=3)]),
        kornia.RandomMixUpV2(),
    ]
    for mix in mixes:
        with pytest.raises(ValueError, match="'mixup' and 'cutmix'"):
            check_augmentation(mix)


@pytest.mark.slow
def test_the_names_need_neither_kornia_nor_torchvision():
    code = (
        "import sys, torch; from sklcnn.data.augmentation import AUGMENTATIONS, build_augmentation;"
        "build_augmentation(list(AUGMENTATIONS), spatial_dims=2)(torch.rand(4, 3, 8, 8), torch.eye(4));"
        "build_augmentation(torch.neg, spatial_dims=2)(torch.rand(4, 3, 8, 8), torch.eye(4));"
        "assert not {'kornia', 'torchvision'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)


def test_a_tuple_of_names_and_callables_is_applied_in_the_order_in_which_it_is_written():
    batch = make_batch()

    def double(images):
        return 2 * images

    def add_one(images):
        return images + 1

    once = {"scale": 0.0, "vertical_flip": 1}
    assert torch.equal(augmented((double, add_one), batch)[0], 2 * batch + 1)
    assert torch.equal(augmented((add_one, once, double), batch)[0], 2 * (batch + 1).flip(2))
    seen = []

    def look(images):
        seen.append(images)
        return images

    changed = augmented((look, "noise", look), batch)[0]
    assert torch.equal(seen[0], batch)
    assert torch.equal(seen[1], changed)
    assert not torch.equal(changed, batch)


def test_mixes_come_last_and_names_between_callables_draw_as_they_do_alone():
    batch, targets = make_batch(), torch.eye(32)
    alone = augmented(("rotate", "shift", "mixup"), batch, targets)
    among = augmented(("mixup", lambda images: images, "shift", "rotate"), batch, targets)
    for one, other in zip(alone, among, strict=True):
        assert torch.equal(one, other)


def test_callables_in_a_tuple_are_checked_as_alone():
    from torchvision.transforms import v2

    with pytest.raises(ValueError, match="MixUp"):
        check_augmentation(("flip", v2.MixUp(num_classes=3)))
    with pytest.raises(ValueError, match=r"\(32, 3, 16, 20\) into \(32, 3, 16, 16\)"):
        augmented(("flip", lambda images: images[..., :16]), make_batch())
