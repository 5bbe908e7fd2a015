"""Distillation methods, one per file: each a preset of the axes, as a `Method` value."""
from jaxdd.methods.dc import dc as dc
from jaxdd.methods.dm import dm as dm
from jaxdd.methods.idc import idc as idc
from jaxdd.methods.idm import idm as idm
