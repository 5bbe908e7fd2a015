"""Convolutions whose derivatives a CPU computes well; accelerators use XLA's own."""
