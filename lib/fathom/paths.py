"""Where the repository lies, and where what can be deleted is kept."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
VARIABLE = "FATHOM_BUILD"  # a folder that stands in for build/
BUILD = Path(os.environ.get(VARIABLE) or ROOT / "build").absolute()
