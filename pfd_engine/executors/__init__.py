"""Executors spread the tasks of a sweep: over the processes of this machine, or over a cluster. A task is pure: only the driver writes."""
