"""Arrays in, arrays or figures out: metrics, intervals, calibration, displays and the report; never torch.

The package imports only numpy; scikit-learn and matplotlib come in when a function needs them.
"""
