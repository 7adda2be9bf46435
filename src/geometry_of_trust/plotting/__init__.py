"""Pictures of cards, calibration, sweeps and spectra. The only user of matplotlib."""
