"""The dependencies are the same in all files that name them."""

import itertools
import re
import tomllib

import yaml
from places import REPOSITORY

# name on PyPI, if it differs from the name on conda
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


def test_versions_for_the_tests_of_the_extras_name_every_extra_and_no_address():
    pins = (REPOSITORY / "envs/extras.txt").read_text()
    pinned = {line.split("==")[0].replace("_", "-") for line in pins.splitlines() if "==" in line}
    extras = project()["optional-dependencies"]
    for dependency in itertools.chain(*extras.values()):
        name = re.split(r"[><=\[]", dependency)[0].replace("_", "-")
        assert name in pinned or name == project()["name"]
    assert "://" not in pins


def test_lock_has_no_package_of_an_extra():
    lock = (REPOSITORY / "requirements.txt").read_text()
    for name in ("torch", "webdataset", "spatialdata", "datasets", "timm", "transformers"):
        assert f"\n{name}==" not in lock


def test_python_versions_are_the_same_everywhere():
    classified = project()["requires-python"]
    assert classified == ">=3.11,<3.15"
    continuous = yaml.safe_load((REPOSITORY / ".github/workflows/ci.yml").read_text())
    tried = continuous["jobs"]["test"]["strategy"]["matrix"]["python"]
    assert tried == ["3.11", "3.12", "3.13", "3.14"]
    for name in ("README.md", "Makefile", "docs/cluster.md"):
        assert "3.11 to 3.14" in (REPOSITORY / name).read_text()
