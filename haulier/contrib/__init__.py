"""What fits Haulier to other libraries. Nothing else imports it: a team names it in its own settings."""
