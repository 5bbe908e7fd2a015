"""Differentiable augmentation: (key, images) -> images, or (key, images, labels) -> both; pure."""
from . import color as color
from . import geometry as geometry
from . import mixing as mixing
from .dsa import STRATEGY as STRATEGY
from .dsa import Strengths as Strengths
from .dsa import identity as identity
from .dsa import independent as independent
from .dsa import shared as shared
from .mixing import cutmix as cutmix
from .mixing import mixup as mixup
