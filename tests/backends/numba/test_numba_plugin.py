"""How the plugin comes in, and what a Numba that is absent or broken costs."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytest.importorskip("numba", reason="numba is not installed: pip install flagstone[fast]")

SERVED = "from flagstone.backend import open_backend\nb = open_backend('cpu')\n"


def run(code, **environment):
    """What ``code`` prints in an interpreter of its own, with the plugin."""
    clean = {k: v for k, v in os.environ.items() if k != "FLAGSTONE_DISABLE_PLUGINS"}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], env=clean | environment,
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_it_serves_the_numpy_backend_and_is_imported_when_a_kernel_is_used():
    code = SERVED + (
        "import sys\n"
        "print(b.kernels['relu'].__module__, b.kernels['exp'].__module__\n"
        "      if 'exp' in b.kernels else '-', 'numba' in sys.modules)"
    )
    assert run(code).startswith("flagstone_numba.kernels.elementwise ")
    assert run(code).endswith("False")


def test_compiling_a_loop_is_logged_once(caplog: pytest.LogCaptureFixture):
    import numba
    from numba.core.event import Event, EventStatus

    from flagstone_numba.loops import elementwise
    from flagstone_numba.loops.announcing import Announcement

    ours = next(f for f in vars(elementwise).values() if hasattr(f, "py_func"))
    announcement = Announcement()
    caplog.set_level("INFO", "flagstone")
    for dispatcher, told in ((numba.njit(lambda x: x), 0), (ours, 1), (ours, 1)):
        announcement.notify(Event("numba:compile", EventStatus.START, {"dispatcher": dispatcher}))
        assert sum("compiling loops" in text for text in caplog.messages) == told


def test_compiling_in_a_fresh_process_is_logged(tmp_path):
    (tmp_path / "flagstone_numba_own.py").write_text("def double(x):\n    return 2 * x\n")
    code = (
        f"import logging, sys; sys.path.append({str(tmp_path)!r})\n"
        "logging.basicConfig(stream=sys.stdout, level='INFO')\n"
        "from flagstone_numba.loops.compiling import compiled\n"
        "import flagstone_numba_own\n"
        "double = compiled(flagstone_numba_own.double)\n"
        "flagstone_numba_own.double.__module__ = 'flagstone_numba.loops.own'\n"
        "print(double(2))"
    )
    told = run(code, NUMBA_CACHE_DIR=str(tmp_path))
    assert told.count("INFO:flagstone:compiling loops for this processor") == 1
    assert told.endswith("4")


def test_it_is_listed_with_what_it_provides():
    told = run(
        "import sys; from flagstone.cli import main; sys.argv[1:] = ['plugins', 'list']; main()"
    )
    assert next(x for x in told.splitlines() if x.startswith("numba ")).endswith(" kernels")


def test_a_disabled_plugin_leaves_numpys_kernels():
    code = SERVED + "print(b.kernels['relu'].__module__)"
    assert run(code, FLAGSTONE_DISABLE_PLUGINS="numba") == "flagstone_numpy.kernels.elementwise"


def test_a_numba_that_cannot_be_imported_is_told_once_and_numpy_serves(tmp_path):
    (tmp_path / "numba.py").write_text("raise ImportError('Numba needs NumPy 2.4 or less')")
    code = SERVED + (
        "import warnings, numpy as np\n"
        "x = np.ones((400, 400), np.float32)\n"
        "with warnings.catch_warnings(record=True) as told:\n"
        "    warnings.simplefilter('always')\n"
        "    y = b.kernels['relu'](-x), b.kernels['relu'](x), b.kernels['sum'](x, axis=0)\n"
        "assert (y[0] == 0).all() and (y[1] == 1).all() and (y[2] == 400).all()\n"
        "print(len(told), told[0].message)"
    )
    printed = run(
        code, PYTHONPATH=os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    )
    assert printed.startswith("1 flagstone_numba: numba is installed but does not work here")
    assert "Numba needs NumPy 2.4 or less" in printed


def test_training_gives_the_results_of_numpy_to_rounding():
    code = (
        "import flagstone as fs, numpy as np\n"
        "r = np.random.default_rng(0)\n"
        "X, y = r.random((200, 16, 16), np.float32), r.integers(0, 3, 200)\n"
        "m = fs.model('cnn', epochs=4, seed=1).fit(X, y)\n"
        "print(repr(m.history_[-1]['train']['loss']))"
    )
    fast, plain = float(run(code)), float(run(code, FLAGSTONE_DISABLE_PLUGINS="numba"))
    assert fast == pytest.approx(plain, rel=1e-4)


FORMS = """
from types import SimpleNamespace
from flagstone import ops
from flagstone.backend import open_backend
from flagstone_numpy.replay.form import FORMS, forms_of
def is_numpys(op, *shape):
    call = SimpleNamespace(op=op, inputs=[SimpleNamespace(shape=shape)], static={})
    return forms_of(call, open_backend("cpu"))[:1] == [FORMS[op.name]]
print([is_numpys(op, 4, 3) for op in (ops.relu, ops.sum)], end=" ")
print([is_numpys(op, 400, 500) for op in (ops.relu, ops.sum)])
"""


def test_small_calls_of_a_recorded_step_keep_numpys_forms():
    assert run(FORMS) == "[True, True] [False, False]"


STRANGER = """
import warnings
from flagstone import plugins
class Mine:
    @plugins.hookimpl
    def flagstone_kernels(self, backend):
        yield plugins.KernelSpec("relu", "operator:pos", overrides=True)
class Another:
    @plugins.hookimpl
    def flagstone_kernels(self, backend):
        yield plugins.KernelSpec("relu", "operator:neg", overrides=True)
plugins.register(Mine(), "mine")
plugins.register(Another(), "another")
from flagstone.backend import open_backend
with warnings.catch_warnings(record=True) as told:
    warnings.simplefilter("always")
    relu = open_backend("cpu").kernels["relu"]
print(relu.__name__, *[w.message for w in told])
"""


def test_a_strangers_kernel_goes_before_this_plugins_and_a_second_strangers_is_a_conflict():
    printed = run(STRANGER)
    assert printed.startswith("pos ")
    assert "kernel 'relu' of plugin 'mine'" in printed
    assert printed.count("replaces that of backend 'numpy'") == 1
    assert "another" in printed  # and is told of


@pytest.mark.parametrize("precision", ["exact", "fast"])
def test_a_recorded_convolution_has_the_bits_of_the_call_and_makes_no_array(precision):
    code = (
        "import flagstone as fs, numpy as np\n"
        "from flagstone import ops\n"
        "from flagstone.backend import open_backend\n"
        "import flagstone_numba.kernels.conv as conv\n"
        f"device = open_backend('cpu', {precision!r})\n"
        "r = np.random.default_rng(0)\n"
        "x, w = (fs.tensor(r.standard_normal(s, dtype='float32'), device=device)\n"
        "        for s in ((10, 16, 16, 32), (48, 3, 3, 32)))\n"
        "step = lambda x, w: ops.conv2d(x, w, padding=1) * 1.5\n"
        "captured = fs.capture(step)\n"
        "same = [(captured(x, w).numpy() == step(x, w).numpy()).all() for _ in range(3)]\n"
        "exact = ops.conv2d(*(fs.tensor(a.numpy(), device='cpu') for a in (x, w)), padding=1)\n"
        "print(all(same), (exact.numpy() * np.float32(1.5) == captured(x, w).numpy()).all())\n"
    )
    assert run(code) == f"True {precision == 'exact'}"
