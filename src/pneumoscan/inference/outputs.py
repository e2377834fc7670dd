"""The names of the outputs of a network.

Every network has `probability` and `logit`. The mean of `activation_map` (h, w) is the logit. `distance` measures how different
the film is from the training films. `site_scores` show which of the known sites the film resembles.
"""

REQUIRED_OUTPUTS = ("probability", "logit")
MAP_OUTPUT = "activation_map"
DISTANCE_OUTPUT = "distance"
SITES_OUTPUT = "site_scores"
LUNGS_OUTPUT = "lungs"
"""The one output of the lungs network."""
OPTIONAL_OUTPUTS = (MAP_OUTPUT, DISTANCE_OUTPUT, SITES_OUTPUT)
