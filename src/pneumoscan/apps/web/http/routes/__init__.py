"""The routes: one film, a stream of films, and the files of the page."""
