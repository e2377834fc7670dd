"""The names of what a network gives for a film.

`probability` and `logit` are there always. `activation_map` (h, w) has the logit as its mean; `distance` tells how far the film
looks from the training films; `site_scores` tell which of the known sites it resembles.
"""

REQUIRED_OUTPUTS = ("probability", "logit")
MAP_OUTPUT = "activation_map"
DISTANCE_OUTPUT = "distance"
SITES_OUTPUT = "site_scores"
OPTIONAL_OUTPUTS = (MAP_OUTPUT, DISTANCE_OUTPUT, SITES_OUTPUT)
