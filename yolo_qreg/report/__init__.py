"""The page and the figures of an evaluation, computed from its CSV and JSON files alone.

Example:
    `write_report(Path("results"))` writes results/report.html and results/figures.
"""

from yolo_qreg.report.page import write_report
from yolo_qreg.report.terminal import print_summary

__all__ = ["print_summary", "write_report"]
