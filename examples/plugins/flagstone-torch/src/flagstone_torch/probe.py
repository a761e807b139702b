"""Whether PyTorch can reach a card."""

from __future__ import annotations

from flagstone.plugins import Probe


def cuda() -> Probe:
    """Ask PyTorch, which takes a second to import: there is no cheaper sound answer."""
    import torch

    if torch.version.cuda is None:
        return Probe(ok=False, reason=f"torch {torch.__version__} is built without CUDA")
    if not torch.cuda.is_available():
        return Probe(ok=False, reason=f"torch {torch.__version__} finds no NVIDIA card it can use")
    cards = torch.cuda.device_count()
    return Probe(ok=True, detail=f"{cards} card{'s'[: cards != 1]}, torch {torch.__version__}")
