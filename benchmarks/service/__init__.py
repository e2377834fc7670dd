"""The web service under load and attack."""
