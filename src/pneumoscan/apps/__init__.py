"""What people and other programs use: the command line, the web viewer with its HTTP service, the PACS node."""
