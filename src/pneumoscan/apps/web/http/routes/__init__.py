"""What the routes do: read a film, read a stream of films, and the table of the page's files."""
