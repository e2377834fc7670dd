"""The routes: one film, and the files of the page."""
