"""Loops that Numba compiles; importing any of these modules imports Numba.

Every function lets go of the interpreter's lock, works on C-contiguous arrays, and takes slices
rather than offsets, which Numba's compiler turns into vector instructions where it cannot prove
that offset indices do not overlap.
"""
