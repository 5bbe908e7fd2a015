"""Labelled image sets: what is known about them, and reading them into memory."""
from .fake import fake as fake
from .folder import ImageFolder as ImageFolder
from .folder import read_folder as read_folder
from .prepare import prepare as prepare
from .sources import Dataset as Dataset
from .sources import load as load
from .specs import Spec as Spec
from .specs import denormalise as denormalise
from .specs import for_arrays as for_arrays
from .specs import normalise as normalise
from .specs import spec as spec
from .batches import epoch_indices as epoch_indices
from .batches import epochs as epochs
from .batches import real_subset as real_subset
from .batches import steps_per_epoch as steps_per_epoch
from .batches import stratified as stratified
from .batches import streamed as streamed
