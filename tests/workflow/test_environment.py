"""The same dependencies wherever they are named."""

import tomllib

import yaml
from places import REPOSITORY

# PyPI's name where conda's differs
PYPI = {"py-opencv": "opencv-python-headless", "pyvips": "pyvips[binary]"}


def project() -> dict:
    return tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]


def test_conda_environment_has_the_dependencies_of_the_project():
    environment = yaml.safe_load((REPOSITORY / "envs/st1k4m.yaml").read_text())
    python, *others = environment["dependencies"]
    named = [dependency.split(" ") for dependency in others]
    workflow = project()["optional-dependencies"]["workflow"]

    assert python == f"python {project()['requires-python']}"
    assert {PYPI.get(name, name) + bounds for name, bounds in named} == {
        dependency
        for dependency in project()["dependencies"] + workflow
        if not dependency.startswith("snakemake-logger-plugin")  # jobs have no terminal
    }


def test_lock_has_every_direct_dependency_with_hashes_and_no_address():
    lock = (REPOSITORY / "requirements.txt").read_text()
    groups = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["dependency-groups"]
    pinned = {line.split("==")[0].replace("_", "-") for line in lock.splitlines() if "==" in line}

    workflow = project()["optional-dependencies"]["workflow"]
    for dependency in project()["dependencies"] + workflow + groups["test"] + groups["lint"]:
        name = dependency.split(">=")[0].split("[")[0].replace("_", "-")
        assert name in pinned
    assert "://" not in lock
    assert lock.count("--hash=sha256:") > len(pinned)
