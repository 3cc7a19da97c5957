"""Reading a team's own files: what is in them, everything that is wrong with them, and the tables they make."""
