"""Where things are, and what is shipped with them."""

import os
from pathlib import Path

import yaml

REPOSITORY = Path(__file__).resolve().parents[1]
SCRIPTS = REPOSITORY / "scripts"  # where `import st1k4m` is found without installing it

# Real slides stand beside the repository; another place can be named by STIMAGE_DATA.
DATA = Path(os.environ.get("STIMAGE_DATA", REPOSITORY.parent / "shared" / "data"))

# The configuration that is shipped: the defaults of every option.
DEFAULTS = yaml.safe_load((REPOSITORY / "config" / "config.yaml").read_text(encoding="utf-8"))
