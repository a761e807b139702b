"""Augmentation: random changes of each batch, on the device, in training only.

Each is a composition of ops that draws from the one random stream by the example's place in the
batch, or for a whole run by its number in the data (:class:`Planned`); so every backend makes the
same pictures and a resumed run goes on with them. In text, as in
a model's ``augment``, they follow one another: ``"flip,crop(padding=4),mixup(alpha=0.2)"``.

Normalising is no augmentation, since predicting must do it too: a model's ``standardize``, or
:class:`flagstone.nn.Normalize` as its first layer.

All raise ``ConfigurationError`` for an option that is out of range, when they are made, and
``ShapeError`` for examples that they do not suit, before training starts.
"""

from flagstone.augment.base import Augmentation
from flagstone.augment.chain import Chain, parse
from flagstone.augment.cutout import Cutout
from flagstone.augment.mixing import CutMix, Mixing, MixUp
from flagstone.augment.mixture import Mixture
from flagstone.augment.moving import Crop, Flip, Translate
from flagstone.augment.planned import AlternatingFlip, Planned

__all__ = [
    "AlternatingFlip", "Augmentation", "Chain", "Crop", "CutMix", "Cutout", "Flip", "MixUp",
    "Mixing", "Mixture", "Planned", "Translate", "parse",
]  # fmt: skip

REGISTERED = (
    ("flip", "Flip", "mirror an image with a probability"),
    ("alternating-flip", "AlternatingFlip", "mirror an image in every other epoch"),
    ("crop", "Crop", "pad an image, mirrored by default, and cut its size out again"),
    ("translate", "Translate", "move an image by some pixels; 0 follows"),
    ("cutout", "Cutout", "set a square of an image to 0"),
    ("mixup", "MixUp", "mix examples, and their losses, in pairs"),
    ("cutmix", "CutMix", "paste a box of another image, and mix their losses"),
)
"""What the core registers of these: the name in text, the attribute, a line about it."""
