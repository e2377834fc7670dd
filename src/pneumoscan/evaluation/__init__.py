"""Metrics, intervals, calibration, figures and the report, computed from arrays. Never needs torch.

The package imports only numpy. Functions import scikit-learn and matplotlib when they need them.
"""
