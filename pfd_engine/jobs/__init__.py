"""Who executes a run, who may ask for one, and who may speak to the server."""
