"""Mixup and CutMix: samples and their targets, mixed in the same shares."""

import torch

from sklcnn.data.augmentation.draws import draw_boxes, exponents_of_sides, per_sample


def mix_samples(images, targets, mixup=0.0, cutmix=0.0):
    """Mix samples and their targets; with both mixes, a sample gets one or the other, as likely."""
    n = len(images)
    kept = [keep(images, alpha) for keep, alpha in [(_keep_all_over, mixup), (_keep_outside_box, cutmix)] if alpha]
    pick = torch.randint(len(kept), (n,))
    weights = torch.stack([weight for weight, _ in kept])[pick, torch.arange(n)]  # (n, *spatial, 1)
    shares = torch.stack([share for _, share in kept])[pick, torch.arange(n)]  # (n,)
    partners = torch.randperm(n).to(images.device)
    shares = per_sample(shares, targets).to(targets.device, targets.dtype)
    return (
        torch.lerp(images[partners], images, weights),
        torch.lerp(targets[partners.to(targets.device)], targets, shares),
    )


def _keep_all_over(images, alpha):
    """Mixup: every value keeps the same share (Zhang et al., 2018)."""
    shares = _kept_shares(images, alpha)
    return per_sample(shares, images).expand(*images.shape[:-1], 1), shares


def _keep_outside_box(images, alpha):
    """CutMix: all outside a box, nothing inside (Yun et al., 2019); the box lies inside the picture."""
    spatial = images.shape[1:-1]
    shares = (1 - _kept_shares(images, alpha))[:, None] ** exponents_of_sides(spatial, images)
    inside = draw_boxes(shares, spatial, most=0.5)  # a sample is the greater part of its mixture
    weights = (~inside).to(images.dtype)[..., None]
    return weights, weights.flatten(1).mean(1)  # what the rounded box really left


def _kept_shares(images, alpha):
    """Draw from Beta(alpha, alpha), the greater of the share and its rest: (n,).

    So a sample is never the smaller part of its mixture.
    """
    # Much below 1e-2 both gamma draws behind a beta often underflow, and the share would be 1/2.
    concentration = torch.tensor(max(alpha, 1e-2), dtype=torch.float64)
    shares = torch.distributions.Beta(concentration, concentration).sample((len(images),))
    return torch.maximum(shares, 1 - shares).to(images)
