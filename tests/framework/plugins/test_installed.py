"""Plugins that are really installed: found by their entry points in a fresh interpreter."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

GOOD = """
    from flagstone.plugins import LayerSpec, hookimpl

    @hookimpl
    def flagstone_layers():
        yield LayerSpec("stranger-layer", "json:dumps")
"""

ASK = """
import dataclasses, json, sys
from flagstone.plugins import KINDS, registry

print(json.dumps({
    "stranger": registry.load("layer", "stranger-layer").__name__,
    "numpy": [str(spec.provider) for spec in registry.specs("backend") if spec.name == "numpy"],
    "names": {kind: registry.names(kind) for kind in KINDS},
    "rows": [dataclasses.asdict(row) for row in registry.providers()],
}))
"""

STORIES = {
    "import": ("stranger", "import no_such_module", "failed", "No module named 'no_such_module'"),
    "signature": (
        "stranger",
        """
        from flagstone.plugins import hookimpl
        @hookimpl
        def flagstone_models(config): return []
        """,
        "failed",
        "the hook is flagstone_models()",
    ),
    "raises": (
        "stranger",
        """
        from flagstone.plugins import hookimpl
        @hookimpl
        def flagstone_models(): raise RuntimeError("boom")
        """,
        "failed",
        "flagstone_models failed: RuntimeError: boom (",
    ),
    "exits-at-import": (
        "stranger",
        "import sys; sys.exit(7)",
        "failed",
        "importing bad_module failed: it called sys.exit(7)",
    ),
    "exits-in-hook": (
        "stranger",
        """
        import sys
        from flagstone.plugins import hookimpl
        @hookimpl
        def flagstone_models(): sys.exit(7)
        """,
        "failed",
        "flagstone_models failed: it called sys.exit(7)",
    ),
    "entry-point-numpy": (
        "numpy",
        "raise AssertionError('it was imported')",
        "conflict",
        "the plugin name 'numpy' belongs to plugin 'numpy' (flagstone ",
    ),
    "backend-numpy": (
        "stranger",
        """
        from flagstone.plugins import BackendSpec, hookimpl
        @hookimpl
        def flagstone_backends():
            yield BackendSpec("numpy", "json:dumps", devices=("cpu",), priority=9999)
        """,
        "conflict",
        "'numpy', 'cpu' belongs to backend 'numpy' of plugin 'numpy' (flagstone ",
    ),
    "api": (
        "stranger",
        """
        from flagstone.plugins import LayerSpec, hookimpl
        @hookimpl
        def flagstone_layers():
            yield LayerSpec("new", "json:dumps", api=2)
        """,
        "failed",
        "layer 'new': it is written for plugin api 2, this flagstone takes api 1",
    ),
}  # fmt: skip


def answer(finished: subprocess.CompletedProcess[str]) -> dict:
    assert finished.returncode == 0, finished.stderr
    assert finished.stderr == ""
    return json.loads(finished.stdout)


@pytest.mark.parametrize("story", STORIES)
def test_with_a_broken_plugin_installed_everything_else_works(install, run_python, story):
    name, source, status, told = STORIES[story]
    site = install("good-dist", "[flagstone]\ngood = good_module\n", {"good_module": GOOD})
    undisturbed = answer(run_python(ASK, site))
    install("bad-dist", f"[flagstone]\n{name} = bad_module\n", {"bad_module": source})
    found = answer(run_python(ASK, site))
    assert found["stranger"] == "dumps"
    (numpy,) = found["numpy"]
    assert numpy.startswith("plugin 'numpy' (flagstone ")
    assert found["names"] == undisturbed["names"]
    (row,) = [row for row in found["rows"] if row["distribution"] == "bad-dist"]
    assert (row["name"], row["status"], row["version"]) == (name, status, "1.2")
    assert told in row["reason"]
    assert row["module"] == "bad_module"
    assert row["location"].startswith(str(site))
    assert [row for row in found["rows"] if row["distribution"] != "bad-dist"] == undisturbed[
        "rows"
    ]


def test_all_of_them_at_once(install, run_python):
    site = install("good-dist", "[flagstone]\ngood = good_module\n", {"good_module": GOOD})
    for story, (name, source, _, _) in STORIES.items():
        module = story.replace("-", "_") + "_module"
        name = name if name == "numpy" else story
        install(f"bad-{story}", f"[flagstone]\n{name} = {module}\n", {module: source})
    found = answer(run_python(ASK, site))
    assert found["stranger"] == "dumps"
    bad = {row["distribution"]: row for row in found["rows"] if row["distribution"][:4] == "bad-"}
    assert {name: row["status"] for name, row in bad.items()} == {
        f"bad-{story}": status for story, (_, _, status, _) in STORIES.items()
    }


@pytest.mark.parametrize(
    ("entry_points", "told"),
    [
        ("[flagstone]\nthis is no entry point\n", "failed"),
        ("[flagstone]\nbad = \n", "failed"),
        ("[flagstone]\nbad = not a module!\n", "failed"),
        ("[console_scripts]\nthis is no entry point\n", None),
    ],
)
def test_malformed_entry_points_are_told_only_if_they_are_ours(
    install, run_python, entry_points, told
):
    site = install("good-dist", "[flagstone]\ngood = good_module\n", {"good_module": GOOD})
    install("bad-dist", entry_points, {})
    found = answer(run_python(ASK, site))
    assert found["stranger"] == "dumps"
    bad = [r for r in found["rows"] if "bad" in r["name"] or r["distribution"] == "bad-dist"]
    assert [row["status"] for row in bad] == ([told] if told else [])


def test_metadata_without_a_name_are_told(install, run_python):
    site = install("good-dist", "[flagstone]\ngood = good_module\n", {"good_module": GOOD})
    install("bad-dist", "[flagstone]\nbad = good_module\n", {})
    (site / "bad_dist-1.2.dist-info" / "METADATA").write_text("")
    found = answer(run_python(ASK, site))
    assert found["stranger"] == "dumps"
    assert any(row["status"] == "failed" and str(site) in row["name"] for row in found["rows"])


def test_of_two_copies_of_a_distribution_the_first_on_the_path_counts(
    install, run_python, tmp_path
):
    site = install("good-dist", "[flagstone]\ngood = good_module\n", {"good_module": GOOD})
    newer = tmp_path / "newer" / "good_dist-2.0.dist-info"
    newer.mkdir(parents=True)
    (newer / "METADATA").write_text("Metadata-Version: 2.1\nName: Good.Dist\nVersion: 2.0\n")
    ask = (
        "from flagstone.plugins import registry\n"
        "print([row.version for row in registry.providers() if row.name == 'good'])"
    )
    run = run_python(ask, f"{newer.parent}{os.pathsep}{site}")
    assert run.stdout == "[]\n", run.stderr
    (newer / "entry_points.txt").write_text("[flagstone]\ngood = good_module\n")
    run = run_python(ask, f"{newer.parent}{os.pathsep}{site}")
    assert run.stdout == "['2.0']\n", run.stderr


def test_the_environment_switches_a_broken_plugin_off_or_makes_it_an_error(install, run_python):
    site = install("good-dist", "[flagstone]\ngood = good_module\n", {"good_module": GOOD})
    install("bad-dist", "[flagstone]\nbad = bad_module\n", {"bad_module": "1 / 0"})
    found = answer(run_python(ASK, site, FLAGSTONE_DISABLE_PLUGINS="bad"))
    assert {"bad": "disabled", "good": "ok"}.items() <= {
        row["name"]: row["status"] for row in found["rows"]
    }.items()
    strict = run_python(ASK, site, FLAGSTONE_STRICT_PLUGINS="1")
    assert strict.returncode == 1
    assert "flagstone.errors.PluginError: FLAGSTONE_STRICT_PLUGINS is set" in strict.stderr
    alone = run_python(ASK, site, FLAGSTONE_NO_PLUGINS="1")
    assert "unknown layer 'stranger-layer'" in alone.stderr


def test_importing_what_an_author_needs_scans_and_loads_nothing(install, run_python):
    site = install("loud-dist", "[flagstone]\nloud = loud\n", {"loud": "print('imported')"})
    code = """
    import sys
    from flagstone.plugins import ModelSpec, hookimpl, registry
    heavy = {"importlib.metadata", "click", "numpy", "sklearn", "rich"} & set(sys.modules)
    print(sorted(heavy))
    """
    assert run_python(code, site).stdout == "[]\n"


def test_a_plugin_installed_by_pip_is_found(tmp_path, run_python):
    project, site = tmp_path / "project", tmp_path / "installed"
    package = project / "src" / "pip_plugin"
    package.mkdir(parents=True)
    (project / "pyproject.toml").write_text(
        """\
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "pip-plugin"
version = "3.4"
dependencies = ["flagstone"]

[project.entry-points.flagstone]
by-pip = "pip_plugin.hooks"

[tool.hatch.build.targets.wheel]
packages = ["src/pip_plugin"]
""",
        encoding="utf-8",
    )
    (package / "__init__.py").write_text("", encoding="utf-8")
    hooks = (
        "from flagstone.plugins import LayerSpec, hookimpl\n@hookimpl\ndef flagstone_layers():\n"
        "    yield LayerSpec('stranger-layer', 'pip_plugin.layer:layer')\n"
    )
    (package / "hooks.py").write_text(hooks, encoding="utf-8")
    (package / "layer.py").write_text("def layer(): pass\n", encoding="utf-8")
    options = ["--no-index", "--no-build-isolation", "--no-deps", "--quiet", "--target", str(site)]
    pip = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check", *options]
    built = subprocess.run([*pip, str(project)], capture_output=True, text=True, timeout=300)
    assert built.returncode == 0, built.stderr
    found = answer(run_python(ASK, site))
    assert found["stranger"] == "layer"
    (row,) = [row for row in found["rows"] if row["name"] == "by-pip"]
    assert (row["status"], row["distribution"], row["version"]) == ("ok", "pip-plugin", "3.4")
    assert row["provides"] == {"layer": ["stranger-layer"]}
    assert row["location"] == str(site / "pip_plugin" / "hooks.py")
