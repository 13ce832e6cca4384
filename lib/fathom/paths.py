"""Where the repository lies, and where what can be deleted is kept."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("FATHOM_BUILD") or ROOT / "build").absolute()
