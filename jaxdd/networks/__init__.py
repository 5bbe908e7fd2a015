"""Networks beside the synthetic set:
which one measures each step, the pool of proxies, the teachers."""

from jaxdd.networks.policies import following as following
from jaxdd.networks.policies import fresh as fresh
from jaxdd.networks.policies import pretrained as pretrained
from jaxdd.networks.policies import real_batches as real_batches
from jaxdd.networks.policies import resetting as resetting
from jaxdd.networks.policies import synthetic_batches as synthetic_batches
from jaxdd.networks.queues import Growth as Growth
from jaxdd.networks.queues import forgetting as forgetting
from jaxdd.networks.queues import queue as queue
