"""Differentiable augmentation: (key, images) -> images, or (key, images, labels) -> both; pure."""
from . import color as color
from . import cropping as cropping
from . import geometry as geometry
from . import mixing as mixing
from .dsa import STRATEGY as STRATEGY
from .dsa import Strengths as Strengths
from .dsa import identity as identity
from .dsa import independent as independent
from .dsa import shared as shared
from .mixing import cutmix as cutmix
from .mixing import mixup as mixup
from .recovering import curriculum_scale as curriculum_scale
from .recovering import padded_crop_flip as padded_crop_flip
from .recovering import recovery as recovery
from .recovering import resized_crop_flip as resized_crop_flip
