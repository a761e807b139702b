"""PyTorch's tensors as devices of flagstone: ``torch`` (the CPU) and ``torch:cuda``.

Every command of flagstone imports this module, so it must stay free of torch.
"""

from collections.abc import Iterator

from flagstone.plugins import BackendSpec, hookimpl


@hookimpl
def flagstone_backends() -> Iterator[BackendSpec]:
    yield BackendSpec(
        "torch",
        "flagstone_torch.backend:open_cpu",
        summary="the CPU, through PyTorch's tensors",
        devices=("torch",),
        requires=("torch", "array_api_compat"),
        priority=-20,
    )
    yield BackendSpec(
        "torch-cuda",
        "flagstone_torch.backend:open_cuda",
        summary="NVIDIA cards, through PyTorch's tensors",
        devices=("torch:cuda",),
        requires=("torch", "array_api_compat"),
        probe="flagstone_torch.probe:cuda",
        priority=-10,
    )
