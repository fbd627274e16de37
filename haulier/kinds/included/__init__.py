"""The four kinds that come with Haulier."""
