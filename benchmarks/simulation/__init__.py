"""Methods measured on simulated data."""
