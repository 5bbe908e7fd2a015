"""Dataset distillation in JAX: a large training set becomes a few images per class.

Names that a user calls live in the packages below; the records they exchange are in `jaxdd.types`.
`jaxdd.reporting`, which draws pictures, is imported by name.
"""

from jaxdd import augment as augment
from jaxdd import coresets as coresets
from jaxdd import data as data
from jaxdd import engine as engine
from jaxdd import labels as labels
from jaxdd import losses as losses
from jaxdd import methods as methods
from jaxdd import models as models
from jaxdd import networks as networks
from jaxdd import optimizers as optimizers
from jaxdd import parallel as parallel
from jaxdd import parametrizations as parametrizations
from jaxdd import regularizers as regularizers
from jaxdd import storage as storage
from jaxdd import terms as terms
from jaxdd import types as types
from jaxdd.coresets import rded as rded
from jaxdd.coresets.dream import representative as representative
from jaxdd.engine import auto_weights as calibrate
from jaxdd.engine import chunks as chunks
from jaxdd.engine import distill as distill
from jaxdd.engine import evaluate as evaluate
from jaxdd.engine import fit as fit
from jaxdd.labels import relabel as relabel
from jaxdd.labels import replay as replay
from jaxdd.methods import _recovery as recovery
from jaxdd.networks import pools as pools
from jaxdd.networks import teachers as teachers
from jaxdd.storage import checkpoint as checkpoint
from jaxdd.storage import trees as trees
