"""Kernels of the NumPy backend: plain functions, each with the name and arguments of its op."""
