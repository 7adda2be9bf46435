"""Pictures of cards, calibration, sweeps and spectra, as PNG or SVG. The only user of matplotlib.

Marks and line styles differ, not colours alone, so that all reads in black and white. The same
values give the same bytes, with one version of matplotlib.
"""

from geometry_of_trust.plotting.image_files import check
from geometry_of_trust.plotting.pictures import calibration, sweep, training

__all__ = ["calibration", "check", "sweep", "training"]
