"""What studies of selectors share: tasks, branches of a DAG that choose rows, heads, errors, drawings."""
