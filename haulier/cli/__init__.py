"""The command `haulier`: `root` knows every command, and loads a command's file when it is called.

Those of this folder work on the database, or serve; they import what the server needs when they are called. Those of
`commands` call the API over HTTP, by `client`, and show what it answers by `terminal`.
"""
