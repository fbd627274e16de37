"""What all that answers over HTTP has in common: who may call, what each answer carries, how gunicorn serves it."""
