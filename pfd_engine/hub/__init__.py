"""From a reference to pinned files on this machine, and from a folder to the Hub."""
