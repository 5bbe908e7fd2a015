"""Distillation methods, one per file: each a preset of the axes, as a `Method` value."""

from jaxdd.methods import together as together
from jaxdd.methods.dc import dc as dc
from jaxdd.methods.dm import dm as dm
from jaxdd.methods.idc import idc as idc
from jaxdd.methods.idm import idm as idm
from jaxdd.methods.infer import Budget as Budget
from jaxdd.methods.infer import budget as budget
from jaxdd.methods.infer import infer as infer
from jaxdd.methods.infer import instances as instances
from jaxdd.methods.mtt import Unroll as Unroll
from jaxdd.methods.mtt import datm as datm
from jaxdd.methods.mtt import mtt as mtt
from jaxdd.methods.sre2l import sre2l as sre2l
