"""The command line: one module a command, and the servers that it starts."""
