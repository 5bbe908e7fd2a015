"""Differentiable augmentation: (key, images) -> images, or (key, images, labels) -> both; pure."""

from jaxdd.augment import coarse as coarse
from jaxdd.augment import color as color
from jaxdd.augment import cropping as cropping
from jaxdd.augment import geometry as geometry
from jaxdd.augment import mixing as mixing
from jaxdd.augment.dsa import STRATEGY as STRATEGY
from jaxdd.augment.dsa import Strengths as Strengths
from jaxdd.augment.dsa import identity as identity
from jaxdd.augment.dsa import independent as independent
from jaxdd.augment.dsa import shared as shared
from jaxdd.augment.mixing import cutmix as cutmix
from jaxdd.augment.mixing import mixup as mixup
from jaxdd.augment.natural import padded_crop_flip as padded_crop_flip
from jaxdd.augment.natural import resized_crop_flip as resized_crop_flip
from jaxdd.augment.natural import then as then
from jaxdd.augment.photometric import jitter_and_light as jitter_and_light
from jaxdd.augment.recovery import curriculum_scale as curriculum_scale
from jaxdd.augment.recovery import recovery as recovery
