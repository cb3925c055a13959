"""The command and the files it writes."""
