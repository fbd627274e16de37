"""The commands that enqueue, show and change jobs over HTTP, one or many."""
