"""Convolutions whose derivatives a CPU computes well; accelerators use XLA's own.

These derivatives forbid forward mode: `jax.jvp` of a ConvNet raises a TypeError on a CPU. Inside
`with models.xla_derivatives():` networks are XLA's on a CPU as well, and forward mode works.
"""
