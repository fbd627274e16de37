"""The schemas of requests and responses, and the fields that they are made of."""
