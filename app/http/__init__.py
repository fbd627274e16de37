"""What all HTTP views share: who may call, what each answer carries, how gunicorn serves them."""
