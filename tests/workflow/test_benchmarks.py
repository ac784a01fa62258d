"""The benchmarks that take seconds run to their end; their figures are not tested."""

import sys
from pathlib import Path

import pytest
from benchmarks import measure

FOLDER = Path(measure.__file__).parent


@pytest.mark.slow
@pytest.mark.parametrize("name", ["costs", "geometry", "listing"])
def test_a_benchmark_runs(name, tmp_path):
    script = str(FOLDER / f"bench_{name}.py")
    done = measure.run([sys.executable, script, "--quick", "--folder", str(tmp_path)])
    assert len(done.output.splitlines()) > 2
