"""The colours of every page, plot and figure of the project.

Lines and bars use the colours of Okabe and Ito (2008), which people with any form of colour blindness can distinguish.
"""

BLUE, VERMILION, GREEN, PURPLE = "#0072b2", "#d55e00", "#009e73", "#cc79a7"
# The colours of lines and bars, in drawing order.
SERIES = (BLUE, VERMILION, GREEN, PURPLE)
# In this order: text, secondary text, filled areas, rules and grids, background.
INK, QUIET, SHADE, RULE, PAPER = "#222222", "#57606a", "#c9c9c9", "#e4e4e4", "#ffffff"
CHANNELS = {"red": VERMILION, "green": GREEN, "blue": BLUE, "grey": QUIET, "opacity": QUIET}
