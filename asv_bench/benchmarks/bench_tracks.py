"""What is counted or compared rather than timed; lower is better in all of it."""

import tempfile
import time
from pathlib import Path

import numpy as np

from flagstone import ops
from flagstone.benchmarking.catalogue import catalogue
from flagstone.benchmarking.of_files import checkpoint_of
from flagstone.benchmarking.of_models import model_step
from flagstone.tape import no_grad
from flagstone.tensors import Tensor

from .common import BACKENDS, opened

PEERS = ["conv3x3", "matmul", "max-pool", "relu", "softmax"]
MODELS = [name.partition("/")[2] for name in catalogue() if name.startswith("step/")]


class Steps:
    """Op calls, each at least one launch on a card, in an uncaptured training step."""

    params = [MODELS, BACKENDS]
    param_names = ["model", "backend"]
    unit = "calls"

    def track_op_calls(self, model, backend):
        from flagstone.profiling import Profiler

        device = opened(backend)
        try:
            kept = model_step(model, device)
        except NotImplementedError:
            return float("nan")  # it is not trained in steps
        with Profiler(device) as profiler:
            kept.uncaptured()
        return len(profiler.calls)

    def setup(self, model, backend):
        opened(backend)


class Checkpoint:
    """Bytes of an mlp's checkpoint for each number that is trained."""

    params = [BACKENDS]
    param_names = ["backend"]
    unit = "bytes"

    def setup(self, backend):
        opened(backend)

    def track_bytes_per_parameter(self, backend):
        with tempfile.TemporaryDirectory() as folder:
            directory, arrays, metadata = checkpoint_of(opened(backend), Path(folder))
            directory.save_checkpoint(arrays, metadata)
            size = sum(path.stat().st_size for path in Path(folder).rglob("*.safetensors"))
        return size / model_step("mlp", opened(backend)).trainer.layer.count_parameters()


class Peer:
    """Our time over PyTorch's for the large kernels: both in turns, least over least."""

    params = [PEERS]
    param_names = ["kernel"]
    unit = "ours / PyTorch's"

    def setup(self, kernel):
        try:
            import torch
        except ImportError as error:
            raise NotImplementedError(f"no peer: {error}") from None
        torch.set_num_threads(1)
        backend = opened("numpy")
        rng = np.random.default_rng(0)
        x = rng.standard_normal(
            (32, 28, 28, 64) if kernel in ("conv3x3", "max-pool") else (512, 512)
        )
        x = x.astype("float32")
        w = rng.standard_normal((64, 3, 3, 64)).astype("float32")
        ours, theirs = Tensor(backend.asarray(x), backend), torch.from_numpy(x)
        ours_w = Tensor(backend.asarray(w), backend)
        if x.ndim == 4:  # the same bytes, which PyTorch calls channels_last
            theirs = theirs.permute(0, 3, 1, 2)
        theirs_w = torch.from_numpy(w).permute(0, 3, 1, 2)
        functional = torch.nn.functional
        self.pair = {
            "conv3x3": (
                lambda: ops.conv2d(ours, ours_w, padding="same"),
                lambda: functional.conv2d(theirs, theirs_w, padding="same"),
            ),
            "matmul": (lambda: ops.matmul(ours, ours), lambda: theirs @ theirs),
            "max-pool": (
                lambda: ops.max_pool2d(ours, 2), lambda: functional.max_pool2d(theirs, 2)
            ),
            "relu": (lambda: ops.relu(ours), lambda: torch.relu(theirs)),
            "softmax": (lambda: ops.softmax(ours), lambda: torch.softmax(theirs, -1)),
        }[kernel]  # fmt: skip

    def track_ratio(self, kernel):
        import torch

        least = [float("inf"), float("inf")]
        with no_grad(), torch.no_grad():
            for _ in range(20):
                for i, run in enumerate(self.pair):
                    started = time.perf_counter()
                    run()
                    least[i] = min(least[i], time.perf_counter() - started)
        return least[0] / least[1]
