"""Report: shows a run's sealed outputs on one page."""
