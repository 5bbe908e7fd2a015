"""What is learned: how stored parameters become the synthetic images."""

from jaxdd.parametrizations.compensators import compensated as compensated
from jaxdd.parametrizations.learned import with_learning_rate as with_learning_rate
from jaxdd.parametrizations.learned import with_soft_labels as with_soft_labels
from jaxdd.parametrizations.partitioned import partitioned as partitioned
from jaxdd.parametrizations.pixels import Normalisation as Normalisation
from jaxdd.parametrizations.pixels import clipped as clipped
from jaxdd.parametrizations.pixels import pixels as pixels
