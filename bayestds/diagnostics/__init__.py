"""What a posterior is worth: per-shell verdicts, calibration and validation of potentials."""
