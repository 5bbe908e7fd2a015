"""Networks beside the synthetic set: which one measures each step, the pool of proxies, the teachers."""
from jaxdd.networks.policies import fresh as fresh
from jaxdd.networks.policies import from_feed as from_feed
from jaxdd.networks.policies import from_set as from_set
from jaxdd.networks.policies import queue as queue
from jaxdd.networks.policies import resetting as resetting
from jaxdd.networks.policies import supplied as supplied
