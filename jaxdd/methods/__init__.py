"""Distillation methods, one per file: each a preset of the axes, as a `Method` value."""
from jaxdd.methods.dm import dm as dm
