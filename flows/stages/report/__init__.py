"""Report: everything sealed to one page."""
