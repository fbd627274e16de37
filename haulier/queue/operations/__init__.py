"""Operations: act on all jobs that match a filter, in the background."""
