"""The static snapshot: the finding pages as plain HTML files that need neither a server nor a network."""
