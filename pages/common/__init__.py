"""What every page shares: its first call, the data behind it, and the widgets more than one page draws."""
