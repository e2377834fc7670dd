"""Measurements of speed, of the service under load, and of methods in simulation."""
