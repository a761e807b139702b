"""The CUDA kernels, and beside each ``.cu`` file the Python that launches it."""
