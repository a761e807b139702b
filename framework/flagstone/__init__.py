"""flagstone: deep learning on NumPy and CuPy in which every part is a plugin."""

__version__ = "0.1.0"
