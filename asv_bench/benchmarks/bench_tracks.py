"""What is counted or compared rather than timed; lower is better in all of it."""

import tempfile
import time
from pathlib import Path

import numpy as np

from flagstone import ops
from flagstone.backend import open_backend
from flagstone.benchmarking.of_files import checkpoint_of
from flagstone.benchmarking.of_models import model_step
from flagstone.tape import no_grad
from flagstone.tensors import Tensor

from . import blank_card
from .common import BACKENDS, names_of, opened

PEERS = ["conv3x3", "matmul", "max-pool", "relu", "softmax"]
SOURCES = Path(__file__).resolve().parents[2] / "backends" / "flagstone_cupy" / "kernels"


class OpCalls:
    """Op calls of an uncaptured training step."""

    params = [names_of("step"), BACKENDS]
    param_names = ["model", "backend"]
    unit = "calls"

    def setup(self, model, backend):
        self.kept = model_step(model, opened(backend))

    def track_op_calls(self, model, backend):
        from flagstone.profiling import Profiler

        with Profiler(opened(backend)) as profiler:
            self.kept.uncaptured()
        return len(profiler.calls)

    track_op_calls.pretty_name = "op calls of a step"


class Launches:
    """Kernels that an uncaptured training step launches on a card; none is needed to count."""

    params = [names_of("step")]
    param_names = ["model"]
    unit = "launches"

    def setup(self, model):
        with blank_card.launches():
            model_step(model, open_backend(blank_card.NAME))

    def track_launches(self, model):
        with blank_card.launches() as seen:
            kept = model_step(model, open_backend(blank_card.NAME))
            seen.clear()
            kept.uncaptured()
        return len(seen)

    track_launches.pretty_name = "launches of a step"


class KernelSize:
    """Bytes of a compiled file of CUDA kernels, for an architecture."""

    params = [sorted(path.name for path in SOURCES.glob("*.cu")), ["sm_80", "sm_90"]]
    param_names = ["file", "architecture"]
    unit = "bytes"

    def setup(self, file, architecture):
        from flagstone.errors import UnavailableError

        try:
            from flagstone_cupy import budget
            from flagstone_cupy.compile import compiled
        except ImportError as error:
            raise NotImplementedError(f"no CUDA kernels: {error}") from None
        number = architecture.removeprefix("sm_")
        kernels = [k for k in budget.packaged() if k.source == file and number in k.architectures]
        if not kernels:
            raise NotImplementedError(f"{file} has nothing for {architecture}")
        try:
            self.cubin = compiled(file, [k.expression for k in kernels], number)
        except UnavailableError as error:
            raise NotImplementedError(str(error)) from None

    def track_bytes(self, file, architecture):
        return self.cubin.path.stat().st_size

    track_bytes.pretty_name = "bytes of compiled kernels"


class Checkpoint:
    """Bytes of an mlp's checkpoint for each number that is trained."""

    params = [BACKENDS]
    param_names = ["backend"]
    unit = "bytes / parameter"

    def setup(self, backend):
        opened(backend)

    def track_bytes_per_parameter(self, backend):
        with tempfile.TemporaryDirectory() as folder:
            directory, arrays, metadata = checkpoint_of(opened(backend), Path(folder))
            directory.save_checkpoint(arrays, metadata)
            size = sum(path.stat().st_size for path in Path(folder).rglob("*.safetensors"))
        return size / model_step("mlp", opened(backend)).trainer.layer.count_parameters()

    track_bytes_per_parameter.pretty_name = "checkpoint / parameter"


class Peer:
    """Our time over PyTorch's for the large kernels: both in turns, least over least."""

    params = [PEERS]
    param_names = ["kernel"]
    unit = "ours / theirs"

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

    track_ratio.pretty_name = "ours / PyTorch"
