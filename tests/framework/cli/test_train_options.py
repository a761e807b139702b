"""``train`` has the options of the model that it is given, wherever that stands."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

PRINT = "--data digits --print-config"


@pytest.fixture
def parameters(run: Callable[..., Any]) -> Callable[..., dict[str, Any]]:
    """The resolved hyper-parameters of a command line."""

    def resolve(line: str) -> dict[str, Any]:
        done = run(f"{line} {PRINT}")
        assert done.code == 0, done.err
        found: dict[str, Any] = tomllib.loads(done.out)["parameters"]
        return found

    return resolve


def test_help_lists_the_models_options_with_defaults(run: Callable[..., Any]) -> None:
    from flagstone.plugins import registry

    done = run("train mlp --help")
    model = registry.load("model", "mlp")
    text = " ".join(done.out.split())
    assert done.code == 0
    assert done.out.startswith("Usage: flagstone train mlp --data DATA [OPTIONS]\n")
    assert f"mlp: {model.__doc__.strip().splitlines()[0]}" in text
    for name, parameter in model.hyperparameters().items():
        assert (f"--{name.replace('_', '-')} " in text) is (name != "verbose")
        if isinstance(parameter.default, int | float) and not isinstance(parameter.default, bool):
            assert f"[default: {parameter.default}]" in text
    assert "--hidden N,N,..." in text
    assert "[default: 64,64]" in text
    assert "--patience N" in text
    assert "[default: none]" in text


def test_help_without_a_model_names_the_models(run: Callable[..., Any]) -> None:
    done = run("train --help")
    assert done.code == 0
    assert "MODEL is one of: " in done.out
    assert "--epochs" in done.out
    assert "--hidden" not in done.out


@pytest.mark.parametrize(
    "line",
    [
        "train mlp --hidden 8,4 --lr 0.5 --weight-decay 1e-4 --no-standardize --patience 3",
        "train --hidden 8,4 --lr 0.5 mlp --weight-decay=1e-4 --standardize=false --patience 3",
        "train --lr 0.5 --hidden=8,4 --weight-decay 1e-4 --patience 3 --standardize false mlp",
        "train mlp --set hidden=8,4 --set lr=0.5 --set weight-decay=1e-4 --set standardize=no "
        "--set patience=3",
    ],
)
def test_every_way_to_write_a_value(parameters: Callable[..., Any], line: str) -> None:
    found = parameters(line)
    assert found["hidden"] == [8, 4]
    assert found["lr"] == 0.5
    assert found["weight_decay"] == 1e-4
    assert found["standardize"] is False
    assert found["patience"] == 3


def test_a_switch_may_stand_alone(parameters: Callable[..., Any]) -> None:
    assert parameters("train mlp --standardize")["standardize"] is True
    assert parameters("train mlp --patience none --no-standardize")["patience"] == "none"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("train mlp --hiden 3", "no such option '--hiden'. Did you mean '--hidden'?"),
        ("train mlp --hiden 3", "(see flagstone train mlp --help)"),
        ("train mlpp --lr 3", "unknown model 'mlpp'; known: "),
        ("train mlpp --hidden 3", "Did you mean 'mlp'?"),
        ("train --lr 3", "missing argument MODEL"),
        ("train", "missing argument MODEL"),
        ("train mlp", "missing option --data"),
        ("train mlp --data", "'--data'"),
        ("train mlp softmax --data iris", "unexpected extra argument"),
        ("train mlp --data iris --dropout x", "--dropout: expected a number; got 'x'"),
        ("train mlp --data iris --hidden 3.5", "--hidden: expected whole numbers separated by"),
        ("train mlp --data iris --set lr", "--set: expected name=value; got 'lr'"),
        ("train mlp --data iris --set rl=1", "unknown hyper-parameter of mlp in --set 'rl'"),
        ("train mlp --data iris --set lr=1 --lr 2", "--set lr: lr is given twice"),
        ("train mlp --data iris --standardize --no-standardize", "exclude each other"),
        ("train mlp --data iris --validation 1", "at least 0 and below 1; got 1"),
        ("train mlp --data iris --validation half", "--validation: expected a number; got 'half'"),
        ("train mlp --data iris --validation .1 --validation-fraction .1", "exclude each other"),
        ("train mlp --data iris --epochs 0", "--epochs: expected a positive integer; got 0"),
        ("train mlp --data iris --optimizer adan", "Did you mean 'adam'?"),
        ("train mlp --data iris --device gpu", "unknown device 'gpu'"),
        ("train mlp --data iris --device cpu:x", "--device"),
        ("train mlp --data iriss", "Did you mean 'iris'?"),
        ("train linear --data iris", "dataset iris is for classification"),
        ("train mlp --data iris --target 3", "the dataset iris has its own target"),
        ("train mlp --config none.toml --data iris", "none.toml: cannot be read: No such file"),
    ],
)
def test_a_wrong_line_is_one_clear_line(
    run: Callable[..., Any], folder: Path, line: str, message: str
) -> None:
    done = run(line)
    assert message.replace("--device", "device") in done.error.replace("--device", "device")
    assert (done.code, done.out) == (2, "")
    assert list(folder.iterdir()) == []


def test_values_come_from_flag_environment_file_default_in_that_order(
    run: Callable[..., Any], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "c.toml").write_text(
        'model = "mlp"\ndata = "iris"\nvalidation = 0.3\n'
        "[parameters]\nlr = 0.3\nepochs = 3\nbatch_size = 3\nhidden = [3]\nseed = 3\n"
    )
    monkeypatch.setenv("FLAGSTONE_LR", "0.2")
    monkeypatch.setenv("FLAGSTONE_EPOCHS", "2")
    monkeypatch.setenv("FLAGSTONE_DEVICE", "cpu")
    monkeypatch.setenv("FLAGSTONE_SEED", "")
    monkeypatch.setenv("FLAGSTONE_DATA", "/where/files/are/found")  # not the option --data
    done = run("train --config c.toml --lr 0.1 --print-config --json")
    assert done.code == 0, done.err
    found = done.json["parameters"]
    assert {name: found[name] for name in ("lr", "epochs", "batch_size", "hidden")} == {
        "lr": 0.1,
        "epochs": 2,
        "batch_size": 3,
        "hidden": [3],
    }
    assert (found["seed"], found["device"], found["dropout"]) == (3, "cpu", 0.0)
    assert (done.json["data"], done.json["validation"]) == ("iris", 0.3)
    done = run("train softmax --config c.toml --print-config")
    assert done.code == 2
    assert done.error.startswith("unknown hyper-parameter of softmax in c.toml 'hidden'; known: ")
    assert done.error.endswith(
        "c.toml is for the model 'mlp', and the command line names 'softmax'."
    )


def test_a_wrong_environment_is_named(
    run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLAGSTONE_DROPOUT", "much")
    done = run("train mlp --data iris")
    assert done.error == "FLAGSTONE_DROPOUT: expected a number; got 'much'"
    assert done.code == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epochs = 3", "Hyper-parameters stand under [parameters]."),
        ("[parameters]\nepoch = 3", "Did you mean 'epochs'?"),
        (
            "[parameters]\nbatch_size = 1.5",
            "c.toml, batch_size: expected a whole number or none; got '1.5'",
        ),
        ("parameters = 3", "parameters: expected a table, [parameters]"),
        ("model = ", "c.toml: not valid TOML"),
    ],
)
def test_a_wrong_file_is_one_clear_line(
    run: Callable[..., Any], folder: Path, text: str, message: str
) -> None:
    (folder / "c.toml").write_text(text)
    done = run("train mlp --data iris --config c.toml")
    assert message in done.error
    assert done.code == 2


def test_what_is_printed_is_what_config_reads(run: Callable[..., Any], folder: Path) -> None:
    line = "train mlp --data iris --hidden 5,5 --patience none --validation 0.25 --seed 7"
    printed = run(f"{line} --print-config").out
    (folder / "c.toml").write_text(printed)
    assert run("train --config c.toml --print-config").out == printed


def test_a_models_option_named_like_the_commands_own_is_still_settable(
    run: Callable[..., Any], plugin: Callable[[str], Path]
) -> None:
    plugin(
        """
        from dataclasses import dataclass
        import flagstone as fs
        from flagstone import nn

        @dataclass(kw_only=True, eq=False, repr=False)
        class Odd(fs.Classifier):
            \"\"\"Odd.\"\"\"
            data: int = 1
            json: bool = False
            def build(self, inputs, outputs):
                return nn.Linear(inputs.size, outputs.size)

        @fs.hookimpl
        def flagstone_models():
            yield fs.ModelSpec("odd", "test_plugin:Odd", task="classification")
        """
    )
    done = run("train odd --data iris --print-config --json --set json=true --set data=2")
    assert (done.code, done.json["data"]) == (0, "iris")
    assert (done.json["parameters"]["json"], done.json["parameters"]["data"]) == (True, 2)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("SEED", "-1", "FLAGSTONE_SEED must be from 0 to 2**64 - 1; got -1"),
        ("SEED", "x", "FLAGSTONE_SEED: expected a whole number; got 'x'"),
        ("DEVICE", "foo", "FLAGSTONE_DEVICE: unknown device 'foo'"),
        ("EPOCHS", "0", "FLAGSTONE_EPOCHS: expected a positive integer; got 0"),
        ("DEVICE", "?", "FLAGSTONE_DEVICE: expected auto, cpu, "),
    ],
)
def test_a_value_of_the_environment_names_its_variable(
    run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, name: str, value: str, message: str
) -> None:
    assert run("train mlp --data iris --epochs 1").code == 0
    monkeypatch.setenv(f"FLAGSTONE_{name}", value)
    assert run("train mlp --data iris").error.startswith(message)
    if name == "DEVICE":
        assert run("evaluate runs/mlp-0001").error.startswith(message)
        assert run("predict runs/mlp-0001 -").error.startswith(message)


def test_a_message_for_python_names_the_option(run: Callable[..., Any]) -> None:
    assert "Say --image-shape h,w to fold its rows" in run("train cnn --data iris").error
    wrong = run("train ensemble --data iris --member cnn(epochs=1)").error
    assert wrong.startswith("--member 'cnn(epochs=1)': CNN: X expected images")
    gpu = run("train cnn --data digits --device gpu").error
    assert "Did you mean 'cuda'?" in gpu


def test_the_help_of_a_model_ends_with_a_sentence(run: Callable[..., Any]) -> None:
    text = " ".join(run("train kmeans --help").out.split())
    assert '("Least squares quantization in PCM", 1982). Options:' in text


@pytest.mark.parametrize(
    ("model", "told"),
    [
        ("mlp", "--optimizer, --schedule, --activation, --init: flagstone plugins show --kind "
         "optimizer (schedule, layer, initializer)."),
        ("linear", "--optimizer, --schedule: flagstone plugins show --kind optimizer (schedule)."),
        ("kmeans", None),
    ],
)  # fmt: skip
def test_help_says_where_the_names_of_parts_are(
    run: Callable[..., Any], model: str, told: str | None
) -> None:
    text = " ".join(run(f"train {model} --help").out.split())
    assert ("plugins show" in text) is (told is not None)
    assert told is None or text.endswith(f"What may be written for {told}")


def test_verbose_is_no_option(run: Callable[..., Any]) -> None:
    assert run("train mlp --data iris --verbose").error.startswith("no such option '--verbose'.")


def test_a_message_leaves_what_the_user_wrote_as_it_is(run: Callable[..., Any]) -> None:
    member = "softmax(epochs=2, device='cuda')"
    done = run("train ensemble --data digits --member", member)
    assert done.code == 2
    assert f'"{member}"' in done.err


@pytest.mark.parametrize("more", ["--validation-fraction 0", "--set validation_fraction=0"])
def test_no_validation_by_the_name_of_the_hyperparameter(
    run: Callable[..., Any], folder: Path, more: str
) -> None:
    plan = run(f"train softmax --data iris --dry-run --json {more}").json
    assert plan["rows"] == {"train": 150}
    (folder / "c.toml").write_text(run("train softmax --data iris --print-config").out)
    plan = run("train --config c.toml --dry-run --json").json
    assert plan["rows"] == {"train": 135, "validation": 15}  # its 0.0 was nobody's wish
    done = run(f"train softmax --data iris --validation 0.2 {more}")
    assert done.error.endswith("exclude each other")
