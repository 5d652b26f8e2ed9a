"""Keys of features: digests of an image and of all else that its features depend on."""

import hashlib


def kind_of_features(backbone, store, image_size, precision, device):
    """Digest what features depend on besides the image; None if the backbone cannot tell."""
    fingerprint = backbone.fingerprint
    if fingerprint is None:
        return None
    # Devices round convolutions differently, by more than the rounding that a fit may notice.
    parts = (
        fingerprint,
        tuple(store.sample_shape),
        bool(store.integer),
        image_size and tuple(image_size),
        precision,
        device.type,
    )
    return hashlib.sha256(repr(parts).encode()).digest()


def feature_key(kind, content):
    """Make the key of an image's features: 8 bytes for the kind of features, 24 for the image."""
    kind = kind or bytes(32)
    return kind[:8] + hashlib.sha256(kind + content).digest()[:24]
