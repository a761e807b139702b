"""Kernels by op; the loops that Numba compiles are in :mod:`flagstone_numba.loops`."""
