"""What several commands of the client share: options, questions, completion, a job as text."""
