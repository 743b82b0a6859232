"""What the report of one evaluation is tested with serves the report of a study too."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "report"))  # report_samples, report_parsing
