"""From a table of films to a trained network: `config` → `engine` → run folder (`run`) → bundle (`export`)."""
