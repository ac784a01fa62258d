"""Paths of the repository, and the configuration in it."""

import os
from pathlib import Path

import yaml

REPOSITORY = Path(__file__).resolve().parents[1]
SCRIPTS = REPOSITORY / "scripts"  # where `import st1k4m` is found without installing it

# Real slides are in a folder next to the repository, or in the folder STIMAGE_DATA.
DATA = Path(os.environ.get("STIMAGE_DATA", REPOSITORY.parent / "shared" / "data"))

# The configuration in the repository: the defaults of all options.
DEFAULTS = yaml.safe_load((REPOSITORY / "config" / "config.yaml").read_text(encoding="utf-8"))
