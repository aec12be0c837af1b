"""What may go, by which server, and when: pure, under the store's lock and clock."""
