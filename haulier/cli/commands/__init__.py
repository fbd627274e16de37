"""The commands that call the API, a file for each noun."""
