"""What a user may have meant by a name that is not known: another library's spelling, or a slip."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from typing import Any

LONGEST = 60  # characters of what is taken for a name
SIMILAR = 0.6  # difflib's ratio from which two names are taken for one
MARGIN = 0.1  # how much less similar than the most similar name others may be
SHOWN = 3  # suggestions at most

# Names of other libraries, without case and punctuation, by the names here that mean the same. A name may be known to
# several hyper-parameters; each suggests what it knows itself.
OTHER_NAMES: dict[str | None, str] = {
    None: "none null no off false disabled constant fixed",
    # losses
    "cross_entropy": "ce bce nll nllloss logloss categoricalcrossentropy sparsecategoricalcrossentropy "
    "binarycrossentropy bcewithlogits softmaxcrossentropy softmax crossentropyloss",
    "squared_error": "mse l2 meansquarederror meansquaredloss squaredloss leastsquares rmse",
    "absolute_error": "mae l1 meanabsoluteerror absoluteloss",
    "huber": "smoothl1 smoothl1loss huberloss",
    "quantile": "pinball pinballloss quantileloss quantileregression median",
    # scores
    "loss": "validationloss lossval testloss",
    "accuracy": "acc categoricalaccuracy sparsecategoricalaccuracy binaryaccuracy",
    "roc_auc": "auc auroc rocaucscore",
    "average_precision": "map auprc prauc averageprecisionscore",
    "f1": "f1score fscore",
    "r2": "r2score rsquared",
    "matthews_corrcoef": "mcc matthews",
    "jaccard": "iou",
    "neg_log_loss": "logloss crossentropy nll",
    "neg_mean_squared_error": "mse meansquarederror",
    "neg_mean_absolute_error": "mae meanabsoluteerror",
    "neg_root_mean_squared_error": "rmse rootmeansquarederror",
    "neg_mean_absolute_percentage_error": "mape meanabsolutepercentageerror",
    # optimisers and schedules
    "sgd": "momentum nesterov gradientdescent stochasticgradientdescent",
    "eps": "epsilon",
    "betas": "beta beta1 beta2",
    "weight_decay": "decay wd",
    "one_cycle": "1cycle onecyclepolicy superconvergence",
    "cosine": "cosineannealing cosinedecay cosineannealingwarmrestarts",
    "reduce_on_plateau": "plateau reducelronplateau adaptive",
    "ema": "exponentialmovingaverage emamodel modelema polyak",
    "swa": "stochasticweightaveraging averagedmodel",
    # layers
    "plain": "vgg vggblock sequential conv convolution basic",
    "residual": "resnet res resblock resnetblock basicblock bottleneck shortcut skip skipconnection",
    "inception": "googlenet inceptionmodule inceptiontime",
    "silu": "swish hardswish",
    "sigmoid": "logistic",
    "leaky_relu": "lrelu",
    "avg": "average mean averagepooling avgpool averagepool globalaverage globalaveragepooling globalavgpool gap "
    "adaptiveavgpool avgpooling",
    "max": "maximum maxpooling maxpool globalmax globalmaxpooling globalmaxpool gmp adaptivemaxpool",
    "same": "zero zeros half",
    "valid": "nopadding",
    "balanced": "balance auto",
    # input and computing
    "channels_last": "nhwc hwc last channellast nwc ndhwc",
    "channels_first": "nchw chw first channelfirst ncw ncdhw",
    "cuda": "gpu nvidia",
    "cuda:0": "gpu0 cuda0",
    "mps": "metal apple",
    "float32": "float single fp32 32 32true f32 full",
    "float64": "double fp64 64 64true f64",
    "bfloat16": "bf16 bf16mixed 16mixed mixed amp autocast float16 half fp16 16 mixedfloat16 mixedbfloat16",
    "pretrained": "imagenet default imagenet1kv1 imagenet1kv2 true",
    # augmentation
    "flip": "horizontalflip hflip fliphorizontal flipleftright fliplr mirror",
    "vertical_flip": "vflip flipvertical flipupdown flipud",
    "crop": "resizedcrop padcrop",
    "shift": "translate translation widthshift heightshift widthshiftrange heightshiftrange",
    "rotate": "rotation rotationrange",
    "zoom": "zoomrange rescale resize",
    "color": "colour colorjitter colourjitter brightness contrast saturation hue",
    "noise": "gaussiannoise gaussian jitter gaussnoise",
    "scale": "scaling gain",
    "erase": "erasing cutout coarsedropout",
    "trivial_augment": "trivialaugmentwide randaugment autoaugment augmix",
    # displays
    "grad_cam": "gradcamplusplus cam gradientcam",
    "integrated_gradients": "ig",
    "saliency": "gradient gradients vanillagradient backprop",
    "predict_proba": "probability probabilities proba",
    "decision_function": "logits logit logodds",
}
_BY_OTHER_NAME: dict[str, list[str | None]] = {}
for _name, _others in OTHER_NAMES.items():
    for _other in _others.split():
        _BY_OTHER_NAME.setdefault(_other, []).append(_name)


def did_you_mean(name: Any, known: Iterable[str | None]) -> str:
    """Ask whether a known name was meant.

    Parameters
    ----------
    name : object
        What the user passed. Only a text of a name's length is looked at.
    known : iterable of str or None
        The names that would have been right, None among them where that is allowed.

    Returns
    -------
    question : str
        Such as ``" Did you mean 'adam'?"``, to be put behind a message; empty where nothing is similar.
    """
    known = list(known)
    if not isinstance(name, str) or not 0 < len(name) <= LONGEST or name in known:
        return ""
    found = _same_names(name, known) or _similar_names(name, known)
    if not found:
        return ""
    *others, last = map(repr, found[:SHOWN])
    return f" Did you mean {', '.join(others)} or {last}?" if others else f" Did you mean {last}?"


def _same_names(name, known):
    """List the known names that are `name` in another spelling, or mean the same."""
    by_letters: dict[str, list] = {}
    for one in known:
        if one is not None:
            by_letters.setdefault(_letters(one), []).append(one)
    for variant in _variants(name):
        found = by_letters.get(variant) or [one for one in _BY_OTHER_NAME.get(variant, []) if one in known]
        if found:
            return found
    return []


def _similar_names(name, known):
    """List the known names that differ by a few letters from `name`, the most similar first."""
    by_letters = {_letters(one): one for one in known if one is not None}
    letters = _letters(name)
    close = difflib.get_close_matches(letters, by_letters, SHOWN, SIMILAR)
    # In get_close_matches' order of arguments: the ratio depends on it.
    ratios = [difflib.SequenceMatcher(None, one, letters).ratio() for one in close]
    return [by_letters[one] for one, ratio in zip(close, ratios, strict=True) if ratio >= ratios[0] - MARGIN]


def _letters(name):
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _variants(name):
    """List spellings of a name that mean the same: without its module, and words that other libraries add."""
    whole, last = _letters(name), _letters(name.rpartition(".")[2])
    variants = [whole, last]
    for one in (whole, last):
        bare = re.sub(r"^(random|val|validation|test)(?=.{2})", "", one)
        variants += [bare, re.sub(r"(?<=.{2})([123]d|loss|lr|pool)$", "", bare)]
        variants.append(re.sub(r"[123]d$", "", bare))
    return dict.fromkeys(variants)
