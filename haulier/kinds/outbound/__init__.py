"""What kinds reach outside: addresses that are judged first, HTTP, SMTP, storage and files, each within a deadline."""
