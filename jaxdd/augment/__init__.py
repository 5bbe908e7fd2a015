"""Differentiable augmentation: (key, images) -> images, pure."""
from . import color as color
from . import geometry as geometry
from .dsa import STRATEGY as STRATEGY
from .dsa import Strengths as Strengths
from .dsa import identity as identity
from .dsa import independent as independent
from .dsa import shared as shared
