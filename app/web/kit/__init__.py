"""What all pages share: sessions, sections, templates, polls, messages and errors."""
