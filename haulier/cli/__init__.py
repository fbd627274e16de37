"""The commands of `haulier`, a file each. What needs the server's packages imports them when it is called."""
