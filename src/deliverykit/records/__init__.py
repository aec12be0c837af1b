"""Floor 2: accounts, servers and routes as plain data that names parts."""
