"""Without scikit-learn plain arrays work, and all else is refused with a line that says so."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

BLOCK = """
import sys

class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "sklearn":
            raise ImportError(f"{name} is blocked")

sys.meta_path.insert(0, Block())
import numpy as np
import flagstone as fs
from flagstone.errors import InputError, NotFittedError, ShapeError
x = np.random.default_rng(0).standard_normal((40, 3))
y = (x[:, 0] > 0).astype(int)
"""


def run(code: str) -> str:
    script = BLOCK + textwrap.dedent(code)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_plain_arrays_work(tmp_path: object) -> None:
    out = run(f"""
        path = {str(tmp_path)!r} + "/m"
        for name, target in (("softmax", y), ("logistic", np.array(["n", "y"])[y]), ("mlp", y),
                             ("softmax", y.astype(float)), ("linear", x @ np.ones(3)),
                             ("mlp-regressor", x @ np.ones((3, 2)))):
            model = fs.model(name, epochs=20).fit(x, target, validation_data=(x, target))
            model.save(path)
            assert fs.load(path).score(x, target) == model.score(x, target)
        images = np.random.default_rng(0).random((8, 6, 6))
        fs.model("cnn", epochs=1).fit(images, y[:8]).predict(images)
        assert not [m for m in sys.modules if m.startswith("sklearn")]
        print("done")
    """)
    assert out == "done\n"


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("fs.model('softmax').fit(x.tolist(), y)", "got list. To pass anything else install flag"),
        ("fs.model('softmax').fit(x, y.tolist())", "To pass anything else install flagstone[sk"),
        ("fs.model('softmax').fit(x, y[:, None])", "To pass anything else install flagstone[sk"),
        ("fs.model('softmax').fit(x * np.nan, y)", "X: expected finite numbers; got NaN or inf"),
        ("fs.model('softmax').fit(x, y[:-1])", "y: expected one value for each of 40 rows; got"),
        ("fs.model('softmax').fit(x[:0], y[:0])", "X: expected at least one row and one column"),
        ("fs.model('linear').fit(x, x[:, 0] * np.nan)", "y: expected finite numbers; got NaN or"),
        ("fs.model('softmax', epochs=1).fit(x, y).predict(x[:, :2])", "X: expected 3 features, as"),
        ("fs.model('softmax', epochs=1).fit(x, y).predict(x * np.inf)", "X: expected finite numb"),
        ("fs.model('softmax', epochs=1).fit(x, y).predict([[1.0, 2.0, 3.0]])", "got list. To pass"),
        ("fs.model('softmax').predict(x)", "instance is not fitted yet"),
    ],
)
def test_a_refusal_is_one_line(code: str, message: str) -> None:
    out = run(f"""
        try:
            {code}
        except (InputError, NotFittedError, ShapeError) as error:
            print(error)
    """)
    assert message in out
    assert out.count("\n") == 1
