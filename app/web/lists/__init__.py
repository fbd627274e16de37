"""Lists of jobs and workers: their URLs, columns and totals."""
