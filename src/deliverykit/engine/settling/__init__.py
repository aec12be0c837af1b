"""What came of an attempt, and what it does to the mail, the server and its limits: pure."""
