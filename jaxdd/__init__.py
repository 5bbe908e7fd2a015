"""Dataset distillation in JAX: a large training set becomes a few images per class.

Names that a user calls live in the modules below; the records they exchange are in `jaxdd.types`.
`jaxdd.export` and `jaxdd.report`, which draw pictures, are imported by name.
"""
from jaxdd import augment as augment
from jaxdd import calibrate as calibrate
from jaxdd import checkpoint as checkpoint
from jaxdd import chunks as chunks
from jaxdd import data as data
from jaxdd import distill as distill
from jaxdd import evaluate as evaluate
from jaxdd import fit as fit
from jaxdd import losses as losses
from jaxdd import methods as methods
from jaxdd import models as models
from jaxdd import networks as networks
from jaxdd import optimizers as optimizers
from jaxdd import parallel as parallel
from jaxdd import parametrizations as parametrizations
from jaxdd import pools as pools
from jaxdd import rded as rded
from jaxdd import recovery as recovery
from jaxdd import regularizers as regularizers
from jaxdd import relabel as relabel
from jaxdd import replay as replay
from jaxdd.representative import representative as representative
from jaxdd import teachers as teachers
from jaxdd import terms as terms
from jaxdd import types as types
