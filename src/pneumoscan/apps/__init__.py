"""Where people and programs meet the rooms below: the command line, later the page and the hospital."""
