"""Results to terminal, figures and HTML."""

from dynprobe.report.report import Failure, Report

__all__ = ["Failure", "Report"]
