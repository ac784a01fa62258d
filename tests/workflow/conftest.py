"""Finished runs that several tests read, and copies for the tests that change files."""

import re
import shutil

import pytest
import runs


@pytest.fixture(scope="session")
def demo_run(tmp_path_factory):
    """Return the working directory of a finished run of the demo: read only."""
    return runs.shared_run(tmp_path_factory, "demo-run")


@pytest.fixture
def demo_copy(demo_run, tmp_path):
    """Return a copy of the finished run of the demo, with its time stamps; tests may change it."""
    return shutil.copytree(demo_run, tmp_path / "run", symlinks=True)


@pytest.fixture
def jobs_of():
    """Return the ``(rule, slide)`` pairs that a run executed, from its terminal output."""

    def parse(output):
        rule = r"^(?:local)?rule (\w+):\n(?:    .*\n)*?"
        pairs = re.findall(rule + r"    log: logs/(?:\w+/)?(.+)\.log\n", output, re.MULTILINE)
        return {(name, slide) for name, slide in pairs}

    return parse


@pytest.fixture
def digests():
    """Return the SHA-256 of every product, by path: final and intermediate files."""

    def read(workdir, *, without=()):
        return {
            path: digest
            for path, digest in runs.hash_products(workdir).items()
            if not any(name in path.rpartition("/")[2] for name in without)
        }

    return read
