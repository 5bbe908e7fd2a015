"""Plug-ins, one per file: terms that any method can carry (`terms.regularize`)."""

from jaxdd.regularizers.cc import cc as cc
from jaxdd.regularizers.cm import cm as cm
from jaxdd.regularizers.cmi import cmi as cmi
