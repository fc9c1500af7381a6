"""Claims of the studies, and whether the runs bear them out."""
