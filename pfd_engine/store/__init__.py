"""Results in DuckDB: the database of a workspace, and the published and pulled ones beside it.

`Store` and `read_results` can be imported from here.
"""

from pfd_engine.store.database import Store, read_results

__all__ = ["Store", "read_results"]
