"""Several processes that compute one program: how they find each other, agree, and end."""

from jaxdd.hosts.agreement import agreed as agreed
from jaxdd.hosts.agreement import count as count
from jaxdd.hosts.agreement import first as first
from jaxdd.hosts.agreement import index as index
from jaxdd.hosts.agreement import require_alike as require_alike
from jaxdd.hosts.agreement import require_shared as require_shared
from jaxdd.hosts.agreement import told as told
from jaxdd.hosts.ending import continues as continues
from jaxdd.hosts.ending import failed as failed
from jaxdd.hosts.ending import together as together
from jaxdd.hosts.joining import Place as Place
from jaxdd.hosts.joining import greet as greet
from jaxdd.hosts.joining import join as join
from jaxdd.hosts.preemption import Preemption as Preemption
