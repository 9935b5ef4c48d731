"""One program for each deduplicator of the benchmark: Parquet in, ids of the kept documents out.

Each runs as `python -m workflows.bench.peers.run_NAME CORPUS KEPT WORK THRESHOLD WORKERS` in an interpreter
that has the peer and pyarrow, and uses the peer as the peer's own documentation shows.
"""
