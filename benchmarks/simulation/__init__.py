"""Methods evaluated on simulated data."""
