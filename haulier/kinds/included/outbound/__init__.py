"""How kinds reach other machines and files: checked addresses, HTTP, SMTP, storage, files, and deadlines."""
