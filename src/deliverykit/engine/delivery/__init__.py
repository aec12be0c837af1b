"""The journey of a mail: taken in, sent now or by a worker, written down; and what would become of it."""
